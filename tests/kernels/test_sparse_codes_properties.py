"""SparseCodes against a dense oracle, for any shape, sparsity and order (hypothesis)."""

from __future__ import annotations

import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from saekit_kernels import SparseCodes, decode
from torch import Tensor

seeds = st.integers(0, 2**31)


@st.composite
def dense_codes(draw: st.DrawFn) -> Tensor:
    """[..., d_sae] with zeros, negative values, empty rows and full ones."""
    shape = draw(st.sampled_from([(0,), (1,), (5,), (2, 3), (1, 4), (3, 1, 2)]))
    d_sae, density = draw(st.integers(1, 9)), draw(st.sampled_from([0.0, 0.2, 0.7, 1.0]))
    generator = torch.Generator().manual_seed(draw(seeds))
    dense = torch.randn(*shape, d_sae, generator=generator, dtype=torch.float64)
    return dense * (torch.rand(*shape, d_sae, generator=generator) < density)


def holds(codes: SparseCodes, dense: Tensor) -> None:
    """The codes are this dense tensor, and what their docstring says about order and offsets is so."""
    assert codes.shape == dense.shape[:-1] and codes.d_sae == dense.shape[-1]
    assert codes.indices.dtype == torch.int32 and codes.offsets.dtype == torch.int64
    assert int(codes.offsets[0]) == 0 and int(codes.offsets[-1]) == len(codes.values) == len(codes.indices)
    assert bool(((codes.rows * codes.d_sae + codes.indices).diff() > 0).all())
    assert torch.equal(codes.to_dense(), dense)
    assert torch.equal(codes.l0, (dense != 0).sum(-1))
    if codes.k is not None:
        assert codes.counts.eq(codes.k).all()


@settings(max_examples=60, deadline=None)
@given(dense_codes(), seeds)
def test_round_trip_slicing_and_concatenation(dense, seed):
    codes = SparseCodes.from_dense(dense)
    holds(codes, dense)
    picked = torch.randint(0, max(len(dense), 1), (4,), generator=torch.Generator().manual_seed(seed))[: len(dense) * 4]
    holds(codes[picked], dense[picked])
    mask = torch.rand(len(dense), generator=torch.Generator().manual_seed(seed)) < 0.5
    holds(codes[mask], dense[mask])
    holds(SparseCodes.cat([codes[mask], codes, codes[~mask]]), torch.cat([dense[mask], dense, dense[~mask]]))


@settings(max_examples=60, deadline=None)
@given(dense_codes(), seeds, st.booleans())
def test_beside_and_between(dense, seed, equally_many):
    generator = torch.Generator().manual_seed(seed)
    other = torch.randn(*dense.shape[:-1], 3, generator=generator, dtype=torch.float64)
    both = torch.cat([dense, other, dense], -1)
    parts = [SparseCodes.from_dense(each) for each in (dense, other, dense)]
    if equally_many:
        parts = [SparseCodes.from_topk(*each.sort(-1), each.shape[-1]) for each in (dense, other, dense)]
    codes = SparseCodes.beside(parts)
    holds(codes, both)
    assert (codes.k is not None) or not equally_many
    d = dense.shape[-1]
    for first, last in ((0, d), (d, d + 3), (d + 3, 2 * d + 3), (1, d + 2)):
        holds(codes.between(first, last), both[..., first:last])


@settings(max_examples=60, deadline=None)
@given(dense_codes(), seeds, st.integers(1, 9))
def test_set_latents(dense, seed, m):
    generator = torch.Generator().manual_seed(seed)
    latents = torch.randperm(dense.shape[-1], generator=generator)[:m]
    new = torch.randint(-1, 2, (*dense.shape[:-1], len(latents)), generator=generator).double()
    codes = SparseCodes.from_dense(dense).set_latents(latents, new)
    expected = dense.clone()
    expected[..., latents] = new
    holds(codes, expected)
    assert torch.equal(codes.latent(latents), new)


@settings(max_examples=60, deadline=None)
@given(dense_codes(), seeds, st.integers(1, 9))
def test_from_topk_in_any_order_and_decode(dense, seed, k):
    k = min(k, dense.shape[-1])
    generator = torch.Generator().manual_seed(seed)
    order = torch.rand(dense.shape, generator=generator).argsort(-1)[..., :k]  # k latents in a random order
    kept = torch.zeros_like(dense).scatter(-1, order, dense.gather(-1, order))
    codes = SparseCodes.from_topk(dense.gather(-1, order), order, dense.shape[-1])
    assert codes.k == k
    holds(codes, kept)
    directions = torch.randn(dense.shape[-1], 3, generator=generator, dtype=torch.float64)
    torch.testing.assert_close(decode(codes, directions), kept @ directions)
