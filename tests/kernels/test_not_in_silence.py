"""NaN and latents that do not exist are met, on every path; a choice of kernels stays in its thread."""

from __future__ import annotations

import importlib
import threading

import pytest
import torch
from saekit_kernels import SparseCodes, decode, dispatch, encode_above, encode_batch_top_k, encode_top_k, using
from saekit_kernels.batch_top_k import batch_top_k
from saekit_kernels.reconstruction import AuxK, auxk, reconstruction_loss
from torch import Tensor

from saekit.dictionaries.parts.pursuit import choose
from saekit.objectives.straight_through import jump

NAN = float("nan")
PATHS = ["cpu", "reference"]


def given(n: int, d: int = 16, d_sae: int = 64) -> tuple[Tensor, Tensor, Tensor]:
    """Activations, and an encoder whose row 5 is NaN; enough of them for the chunked way where n is large."""
    generator = torch.Generator().manual_seed(n)
    x, directions = torch.randn(n, d, generator=generator), torch.randn(d_sae, d, generator=generator)
    directions[5] = NAN
    return x, directions, torch.zeros(d_sae)


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize("n", [7, 4096])
def test_a_latent_that_is_nan_is_kept_by_every_encoder(path, n):
    x, directions, bias = given(n)
    with using(path):
        every = {
            "top-k": encode_top_k(x, directions, bias, 4),
            "batch top-k": encode_batch_top_k(x, directions, bias, 4 * n),
            "batch top-k with a bound": encode_batch_top_k(x, directions, bias, 4 * n, lower_bound=1.0),
            "above": encode_above(x, directions, bias, 1.0),
            "above, a threshold each": encode_above(x, directions, bias, torch.ones(64)),
        }
    for name, codes in every.items():
        values = codes.latent([5])[:, 0]
        assert bool(values.isnan().all()), f"{name} lost NaN in {int((~values.isnan()).sum())} of {n} rows"
        assert bool(decode(codes, torch.ones(64, 3)).isnan().all()), name


def test_what_is_nan_is_the_largest_of_a_batch():
    u = torch.tensor([[1.0, NAN, 3.0], [torch.inf, -1.0, NAN]])
    for wanted, places in ((1, [1]), (2, [1, 3]), (3, [1, 3, 5]), (4, [1, 2, 3, 5]), (9, [0, 1, 2, 3, 5])):
        assert batch_top_k(u, wanted)[1].tolist() == places
    assert batch_top_k(torch.full((2, 2), NAN), 3)[1].tolist() == [0, 1, 2]


def test_jumps_and_pursuits_keep_nan():
    u = torch.tensor([NAN, 2.0, 0.5], requires_grad=True)
    z = jump(u, torch.ones(3), 0.1)
    assert z.isnan().tolist() == [True, False, False] and z[1:].tolist() == [2.0, 0.0]
    directions = torch.eye(3)
    directions[1] = NAN
    assert choose(torch.ones(2, 3), directions, 1, 0.0, False).tolist() == [[1], [1]]


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize("wrong", [8, 70, -1])
def test_latents_that_are_not_there_are_refused(path, wrong):
    indices, offsets = torch.tensor([1, wrong], dtype=torch.int32), torch.tensor([0, 2])
    with using(path):
        with pytest.raises(IndexError, match=rf"latent {wrong} is not in 0 … 7"):
            SparseCodes(torch.ones(2), indices, offsets, 8, (1,))
        with pytest.raises(IndexError, match=rf"latent {wrong} is not in 0 … 7"):
            SparseCodes.from_topk(torch.ones(1, 2), indices[None], 8)
        with pytest.raises(IndexError, match=rf"latent {wrong} is not in 0 … 7"):
            SparseCodes.from_sorted(torch.ones(1, 2), indices[None], 8)


def test_a_choice_stays_in_its_thread():
    """Threads that choose and leave in another order than they came: each sees its own."""
    seen: dict[str, list[str]] = {"a": [], "b": []}
    x, steps = torch.ones(1), [threading.Event() for _ in range(4)]

    def one(name: str, kernels: str, first: int) -> None:
        if first:
            steps[0].wait(5)
        with using(kernels):
            steps[first].set()
            steps[1].wait(5)
            seen[name].append(dispatch.path_for(x))
            if first:
                steps[2].wait(5)
        seen[name].append(dispatch.path_for(x))
        steps[2 + first].set()

    with using("cpu"):
        threads = [threading.Thread(target=one, args=given) for given in (("a", "reference", 0), ("b", "cpu", 1))]
        for thread in threads:
            thread.start()
        steps[1].wait(5)
        assert dispatch.path_for(x) == "cpu"
        for thread in threads:
            thread.join(5)
    assert seen == {"a": ["reference", "cpu"], "b": ["cpu", "cpu"]}


def test_a_backward_pass_in_another_thread_runs_as_its_forward_pass(monkeypatch):
    """Autograd has a thread for each GPU: what was chosen goes with the graph."""
    taken: list[str] = []
    plain = dispatch.path_for
    x, directions, bias = given(4096)
    directions[5] = 0
    leaf = directions.requires_grad_()
    with using("cpu"):
        codes = encode_top_k(x, leaf, bias, 4)
        loss, _ = reconstruction_loss(codes, x, x, leaf, bias, leaf.detach(), torch.zeros(16), False)
        total = codes.values.sum() + loss

    def noted(tensor: Tensor) -> str:
        taken.append(dispatch.chosen())
        return plain(tensor)

    for module in ("decode", "decode.gradients", "latent_gradients", "reconstruction.entries"):
        monkeypatch.setattr(importlib.import_module(f"saekit_kernels.{module}"), "path_for", noted)
    thread = threading.Thread(target=total.backward)
    thread.start()
    thread.join(60)
    assert leaf.grad is not None and taken and set(taken) == {"cpu"}


def test_float64_on_a_gpu_is_left_to_the_reference(monkeypatch):
    class On:
        def __init__(self, dtype: torch.dtype) -> None:
            self.dtype, self.device = dtype, torch.device("cuda")

    monkeypatch.setattr(dispatch, "_triton", lambda: True)
    assert dispatch.path_for(On(torch.float64)) == "reference"
    assert dispatch.path_for(On(torch.float32)) == dispatch.path_for(On(torch.bfloat16)) == "triton"


def test_auxk_by_parts_is_auxk(monkeypatch):
    """The error and the gradients of the dead in parts of 7 tokens, beside those at once, and no tensor is larger."""
    generator = torch.Generator().manual_seed(0)
    x, encoder, decoder = (torch.randn(*s, generator=generator) for s in ((100, 12), (40, 12), (40, 12)))
    encoder.requires_grad_(), decoder.requires_grad_()
    bias, centre = torch.randn(40, generator=generator).requires_grad_(), torch.zeros(12, requires_grad=True)
    parameters = (encoder, bias, decoder, centre)
    dead = AuxK(torch.arange(20, 40), 5, 0.03)

    def gradients() -> list[Tensor]:
        codes = encode_top_k(x, encoder[:20].detach(), bias[:20].detach(), 3)
        codes = SparseCodes(codes.values, codes.indices, codes.offsets, 40, codes.shape, codes.k)
        loss, error = reconstruction_loss(codes, x, x, encoder, bias, decoder, centre, True, dead)
        return [loss.detach(), error, *torch.autograd.grad(loss, parameters)]

    whole, sizes, plain = gradients(), [], auxk._part
    monkeypatch.setitem(auxk.CHUNK_BYTES, "cpu", 7 * 20 * 4)
    monkeypatch.setattr(auxk, "_part", lambda read, *rest: (sizes.append(len(read)), plain(read, *rest))[1])
    parts = gradients()
    assert sizes == [7] * 14 + [2]
    for one, other in zip(whole, parts, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-5, atol=1e-6)
