"""Heads and sources of a store over an attention layer's heads: they add up, by hand and by brute force; and who sees
them."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch
from exported import unpacked
from saekit_widgets import FeatureBrowser

import saekit as sk
from saekit.features import schema
from saekit.features.building import build, heads
from saekit.metrics import attention_sources
from saekit.metrics.attention import family, source_kinds

SITE = "blocks.1.attn.hook_z"
NOUNS = ("cat", "dog", "man", "hat", "sea")
TEXTS = [f"the {a} {b} on a {c} and the {a} is 🐻 in it" for a in NOUNS for b in ("sat", "is") for c in "abc"]
TEXTS[0] = "<b>the</b> & " + TEXTS[0]


def dictionary(*sites: str) -> sk.Dictionary:
    torch.manual_seed(0)
    wiring = sk.Wiring(*(sites or (SITE,)))
    sae = sk.TopK(d_sae=20, k=3).build(wiring, dict.fromkeys(wiring.sites, 16))
    with torch.no_grad():
        for parameter in sae.parameters():
            parameter.copy_(torch.randn(parameter.shape) / 2)
    return sae


@pytest.fixture(scope="module", params=["tiny_gpt2", "tiny_llama"])
def model(request: pytest.FixtureRequest, one_thread: None) -> Any:
    return request.getfixturevalue(request.param)


@pytest.fixture(scope="module")
def whole(model: Any, tmp_path_factory: pytest.TempPathFactory) -> sk.FeatureStore:
    """A store with all sources of every top example."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(heads, "SOURCES_KEPT", 4 * 32)
        return make(model, tmp_path_factory.mktemp("stores") / "whole")


@pytest.fixture(scope="module")
def store(tiny_llama: Any, one_thread: None, tmp_path_factory: pytest.TempPathFactory) -> sk.FeatureStore:
    return make(tiny_llama, tmp_path_factory.mktemp("stores") / "usual")


def make(model: Any, folder: Path, sae: sk.Dictionary | None = None, **changes: Any) -> sk.FeatureStore:
    settings = {"top": 3, "random": 3, "per_band": 2, "loss_examples": 1} | changes
    return sk.FeatureStore.build(model, sae or dictionary(), TEXTS, folder, **settings)


def test_all_sources_and_the_constant_are_the_activation(whole: sk.FeatureStore) -> None:
    found = whole.sql(
        "select any_value(value) as z, sum(contribution::double) + any_value(constant) as u, count(*) as n "
        "from sources join examples using (latent, place) join heads using (latent) where kind = 'top' "
        "group by latent, place"
    )
    top = whole.sql("select * from examples where kind = 'top'")
    assert len(found) == len(top) >= 20 and found.n.max() >= 60
    np.testing.assert_allclose(found.u, found.z, atol=1e-5, rtol=1e-5)


def test_they_are_what_a_prompt_says(whole: sk.FeatureStore, model: Any) -> None:
    """Of one example: the row's tokens as a prompt."""
    latent, place, document = whole.sql(
        "select latent, place, document from examples join tokens using (place) where kind = 'top' order by hash(place)"
    ).iloc[0]
    row = whole.sql("select place, token from tokens where document = ? order by place", [document])
    said = attention_sources(model, whole.dictionary, torch.tensor(row.token.to_numpy()), int(latent))
    begin = int(row.place.iloc[0])
    asked = whole.sql("select * from sources where latent = ? and place = ?", [latent, place])
    first = len(said.tokens) - len(row)  # BOS is added where the row does not have it
    ours = np.zeros(said.contributions.shape[2:], np.float32)
    ours[asked["head"], asked["source"] - begin + first] = asked.contribution
    np.testing.assert_allclose(ours, said.contributions[0, place - begin + first], atol=1e-5)
    assert np.count_nonzero(ours) == len(asked) > 10


def test_shares_and_families_are_those_of_all_sources(whole: sk.FeatureStore) -> None:
    every = whole.sql(
        "select s.*, t.token, before.token as before from sources s join tokens t using (place) "
        "join tokens here on s.source = here.place "
        "left join tokens before on s.source - 1 = before.place and before.row = here.row"
    )
    known = whole.sql("select * from heads").set_index("latent")
    assert known.family.notna().sum() >= 8 and set(known.family.dropna()) <= {"induction", "local", "long-range"}
    for latent, its in every.groupby("latent"):
        u = its.groupby(["place", "head"]).contribution.sum().abs().groupby("head").sum()
        np.testing.assert_allclose(known.activation_share[latent], u / u.sum(), atol=1e-5)
        size, whole_size = its.contribution.abs(), its.contribution.abs().sum()
        behind, near = size[its.before == its.token].sum(), size[its.place - its.source <= 5].sum()
        assert known.induction[latent] == pytest.approx(behind / whole_size, abs=1e-5)
        assert known.local[latent] == pytest.approx(near / whole_size, abs=1e-5)
        assert known.family[latent] == family(behind, near, whole_size)


def test_decoder_shares_by_hand(tiny_llama: Any, one_thread: None, tmp_path: Path) -> None:
    sae = dictionary()
    with torch.no_grad():
        sae.decoder_directions[:2] = 0
        sae.decoder_directions[0, :4] = torch.tensor([3.0, 0, 0, 4])  # head 0: 5
        sae.decoder_directions[0, 8:12] = torch.tensor([0, -15.0, 0, 0])  # head 2: 15
    found = make(tiny_llama, tmp_path / "s", sae)
    assert found.sources(0).decoder_share == [0.25, 0, 0.75, 0]
    row = found.latents(all=True).iloc[0]
    assert (row["head"], row["head_share"]) == (2, 0.75)
    assert found.sql("select decoder_share from heads").decoder_share[1].tolist() == [0, 0, 0, 0]


def test_the_strongest_eight_are_kept(store: sk.FeatureStore, request: pytest.FixtureRequest, tmp_path: Path) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(heads, "SOURCES_KEPT", 4 * 32)
        patch.setattr(heads, "NUMBERS_AT_ONCE", 2_000)  # a row or two at once, some latents at a time
        every = make(request.getfixturevalue("tiny_llama"), tmp_path / "all")
    strongest = every.sql(
        "select *, row_number() over (partition by latent, place order by abs(contribution) desc) as n from sources"
    ).query("n <= 8")
    kept = store.sql("select * from sources")
    keys = ["latent", "place", "source", "head"]
    one, other = (frame.sort_values(keys).reset_index(drop=True) for frame in (strongest, kept))
    assert one[keys].equals(other[keys]) and len(kept) == 8 * len(kept.groupby(["latent", "place"]))
    np.testing.assert_allclose(one.contribution, other.contribution, atol=1e-5)
    for name in ("decoder_share", "activation_share", "constant", "local"):
        a, b = (made.sql(f"select {name} from heads where family is not null")[name] for made in (every, store))
        np.testing.assert_allclose(np.vstack(a), np.vstack(b), atol=1e-5)


@pytest.fixture(scope="module")
def latent(store: sk.FeatureStore) -> int:
    """The one that fires most."""
    return int(store.latents().firings.idxmax())


def test_it_draws_and_has_frames(store: sk.FeatureStore, latent: int) -> None:
    found = store.sources(latent)
    frame = found.frame()
    assert len(frame) == len(found) > 8 and {"token", "source", "back", "head", "contribution"} <= set(frame)
    first = frame[frame.place == frame.place[0]]
    assert first.contribution.abs().is_monotonic_decreasing and first["value"].nunique() == 1
    assert frame["value"][0] == store.examples(latent)[0]["value"]
    assert found.by_head().decoder_share.sum() == pytest.approx(1, abs=1e-6)
    assert found.family in repr(found) and "W_i[k]" in found._repr_html_() and "<b>" not in found._repr_html_()
    with pytest.raises(IndexError, match="20"):
        store.sources(20)


def test_the_list_has_its_columns(store: sk.FeatureStore) -> None:
    frame = store.latents()
    assert {"head", "head_share", "family"} <= set(frame)
    known = store.sql("select * from heads order by latent")
    assert frame.family.dropna().tolist() == known.family.dropna().tolist()
    assert frame["head"].tolist() == [int(np.argmax(shares)) for shares in known.decoder_share]
    for number, name in enumerate(("induction", "local", "long-range")):
        expected = frame[frame.family == name].latent.tolist()
        assert sorted(store.latents({"family": [number, number]}).latent) == expected
    two = store.latents({"head": [2, 2]}, ["head_share", True])
    assert (two["head"] == 2).all() and two.head_share.is_monotonic_decreasing and len(two)
    words = {column["name"]: column for column in store.listing()["about"]}
    assert words["family"]["names"] == ["induction", "local", "long-range"] and words["head"]["format"] == "whole"
    assert "sources" in store.listing()["definitions"]


def test_examples_say_where_their_peaks_come_from(store: sk.FeatureStore, latent: int) -> None:
    view = store.view(latent)
    frame = store.sources(latent).frame()
    shown = outside = 0
    for example in view["examples"]["top"]:
        for source in example["sources"]:
            if source["piece"] is None:
                outside += 1
                continue
            assert source["text"].replace("�", "") in example["pieces"][source["piece"]]
            back = sum(len(tokens) for tokens in example["tokens"][source["piece"] : example["peak"]])
            assert abs(back - source["back"]) < 4 and (source["back"] >= 0)
            shown += 1
    assert shown + outside == len(frame) and shown
    assert view["heads"]["family"] == store.sources(latent).family and "sources" not in view["absent"]
    page = FeatureBrowser(store, feature=latent)._page([latent])
    held, _ = unpacked(page)["answers"][f"feature:{latent}"]
    assert held["view"]["heads"] and held["view"]["examples"]["top"][0]["sources"]


def test_sources_before_what_is_shown(store: sk.FeatureStore, latent: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(store.manifest, "windows", {"before": 1, "after": 1})
    found = [source for example in store.view(latent)["examples"]["top"] for source in example["sources"]]
    outside = [source for source in found if source["piece"] is None]
    assert outside and all(source["back"] > 1 and source["text"] for source in outside)
    assert len(found) == len(store.sources(latent))


def test_its_card_has_the_heads(store: sk.FeatureStore, latent: int) -> None:
    card = store.feature(latent)
    assert "Heads and sources" in card.html and card.html.count("<td") > 8
    assert "of the decoder row" not in card.html  # all four are drawn
    assert f"family {store.sources(latent).family}" in repr(card) and "Its strongest example comes from" in repr(card)
    frame = store.sql("select latent from sources join tokens on source = tokens.place join vocabulary using (token)")
    assert len(frame) and "<script" not in card.html


def test_what_is_said_where_there_are_none(store: sk.FeatureStore, tiny_llama: Any, tmp_path: Path) -> None:
    stream = "blocks.0.hook_resid_post"
    other = make(tiny_llama, tmp_path / "stream", dictionary(stream))
    assert (
        not {"head", "head_share", "family"} & set(other.latents(all=True)) and "sources" not in other.view(0)["absent"]
    )
    assert not list(other.folder.glob("sources")) and other.sql("select * from sources").empty
    assert "sources" not in other.listing()["definitions"] and other.view(0)["heads"] is None
    with pytest.raises(ValueError, match=r"reads blocks\.0\.hook_resid_post; they are known of one at"):
        other.sources(0)
    with pytest.raises(ValueError, match="filter does not know 'head'"):
        other.latents({"head": [0, 1]})

    older = tmp_path / "older"
    shutil.copytree(store.folder, older)
    manifest = json.loads((older / "manifest.json").read_text())
    del manifest["heads"]
    (older / "manifest.json").write_text(json.dumps(manifest))
    for name in schema.BY_HEADS:
        shutil.rmtree(older / name)
    opened = sk.FeatureStore.open(older)
    assert opened.sql("select * from heads").empty and "build it again" in opened.view(0)["absent"]["sources"]
    assert opened.view(0)["examples"]["top"] == [
        {name: value for name, value in one.items() if name != "sources"} for one in store.view(0)["examples"]["top"]
    ]

    onward = make(tiny_llama, tmp_path / "onward", dictionary(SITE, "blocks.1.hook_resid_post"))
    with pytest.raises(ValueError, match=r"writes blocks\.1\.hook_resid_post; both must be one attn\.hook_z"):
        onward.sources(0)
    x = torch.randn(40, 16)
    arrays = sk.FeatureStore.build({SITE: x}, dictionary(), None, tmp_path / "arrays")
    assert "only a model can run their rows again" in arrays.view(0)["absent"]["sources"]


def test_stopped_in_the_middle_it_goes_on(store: sk.FeatureStore, tiny_llama: Any, tmp_path: Path) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(build, "LATENTS_AT_ONCE", 6)
        real, written = heads.write_table, []

        def failing(*given: Any) -> None:
            written.append(given)
            if len(written) == 3:
                raise KeyboardInterrupt
            real(*given)

        patch.setattr(heads, "write_table", failing)
        half = make(tiny_llama, tmp_path / "s")
        assert not half.finished and half.d_sae == 20 and half.sql("select * from sources").empty
        assert "half built" in half.view(0)["absent"]["sources"]
        patch.setattr(heads, "write_table", real)
        done = make(tiny_llama, tmp_path / "s")
    assert done.finished and len(done.manifest["parts"]) == 4
    for name in schema.BY_HEADS:
        assert done.sql(f"select * from {name}").equals(store.sql(f"select * from {name}"))
        files = list((done.folder / name).glob("*.parquet"))
        assert len(files) == 4 and all(pq.read_schema(file).equals(schema.TABLES[name]) for file in files)


def test_kinds_of_sources_by_hand() -> None:
    tokens = torch.tensor([0, 5, 7, 5, 8, 9, 1, 2, 3, 5])
    behind, near = source_kinds(tokens, torch.tensor([9, 2]))
    assert behind.nonzero().tolist() == [[0, 2], [0, 4]]
    assert near[0].tolist() == [False] * 4 + [True] * 6 and near[1].tolist() == [True] * 3 + [False] * 7
    assert family(0.5, 1, 1) == "induction" and family(0.4, 0.5, 1) == "local" and family(0.4, 0.4, 1) == "long-range"
