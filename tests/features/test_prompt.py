"""features_on against a plain forward pass and a dense encoding; its order, its cuts, its two drawings."""

from __future__ import annotations

import re
import warnings
from typing import Any

import numpy as np
import pytest
import torch

import saekit as sk
from saekit.features.pieces import Piece
from saekit.features.showing.prompt import PromptFeatures, features_on, merged
from saekit.features.showing.score_sheet import score_sheet

SITE = "blocks.0.hook_resid_post"
PROMPT = "the cat sat on é and 🐻."


@pytest.fixture
def dictionary() -> Any:
    torch.manual_seed(0)
    made = sk.TopK(d_sae=40, k=3).build(sk.Wiring(SITE), {SITE: 16})
    made.latent_max.copy_(torch.rand(40) + 0.5)
    return made


@pytest.fixture
def codes(tiny_gpt2: Any, dictionary: Any) -> tuple[list[int], torch.Tensor]:
    """Token ids of the prompt, BOS first, and the dense codes [token, latent] of a plain forward pass."""
    ids = [0, *tiny_gpt2.tokenizer(PROMPT, add_special_tokens=False)["input_ids"]]
    _, cache = tiny_gpt2.run_with_cache(torch.tensor([ids]))
    return ids, dictionary.encode_dense(cache[SITE][0]).detach()


def test_values_are_those_of_a_plain_forward_pass(tiny_gpt2: Any, dictionary: Any, codes: Any) -> None:
    ids, dense = codes
    found = features_on(tiny_gpt2, dictionary, PROMPT)
    assert found.tokens.tolist() == ids
    assert found.counted.tolist() == [False] + [True] * (len(ids) - 1)
    assert found.positions.tolist() == list(range(-1, len(ids) - 1))
    fires = (dense[1:] != 0).any(0).nonzero()[:, 0]
    assert sorted(found.latents.tolist()) == fires.tolist()
    assert found.values.dtype == np.float32 and (found.values[:, 0] == 0).all()
    np.testing.assert_allclose(found.values[:, 1:], dense[1:, found.latents].T, rtol=1e-5, atol=1e-6)
    assert found.cut == 0 and found.seconds > 0 and "BOS" in found.definition


def test_latents_come_strongest_first(tiny_gpt2: Any, dictionary: Any, codes: Any) -> None:
    strength = codes[1][1:].abs().amax(0).numpy()
    found = features_on(tiny_gpt2, dictionary, PROMPT)
    by_share = sorted(
        found.latents.tolist(), key=lambda latent: -strength[latent] / float(dictionary.latent_max[latent])
    )
    assert found.latents.tolist() == by_share
    np.testing.assert_array_equal(found.maxima, dictionary.latent_max[found.latents])
    dictionary.latent_max.fill_(torch.nan)
    unmeasured = features_on(tiny_gpt2, dictionary, PROMPT)
    assert unmeasured.latents.tolist() == sorted(found.latents.tolist(), key=lambda latent: -strength[latent])
    assert unmeasured.latents.tolist() != by_share, "otherwise the two orders were not told apart"


def test_frame_has_a_row_a_firing_in_the_order_of_the_text(tiny_gpt2: Any, dictionary: Any, codes: Any) -> None:
    dense = codes[1][1:]
    frame = features_on(tiny_gpt2, dictionary, PROMPT).frame()
    assert list(frame) == ["token", "position", "latent", "value"]
    expected = {(int(p), int(m)) for p, m in dense.nonzero()}
    assert len(frame) == len(expected) and set(zip(frame["position"], frame["latent"], strict=True)) == expected
    assert frame["position"].is_monotonic_increasing
    for _, rows in frame.groupby("position"):
        assert rows["value"].abs().is_monotonic_decreasing
    assert set(frame["token"]) >= {"the", " cat", "é", "🐻", "."} and "�" not in "".join(frame["token"])


def test_view_merges_the_tokens_of_a_character(tiny_gpt2: Any, dictionary: Any) -> None:
    found = features_on(tiny_gpt2, dictionary, PROMPT)
    view = found.view()
    assert "".join(view["pieces"]) == "<s>" + PROMPT and view["counted"] == [False] + [True] * (len(view["pieces"]) - 1)
    bear = view["pieces"].index("🐻")
    piece = found.pieces[bear]
    assert piece.stop - piece.start == 4
    inside = found.values[:, piece.start : piece.stop]
    for row, value in zip(inside, view["values"][:, bear], strict=True):
        assert value == max(row, key=abs)
    assert view["latents"] == found.latents.tolist() and view["values"].dtype == np.float32
    # A store has maxima of its own, and they decide the order.
    own = np.linspace(0.1, 4.0, 40)
    view = found.view(own)
    shares = [
        np.abs(found.values[found.latents.tolist().index(latent)]).max() / own[latent] for latent in view["latents"]
    ]
    assert shares == sorted(shares, reverse=True)
    assert view["maxima"] == pytest.approx([own[latent] for latent in view["latents"]])
    assert view["latents"] != found.latents.tolist()


def test_merging_keeps_the_sign_of_the_largest() -> None:
    values = np.array([[1.0, -3.0, 2.0, 0.5], [0.0, 0.0, 0.0, -1.0]], dtype=np.float32)
    parts = [Piece("é", 0, 3), Piece("x", 3, 4)]
    assert merged(values, parts).tolist() == [[-3.0, 0.5], [0.0, -1.0]]


def test_a_long_prompt_is_cut_and_says_so_once(tiny_gpt2: Any, dictionary: Any) -> None:
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        found = features_on(tiny_gpt2, dictionary, "x" * 50)
    assert [str(warning.message) for warning in told] == [
        "19 tokens of the prompt lie beyond the model's context of 32 and were cut off."
    ]
    assert found.cut == found.view()["cut"] == 19 and len(found.tokens) == 32
    assert "19 tokens did not fit the context" in found._repr_html_()


def test_bad_input_is_one_sentence(tiny_gpt2: Any, tiny_llama: Any, dictionary: Any) -> None:
    from dataclasses import replace

    for prompt in ("", None, ["a"]):
        with pytest.raises(ValueError, match="features_on needs a prompt"):
            features_on(tiny_gpt2, dictionary, prompt)
    dictionary.provenance = replace(dictionary.provenance, model="tiny", model_hash=tiny_gpt2.model_hash)
    with pytest.raises(ValueError, match=tiny_llama.model_hash):
        features_on(tiny_llama, dictionary, PROMPT)


def test_the_sheet_prints_every_value_and_escapes_the_prompt(tiny_gpt2: Any, dictionary: Any) -> None:
    found = features_on(tiny_gpt2, dictionary, "<script>\n \u202eb")
    html = found._repr_html_()
    assert "<script" not in html and "&lt;" in html and "\u202e" not in html and "⟨202E⟩" in html and "↵" in html
    assert html.count('<th scope="row">') == min(12, len(found.latents))
    for latent in found.latents[:12]:
        assert f'<th scope="row">{latent}</th>' in html
    head, _, *lines = repr(found).splitlines()
    assert head.startswith(f"{len(found.latents)} latents fire on {len(found.tokens) - 1} counted tokens")
    assert len(lines) == len(found.pieces) - 1 and "\u202e" not in repr(found) and "⟨202E⟩" in repr(found)
    strongest = max(found.frame().query("position == 0").itertuples(), key=lambda row: abs(row.value))
    assert f"{strongest.latent}: {strongest.value:.2f}" in lines[0]


def test_the_sheet_by_hand() -> None:
    values = np.array([[0.0, 2.0, -4.0], [0.0, 0.004, 0.0]] + [[0.0, 1.0, 0.0]] * 20, dtype=np.float32)
    latents, maxima = list(range(7, 29)), np.full(22, 8.0)
    html = score_sheet(["<s>", "a", "b"], [False, True, True], latents, values, maxima)
    assert '<th scope="col" class="out" title="&lt;s&gt;">&lt;s&gt;</th>' in html
    rows = re.findall(r"<tr>(.*?)</tr>", html)
    assert len(rows) == 13
    assert rows[1] == (
        '<th scope="row">7</th><td></td><td style="--a:0.325">2.0</td><td class="minus" style="--a:0.550">−4.0</td>'
    )
    assert '<td style="--a:0.100">4e−03</td>' in rows[2]
    assert "12 of 22 latents that fire" in html and "the fullest colour is latent_max" in html
    unmeasured = score_sheet(["<s>", "a", "b"], [False, True, True], latents, values, np.full(22, np.nan))
    assert '<td style="--a:0.550">2.0</td><td class="minus" style="--a:1.000">−4.0</td>' in unmeasured
    assert "latent_max" not in unmeasured


def test_nothing_that_fires_is_said() -> None:
    none = np.zeros((0, 2), dtype=np.float32)
    found = PromptFeatures(
        tokens=np.array([0, 5]), positions=np.array([-1, 0]), counted=np.array([False, True]),
        latents=np.zeros(0, dtype=np.int64), values=none, maxima=np.zeros(0, dtype=np.float32),
        pieces=[Piece("<s>", 0, 1), Piece("a", 1, 2)], cut=0, seconds=0.0,
    )  # fmt: skip
    assert "no latent fires on this prompt" in found._repr_html_() and "<table" not in found._repr_html_()
    assert len(found.frame()) == 0 and found.view()["values"].shape == (0, 2)


def test_the_sheet_scrolls_inside_its_cell(browser: Any) -> None:
    values = np.zeros((3, 80), dtype=np.float32)
    values[:, ::3] = 5.5
    html = score_sheet(["word"] * 80, [True] * 80, [1, 20, 300], values, np.full(3, 8.0))
    page = browser.new_page(viewport={"width": 600, "height": 300})
    page.set_content(f"<!doctype html><body>{html}")
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
    page.evaluate("document.querySelector('.saekit-sheet').scrollLeft = 500")
    lefts = page.evaluate("[...document.querySelectorAll('th[scope=row]')].map(n => n.getBoundingClientRect().left)")
    assert all(0 <= left < 60 for left in lefts)  # the latents' numbers stay in sight
    page.close()
