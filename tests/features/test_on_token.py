"""What fires on a token, against a loop over all firings; by its text, in Python and in a browser's search."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from saekit_widgets import FeatureBrowser

import saekit as sk

SITE = "blocks.0.hook_resid_post"
TEXTS = [f"{a} sat on {b}" for a in ("the cat", "a dog", "a man") for b in ("it", "a mat", "the mat", "him")]


@pytest.fixture(scope="module")
def store(tiny_gpt2: Any, tmp_path_factory: pytest.TempPathFactory) -> sk.FeatureStore:
    torch.manual_seed(0)
    sae = sk.TopK(d_sae=24, k=4).build(sk.Wiring(SITE), {SITE: 16})
    folder = tmp_path_factory.mktemp("stores") / "plain"
    return sk.FeatureStore.build(tiny_gpt2, sae, TEXTS, folder, top=3, random=3, per_band=1, loss_examples=0)


def by_hand(store: sk.FeatureStore, text: str) -> dict[int, tuple[int, float, float, float]]:
    tokens = store.sql("select * from tokens where counted")
    places = set(tokens[[store.text_of(token) == text for token in tokens["token"]]]["place"])
    found: dict[int, tuple[int, float, float, float]] = {}
    for latent, own in store.sql("select * from activations").groupby("latent"):
        on_it = own[own["place"].isin(places)]
        if len(on_it):
            strongest = float(on_it["value"].abs().max())
            found[int(latent)] = (len(on_it), strongest, len(on_it) / len(places), len(on_it) / len(own))
    return found


def a_token(store: sk.FeatureStore) -> str:
    """The commonest that is no space."""
    query = "select token from tokens where counted group by token order by count(*) desc, token"
    return next(text for text in map(store.text_of, store.sql(query)["token"]) if text.strip())


def test_every_number_is_that_of_the_firings(store) -> None:
    text = a_token(store)
    frame, plain = store.on_token(text), by_hand(store, text)
    assert list(frame.columns) == ["latent", "name", "firings", "max_activation", "share_of_token", "share_of_latent"]
    assert set(frame["latent"]) == set(plain) and frame["firings"].is_monotonic_decreasing
    for row in frame.itertuples():
        numbers = (row.firings, row.max_activation, row.share_of_token, row.share_of_latent)
        assert numbers == pytest.approx(plain[row.latent])
    assert frame["name"].tolist() == [store.listing()["hints"][latent] for latent in frame["latent"]]


def test_of_a_latent_with_a_sample_they_are_estimated(tiny_gpt2, store, tmp_path: Path) -> None:
    sae = store.dictionary
    few = sk.FeatureStore.build(
        tiny_gpt2, sae, TEXTS * 20, tmp_path / "few", top=1, random=1, per_band=1, loss_examples=0, most_firings=100
    )
    text = a_token(store)
    whole, sampled = store.on_token(text).set_index("latent"), few.on_token(text).set_index("latent")
    often = few.latents().firings > 100
    assert often.sum() > 2 and sampled["firings"].max() > 100
    for latent in sampled.index[often[sampled.index]]:
        if whole["share_of_token"][latent] > 0.5:
            assert sampled["share_of_token"][latent] == pytest.approx(whole["share_of_token"][latent], abs=0.3)


def test_a_search_finds_what_clearly_fires_on_it(store) -> None:
    text = a_token(store)
    clear = [latent for latent, (_, _, *shares) in sorted(by_hand(store, text).items()) if max(shares) >= 0.1]
    assert clear and store.firing_on(text) == clear
    assert set(clear) <= set(store.matching({"search": text}))
    assert store.firing_on("no token at all") == [] and store.firing_on("") == []
    browser = FeatureBrowser(store)
    browser.send = lambda content, buffers: sent.append((content, buffers))
    sent: list[Any] = []
    browser._handle_custom_msg({"kind": "token", "id": 1, "text": text}, [])
    (reply, (latents,)) = sent[0]
    assert reply["kind"] == "token" and memoryview(latents).cast("f").tolist() == clear


def test_a_token_that_was_never_read_is_named_with_the_nearest(store) -> None:
    text = a_token(store)
    with pytest.raises(ValueError, match=r"^no counted token of the store is 'Zebra'; the closest is '.+'\.$"):
        store.on_token("Zebra")
    with pytest.raises(ValueError, match=rf"the closest is {text!r}\.$"):
        store.on_token(f"  {text.upper()} ")
    with pytest.raises(TypeError, match="token is the text of one, such as ' the', found 7"):
        store.on_token(7)


def test_ctrl_c_in_a_question_is_ctrl_c(store, monkeypatch) -> None:
    """DuckDB makes a RuntimeError of it."""

    def interrupted(*_: Any) -> None:
        raise RuntimeError("Query interrupted")

    monkeypatch.setattr(store.database, "_asked", interrupted)
    for question in (lambda: store.sql("select 1"), lambda: store.row(1), store.listing):
        with pytest.raises(KeyboardInterrupt):
            question()
    monkeypatch.setattr(store.database, "_asked", lambda *_: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        store.row(1)
