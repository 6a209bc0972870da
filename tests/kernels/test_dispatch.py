"""Which implementation runs: the device decides, a choice is kept to or refused."""

from __future__ import annotations

import subprocess
import sys

import pytest
import torch
from saekit_kernels import dispatch, encode_top_k, using

X = torch.ones(2, 3)


class Elsewhere:
    """A tensor's device and dtype, as far as dispatch looks."""

    def __init__(self, kind: str) -> None:
        self.device, self.dtype = torch.device(kind), torch.float32


def test_the_device_decides(monkeypatch):
    monkeypatch.setattr(dispatch, "_triton", lambda: True)
    assert [dispatch.path_for(Elsewhere(kind)) for kind in ("cpu", "cuda", "mps")] == ["cpu", "triton", "reference"]


def test_a_gpu_without_triton_falls_back_and_says_so_once(monkeypatch):
    monkeypatch.setattr(dispatch, "_triton", lambda: False)
    dispatch._without_triton.cache_clear()
    with pytest.warns(UserWarning, match="Triton is not installed: the operations on this GPU run in plain torch"):
        assert dispatch.path_for(Elsewhere("cuda")) == "reference"
    assert dispatch.path_for(Elsewhere("cuda")) == "reference"  # a second warning would be an error
    with using("triton"), pytest.raises(ValueError, match="asked for, but Triton is not installed: use 'auto'"):
        dispatch.path_for(Elsewhere("cuda"))


def test_choices_nest_and_end():
    with using("reference"):
        assert dispatch.path_for(X) == "reference"
        with using("auto"):
            assert dispatch.path_for(X) == "reference", "auto leaves what was chosen outside"
        with using("cpu"):
            assert dispatch.path_for(X) == "cpu"
        assert dispatch.path_for(X) == "reference"
    assert dispatch.path_for(X) == "cpu"


def test_a_choice_that_cannot_be_kept():
    with using("triton"), pytest.raises(ValueError, match="the tensors are on cpu, not on a GPU: use 'auto'"):
        encode_top_k(X, torch.ones(4, 3), torch.ones(4), 1)
    with using("cpu"), pytest.raises(ValueError, match="kernels='cpu' was asked for, but the tensors are on cuda"):
        dispatch.path_for(Elsewhere("cuda"))
    with (
        pytest.raises(ValueError, match="kernels is 'auto', 'triton', 'cpu' or 'reference', found 'fast'"),
        using("fast"),
    ):
        pass


@pytest.mark.parametrize("value", ["reference", "cpu", "fast"])
def test_the_variable(value, monkeypatch):
    monkeypatch.setattr(dispatch, "VARIABLE", value)
    if value == "fast":
        with pytest.raises(ValueError, match=r"SAEKIT_KERNELS is 'auto', .* or 'interpret', found 'fast'"):
            dispatch.path_for(X)
    else:
        assert dispatch.path_for(X) == value
        with using("cpu"):
            assert dispatch.path_for(X) == "cpu", "an argument says more than the variable"


def test_triton_is_not_imported_on_a_cpu():
    code = (
        "import sys, torch; from saekit_kernels import encode_top_k, decode; "
        "w = torch.ones(4, 3); c = encode_top_k(w, w, torch.ones(4), 2); decode(c, w).sum(); "
        "sys.exit('triton' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
