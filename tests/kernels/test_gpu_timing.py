"""What the GPU benchmark does only where there is a GPU, on a pretended one: clock, memory, waits, card, profiler."""

from __future__ import annotations

import warnings
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

FOLDER = Path(__file__).parents[2] / "kernels" / "benchmarks"


@pytest.fixture
def pretended(monkeypatch):
    """A device whose clock goes on by what `spend` is given, and which counts what `take` is given."""
    monkeypatch.syspath_prepend(str(FOLDER))
    device = SimpleNamespace(clock=0.0, held=100, most=0)

    class Event:
        def __init__(self, enable_timing: bool) -> None:
            assert enable_timing

        def record(self) -> None:
            self.at = device.clock

        def elapsed_time(self, end) -> float:
            return end.at - self.at

    fakes = {
        "Event": Event,
        "synchronize": lambda: None,
        "empty_cache": lambda: None,
        "memory_allocated": lambda: device.held,
        "max_memory_allocated": lambda: device.most,
        "reset_peak_memory_stats": lambda: setattr(device, "most", device.held),
        "set_sync_debug_mode": lambda mode: None,
    }
    for name, fake in fakes.items():
        monkeypatch.setattr(torch.cuda, name, fake)
    return device


def test_the_device_s_clock_is_read_after_the_warm_up(pretended):
    from gpu_stages.timing import median, step_times

    calls = []

    def step():
        calls.append(1)
        pretended.clock += 50.0 if len(calls) <= 3 else 2.0 + len(calls)

    times = step_times(step, "cuda", repeats=4)
    assert times == [6.0, 7.0, 8.0, 9.0] and median(times) == 7.0


def test_memory_beyond_what_was_there(pretended):
    from gpu_stages.timing import peak_mib

    assert peak_mib(lambda: setattr(pretended, "most", 100 + 3 * 2**20), "cuda") == 3.0


def test_only_waits_for_the_device_are_counted(pretended):
    from gpu_stages.step import syncs

    def step():
        for text in ("called a synchronizing CUDA operation", "something is deprecated"):
            for _ in range(2):
                warnings.warn(text, stacklevel=1)

    assert syncs(step) == 2


def test_the_card_is_described(pretended, monkeypatch):
    from gpu_stages import machine

    card = SimpleNamespace(name="a card", multi_processor_count=132, total_memory=80 * 2**30, L2_cache_size=50 * 2**20)
    monkeypatch.setattr(torch.cuda, "get_device_properties", lambda number: card)
    monkeypatch.setattr(machine, "driver", lambda: "580, 1980 MHz")
    found = machine.described("cuda")
    assert (found["device"], found["GiB"], found["L2 MiB"], found["driver"]) == ("a card", 80.0, 50.0, "580, 1980 MHz")


def test_the_floor_of_a_step_by_hand(pretended):
    from gpu_stages.timing import Ceilings, step_floor

    # 2 N D F = 2 · 8192 · 2304 · 65536 operations; (2 · 65536 · 2304 + 52 · 65536 · 2304) bytes
    assert step_floor((8192, 2304, 65536, 64), Ceilings(790e12, 4.3e12)) == pytest.approx(3.132 + 1.896, abs=2e-3)
    assert step_floor((1, 10, 1000, 2), Ceilings(1e30, 1.0)) == pytest.approx(1e3 * (2 * 2 * 10 + 52 * 1000 * 10))


NCU = """==PROF== Connected to process 7
"ID","Process ID","Kernel Name","Context","Metric Name","Metric Unit","Metric Value"
"0","7","select_kernel(int, int)","1","dram__bytes.sum","Mbyte","1.50"
"0","7","select_kernel(int, int)","1","lts__t_sector_hit_rate.pct","%","61.2"
"1","7","decode_kernel","1","dram__bytes.sum","Gbyte","4.91"
"1","7","decode_kernel","1","gpu__time_duration.sum","us","9"
"""


def test_the_profiler_s_numbers_are_read_by_kernel(pretended):
    from gpu_stages.tools import of_csv

    assert of_csv(NCU) == {
        "select_kernel": {"DRAM bytes": "1.50 Mbyte", "L2 hits": "61.2 %"},
        "decode_kernel": {"DRAM bytes": "4.91 Gbyte"},
    }


def test_the_ceilings_are_those_of_the_same_run(pretended, tmp_path):
    from gpu_stages.rows import Run, append
    from gpu_stages.timing import ceilings

    for run, flops in (("before", 1.0), ("now", 7.0)):
        about = {"run": run, "stage": 0, "row": "ceilings", "shape": "", "case": ""}
        append(tmp_path, {**about, "bf16 TFLOP/s": flops, "copy TB/s": 2.0})
    assert ceilings(Run(tmp_path, "now", 2, 0.0, "cuda", False)) == (7e12, 2e12)
