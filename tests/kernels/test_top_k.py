"""top_k against a slow oracle: sort, take k, ReLU."""

from __future__ import annotations

import pytest
import torch
from saekit_kernels import top_k
from saekit_kernels.top_k import cpu, top_k_rows


def slow_top_k(row: list[float], k: int) -> list[float]:
    """The dense code of one row: its k largest pre-activations after a ReLU."""
    kept = sorted(range(len(row)), key=lambda i: -row[i])[:k]
    return [max(u, 0.0) if i in kept else 0.0 for i, u in enumerate(row)]


@pytest.mark.parametrize("k", [1, 3, 8])
def test_equals_the_oracle(k):
    u = torch.randn(40, 8, generator=torch.Generator().manual_seed(0))
    codes = top_k(u, k)
    assert codes.to_dense().tolist() == [slow_top_k(row, k) for row in u.tolist()]
    assert codes.k == k and codes.d_sae == 8 and codes.indices.dtype == torch.int32
    assert bool((codes.indices.view(40, k).diff(dim=1) > 0).all())


def test_numbers_by_hand():
    codes = top_k(torch.tensor([[0.1, 0.7, -3.0, 0.5, 0.2]]), 2)
    assert codes.indices.tolist() == [1, 3]
    torch.testing.assert_close(codes.values, torch.tensor([0.7, 0.5]))


def test_fewer_than_k_positives_leave_stored_zeros():
    codes = top_k(torch.tensor([[-1.0, 2.0, -3.0, -0.5], [-1.0, -2.0, -3.0, -4.0]]), 3)
    assert codes.k == 3 and codes.counts.tolist() == [3, 3]
    assert codes.l0.tolist() == [1, 0]
    assert codes.to_dense().tolist() == [[0, 2, 0, 0], [0, 0, 0, 0]]


def test_k_of_all_latents_is_a_relu():
    u = torch.randn(5, 6, generator=torch.Generator().manual_seed(1))
    assert torch.equal(top_k(u, 6).to_dense(), u.relu())


def test_leading_shape():
    u = torch.randn(2, 3, 6, generator=torch.Generator().manual_seed(2))
    codes = top_k(u, 2)
    assert codes.shape == (2, 3)
    assert torch.equal(codes.to_dense().view(6, 6), top_k(u.view(6, 6), 2).to_dense())


def test_gradients_reach_the_kept_positive_entries_and_no_others():
    u = torch.tensor([[3.0, -1.0, 2.0, 1.0], [-1.0, -2.0, 5.0, -3.0]], dtype=torch.float64, requires_grad=True)
    weights = torch.tensor([[10.0, 20.0, 30.0, 40.0], [50.0, 60.0, 70.0, 80.0]], dtype=torch.float64)
    (top_k(u, 2).to_dense() * weights).sum().backward()
    assert u.grad is not None and u.grad.tolist() == [[10, 0, 30, 0], [0, 0, 70, 0]]
    assert torch.autograd.gradcheck(lambda x: top_k(x, 2).values, u.detach().requires_grad_())


@pytest.mark.parametrize(("d_sae", "k"), [(64, 1), (256, 1), (1024, 4), (1024, 5), (1000, 2), (2048, 7)])
@pytest.mark.parametrize("kind", ["normal", "few groups", "equal", "bfloat16", "strided"])
def test_long_rows_in_two_steps(d_sae, k, kind, monkeypatch):
    """Groups first: exact also where the largest stand in one group and where values repeat."""
    monkeypatch.setattr(cpu, "FEW", 0)
    u = torch.randn(33, d_sae, generator=torch.Generator().manual_seed(d_sae))
    u = {
        "normal": u,
        "few groups": u + 10 * (torch.arange(d_sae) < 64),
        "equal": u.round(),
        "bfloat16": u.bfloat16(),
        "strided": u.T.contiguous().T,
    }[kind]
    values, indices = top_k_rows(u, k)
    assert torch.equal(values.sort(1).values, u.topk(k).values.sort(1).values)
    assert torch.equal(u.gather(1, indices.long()), values)
    assert indices.dtype == torch.int32 and bool((indices.diff(dim=1) > 0).all())


@pytest.mark.parametrize("k", [0, -1, 5])
def test_k_out_of_range(k):
    with pytest.raises(ValueError, match=rf"k must be between 1 and the 4 latents there are, found {k}"):
        top_k(torch.zeros(2, 4), k)
