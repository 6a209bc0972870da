"""A small store of an unlabelled corpus: the number of a latent in any form, and explanations that it cannot check."""

from __future__ import annotations

import json
import pickle

import numpy as np
import pytest
import torch

import saekit as sk
from saekit.dictionaries.latent_number import NoSuchLatent, latent_number
from saekit.features.explanations import parse
from saekit.features.labels.labels import Labels
from saekit.files import NotWritten

SITE = "blocks.0.hook_resid_post"
TEXTS = [f"the {a} {b} on a {c} and he is in it" for a in ("cat", "dog", "man") for b in ("sat", "is") for c in "abcde"]
PANELS = ("row", "view", "feature", "card", "examples", "histogram", "logits", "neighbours", "concepts")
ASKED = [*PANELS, "loss_effect", "windows", "held_out", "propose", "next_alive"]


@pytest.fixture(scope="module")
def store(tiny_gpt2, tmp_path_factory, one_thread) -> sk.FeatureStore:
    torch.manual_seed(0)
    sae = sk.TopK(d_sae=20, k=3).build(sk.Wiring(SITE), {SITE: 16})
    folder = tmp_path_factory.mktemp("stores") / "plain"
    return sk.FeatureStore.build(tiny_gpt2, sae, TEXTS, folder, top=3, random=3, per_band=1, loss_effects="all")


@pytest.fixture(scope="module")
def latent(store) -> int:
    """One with windows left in which it fires, and windows left in which it does not."""
    latents = store.sql("select latent from latents where firings > 0 order by firings").latent.tolist()
    return next(latent for latent in latents if min(map(len, store.held_out(latent, n=5))) > 1)


@pytest.mark.parametrize("number", [np.int64, np.uint8, torch.tensor])
@pytest.mark.parametrize("asked", ASKED)
def test_a_latent_may_be_any_whole_number(store, latent: int, asked: str, number) -> None:
    assert pickle.dumps(getattr(store, asked)(number(latent))) == pickle.dumps(getattr(store, asked)(latent))


def test_what_is_written_takes_any_whole_number_too(store, latent: int, tmp_path) -> None:
    number = np.int64(latent)
    store.set_label(number, label="a name")
    assert store.labels.get(latent)["label"] == "a name" == store.labels.get(number)["label"]
    store.explain(number, "tokens(' cat')", n=5)
    assert store.labels.explanations(number)[0]["latent"] == latent
    store.export_neuronpedia(tmp_path, [number])
    assert json.loads((tmp_path / f"{latent}.json").read_text())["act_max"] == store.row(latent)["max_activation"]
    assert store.sql("select latent from latents where latent = ?", [number]).latent.tolist() == [latent]


@pytest.mark.parametrize("wrong", [20, -1, 1.5, "3", True, np.True_, np.float64(3), None, np.array([3])], ids=repr)
@pytest.mark.parametrize("asked", [*ASKED, "set_label", "explain"])
def test_another_number_is_the_same_error_everywhere(store, asked: str, wrong, tmp_path) -> None:
    more = {"explain": ["tokens(' a')"]}.get(asked, [])
    says = r"^(latent -?\d+ is not in 0 … 19; the closest is (0|19)|a latent is a whole number in 0 … 19, found .+)\.$"
    with pytest.raises(NoSuchLatent, match=says):
        getattr(store, asked)(wrong, *more)
    with pytest.raises(NoSuchLatent, match=says):
        store.export_neuronpedia(tmp_path / "new", [1, wrong])
    assert not (tmp_path / "new").exists()


def test_the_error_is_what_both_halves_documented(tmp_path) -> None:
    for kind in (IndexError, ValueError):
        with pytest.raises(kind, match="latent 20 is not in 0 … 19"):
            latent_number(20, 20)
        with pytest.raises(kind, match="latent 20 is not in 0 … 19"):
            Labels(tmp_path / "labels.sqlite", 20).set(20)


@pytest.mark.parametrize("explanation", ["concept(entity.person)", "~tokens(' a') & concept(entity.person)"])
@pytest.mark.parametrize("form", [str, parse])
def test_a_concept_is_refused_where_the_corpus_has_no_labels(store, latent: int, explanation: str, form) -> None:
    before = store.labels.explanations()
    with pytest.raises(ValueError, match=r"there is no concept 'entity\.person'; the corpus has no labels\.$"):
        store.explain(latent, form(explanation))
    assert store.labels.explanations() == before


def test_exports_make_their_folder_and_leave_nothing_else(store, latent: int, tmp_path) -> None:
    store.set_label(latent, label="a name")
    store.export_neuronpedia(tmp_path / "a" / "b", [latent])
    store.export_labels(tmp_path / "c" / "d" / "labels.json")
    made = sorted(str(path.relative_to(tmp_path)) for path in tmp_path.rglob("*") if path.is_file())
    assert made == [f"a/b/{latent}.json", "c/d/labels.json"]


def test_an_export_below_a_file_is_one_sentence(store, latent: int, tmp_path) -> None:
    (tmp_path / "file").write_text("kept")
    for call in (
        lambda: store.export_neuronpedia(tmp_path / "file", [latent]),
        lambda: store.export_neuronpedia(tmp_path / "file" / "below", [latent]),
        lambda: store.export_labels(tmp_path / "file" / "labels.json"),
    ):
        with pytest.raises(
            NotWritten, match=r"file.* could not be written \((File exists|Not a directory)\): choose another"
        ):
            call()
    assert (tmp_path / "file").read_text() == "kept"
