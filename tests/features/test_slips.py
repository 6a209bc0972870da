"""What a newcomer gives a store or a browser: it is taken, or one sentence names the argument, what was found and what
is nearest."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from exported import unpacked

import saekit as sk

SITE = "blocks.0.hook_resid_post"
TEXTS = [f"the {a} {b} on a {c}" for a in ("cat", "dog", "man") for b in ("sat", "is") for c in "abcd"]


@pytest.fixture(scope="module")
def sae() -> sk.Dictionary:
    torch.manual_seed(0)
    return sk.TopK(d_sae=20, k=3).build(sk.Wiring(SITE), {SITE: 16})


@pytest.fixture
def st(tiny_llama, sae, tmp_path, monkeypatch, one_thread) -> sk.FeatureStore:
    """A store in the working folder, as "store"."""
    monkeypatch.chdir(tmp_path)
    return sk.FeatureStore.build(tiny_llama, sae, TEXTS, "store", top=3, loss_examples=0)


BROWSERS: dict[str, tuple[dict[str, Any], str]] = {
    "width": (
        {"width": 800},
        r"^FeatureBrowser takes no width=\. It takes store, model, feature, filter, sort, tab, height\.$",
    ),
    "features": ({"features": 3}, r"^FeatureBrowser takes no features=\. Did you mean feature=\?"),
    "feature 9999": ({"feature": 9999}, r"^feature names latents from 0 to 19, not 9999; the closest is 19\.$"),
    "feature -1": ({"feature": -1}, r"not -1; the closest is 0\.$"),
    "feature 3.5": ({"feature": 3.5}, r"^feature names latents from 0 to 19, not 3\.5\.$"),
    "feature text": ({"feature": "12"}, r"^feature names latents from 0 to 19, not '12'\.$"),
    "feature list": ({"feature": [3]}, r"not \[3\]\.$"),
    "feature nan": ({"feature": float("nan")}, r"not nan\.$"),
    "filter typo": ({"filter": {"densty": [0, 1]}}, r"^filter does not know 'densty'\. Did you mean 'density'\?"),
    "filter scalar": (
        {"filter": {"density": 0.1}},
        r"^filter\['density'\] is \[low, high\], numbers or None; it is not 0\.1: from it on is \[0\.1, None\], up "
        r"to it \[None, 0\.1\]\.$",
    ),
    "filter one": ({"filter": {"density": [0.1]}}, r"is \[low, high\], numbers or None; it is not \[0\.1\]\.$"),
    "filter turned": ({"filter": {"density": (0.2, 0.1)}}, "give the lower number first"),
    "filter text": (
        {"filter": "density > .1"},
        r"^filter is a dict, as \{\"density\": \[low, high\]\}; it is not 'density",
    ),
    "filter list": ({"filter": ["density"]}, r"^filter is a dict"),
    "filter switch": ({"filter": {"dead": "yes"}}, r"^filter\['dead'\] is True or False, not 'yes'\.$"),
    "sort text": (
        {"sort": "density"},
        r"^sort is \[column, descending\], as \[\"density\", True\]; it is not 'density'\.$",
    ),
    "sort one": ({"sort": ["density"]}, r"as \[\"density\", True\]; it is not \['density'\]\.$"),
    "sort typo": ({"sort": ["densty", True]}, r"^sort does not know 'densty'\. Did you mean 'density'\?"),
    "sort number": ({"sort": 3}, r"^sort is \[column, descending\], as \[\"max\", True\]; it is not 3\.$"),
    "tab": ({"tab": "Random"}, r"^tab does not know 'Random'\. Did you mean 'random'\?"),
    "feature none": ({"feature": ()}, r"not \(\)\.$"),
    "tab none": ({"tab": None}, r"^tab does not know None\."),
}


@pytest.mark.parametrize("name", BROWSERS)
def test_a_browser_says_what_it_cannot_take(st, name: str) -> None:
    given, words = BROWSERS[name]
    with pytest.raises((TypeError, ValueError), match=words):
        sk.FeatureBrowser(st, **given)
    (trait, value), *_ = given.items()
    if trait in ("feature", "filter", "sort", "tab"):
        browser = sk.FeatureBrowser(st)
        before = getattr(browser, trait)
        with pytest.raises(ValueError, match=words):
            setattr(browser, trait, value)
        assert getattr(browser, trait) == before


def test_what_a_browser_takes(st, tmp_path) -> None:
    taken = sk.FeatureBrowser("store", feature=3.0, filter={"density": (0, 0.9)}, sort=("density", False))
    assert (taken.feature, taken.filter, taken.sort) == (3, {"density": [0.0, 0.9]}, ["density", False])
    assert type(taken.feature) is int and sk.FeatureBrowser(Path("store")).feature == sk.FeatureBrowser(st).feature
    for number in (np.int64(4), np.float32(4), torch.tensor(4), np.array(4)):
        taken.feature = number
        assert taken.feature == 4 and type(taken.feature) is int
    taken.filter = {"density": np.array([0, 0.5])}
    assert taken.filter == {"density": [0.0, 0.5]}
    taken.starred = np.array([5, 1])
    assert taken.starred == [1, 5] and st.labels.get(5)["star"]
    for features in (12, 12.0, np.int64(12), [12], np.array([12]), torch.tensor([12]), range(12, 13)):
        page = taken.export_html("new/folder/page.html", features=features)
        assert (
            page == tmp_path / "new" / "folder" / "page.html" and "feature:12" in unpacked(page.read_text())["answers"]
        )
    with pytest.raises(ValueError, match=r"^features names latents from 0 to 19, not 20; the closest is 19\.$"):
        taken.export_html("other/page.html", features=20)
    with pytest.raises(ValueError, match=r"^features names latents from 0 to 19, not '12'\.$"):
        taken.export_html("other/page.html", features="12")
    assert not Path("other").exists()
    with pytest.raises(ValueError, match=r"^path is a file to write, as '.*features\.html'; '.*new' is a folder\.$"):
        taken.export_html("new")


def test_what_is_no_store(st, sae, tiny_llama) -> None:
    call = re.escape("found a TopKDictionary: sk.FeatureBrowser(store, model=model).")
    with pytest.raises(TypeError, match=rf"^store is a feature store, as sk\.FeatureStore\.build.*{call}$"):
        sk.FeatureBrowser(sae, tiny_llama)
    with pytest.raises(
        ValueError, match=r"stor is no feature store: there is no such folder; beside it the only one is 'st"
    ):
        sk.FeatureBrowser("stor")
    with pytest.raises(TypeError, match=r"^store is a feature store, .* or its folder; found a TopKDictionary\.$"):
        sk.feature_map(sae)
    with pytest.raises(ValueError, match="no/such is no feature store: there is no such folder"):
        sk.FeatureStore.open("no/such")
    with pytest.raises(TypeError, match=r"folder is a path, a str or a pathlib\.Path, found 3"):
        sk.FeatureStore.open(3)
    with pytest.raises(ValueError, match="no such folder"):
        sk.feature_map("stor")
    assert sk.FeatureStore("store").tokens == sk.FeatureStore(Path("store")).tokens == st.tokens


ASKED: dict[str, tuple[Callable[[sk.FeatureStore], Any], str]] = {
    "feature": (lambda st: st.feature(3.5), r"^a latent is a whole number in 0 … 19, found 3\.5\.$"),
    "feature text": (lambda st: st.feature("12"), r"^a latent is a whole number in 0 … 19, found '12'\.$"),
    "feature 9999": (lambda st: st.feature(9999), r"^latent 9999 is not in 0 … 19; the closest is 19\.$"),
    "examples": (lambda st: st.examples(3, "bottom"), r"^kind cannot be 'bottom'; the closest is 'top' \(of top, "),
    "label": (lambda st: st.set_label(3, label=5), r"^label must be text, found 5: write '5'\.$"),
    "note": (lambda st: st.set_label(3, note=["a"]), r"^note must be text, found \['a'\]\.$"),
    "star": (lambda st: st.set_label(3, star="no"), r"^star must be True or False, found 'no'\.$"),
    "star 1": (lambda st: st.set_label(3, star=1), r"^star must be True or False, found 1\.$"),
    "delete": (
        lambda st: st.sql("delete from latents"),
        r"^query is a SELECT, found DELETE: the tables of a store are only",
    ),
    "drop": (
        lambda st: st.sql("select 1; drop view latents"),
        r"^query is a SELECT, found DROP: .* store\.set_label\(",
    ),
    "insert": (lambda st: st.sql("insert into effects values (3, 1, 1)"), r"^query is a SELECT, found INSERT"),
    "empty": (lambda st: st.sql(""), r"^query is a SELECT, such as 'select \* from latents limit 5', found ''\.$"),
    "none": (lambda st: st.sql(None), r"^query is a SELECT, .* found None\.$"),
    "column": (lambda st: st.sql("select latnt from latents"), r'"latnt" not found(.|\n)*Candidate bindings: "latent"'),
    "table": (lambda st: st.sql("select * from features"), r'features does not exist!(.|\n)*Did you mean "'),
    "free text": (lambda st: st.explain(3, "names of people"), r"free text needs a chat model: judge="),
    "concept": (
        lambda st: st.explain(3, "concept(entity)"),
        r"there is no concept 'entity'; the corpus has no labels\.$",
    ),
    "windows": (
        lambda st: st.explain(3, "tokens(' a')", n=1),
        r"a score needs at least 2 activating .* on more tokens has",
    ),
    "filter": (lambda st: st.latents({"densty": [0, 1]}), r"^filter does not know 'densty'\. Did you mean 'density'\?"),
    "sort": (
        lambda st: st.latents(sort="density"),
        r"^sort is \[column, descending\], as \[\"density\", True\]; it is not '",
    ),
}


@pytest.mark.parametrize("name", ASKED)
def test_a_store_says_what_it_cannot_be_asked(st, name: str) -> None:
    call, words = ASKED[name]
    with pytest.raises(Exception, match=words):
        call(st)
    assert not st.labels.all() and len(st.sql("select * from latents")) == 20


def test_what_a_store_takes(st) -> None:
    assert st.set_label(3, "mine")["label"] == "mine" and st.set_label(3, star=np.True_)["star"] is True
    assert st.sql("select latent from latents where latent = ?", 3).latent.tolist() == [3]
    assert st.sql("select label from labels where label = ?", "mine").label.tolist() == ["mine"]
    assert len(st.sql("describe latents")) > 20 and st.sql("with a as (select 1 as b) select b from a").b.tolist() == [
        1
    ]


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"tokens": "1000"}, r"^tokens is a whole number from 1, found '1000', a string: write 1000\.$"),
        ({"tokens": 0}, r"^tokens must be at least 1, found 0\.$"),
        ({"tokens": 10.5}, r"^tokens is a whole number from 1, found 10\.5; the nearest is 10\.$"),
        ({"top": -1}, r"^top must be at least 0, found -1\.$"),
        ({"seed": None}, r"^seed is a whole number from 0, found None"),
        ({"most_firings": 2**70}, r"^most_firings is a whole number below 2⁶¹"),
        ({"loss_effects": "none"}, r"^loss_effects cannot be 'none'; the closest is 'opened' \(of opened, all\)\.$"),
    ],
    ids=str,
)
def test_numbers_of_a_build(tiny_llama, sae, tmp_path, given: dict[str, Any], words: str) -> None:
    with pytest.raises((TypeError, ValueError), match=words):
        sk.FeatureStore.build(tiny_llama, sae, TEXTS, tmp_path / "new", **given)
    assert not (tmp_path / "new").exists()


def test_whole_numbers_of_a_build_are_taken_however_they_are_given(st, tiny_llama, sae) -> None:
    settings = {"tokens": 4e1, "top": np.int64(3), "seed": torch.tensor(0), "loss_examples": 0.0}
    store = sk.FeatureStore.build(tiny_llama, sae, TEXTS, "numbers", **settings)
    assert store.tokens == 40 and sk.FeatureStore.build(
        tiny_llama, sae, TEXTS, "numbers", tokens=40, top=3, loss_examples=0
    ).folder == store.folder  # fmt: skip


def test_another_store_in_the_folder_is_a_short_sentence(st, tiny_llama, sae) -> None:
    corpus = sk.load_corpus("microworld", split="heldout", n=20)
    with pytest.raises(ValueError, match=r"concepts \(there \[\], here \d+ of them\)") as said:
        sk.FeatureStore.build(tiny_llama, sae, corpus, "store", top=3, loss_examples=0)
    assert len(str(said.value)) < 1500


def test_the_repr_says_what_was_read(st) -> None:
    documents, counted = len(TEXTS), st.manifest["progress"]["counted"]
    told = f"20 latents; {documents} rows, BOS is '<s>'; {counted} counted tokens; left out: {documents} bos"
    assert repr(st) == f"<FeatureStore store: {told}>"
