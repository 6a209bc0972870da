"""SparseCodes against dense tensors: what is stored, what is read back, what gradients flow."""

from __future__ import annotations

import pytest
import torch
from saekit_kernels import SparseCodes

RAGGED = torch.tensor([[0.0, 2.0, 0.0, -1.5], [0.0, 0.0, 0.0, 0.0], [4.0, 3.0, 2.0, 1.0]])


def stored_zeros(dtype: torch.dtype = torch.float32) -> SparseCodes:
    """Three rows of two entries over five latents; row 1 stores a zero at latent 3, row 2 two of them."""
    values = torch.tensor([[5.0, -1.0], [0.0, 2.0], [0.0, 0.0]], dtype=dtype)
    return SparseCodes.from_topk(values, torch.tensor([[4, 1], [3, 0], [2, 4]]), 5)


def test_from_dense_keeps_the_non_zeros_in_compressed_rows():
    codes = SparseCodes.from_dense(RAGGED)
    assert codes.values.tolist() == [2.0, -1.5, 4.0, 3.0, 2.0, 1.0]
    assert codes.indices.tolist() == [1, 3, 0, 1, 2, 3]
    assert codes.offsets.tolist() == [0, 2, 2, 6]  # row 1 is empty
    assert (codes.indices.dtype, codes.offsets.dtype) == (torch.int32, torch.int64)
    assert (codes.d_sae, codes.shape, codes.k, len(codes)) == (4, (3,), None, 3)
    assert codes.rows.tolist() == [0, 0, 2, 2, 2, 2] and codes.counts.tolist() == [2, 0, 4]
    assert torch.equal(codes.to_dense(), RAGGED)


def test_from_topk_sorts_each_row_and_keeps_its_k_entries():
    codes = stored_zeros()
    assert codes.indices.view(3, 2).tolist() == [[1, 4], [0, 3], [2, 4]]
    assert codes.values.view(3, 2).tolist() == [[-1.0, 5.0], [2.0, 0.0], [0.0, 0.0]]
    assert (codes.k, codes.indices.dtype, codes.offsets.dtype) == (2, torch.int32, torch.int64)
    assert codes.to_dense().tolist() == [[0, -1, 0, 0, 5], [2, 0, 0, 0, 0], [0, 0, 0, 0, 0]]


def test_the_n_k_view_is_the_same_storage():
    codes = stored_zeros()
    assert codes.k is not None
    assert codes.values.view(3, codes.k).data_ptr() == codes.values.data_ptr()
    assert codes.values.is_contiguous() and codes.indices.is_contiguous()


def test_l0_counts_non_zeros_negative_ones_included_and_stored_zeros_not():
    assert stored_zeros().l0.tolist() == [2, 1, 0]
    assert stored_zeros().counts.tolist() == [2, 2, 2]
    assert SparseCodes.from_dense(RAGGED).l0.tolist() == [2, 0, 4]


def test_leading_shapes():
    dense = torch.zeros(2, 3, 4)
    dense[0, 2, 1], dense[1, 0, 3], dense[1, 0, 0] = 1.0, -2.0, 3.0
    codes = SparseCodes.from_dense(dense)
    assert codes.shape == (2, 3) and codes.l0.tolist() == [[0, 0, 1], [2, 0, 0]]
    assert torch.equal(codes.to_dense(), dense) and torch.equal(codes.view(6).to_dense(), dense.view(6, 4))
    assert torch.equal(codes.latent([3, 0]), dense[..., [3, 0]])
    of_topk = SparseCodes.from_topk(torch.ones(2, 3, 1), torch.arange(6).view(2, 3, 1) % 4, 4)
    assert of_topk.shape == (2, 3) and of_topk.to_dense().sum(-1).tolist() == [[1, 1, 1], [1, 1, 1]]
    with pytest.raises(ValueError, match=r"6 rows cannot be viewed as \(2, 2\)"):
        codes.view(2, 2)


def test_one_row_without_a_leading_dimension_and_no_rows_at_all():
    one = SparseCodes.from_dense(RAGGED[0])
    assert one.shape == () and int(one.l0) == 2 and torch.equal(one.to_dense(), RAGGED[0])
    none = SparseCodes.from_dense(RAGGED[:0])
    assert len(none) == 0 and none.to_dense().shape == (0, 4) and none.l0.shape == (0,)


@pytest.mark.parametrize(
    "key",
    [
        0,
        -1,
        slice(None),
        slice(1, 3),
        slice(None, None, 2),
        slice(3, 3),
        slice(-2, None),
        torch.tensor([True, False, True, False]),
        torch.zeros(4, dtype=torch.bool),
        torch.tensor([3, 0, 0, -2]),
        torch.tensor([[1, 2], [3, 0]]),
    ],
    ids=str,
)
def test_indexing_is_that_of_the_dense_tensor(key):
    generator = torch.Generator().manual_seed(0)
    dense = torch.randn(4, 3, 6, generator=generator) * (torch.rand(4, 3, 6, generator=generator) < 0.4)
    dense[0, 1] = dense[3] = 0.0
    codes = SparseCodes.from_dense(dense)[key]
    assert codes.shape == dense[key].shape[:-1]
    assert torch.equal(codes.to_dense(), dense[key])
    order = codes.rows * codes.d_sae + codes.indices
    assert bool((order.diff() > 0).all())  # rows in order, latents ascending in each


def test_stored_zeros_survive_slicing_concatenation_and_moving():
    codes = stored_zeros()
    part = codes[1:]
    assert part.k == 2 and part.values.tolist() == [2.0, 0.0, 0.0, 0.0] and part.indices.tolist() == [0, 3, 2, 4]
    both = SparseCodes.cat([part, codes[:1]])
    assert both.k == 2 and both.counts.tolist() == [2, 2, 2] and both.l0.tolist() == [1, 0, 2]
    moved = both.to("cpu", torch.float64)
    assert moved.values.dtype == torch.float64 and moved.indices.dtype == torch.int32
    assert moved.k == 2 and moved.values.tolist() == [2.0, 0.0, 0.0, 0.0, -1.0, 5.0]


def test_cat():
    ragged = SparseCodes.from_dense(RAGGED)
    fixed = SparseCodes.from_topk(torch.tensor([[7.0, 8.0]]), torch.tensor([[3, 0]]), 4)
    both = SparseCodes.cat([fixed, ragged, ragged[:0], fixed])
    assert both.shape == (5,) and both.k is None and both.offsets.tolist() == [0, 2, 4, 4, 8, 10]
    dense = torch.tensor([[8.0, 0.0, 0.0, 7.0]])
    assert torch.equal(both.to_dense(), torch.cat([dense, RAGGED, dense]))
    of_batches = SparseCodes.from_dense(RAGGED.view(1, 3, 4))
    assert SparseCodes.cat([of_batches, of_batches]).shape == (2, 3)


def test_latent_reads_any_latents_in_any_order():
    codes = SparseCodes.from_dense(RAGGED)
    assert codes.latent([3]).tolist() == [[-1.5], [0.0], [1.0]]
    assert torch.equal(codes.latent(torch.tensor([2, 0, 2])), RAGGED[:, [2, 0, 2]])
    assert codes.latent([]).shape == (3, 0)


def test_set_latents_replaces_adds_and_keeps_rows_sorted():
    codes = SparseCodes.from_dense(RAGGED)
    changed = codes.set_latents([2, 0], torch.tensor([[9.0, 0.0], [7.0, -8.0], [0.0, 6.0]]))
    expected = RAGGED.clone()
    expected[:, 2], expected[:, 0] = torch.tensor([9.0, 7.0, 0.0]), torch.tensor([0.0, -8.0, 6.0])
    assert torch.equal(changed.to_dense(), expected)
    assert changed.indices.tolist() == [0, 1, 2, 3, 0, 2, 0, 1, 2, 3] and changed.k is None
    assert changed.l0.tolist() == [3, 2, 3]  # the zeros that were set are stored, not counted
    assert torch.equal(codes.to_dense(), RAGGED)  # the original stands


def test_gradients_flow_through_every_operation():
    indices = torch.tensor([[4, 1], [3, 0], [2, 4]])
    values = torch.tensor([[5.0, -1.0], [0.5, 2.0], [0.25, 1.0]], dtype=torch.float64, requires_grad=True)
    new = torch.tensor([[1.0], [2.0], [3.0]], dtype=torch.float64, requires_grad=True)

    def codes(v: torch.Tensor) -> SparseCodes:
        return SparseCodes.from_topk(v, indices, 5)

    assert torch.autograd.gradcheck(lambda v: codes(v).to_dense(), values)
    assert torch.autograd.gradcheck(lambda v: codes(v)[torch.tensor([2, 0])].to_dense(), values)
    assert torch.autograd.gradcheck(lambda v: codes(v).latent([0, 4]), values)
    assert torch.autograd.gradcheck(lambda v: SparseCodes.cat([codes(v), codes(2 * v)]).to_dense(), values)
    assert torch.autograd.gradcheck(lambda v, w: codes(v).set_latents([4], w).to_dense(), (values, new))
    assert torch.autograd.gradcheck(lambda v: SparseCodes.from_dense(codes(v).to_dense() * 3).values, values)
    assert not codes(values).detach().values.requires_grad
    codes(values).to(dtype=torch.float32).to_dense().sum().backward()
    assert values.grad is not None and values.grad.tolist() == [[1, 1], [1, 1], [1, 1]]


def test_repr_says_shape_and_kind():
    assert repr(stored_zeros()) == "SparseCodes(shape=(3,), d_sae=5, k=2, entries=6)"
    assert "ragged, entries=6" in repr(SparseCodes.from_dense(RAGGED))
