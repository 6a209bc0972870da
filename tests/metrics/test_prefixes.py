"""prefix_latents: what the rows repeat, gains by hand, and what a head needs."""

from __future__ import annotations

import pytest
import torch

import saekit as sk
from saekit.metrics import PrefixLatents, decoder_shares, prefix_latents, prefix_needed, prefix_prompts

SITE = "blocks.3.attn.hook_z"


@pytest.fixture(scope="module")
def micro():
    return sk.load_model("micro", device="cpu")


@pytest.fixture(scope="module")
def sae(micro):
    made = sk.TopK(d_sae=24, k=4).build(sk.Wiring(SITE), {SITE: 128})
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for parameter in made.parameters():
            parameter.copy_(torch.randn(parameter.shape, generator=generator))
    made.provenance = type(made.provenance)(model_hash=micro.model_hash)
    return made


def test_the_end_repeats_what_stands_before_the_token_that_is_due(micro):
    tokens, due = prefix_prompts(micro, n=20, seed=3)
    assert tokens.shape == (9, 20, 41) and bool((tokens[..., 0] == micro.tokenizer.bos_token_id).all())
    assert not torch.isin(tokens[..., 1:], torch.tensor(micro.tokenizer.all_special_ids)).any()
    for length, rows in enumerate(tokens):
        assert torch.equal(rows[:, -8:], tokens[0][:, -8:]), "all end alike"
        for row, answer in zip(rows.tolist(), due.tolist(), strict=True):
            assert row.count(answer) == 1
            at, end = row.index(answer), row[len(row) - length :]
            assert row[at - length : at] == end
            assert row[at - length - 1] != row[-length - 1], "and no more than that is repeated"
            assert len(set(row)) == len(row) - length
    assert torch.equal(tokens, prefix_prompts(micro, n=20, seed=3)[0])
    assert not torch.equal(tokens, prefix_prompts(micro, n=20, seed=4)[0])


def test_gains_by_brute_force(micro, sae):
    found = prefix_latents(micro, sae, n=3, seed=1)
    tokens, _ = prefix_prompts(micro, n=3, seed=1)

    def z(row):
        acts = sk.activations.harvest(micro, row[None], SITE)
        return sae.encode(acts.flat(SITE)[-1:]).to_dense().detach()[0]

    for length in (1, 4, 8):
        gained = sum((z(rows) - z(alone)).clamp_min(0) for rows, alone in zip(tokens[length], tokens[0], strict=True))
        torch.testing.assert_close(found.gains[:, length - 1], gained / 3, atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(found.before, sum(z(row) for row in tokens[0]) / 3, atol=1e-4, rtol=1e-4)
    assert torch.equal(found.head, decoder_shares(sae.decoder_directions, 4).argmax(1))


def test_heads_by_hand():
    gains = torch.zeros(4, 8)
    gains[0] = torch.tensor([0.0, *[1.0] * 7])
    gains[1] = torch.tensor([1.0, *[3.0] * 7])
    gains[2] = torch.tensor([2.0] * 8)
    gains[3] = 0.1
    found = PrefixLatents(gains, torch.tensor([1.0, 1.0, 1.0, 1.0]), torch.tensor([0, 0, 1, 2]), 4)
    of_heads = found.of_heads()
    assert of_heads[0].tolist() == [0.5, *[2.0] * 7], "1 and 4 of 2"
    assert of_heads[1].tolist() == [2.0] * 8 and of_heads[3].tolist() == [0.0] * 8
    assert found.prefixes() == ["mixed", "short", "none", "none"], "a tenth is not enough, and head 3 has no latent"
    frame = found.frame()
    assert frame.latent.tolist() == [1, 2, 0, 3] and frame.prefix.tolist() == ["mixed", "short", "long", "short"]
    assert "L=8" in repr(found) and "mixed" in found._repr_html_()


@pytest.mark.parametrize(
    ("gains", "needed"),
    [([0.0, 1, 1], "long"), ([-3.0, 1, 1], "long"), ([0.25, 1, 1], "mixed"), ([0.5, 1, 1], "short"), ([9, 1], "short")],
)
def test_what_is_needed(gains, needed):
    assert prefix_needed(gains, 0.9) == needed
    assert prefix_needed(gains, max(gains)) == "none"


def test_refused(micro, tiny_llama):
    with pytest.raises(ValueError, match="in a context of 32"):
        prefix_prompts(tiny_llama)
    site = "blocks.1.hook_resid_post"
    with pytest.raises(ValueError, match="no heads in what this dictionary codes"):
        prefix_latents(micro, sk.TopK(d_sae=4, k=1).build(sk.Wiring(site), {site: 128}))
