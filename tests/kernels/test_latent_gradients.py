"""Sums over the entries of each latent, against a dense product in float64."""

from __future__ import annotations

import pytest
import torch
from saekit_kernels import SparseCodes, using
from saekit_kernels.latent_gradients import cpu, latent_sums, reference, weighted_rows
from saekit_kernels.latent_index import by_latent
from torch import Tensor


def codes_of(kind: str) -> SparseCodes:
    generator = torch.Generator().manual_seed(0)
    dense = torch.randn(40, 30, generator=generator).double()
    mask = torch.rand(40, 30, generator=generator) < 0.2
    if kind == "a hot latent":
        mask[:, 3] = True
    if kind == "empty rows":
        mask[10:20] = False
    if kind == "no entries":
        mask[:] = False
    mask[:, 7] = False  # never used
    return SparseCodes.from_dense(dense * mask)


@pytest.mark.parametrize("kind", ["ragged", "a hot latent", "empty rows", "no entries"])
@pytest.mark.parametrize("path", ["cpu", "reference", "without torch's private operation"])
def test_equals_a_dense_product(kind, path, monkeypatch):
    if path.startswith("without"):
        monkeypatch.delattr(torch.ops.aten, "_embedding_bag_dense_backward", raising=False)
        monkeypatch.setattr(cpu, "getattr", lambda *a: None, raising=False)
        path = "cpu"
    codes = codes_of(kind)
    x = torch.randn(40, 6, generator=torch.Generator().manual_seed(1)).double()
    with using(path):
        found = weighted_rows(codes.values, codes.indices, codes.offsets, x, 30)
    torch.testing.assert_close(found, codes.to_dense().T @ x)
    assert not found[7].any()
    torch.testing.assert_close(latent_sums(codes.values, codes.indices, codes.offsets, 30), codes.to_dense().sum(0))


def test_the_reference_is_the_same_in_float32():
    codes = codes_of("ragged").to(dtype=torch.float32)
    x = torch.randn(40, 6, generator=torch.Generator().manual_seed(2))
    given = (codes.values, codes.indices, codes.offsets, x, 30)
    index = by_latent(codes.indices, codes.offsets, 30)
    one, other = cpu.weighted_rows(*given), reference.weighted_rows(index, codes.values, x)
    torch.testing.assert_close(one, other)
    assert torch.equal(cpu.weighted_rows(*given), one), "the same bits twice"


def test_by_hand():
    """Latent 0 fires with 2 in row 0 and 3 in row 1, latent 2 with -1 in row 1."""
    indices, offsets = torch.tensor([0, 0, 2], dtype=torch.int32), torch.tensor([0, 1, 3])
    weights, x = torch.tensor([2.0, 3.0, -1.0]), torch.tensor([[1.0, 10.0], [5.0, 7.0]])
    found: Tensor = weighted_rows(weights, indices, offsets, x, 3)
    assert found.tolist() == [[17, 41], [0, 0], [-5, -7]]
    assert latent_sums(weights, indices, offsets, 3).tolist() == [5, 0, -1]
