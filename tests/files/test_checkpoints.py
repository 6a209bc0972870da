"""Checkpoints: what is written is read, tensors in the same memory too, and writing copies no others."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
import torch

from saekit.files.checkpoints import read_tensors, without_sharing, write_tensors


def test_what_is_written_is_read(tmp_path: Path) -> None:
    file, base = tmp_path / "a.safetensors", torch.arange(12.0).view(3, 4)
    written = {
        "whole": base,
        "again": base,  # the same memory
        "rows": base[1:],  # a part of it
        "turned": base.T,  # not contiguous
        "parameter": torch.nn.Parameter(torch.ones(2, dtype=torch.bfloat16)),
        "scalar": torch.tensor(7),
        "none": torch.zeros(0, 3),
        "none_either": torch.zeros(0, 3),
    }
    write_tensors(file, written, {"step": 3, "scales": {"x": 0.1}})
    found, numbers = read_tensors(file)
    assert numbers == {"step": 3, "scales": {"x": 0.1}} and set(found) == set(written)
    for name, tensor in written.items():
        assert found[name].dtype == tensor.dtype and torch.equal(found[name], tensor.detach()), name


def test_only_what_shares_memory_is_copied() -> None:
    base, other = torch.arange(12.0).view(3, 4), torch.zeros(5)
    found = without_sharing({"whole": base, "again": base, "rows": base[1:], "turned": base.T, "other": other})
    same = {name: tensor.data_ptr() in (base.data_ptr(), other.data_ptr()) for name, tensor in found.items()}
    assert same == {"whole": True, "again": False, "rows": False, "turned": False, "other": True}
    assert len({tensor.untyped_storage().data_ptr() for tensor in found.values()}) == len(found)


MEASURED = """
import resource, sys
from pathlib import Path
import torch
from saekit.files.checkpoints import write_tensors

write_tensors(Path(sys.argv[1]) / "small.safetensors", {"x": torch.zeros(1)}, {})
tensors = {str(number): torch.ones(2_000_000) for number in range(25)}  # 200 MB
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
write_tensors(Path(sys.argv[1]) / "large.safetensors", tensors, {})
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)
"""


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="elsewhere the unit of ru_maxrss is another")
def test_writing_takes_no_second_copy_of_everything(tmp_path: Path) -> None:
    """Peak memory of a process of its own, in kB: 200 MB of tensors are written in less than 30 MB beside them."""
    command = [sys.executable, "-c", MEASURED, str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert int(done.stdout) < 30_000 < (tmp_path / "large.safetensors").stat().st_size / 1000
