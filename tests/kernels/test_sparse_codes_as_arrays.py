"""SparseCodes where people take them for arrays: NumPy, slices, iteration; what is no array's is one sentence."""

from __future__ import annotations

import operator
import time

import numpy as np
import pytest
import torch
from saekit_kernels import SparseCodes


def codes(n: int = 24, d_sae: int = 40, k: int = 5, ragged: bool = True) -> SparseCodes:
    g = torch.Generator().manual_seed(0)
    z = torch.randn(n, d_sae, generator=g)
    latents = z.abs().topk(k, dim=1).indices
    made = SparseCodes.from_topk(z.gather(1, latents), latents, d_sae)
    return made.keep(made.values > -1) if ragged else made


@pytest.mark.parametrize("ragged", [True, False])
def test_numpy_gets_the_dense_code(ragged):
    z = codes(ragged=ragged)
    assert np.array_equal(np.asarray(z), z.to_dense().numpy())
    assert np.asarray(z, dtype=np.float16).dtype == np.float16
    assert np.array_equal(np.maximum(z, 0), z.to_dense().clamp_min(0).numpy())
    learned = SparseCodes.from_dense(z.to_dense().requires_grad_())
    assert np.asarray(learned).shape == (24, 40)
    assert np.asarray(z.to(dtype=torch.bfloat16)).dtype == np.float32
    assert np.asarray(z.view(4, 6)).shape == (4, 6, 40) and np.asarray(z[3]).shape == (40,)
    with pytest.raises(ValueError, match="leave copy=False out"):
        np.array(z, copy=False)


def test_it_takes_no_seconds():
    start = time.process_time()
    assert np.asarray(codes(4096, 1024, 16)).shape == (4096, 1024)
    assert time.process_time() - start < 5


KEYS = [
    slice(2, 5),
    slice(None, None, -1),
    slice(20, 3, -4),
    3,
    np.int64(3),
    -1,
    [1, 2, 2],
    np.array([4, 1]),
    torch.tensor([[1, 2], [3, 4]]),
    torch.arange(24) % 3 == 0,
    (np.arange(24) % 3 == 0).tolist(),
    ...,
    None,
]


@pytest.mark.parametrize("key", KEYS, ids=str)
def test_an_index_is_that_of_the_dense_code(key):
    z = codes()
    wanted = z.to_dense()
    flipped = isinstance(key, slice) and (key.step or 1) < 0
    expected = torch.from_numpy(wanted.numpy()[key].copy()) if flipped else wanted[key]
    assert torch.equal(z[key].to_dense(), expected)


@pytest.mark.parametrize("key", [(1, 2), (slice(None), 3), (..., -1), (slice(1, 3), [0, 5]), (None, 2), 1])
def test_of_rows_of_text_both_places_are_indexed(key):
    z = codes().view(4, 6)
    assert torch.equal(z[key].to_dense(), z.to_dense()[(*key, slice(None)) if isinstance(key, tuple) else key])
    mask = torch.arange(24).view(4, 6) % 5 == 1
    assert torch.equal(z[mask].to_dense(), z.to_dense()[mask])
    with pytest.raises(IndexError, match=r"codes of shape \(4, 6\) are indexed by token, found .*z.latent\(\[…\]\)"):
        z[1, 2, 3]


def test_a_gradient_flows_through_an_index():
    dense = codes().to_dense().requires_grad_()
    SparseCodes.from_dense(dense)[[3, 3, 7]].values.sum().backward()
    assert dense.grad is not None and dense.grad.sum(1).nonzero()[:, 0].tolist() == [3, 7]


def test_they_are_iterated_token_by_token():
    z = codes()
    assert [token.shape for token in z] == [()] * 24
    assert torch.equal(torch.stack([token.to_dense() for token in z]), z.to_dense())
    assert len(list(z.view(4, 6))) == len(z.view(4, 6)) == 4
    with pytest.raises(IndexError, match="out of bounds"):
        z[24]
    for nothing in (lambda: len(z[0]), lambda: torch.tensor(z)):
        with pytest.raises(TypeError, match=r"has no length; a tensor of codes is given by z.to_dense\(\)"):
            nothing()


SENTENCE = r"by their entries, z.values > 1, or as the dense tensor z.to_dense\(\)"


@pytest.mark.parametrize("name", ["eq", "ne", "lt", "le", "gt", "ge", "add", "sub", "mul", "truediv", "matmul"])
def test_comparing_and_computing_is_one_sentence(name):
    z, does = codes(), getattr(operator, name)
    with pytest.raises(TypeError, match=SENTENCE):
        does(z, 1)
    with pytest.raises(TypeError, match=SENTENCE):
        does(z, torch.ones(40))
    if name not in ("matmul", "truediv"):
        with pytest.raises(TypeError, match=SENTENCE):
            does(0, z)


def test_whether_they_are_true_is_not_asked_and_what_they_are_is():
    z = codes()
    for does in (bool, operator.neg, abs):
        with pytest.raises(TypeError, match=SENTENCE):
            does(z)
    assert z == z and z != codes() and z in [z] and z is not None and len({z, z}) == 1
    assert (z == None) is False  # noqa: E711
