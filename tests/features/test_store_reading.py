"""What an opened store gives out: the listing and a prompt for the browser, held-out windows, explanations, labels."""

from __future__ import annotations

import json

import numpy as np
import pandas as pd
import pytest

import saekit as sk
from saekit.features import After, Concept, Tokens
from saekit.features.asking import held_out
from saekit.features.asking.around import firings
from saekit.features.schema import WINDOW


@pytest.fixture(scope="module")
def model():
    return sk.load_model("micro", device="cpu")


@pytest.fixture(scope="module")
def store(model, tmp_path_factory, one_thread):
    sae, corpus = sk.load_dictionary("micro/blocks.2.hook_resid_post"), sk.load_corpus("microworld")
    folder = tmp_path_factory.mktemp("s") / "first"
    return sk.FeatureStore.build(model, sae, corpus, folder, tokens=15_000, loss_examples=0)


def test_listing(store) -> None:
    listing, frame = store.listing(), store.latents(all=True)
    assert listing["d_sae"] == 2048 == len(listing["hints"]) and listing["facts"].startswith(
        "TopK k = 16 · 15,000 tokens"
    )
    assert listing["columns"]["density"].dtype == np.dtype("<f4")
    assert listing["columns"]["max"] == pytest.approx(frame.max_activation.to_numpy())
    named = listing["concept"] >= 0
    matched = store.sql("select coalesce(concept[1], '') as name from latents order by latent").name
    assert [listing["concepts"][i] for i in listing["concept"][named]] == [name for name in matched if name]
    best = frame.concept_f1.dropna().map(lambda f1: f1[0] if len(f1) else np.nan).dropna()
    assert listing["columns"]["f1"][best.index] == pytest.approx(best.to_numpy(), rel=1e-5)


DEFINED = {
    "list": "15,000 counted tokens",
    "density": "15,000 counted tokens",
    "max": "15,000 counted tokens",
    "f1": "predicted where z > t",
    "loss_effect": "up to 0 firings drawn at random",
    "detection": "held-out windows",
    "examples": "Near misses",
    "histogram": "15,000 counted tokens",
    "logits": "At its maximum",
    "neighbours": "15,000 counted tokens",
    "prompt": "context",
    "explanations": "2410.13928",
}


def test_every_definition_says_what_it_is_over_and_its_code_runs(store, model) -> None:
    definitions = store.listing()["definitions"]
    assert list(definitions) == list(DEFINED)
    query = "select latent from latents where firings between 200 and 900 order by firings desc limit 1"
    latent = int(store.sql(query).latent[0])
    names = {"store": store, "sk": sk, "model": model, "sae": store.dictionary, "prompt": "The nurse"}
    for panel, words in DEFINED.items():
        text = " ".join(definitions[panel]["text"].split())
        assert words in text and text.endswith(".") and "None" not in text and definitions[panel]["title"], panel
        code = definitions[panel]["code"].format(latent=latent)
        assert eval(code, names | {"explanation": Tokens(frozenset({" the"}))}) is not None, panel


def test_a_prompt_gives_what_the_dictionary_gives(store, model) -> None:
    found = store.on_prompt(model, "The nurse said that she was 🐻")
    acts = sk.activations.harvest(model, ["The nurse said that she was 🐻"], "blocks.2.hook_resid_post")
    z = store.dictionary.encode_dense(acts.flat("blocks.2.hook_resid_post")).detach().numpy()
    assert sorted(found["latents"]) == np.flatnonzero((z != 0).any(0)).tolist()
    share = [z[:, latent].max() / max(store.strongest[latent], 1e-9) for latent in found["latents"]]
    finite = [s for latent, s in zip(found["latents"], share, strict=True) if store.strongest[latent] > 0]
    assert finite == sorted(finite, reverse=True)
    assert "🐻" in found["pieces"] and "".join(found["pieces"][1:]) == "The nurse said that she was 🐻"


def test_held_out_windows_share_no_document_with_what_is_shown_and_no_token_with_each_other(store) -> None:
    query = "select latent from latents where firings between 200 and 900 order by firings limit 1"
    latent = int(store.sql(query).latent[0])
    activating, silent = store.held_out(latent, n=20)
    shown = {window.document for window in store.windows(latent)}
    truth = store.sql("select place, value from activations where latent = ?", [latent]).set_index("place").value
    assert len(silent) == 20 and len(activating) > 3
    for window in activating + silent:
        assert window.document not in shown and window.fires == (window in activating)
        assert [truth.get(place, 0.0) for place in window.places] == pytest.approx(window.values)
    for windows in (activating, silent):
        places = [place for window in windows for place in window.places]
        assert len(places) == len(set(places))
    again = store.held_out(latent, n=20)
    assert again == (activating, silent) and store.held_out(latent, n=20, seed=1) != again


@pytest.mark.parametrize("seed", range(6))
def test_no_held_out_window_was_used_to_write(store, seed: int) -> None:
    rng = np.random.default_rng(seed)
    alive = store.sql("select latent from latents where firings between 5 and 2000 order by latent").latent
    for latent in rng.choice(alive, 4, replace=False):
        written_from = store.windows(latent)
        documents = {window.document for window in written_from}
        places = {place for window in written_from for place in window.places}
        for window in [window for side in store.held_out(latent, int(rng.integers(1, 12)), seed) for window in side]:
            assert window.document not in documents and places.isdisjoint(window.places)


def test_windows_are_the_tokens_of_the_row_around_each_place(store) -> None:
    tokens = store.sql("select * from tokens order by place").set_index("place")
    fired = store.sql("select place, value from activations where latent = 5").set_index("place").value
    labels = store.sql("select place, concept from concepts")
    wanted = np.array([len(tokens) - 1, 700, 0, 701, 5_000])
    found = held_out.windows(store, wanted, firings(store, 5))
    assert len(found) == 5
    for place, window in zip(wanted.tolist(), found, strict=True):
        near = tokens.loc[max(0, place - WINDOW["before"]) : place + WINDOW["after"]]
        own = near[near.row == tokens.row[place]]
        assert window.places == tuple(own.index) and window.tokens == tuple(own.token)
        assert window.document == tokens.document[place] and window.counted == tuple(own.counted)
        assert window.texts == tuple(store.text_of(token) for token in own.token)
        assert window.values == tuple(fired.get(at, 0.0) for at in own.index)
        assert window.concepts == tuple(frozenset(labels.concept[labels.place == at]) for at in own.index)


def test_held_out_windows_read_the_firings_once(store, monkeypatch) -> None:
    latent = int(store.sql("select latent from latents where firings between 500 and 2000 limit 1").latent[0])
    asked, columns = [], store.database.columns
    monkeypatch.setattr(store.database, "columns", lambda query, *more: asked.append(query) or columns(query, *more))
    store.held_out(latent, n=50)
    assert sum("from activations" in query for query in asked) == 1


@pytest.mark.parametrize("kind", ["top", "interval", "quantile", "random", "near"])
def test_examples_of_one_kind_are_those_of_the_table(store, kind: str) -> None:
    table = store.sql("select * from examples where latent = 5 and kind = ?", [kind])
    found = store.examples(5, kind)
    assert sorted(example["value"] for example in found) == pytest.approx(sorted(table.value))
    assert sorted(found.bands) == sorted(table.band)


def test_an_explanation_is_scored_kept_and_searchable(store) -> None:
    query = "select latent from activations join tokens using (place) join vocabulary using (token) group by latent "
    query += "having count(*) > 20 order by avg((bytes = '<|user|>'::blob)::int) desc limit 1"
    latent = int(store.sql(query).latent[0])
    good = store.explain(latent, Tokens(frozenset({"<|user|>"})))
    bad = store.explain(latent, "concept(entity.country) & ~tokens(' the')")
    assert good.detection > 0.9 > 0.6 > bad.detection
    assert [row["text"] for row in store.view(latent)["explanations"]] == [str(good.explanation), str(bad.explanation)]
    assert store.listing()["columns"]["detection"][latent] == pytest.approx(good.detection)
    assert store.propose(latent)[0].f1 > 0.9
    with pytest.raises(ValueError, match="chat"):
        store.explain(latent, "it fires where somebody begins to speak")
    for unknown in ("concept(entity.countri)", Concept("entity.countri")):
        with pytest.raises(
            ValueError, match=r"there is no concept 'entity\.countri'; the closest is 'entity\.country'"
        ):
            store.explain(latent, unknown)
    assert str(After(Concept("animal"))) == "after(concept(animal))"


def test_labels_travel_as_json(store, tmp_path) -> None:
    store.set_label(3, label='<script>"x"</script>\u202e', star=True)
    store.set_label(3, note="n" * 10_000)
    store.set_label(4, label="l" * 10_000)
    assert store.latents(all=True).loc[3, ["label", "note"]].tolist() == ['<script>"x"</script>\u202e', "n" * 10_000]
    assert store.latents().label[4] == "l" * 10_000 and "l" * 10_000 in store.feature(4).html
    assert store.listing()["labels"][4]["label"] == "l" * 10_000
    assert store.sql("select latent from labels where star").latent.tolist() == [3]
    assert "<script>" not in store.feature(3).html
    store.export_labels(tmp_path / "labels.json")
    store.set_label(3, label="", star=False, note="")
    store.set_label(4, label="")
    store.import_labels(tmp_path / "labels.json", replace=True)
    assert store.labels.get(3)["label"] == '<script>"x"</script>\u202e'
    assert store.labels.get(4)["label"] == "l" * 10_000


def test_neuronpedia_says_the_same_numbers(store, tmp_path) -> None:
    store.export_neuronpedia(tmp_path, [5, 7])
    for latent in (5, 7):
        told, view = json.loads((tmp_path / f"{latent}.json").read_text()), store.view(latent)
        assert told["activation_frequency"] == view["density"] and told["act_max"] == view["maximum"]
        tops = told["examples_quantiles"][0]["examples"]
        assert [max(e["tokens_acts_list"]) for e in tops] == [max(e["values"]) for e in view["examples"]["top"]]
        assert [token for token, _ in view["logits"]["top"]] == told["top_logits"]


def test_latents_are_twelve_columns_and_all_of_them_when_asked(store) -> None:
    frame, whole = store.latents(), store.latents(all=True)
    assert len(frame.columns) <= 12 < len(whole.columns) and set(frame.columns) < set(whole.columns)
    asked = {"latent", "density", "firings", "max_activation", "top_logits", "label", "star"}
    assert asked <= set(frame.columns)
    for each in (frame, whole):
        assert each.label.map(type).eq(str).all() and each.star.dtype == bool
    assert whole.note.map(type).eq(str).all() and (frame.label == "").any()
    ids = store.sql("select top_tokens from latents order by latent").top_tokens
    assert frame.top_tokens[0] == [store.text_of(token) for token in ids[0]]
    shared = list(frame.columns)
    pd.testing.assert_frame_equal(frame, whole[shared])
    assert store.latents({"density": [0.001, None]}, ["f1", True]).columns.tolist() == shared
