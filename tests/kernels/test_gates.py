"""The gates of kernels/benchmarks/gpu.py: a right result passes, and each way to be wrong has a name."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

FOLDER = Path(__file__).parents[2] / "kernels" / "benchmarks"


@pytest.fixture
def gates(monkeypatch):
    monkeypatch.syspath_prepend(str(FOLDER))
    from gpu_stages import gates

    return gates


U = torch.tensor([[1.0, 5.0, 3.0, 3.0, 3.0], [2.0, -0.0, 0.0, -7.0, float("nan")]])
VALUES, INDICES = torch.tensor([[5.0, 3.0, 3.0], [2.0, -0.0, float("nan")]]), torch.tensor([[1, 2, 3], [0, 1, 4]])


def test_the_k_largest_pass_with_ties_nan_and_minus_zero(gates):
    assert gates.selection_fault(U, VALUES, INDICES) == ""
    assert gates.recall(U, INDICES) == 1.0


@pytest.mark.parametrize(
    ("values", "indices", "fault"),
    [
        ([[5.0, 5.0, 5.0], [2.0, 0.0, float("nan")]], [[1, 1, 1], [0, 1, 4]], "indices that do not ascend"),
        ([[5.0, 5.0, 5.0], [2.0, 0.0, float("nan")]], [[1, 2, 3], [0, 1, 4]], "values that do not stand"),
        ([[5.0, 3.0, 3.0], [2.0, 0.0, float("nan")]], [[1, 2, 4], [0, 1, 4]], "not the lower index"),
        ([[1.0, 5.0, 3.0], [2.0, 0.0, float("nan")]], [[0, 1, 2], [0, 1, 4]], "not the k largest"),
        ([[5.0, 3.0, 3.0], [2.0, 0.0, -7.0]], [[1, 2, 3], [0, 1, 3]], "not the k largest"),  # NaN was dropped
        ([[5.0, 3.0, 3.0], [2.0, 0.0, float("nan")]], [[1, 2, 3], [0, 1, -12345]], "no latent"),  # not written
    ],
)
def test_a_wrong_selection_is_named(gates, values, indices, fault):
    assert fault in gates.selection_fault(U, torch.tensor(values), torch.tensor(indices))


def test_the_largest_chosen_k_times_has_no_recall_of_one(gates):
    assert gates.recall(U, torch.tensor([[1, 1, 1], [0, 1, 4]])) == pytest.approx(4 / 6)


def test_of_equals_any_may_be_taken_where_torch_chose(gates):
    values, indices = torch.tensor([[5.0, 3.0, 3.0]]), torch.tensor([[1, 2, 4]])
    assert gates.selection_fault(U[:1], values, indices, lower=False) == ""


def test_nothing_to_compare_is_not_the_same_bits(gates):
    assert gates.bits_differ(None, None) and gates.bits_differ([], [])
    nan = torch.tensor([float("nan"), 0.0])
    assert gates.bits_differ([nan], [nan.clone()]) == ""
    assert gates.bits_differ([nan], [torch.tensor([float("nan"), -0.0])])
    assert "tensor 1 of 2" in gates.bits_differ([nan, nan], [nan, nan + 1])


def test_a_repeat_that_differs_is_named(gates):
    results = [torch.ones(3), torch.ones(3), torch.tensor([1.0, 1.0, 1.0000001])]
    assert "at repeat 2" in gates.repeats_differ(results)
    assert gates.repeats_differ(results[:2]) == ""


def test_an_unwritten_output_is_infinitely_far(gates):
    with gates.poisoned():
        out = torch.empty(4)
        places = torch.empty(2, dtype=torch.int32)
    assert gates.distance(out, torch.ones(4)) == float("inf") and places.tolist() == [gates.ODD] * 2
    assert gates.distance(torch.ones(3), torch.ones(4)) == float("inf")
    assert gates.distance(torch.tensor([1.0, 1.1]), torch.tensor([1.0, 1.0])) == pytest.approx(0.1 / 2**0.5)
    assert not torch.empty(4).fill_(1).isnan().any()


def test_near_ties_are_left_out(gates):
    u = torch.tensor([[3.0, 2.0, 1.0], [3.0, 2.0, 2.0 - 1e-6], [3.0, 1.0, 1.0]])
    assert gates.clear_rows(u, 2).tolist() == [True, False, False]
    assert gates.clear_rows(u, 3).tolist() == [True] * 3


def test_states_that_do_not_move_alike_are_seen(gates, monkeypatch):
    from gpu_stages import learners

    shape = (256, 16, 1024, 4)
    assert learners.other_bits(shape, "cpu", steps=2) == ""
    found = learners.states
    monkeypatch.setattr(learners, "states", lambda learner: list(learner.dictionary.parameters()))
    assert "only 4 parameters and moments" in learners.other_bits(shape, "cpu", steps=1)
    calls: list[int] = []

    def stale(learner):
        calls.append(1)
        states = found(learner)
        states[-1] = states[-1] + len(calls)  # another moment in the second copy
        return states

    monkeypatch.setattr(learners, "states", stale)
    assert "other bits" in learners.other_bits(shape, "cpu", steps=1)


def test_gradients_are_compared_where_the_support_is_the_same(gates, monkeypatch):
    from gpu_stages import learners

    shape = (300, 16, 1024, 4)
    difference, left_out = learners.gradients_differ(shape, "cpu")
    assert difference < 1e-4 and left_out < 30
    x = learners.activations(shape, "cpu", seed=1)
    monkeypatch.setattr(learners, "activations", lambda *_, **__: torch.cat([x[:299], x[:1] * 0]))
    assert learners.gradients_differ(shape, "cpu")[1] > left_out  # u of a zero is the bias, zero everywhere: all tie


def test_a_dictionary_that_does_not_fit_is_named(gates, monkeypatch, tmp_path):
    import time

    from gpu_stages import large
    from gpu_stages.rows import Run, newest

    def full(*_, **__):
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 9 GiB.\nSee elsewhere")

    monkeypatch.setattr(large, "timed", full)
    large.measure(Run(tmp_path, "a", 6, time.monotonic() + 60, "cpu", True))
    said = "does not fit: CUDA out of memory. Tried to allocate 9 GiB."
    assert [row["wrong"] for row in newest(tmp_path)] == [said, said]
