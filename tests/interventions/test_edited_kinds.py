"""Edits and splices where kinds of numbers differ, rows are padded on the left, latents are dead, or there is one."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

import saekit as sk
from saekit.models import load_model

SITE = "blocks.0.hook_resid_post"
TOKENS = torch.tensor([[0, 40, 270, 7, 99, 5], [0, 12, 33, 8, 250, 61]])
KINDS = (torch.float32, torch.bfloat16, torch.float64)


def dictionary(d_sae: int = 24, dtype: torch.dtype = torch.float32) -> Any:
    torch.manual_seed(0)
    sae = sk.TopK(d_sae=d_sae, k=min(4, d_sae)).build(sk.Wiring(SITE), {SITE: 16}).requires_grad_(False)
    sae.latent_max = torch.ones(d_sae)
    return sae.to(dtype)


@pytest.mark.filterwarnings("ignore:this dictionary does not say which model")
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("own", KINDS)
def test_a_model_and_a_dictionary_of_different_precision(tiny_llama_folder, own, kind):
    """The same as both in float64, to the roundings of the coarser."""
    model, sae = load_model(tiny_llama_folder, device="cpu", dtype=own), dictionary(dtype=kind)
    exact, fine = load_model(tiny_llama_folder, device="cpu", dtype="float64"), dictionary(dtype=torch.float64)
    tolerance = 0.1 if torch.bfloat16 in (own, kind) else 1e-4
    for mode in ("add", "ablate"):
        with sk.edited(model, sk.Edit(sae, 3, mode=mode)), torch.no_grad():
            found = model(TOKENS)
        with sk.edited(exact, sk.Edit(fine, 3, mode=mode)), torch.no_grad():
            expected = exact(TOKENS)
        assert found.dtype == own
        gap = (found.double() - expected).abs()
        assert gap.median() <= tolerance * expected.abs().max()


@pytest.mark.filterwarnings("ignore:this dictionary does not say which model")
@pytest.mark.parametrize("mode", ["add", "ablate", "clamp"])
def test_rows_padded_on_the_left_are_as_each_alone(tiny_llama, mode):
    sae = dictionary()
    rows = [torch.tensor([0, 40, 270, 7, 99, 5]), torch.tensor([0, 12, 33]), torch.tensor([0, 8])]
    tokens, mask = torch.full((3, 6), 2), torch.zeros(3, 6, dtype=torch.long)
    for r, row in enumerate(rows):
        tokens[r, -len(row) :], mask[r, -len(row) :] = row, 1
    with sk.edited(tiny_llama, sk.Edit(sae, [1, 5], mode=mode, strength=2.0)), torch.no_grad():
        together = tiny_llama(tokens, attention_mask=mask)
        for r, row in enumerate(rows):
            alone = tiny_llama(row[None])[0]
            assert (together[r, -len(row) :] - alone).abs().max() <= 1e-4 * alone.abs().max()


def logits(model: Any, *edits: sk.Edit) -> Tensor:
    with sk.edited(model, list(edits)), torch.no_grad():
        return model(TOKENS)


@pytest.mark.filterwarnings("ignore:this dictionary does not say which model")
@pytest.mark.parametrize("d_sae", [1, 24])
def test_dead_latents_and_a_single_one(tiny_llama, d_sae):
    """Ablating what never fires is nothing, bit for bit; adding one adds its row, whatever fires."""
    dead, none = dictionary(d_sae), logits(tiny_llama)
    with torch.no_grad():
        dead.encoder.directions.zero_()
        dead.encoder.bias.fill_(-1.0)
    assert torch.equal(logits(tiny_llama, sk.Edit(dead, 0, mode="ablate")), none)
    added = logits(tiny_llama, sk.Edit(dead, 0, mode="add", strength=2.0))
    vector = logits(tiny_llama, sk.Edit(2 * dead.decoder_directions[0].detach(), mode="add", strength=1.0, site=SITE))
    assert (added - vector).abs().max() <= 1e-5 * vector.abs().max() and not torch.allclose(added, none)
    report = sk.evaluate(tiny_llama, dead, ["the cat sat on the mat"] * 3)
    assert report.l0 == 0 and report.recovered is not None
