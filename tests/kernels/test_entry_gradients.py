"""Gradients from the entries of codes on a CPU, one index by latent for all, against a loop in float64."""

from __future__ import annotations

from typing import NamedTuple

import pytest
import torch
from saekit_kernels import AuxK, SparseCodes, encode_top_k, reconstruction_loss, using
from saekit_kernels.decode import cpu as decode_cpu
from saekit_kernels.decode import value_gradients
from saekit_kernels.latent_index import by_latent, latents_of
from saekit_kernels.latent_index import cpu as index_cpu
from saekit_kernels.reconstruction import entries
from saekit_kernels.reconstruction.entries import entry_gradients
from torch import Tensor

N, LATENTS, D_IN, D_OUT, SILENT = 30, 20, 5, 7, 11
KINDS = ["ragged", "stored zeros", "a hot latent", "empty rows", "no entries", "no rows"]


class Example(NamedTuple):
    codes: SparseCodes
    decoder: Tensor
    g: Tensor
    read: Tensor


def example(kind: str, dtype: torch.dtype = torch.float64) -> Example:
    generator = torch.Generator().manual_seed(KINDS.index(kind))
    n = 0 if kind == "no rows" else N
    mask = torch.rand(n, LATENTS, generator=generator) < 0.3
    if kind == "a hot latent":
        mask[:, 3] = True
    if kind == "empty rows":
        mask[:4], mask[10:20] = False, False
    if kind == "no entries":
        mask[:] = False
    mask[:, SILENT] = False
    rows, latents = mask.nonzero(as_tuple=True)
    values = torch.randn(len(rows), generator=generator, dtype=torch.float64)
    if kind == "stored zeros":
        values[::3] = 0.0
        values[3::9] = -0.0
    offsets = torch.cat([torch.zeros(1, dtype=torch.int64), mask.sum(1).cumsum(0)])
    codes = SparseCodes(values.to(dtype), latents.int(), offsets, LATENTS, (n,))
    shapes = [(LATENTS, D_OUT), (n, D_OUT), (n, D_IN)]
    return Example(
        codes, *(torch.randn(*shape, generator=generator, dtype=torch.float64).to(dtype) for shape in shapes)
    )


def slowly(codes: SparseCodes, decoder: Tensor, g: Tensor, read: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """⟨g_t, d_f⟩ of each entry, S_f, ∂W_enc and ∂W_dec, an entry at a time in float64."""
    products = torch.zeros(len(codes.values)).double()
    sums, of_encoder, of_decoder = (torch.zeros(LATENTS, *d).double() for d in [(), (D_IN,), (D_OUT,)])
    for row in range(len(codes.offsets) - 1):
        for entry in range(int(codes.offsets[row]), int(codes.offsets[row + 1])):
            latent, z = int(codes.indices[entry]), codes.values[entry].double()
            products[entry] = sum(a * b for a, b in zip(g[row].double(), decoder[latent].double(), strict=True))
            s = products[entry] if z != 0 else 0.0
            sums[latent] += s
            of_encoder[latent] += s * read[row].double()
            of_decoder[latent] += z * g[row].double()
    return products, sums, of_encoder, of_decoder


def gradients(given: Example, frozen: bool = False) -> tuple[Tensor, Tensor, Tensor | None]:
    codes = given.codes
    return entry_gradients(codes.values, codes.indices, codes.offsets, given.decoder, given.g, given.read, frozen)


@pytest.fixture(params=[True, False], ids=["torch's private operation", "without it"])
def private(request, monkeypatch):
    """What is done where torch has its operation, and where a later torch has lost it."""
    if not request.param:
        monkeypatch.setattr(decode_cpu, "getattr", lambda *_: None, raising=False)


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
@pytest.mark.parametrize("kind", KINDS)
def test_equals_the_loop(kind, dtype, private):
    given = example(kind, dtype)
    found, expected = gradients(given), slowly(*given)[1:]
    for name, a, b in zip(("sums", "encoder", "decoder"), found, expected, strict=True):
        assert a is not None and a.dtype == dtype and a.shape == b.shape, name
        torch.testing.assert_close(a, b.to(dtype), msg=name)
        assert torch.equal(a[SILENT], torch.zeros_like(a[SILENT])), "exact zeros for a latent that never fires"
    for a, b in zip(found, gradients(given), strict=True):
        assert torch.equal(a, b), "the same bits twice"


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
@pytest.mark.parametrize("kind", KINDS)
def test_gradients_of_values_keep_the_codes_order(kind, dtype, private):
    given = example(kind, dtype)
    codes, decoder, g, _ = given
    found = value_gradients(codes.indices, codes.offsets, decoder, g)
    assert found.dtype == dtype
    torch.testing.assert_close(found, slowly(*given)[0].to(dtype))


@pytest.mark.parametrize("kind", KINDS)
def test_the_other_paths_agree(kind):
    given = example(kind)
    with using("reference"):
        expected = gradients(given)
    for a, b in zip(gradients(given), expected, strict=True):
        torch.testing.assert_close(a, b.double(), rtol=1e-6, atol=1e-6)


def test_the_private_operation_is_used_where_there_are_entries(monkeypatch):
    called = []
    right = torch.ops.aten._embedding_bag_per_sample_weights_backward
    monkeypatch.setattr(decode_cpu, "getattr", lambda *_: lambda *a: called.append(1) or right(*a), raising=False)
    gradients(example("ragged"))
    gradients(example("no entries"))
    assert called == [1]


def test_a_frozen_decoder_costs_nothing(monkeypatch):
    given = example("ragged")
    sums, of_encoder, _ = gradients(given)
    summed, right = [], entries.sorted_weighted_rows
    monkeypatch.setattr(entries, "sorted_weighted_rows", lambda *a: summed.append(1) or right(*a))
    found = gradients(given, frozen=True)
    assert found[2] is None and len(summed) == 1
    assert torch.equal(found[0], sums) and torch.equal(found[1], of_encoder)


def test_a_stored_zero_is_off_even_where_its_direction_is_nan():
    codes, decoder, g, read = example("ragged")
    values = codes.values.where(codes.indices != 4, 0)
    expected = gradients(Example(SparseCodes(values, codes.indices, codes.offsets, LATENTS, (N,)), decoder, g, read))
    decoder = decoder.index_fill(0, torch.tensor([4]), torch.nan)
    found = gradients(Example(SparseCodes(values, codes.indices, codes.offsets, LATENTS, (N,)), decoder, g, read))
    assert float(found[0][4]) == 0 and not found[1][4].any()
    for a, b in zip(found, expected, strict=True):
        assert torch.equal(a, b)


def test_the_loss_sorts_the_entries_once(monkeypatch):
    p = [torch.randn(*shape).requires_grad_() for shape in [(LATENTS, 6), (LATENTS,), (LATENTS, 6), (6,)]]
    x = torch.randn(N, 6)
    codes = encode_top_k(x, p[0].detach(), p[1].detach(), 3)
    total, _ = reconstruction_loss(codes, x, x, *p, False, AuxK(torch.tensor([1, 4]), 2, 0.5))
    indices, right = [], index_cpu.by_latent
    monkeypatch.setattr(index_cpu, "by_latent", lambda *a: indices.append(1) or right(*a))
    total.backward()
    assert indices == [1]


@pytest.mark.parametrize("short", [LATENTS, LATENTS - 1], ids=["16 bits", "32 bits"])
@pytest.mark.parametrize("kind", KINDS)
def test_the_index(kind, short, monkeypatch):
    """Its rows and latents, in the order of latents and then of rows, are those of the entries."""
    monkeypatch.setattr(index_cpu, "SHORT", short)
    codes = example(kind).codes
    index = by_latent(codes.indices, codes.offsets, LATENTS)
    pairs = sorted(zip(codes.indices.tolist(), codes.rows.tolist(), range(len(codes.values)), strict=True))
    assert list(zip(latents_of(index).tolist(), index.rows.tolist(), index.entries.tolist(), strict=True)) == pairs
    assert index.rows.dtype == torch.int32 and index.starts.dtype == index.entries.dtype == torch.int64
    assert index.starts.tolist() == [sum(pair[0] < latent for pair in pairs) for latent in range(LATENTS + 1)]


def test_a_latent_that_is_not_there_is_refused():
    indices, offsets = torch.tensor([1, 70], dtype=torch.int32), torch.tensor([0, 2])
    with pytest.raises(IndexError, match="latent 70 is not in 0 … 7"):
        value_gradients(indices, offsets, torch.ones(8, 4), torch.ones(1, 4))
    with pytest.raises(RuntimeError, match="negative"):
        value_gradients(-indices, offsets, torch.ones(8, 4), torch.ones(1, 4))


def test_the_last_latent_of_16_bits_and_one_more():
    for d_sae in (index_cpu.SHORT, index_cpu.SHORT + 1):
        index = by_latent(torch.tensor([d_sae - 1, 0], dtype=torch.int32), torch.tensor([0, 1, 2]), d_sae)
        assert index.entries.tolist() == [1, 0] and index.rows.tolist() == [1, 0]
