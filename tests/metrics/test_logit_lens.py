"""logit_lens: the rows of the decoder through the unembedding, by hand."""

from __future__ import annotations

import pytest
import torch

import saekit as sk
from saekit.dictionaries.latent_number import NoSuchLatent
from saekit.metrics import logit_lens

SITE = "blocks.1.hook_resid_post"


@pytest.fixture(scope="module")
def dictionary():
    torch.manual_seed(0)
    return sk.TopK(d_sae=20, k=2).build(sk.Wiring(SITE), {SITE: 16})


def test_by_hand(tiny_gpt2, dictionary):
    found = logit_lens(tiny_gpt2, dictionary, [3, 7], count=4)
    weight = tiny_gpt2.original_model.lm_head.weight  # [vocabulary, d]
    logits = weight @ dictionary.decoder_directions[7]
    rows = [row for row in found.rows if row["latent"] == 7]
    assert [row["side"] for row in rows] == ["promoted"] * 4 + ["suppressed"] * 4
    assert [row["rank"] for row in rows] == [0, 1, 2, 3] * 2
    assert [row["token"] for row in rows[:4]] == [tiny_gpt2.tokenizer.decode([t]) for t in logits.topk(4).indices]
    assert [row["logit"] for row in rows[4:]] == pytest.approx((-logits).topk(4).values.neg().tolist(), abs=1e-3)
    assert len(found.frame()) == 16 and "<table" in found._repr_html_()
    assert logit_lens(tiny_gpt2, dictionary, 7, count=4).rows == rows


def test_refused(tiny_gpt2, dictionary):
    with pytest.raises(NoSuchLatent, match="latent 20 is not in 0 … 19; the closest is 19"):
        logit_lens(tiny_gpt2, dictionary, 20)
    narrow = sk.TopK(d_sae=4, k=1).build(sk.Wiring(SITE), {SITE: 8})
    with pytest.raises(ValueError, match="writes 8 values, the unembedding takes 16"):
        logit_lens(tiny_gpt2, narrow, 0)
