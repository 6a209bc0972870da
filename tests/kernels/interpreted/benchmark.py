"""kernels/benchmarks/gpu.py on a CPU at a tiny shape: every operation passes its gate. The times mean nothing here."""

from __future__ import annotations

from itertools import islice
from pathlib import Path

import pytest

FOLDER = Path(__file__).parents[3] / "kernels" / "benchmarks"


@pytest.mark.parametrize("zipf", [True, False])
def test_every_operation_is_right_before_it_is_timed(zipf, monkeypatch):
    monkeypatch.syspath_prepend(str(FOLDER))
    import gpu
    import gpu_operations

    rows = list(gpu.measured(gpu.Shape(3, 16, 20, 3, zipf), "cpu", *gpu.ceilings("cpu", side=8)))
    assert [row["operation"] for row in rows] == gpu_operations.NAMES
    for row in rows:
        assert float(row["ms"]) > 0 and set(row) <= set(gpu.COLUMNS), row


def test_a_wrong_result_is_not_timed(monkeypatch):
    monkeypatch.syspath_prepend(str(FOLDER))
    import gpu
    from saekit_kernels.decode import triton as decode

    right = decode.value_gradients
    monkeypatch.setattr(decode, "value_gradients", lambda *arguments: 1.01 * right(*arguments))
    shown = islice(gpu.measured(gpu.Shape(3, 16, 20, 3, True), "cpu", 1.0, 1.0), 3)
    rows = {row["operation"]: row for row in shown}
    assert rows["value_gradients"]["ms"] == "wrong, so not timed" and "torch, ms" not in rows["value_gradients"]
    assert float(rows["decode_residual"]["ms"]) > 0


def test_without_a_gpu_it_says_so_and_ends_with_1(monkeypatch):
    monkeypatch.syspath_prepend(str(FOLDER))
    import gpu

    monkeypatch.setattr(gpu.torch.cuda, "is_available", lambda: False)
    with pytest.raises(SystemExit, match="only where torch finds a CUDA device"):
        gpu.main()
