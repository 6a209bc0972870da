"""The stages of kernels/benchmarks/gpu.py that run Triton's kernels, on a CPU at a tiny shape. Times mean nothing."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

FOLDER = Path(__file__).parents[3] / "kernels" / "benchmarks"


@pytest.fixture(autouse=True)
def stages(monkeypatch):
    monkeypatch.syspath_prepend(str(FOLDER))


@pytest.mark.parametrize("zipf", [True, False])
def test_every_operation_is_right_before_it_is_timed(zipf):
    from gpu_stages.inputs import Case
    from gpu_stages.operation_rows import measured
    from gpu_stages.operations import NAMES
    from gpu_stages.timing import Ceilings

    rows = list(measured(Case(3, 16, 20, 3, zipf), "cpu", Ceilings(1.0, 1.0), 1))
    assert [row["row"] for row in rows] == NAMES
    for row in rows:
        assert "wrong" not in row and row["ms"] > 0, row


WRONG = {
    "a scaled result": ("decode", "value_gradients", lambda out: out * 1.01),
    "an unwritten row": ("decode", "decode_residual", lambda out: (torch.full_like(out[0], float("nan")), out[1])),
    "only the norm is right": ("decode", "decode_residual", lambda out: (-out[0], out[1])),
    "the largest, k times": ("top_k", "top_k_rows", lambda out: (out[0].amax(1, True).expand_as(out[0]), out[1])),
    "its place, k times": ("top_k", "top_k_rows", lambda out: (out[0], out[1][:, :1].expand_as(out[1]))),
}


@pytest.mark.parametrize("name", WRONG)
def test_a_wrong_result_is_named_and_not_timed(name, monkeypatch):
    from gpu_stages.inputs import Case, draw
    from gpu_stages.operation_rows import fault
    from gpu_stages.operations import operations
    from saekit_kernels.decode import triton as decode
    from saekit_kernels.top_k import triton as top_k

    module, function, mutate = WRONG[name]
    home = {"decode": decode, "top_k": top_k}[module]
    right = getattr(home, function)
    case = Case(3, 16, 20, 3, True)
    inputs = draw(case, 0, "cpu")
    operation = next(each for each in operations(case, "cpu") if each.name == function)
    assert fault(operation, inputs) == ""
    monkeypatch.setattr(home, function, lambda *arguments: mutate(right(*arguments)))
    assert fault(operation, inputs)


def test_small_shapes_see_an_unwritten_row_and_a_race(monkeypatch):
    from gpu_stages.small_shapes import of_codes, outcome
    from saekit_kernels.decode import triton as decode

    right, calls = decode.decode_rows, []

    def unwritten(*given):
        return torch.cat([right(*given)[:-1], torch.empty(1, 6)])

    def racing(*given):
        calls.append(1)
        return right(*given) * (1 + 2**-23 * len(calls))

    found = []
    for kernel in (right, unwritten, racing):
        monkeypatch.setattr(decode, "decode_rows", kernel)
        check = next(iter(of_codes(3, 11, 6, True, torch.float32, 0, "cpu")))
        found.append((check.kernel, outcome(check, 2)))
    assert found == [("decode_rows", each) for each in ("", "error inf", "other bits in tensor 0 of 1, at repeat 1")]


def test_moments_that_stay_behind_are_seen(monkeypatch):
    from gpu_stages.inputs import Case, draw
    from gpu_stages.operation_rows import fault
    from gpu_stages.operations import operations
    from saekit_kernels.latent_gradients import triton as gradients

    right = gradients.latent_update

    def stale(*given):
        moments = given[6]
        before = moments.encoder_square.clone()
        right(*given)
        moments.encoder_square.copy_(before)

    monkeypatch.setattr(gradients, "latent_update", stale)
    case = Case(3, 16, 20, 3, True)
    operation = next(each for each in operations(case, "cpu") if each.name == "latent_update")
    assert "error" in fault(operation, draw(case, 0, "cpu"))


def test_a_training_step_on_the_kernels_passes_its_gates(monkeypatch):
    from gpu_stages.learners import activations, gradients_differ, learner_for, other_bits, selection
    from saekit_kernels import dispatch

    monkeypatch.setattr(dispatch, "VARIABLE", "interpret")
    shape = (4, 8, 16, 2)
    assert gradients_differ(shape, "cpu")[0] < 1e-5
    assert other_bits(shape, "cpu", steps=1) == ""
    chosen = selection(learner_for(shape, "cpu"), activations(shape, "cpu"), 2)
    assert chosen["selection"] == "right" and chosen["recall"] == 1.0
