"""An explanation for every latent: kept, scored, passed over when it is there, and stopped and gone on with."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from saekit_widgets import FeatureBrowser

import saekit as sk
from saekit.corpora.predicates import Concept, Tokens, parse
from saekit.features.explanations import Proposal
from saekit.features.explanations.every import simplest

SITE = "blocks.0.hook_resid_post"
TEXTS = [
    f"{a} {b} {c}." for a in ("the cat", "a dog", "a man", "no owl") for b in ("sat", "ran", "is") for c in ("up", "in")
]


@pytest.fixture
def store(tiny_gpt2: Any, tmp_path: Path) -> sk.FeatureStore:
    torch.manual_seed(0)
    sae = sk.TopK(d_sae=20, k=3).build(sk.Wiring(SITE), {SITE: 16})
    return sk.FeatureStore.build(
        tiny_gpt2, sae, TEXTS * 3, tmp_path / "s", top=3, random=3, per_band=1, loss_examples=0, most_firings=300
    )


def alive(store: sk.FeatureStore) -> list[int]:
    return store.sql("select latent from latents where firings > 0 order by latent")["latent"].tolist()


def test_every_latent_gets_one_scored_as_explain_does(store) -> None:
    frame = store.explain_all(n=10)
    assert list(frame.columns) == ["latent", "explanation", "detection", "fuzzing", "author"]
    assert set(frame["author"]) == {"propose"} and len(frame) > 5 and set(frame["latent"]) <= set(alive(store))
    firings = store.latents()["firings"]
    scored = frame[frame["detection"].notna()]
    assert len(scored) > 3 and (firings[scored["latent"]] <= 300).all()
    one = scored.iloc[0]
    again = store.explain(int(one["latent"]), one["explanation"], n=10, author="again")
    assert again.detection == pytest.approx(one["detection"])
    assert parse(one["explanation"])  # a predicate, which can be applied


def test_the_list_has_names_until_a_person_gives_one(store) -> None:
    frame = store.explain_all(n=10)
    latent, text = int(frame["latent"][0]), frame["explanation"][0]
    entry = {one["latent"]: one for one in FeatureBrowser(store)._send_listing({})[0]["labels"]}[latent]
    assert entry["explanation"] == text and entry["label"] == ""
    assert latent in store.matching({"search": text})
    assert store.listing()["hints"][latent] != text
    assert store.on_token(" cat").set_index("latent")["name"].isin([*frame["explanation"]]).any()


def test_what_is_explained_is_kept_and_the_rest_follows(store, monkeypatch, capsys) -> None:
    mine, *_ = alive(store)
    store.labels.add_explanation(mine, "my words", None, "you")
    seen: list[int] = []
    propose = store.propose

    def stopped(latent: int, most: int = 8) -> Any:
        if len(seen) == 3:
            raise KeyboardInterrupt
        seen.append(latent)
        return propose(latent, most)

    monkeypatch.setattr(store, "propose", stopped)
    frame = store.explain_all(n=10)
    said = capsys.readouterr()
    everything = len(alive(store))
    sentence = f"Stopped: {len(frame)} of {everything} latents are explained and kept; the same call explains the rest."
    assert sentence in said.out + said.err and 1 < len(frame) <= 4
    assert frame.set_index("latent")["explanation"][mine] == "my words" and mine not in seen
    monkeypatch.setattr(store, "propose", propose)
    whole = store.explain_all(n=10)
    assert len(whole) > len(frame) and whole["latent"].is_unique
    before = whole.set_index("latent").loc[frame["latent"], "explanation"]
    assert before.tolist() == frame["explanation"].tolist()


def test_those_of_a_filter_alone(store) -> None:
    some = {"max": [float(store.strongest.max()) * 0.8, None]}
    frame = store.explain_all(some, n=10)
    assert set(frame["latent"]) <= set(store.matching(some)) and len(frame) < len(alive(store))
    with pytest.raises(ValueError, match="filter does not know 'maks'"):
        store.explain_all({"maks": [1, 2]})


def test_a_name_is_short() -> None:
    """A list of tokens has to bring more than its length costs."""
    long = Concept("entity.city") | Tokens(frozenset(f" word{i}" for i in range(10)))
    short = Concept("entity.city")
    made = [Proposal(long, 0.74, 1, 1), Proposal(short, 0.6, 1, 1), Proposal(Concept("code"), 0.5, 1, 1)]
    assert simplest(made) == short
    assert simplest([Proposal(long, 0.95, 1, 1), *made[1:]]) == long
