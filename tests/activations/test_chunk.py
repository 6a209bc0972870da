"""Columns that grow, and where activations lie."""

from __future__ import annotations

import torch

from saekit.activations.chunk import Columns, place_of, to_device


def test_columns_grow_by_rows_and_keep_their_kind():
    filled = Columns(4, torch.device("cpu"))
    filled.add({})
    for start in range(0, 30, 3):
        x = torch.arange(start, start + 3)
        filled.add({"a": x[:, None].half(), "b": x[:, None].expand(3, 2).float()})
    found = filled.filled()
    assert found["a"].dtype == torch.float16 and found["b"].shape == (30, 2)
    assert found["a"][:, 0].tolist() == found["b"][:, 1].tolist() == list(range(30))
    roomy = Columns(32, torch.device("cpu"))
    roomy.add({"a": torch.zeros(16, 3)})
    begins = roomy.filled()["a"].data_ptr()
    roomy.add({"a": torch.ones(18, 3)})
    assert roomy.filled()["a"].data_ptr() == begins, "a thirty-second more than was asked for costs no copy"


def test_half_of_what_is_free_on_the_gpu_that_trains_else_the_cpu(monkeypatch):
    gpu, cpu = torch.device("cuda", 1), torch.device("cpu")
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda device: (100, 500) if device == gpu else (0, 0))
    assert [place_of(size, gpu) for size in (0, 50, 51)] == [gpu, gpu, cpu]
    assert place_of(0, cpu) == place_of(10**15, cpu) == place_of(1, torch.device("mps")) == cpu
    x = torch.ones(3)
    assert to_device(x, cpu) is x and to_device(x, torch.device("mps")) is x
