"""What an opened store gives out: the listing and a prompt for the browser, held-out windows, explanations, labels."""

from __future__ import annotations

import json

import numpy as np
import pytest

import saekit as sk
from saekit.features import After, Concept, Tokens


@pytest.fixture(scope="module")
def model():
    return sk.load_model("micro", device="cpu")


@pytest.fixture(scope="module")
def store(model, tmp_path_factory, one_thread):
    sae, corpus = sk.load_dictionary("micro/blocks.2.hook_resid_post"), sk.load_corpus("microworld")
    folder = tmp_path_factory.mktemp("s") / "first"
    return sk.FeatureStore.build(model, sae, corpus, folder, tokens=15_000, loss_examples=0)


def test_listing(store) -> None:
    listing, frame = store.listing(), store.latents()
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
    assert set(listing["definitions"]) >= {"list", "examples", "histogram", "logits", "neighbours", "prompt"}
    assert all("15,000" in listing["definitions"][panel]["text"] for panel in ("list", "histogram", "density"))


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
            ValueError, match=r"there is no concept 'entity\.countri'; the nearest is 'entity\.country'\.$"
        ):
            store.explain(latent, unknown)
    assert str(After(Concept("animal"))) == "after(concept(animal))"


def test_labels_travel_as_json(store, tmp_path) -> None:
    store.set_label(3, label='<script>"x"</script>\u202e', star=True)
    store.set_label(3, note="n" * 10_000)
    assert store.latents().loc[3, ["label", "note"]].tolist() == ['<script>"x"</script>\u202e', "n" * 10_000]
    assert store.sql("select latent from labels where star").latent.tolist() == [3]
    assert "<script>" not in store.feature(3).html
    store.export_labels(tmp_path / "labels.json")
    store.set_label(3, label="", star=False, note="")
    store.import_labels(tmp_path / "labels.json", replace=True)
    assert store.labels.get(3)["label"] == '<script>"x"</script>\u202e'


def test_neuronpedia_says_the_same_numbers(store, tmp_path) -> None:
    store.export_neuronpedia(tmp_path, [5, 7])
    for latent in (5, 7):
        told, view = json.loads((tmp_path / f"{latent}.json").read_text()), store.view(latent)
        assert told["activation_frequency"] == view["density"] and told["act_max"] == view["maximum"]
        tops = told["examples_quantiles"][0]["examples"]
        assert [max(e["tokens_acts_list"]) for e in tops] == [max(e["values"]) for e in view["examples"]["top"]]
        assert [token for token, _ in view["logits"]["top"]] == told["top_logits"]
