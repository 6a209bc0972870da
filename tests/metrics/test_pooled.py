"""Pooled codes against the dense codes of each document; those of a corpus against its documents one by one."""

from __future__ import annotations

import pytest
import torch

import saekit as sk
from saekit import SparseCodes
from saekit.metrics.pooled import _Pooling

WAYS = ("max", "mean", "sum", "binarised")


def dense(signed: bool) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    z = torch.randn(60, 9, generator=generator)
    z = torch.where(z.abs() > 0.8, z, 0.0) if signed else torch.where(z > 0.5, z, 0.0)
    return z, torch.randint(0, 7, (60,), generator=generator) * 3  # documents 0, 3 … 18, mixed


def by_hand(z: torch.Tensor, how: str) -> torch.Tensor:
    return {"max": z.amax(0), "mean": z.mean(0), "sum": z.sum(0), "binarised": (z.sum(0) > 1).float()}[how]


@pytest.mark.parametrize("how", WAYS)
@pytest.mark.parametrize("signed", [False, True])
def test_each_document_as_by_hand(how, signed):
    z, documents = dense(signed)
    found = sk.metrics.pool(SparseCodes.from_dense(z), documents, how)
    wanted = torch.stack([by_hand(z[documents == d], how) for d in documents.unique()])
    torch.testing.assert_close(found.codes.to_dense(), wanted)
    assert found.documents == documents.unique().tolist()
    assert found.tokens.tolist() == [int((documents == d).sum()) for d in documents.unique()]


@pytest.mark.parametrize("how", WAYS)
def test_batches_add_up(how):
    z, documents = dense(True)
    whole, parts = sk.metrics.pool(SparseCodes.from_dense(z), documents, how), _Pooling(how, 1.0)
    for start in range(0, 60, 7):
        parts.add(SparseCodes.from_dense(z[start : start + 7]), documents[start : start + 7])
    torch.testing.assert_close(parts.result().codes.to_dense(), whole.codes.to_dense())


def test_names_frame_and_definition():
    z = SparseCodes.from_dense(torch.tensor([[2.0, 0.0], [4.0, 1.0], [0.0, 3.0]]))
    found = sk.metrics.pool(z, ["b", "b", "a"], "mean")
    assert found.documents == ["a", "b"] and found.codes.to_dense().tolist() == [[0.0, 3.0], [3.0, 0.5]]
    assert found.frame([1]).loc["b", 1] == 0.5 and found.frame().sparse.to_dense().loc["a"].tolist() == [0.0, 3.0]
    assert found.frame().index.name == "document" and "mean of z" in found.definition
    assert "1 (3)" in repr(found)
    above = sk.metrics.pool(z, ["b", "b", "a"], "binarised", above=5.0)
    assert above.codes.to_dense().tolist() == [[0.0, 0.0], [1.0, 0.0]] and "above 5" in above.definition


def test_a_corpus_as_its_documents_one_by_one():
    micro, sae = sk.load_model("micro"), sk.load_dictionary("micro/blocks.2.hook_resid_post")
    texts = ["Anna went home.", "", "Peter gave the keys to Anna, and Anna put the keys in a box."] * 30
    found = sk.metrics.pooled_codes(micro, sae, texts, how="max")
    assert found.documents == [i for i in range(90) if i % 3 != 1], "the empty ones have no token"
    for place, text in ((0, texts[0]), (1, texts[2]), (59, texts[-1])):
        acts = sk.activations.harvest(micro, [text], sae.reads[0])
        wanted = sae.encode(acts.flat(sae.reads[0])).to_dense().amax(0)
        torch.testing.assert_close(found.codes[place].to_dense(), wanted, rtol=1e-3, atol=1e-3)
        assert int(found.tokens[place]) == int(acts.mask.sum())
    few = sk.metrics.pooled_codes(micro, sae, texts, tokens=int(found.tokens[0]) + 2)
    assert few.documents == [0, 2] and few.tokens.tolist() == [int(found.tokens[0]), 2]


def test_bad_input():
    z = SparseCodes.from_dense(torch.eye(3))
    with pytest.raises(ValueError, match="how"):
        sk.metrics.pool(z, [1, 2, 3], "median")
    with pytest.raises(ValueError, match=r"3 values need the document of each"):
        sk.metrics.pool(z, [1, 2])
