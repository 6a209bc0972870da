"""Every launcher up to the machine code, without a GPU: the arguments that it passes are bound, specialised, compiled.

The interpreter runs the kernels' arithmetic and the compile gate takes the types that it is told. In between, a launch
turns sizes of 1 into constants and finds what 16 divides, which only the real path does. It runs here for sm_90 with a
driver that knows the machine and starts nothing; torch.empty gives zeros, so that no launcher reads rubbish.
"""

from __future__ import annotations

import importlib.util
import os
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from torch import Tensor

SIZES = [(1, 1, 1, 1), (7, 1000, 48, 7), (300, 500, 200, 2), (2, 3000, 2304, 64)]  # n, d_sae, D, k


@pytest.fixture
def launched(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[list[str]]:
    """The names of the kernels that were compiled by launches, in order."""
    if sys.platform != "linux" or importlib.util.find_spec("triton") is None:
        pytest.skip("triton is not installed (it exists for Linux alone)")
    if os.environ.get("TRITON_INTERPRET", "0") != "0":
        pytest.skip("TRITON_INTERPRET is set, and interpreted kernels are not compiled")
    from triton.backends.compiler import GPUTarget
    from triton.runtime import driver
    from triton.runtime.jit import JITFunction

    class Nothing:
        def get_current_device(self) -> int:
            return 99  # what is compiled for it is never mistaken for a real device's

        def get_current_stream(self, device: int) -> int:
            return 0

        def get_current_target(self) -> GPUTarget:
            return GPUTarget("cuda", 90, 32)

    names: list[str] = []
    run, empty = JITFunction.run, torch.empty

    def compile_only(self, *arguments, **settings):
        names.append(self.__name__)
        return run(self, *arguments, **{**settings, "warmup": True})

    monkeypatch.setenv("TRITON_CACHE_DIR", str(tmp_path))
    monkeypatch.setattr(JITFunction, "run", compile_only)
    monkeypatch.setattr(torch, "empty", lambda *arguments, **settings: empty(*arguments, **settings).zero_())
    driver.set_active(Nothing())
    yield names
    driver.set_active(None)  # the next to ask finds the real one


def normal(*shape: int) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize(("n", "d_sae", "d", "k"), SIZES)
def test_every_launcher_compiles(launched: list[str], n: int, d_sae: int, d: int, k: int) -> None:
    from saekit_kernels.batch_top_k.triton import above, batch_top_k
    from saekit_kernels.decode.triton import decode_residual, decode_rows, value_gradients
    from saekit_kernels.latent_gradients.reference import AdamStep, Moments, Parameters
    from saekit_kernels.latent_gradients.triton import latent_sums, latent_update, weighted_rows
    from saekit_kernels.latent_index import by_latent
    from saekit_kernels.top_k.triton import top_k_rows

    indices = torch.randint(0, d_sae, (n, k), generator=torch.Generator().manual_seed(0), dtype=torch.int32)
    if n > 128:
        indices[:, 0] = 3  # a hot latent
    indices, offsets, values = indices.view(-1), k * torch.arange(n + 1), normal(n * k)
    directions, x, u = normal(d_sae, d), normal(n, d), normal(n, d_sae)
    decode_rows(values, indices, offsets, directions)
    decode_residual(values, indices, offsets, directions.bfloat16(), directions[0], x.bfloat16())
    value_gradients(indices, offsets, directions, x)
    index = by_latent(indices, offsets, d_sae)
    weighted_rows(index, values, x)
    latent_sums(index, values)
    parameters = Parameters(directions, directions.clone(), normal(d_sae))
    latent_update(index, values, values, x, x, parameters, Moments.zeros(parameters), AdamStep(1, 1e-3))
    top_k_rows(u, k)
    top_k_rows(u.bfloat16(), k)
    batch_top_k(u, n * k)
    above(u.bfloat16(), 0.5)
    kernels = {
        *("decode_kernel", "value_gradients_kernel", "weighted_rows_kernel", "latent_sums_kernel"),
        *("latent_update_kernel", "group_maxima_kernel", "collect_kernel", "select_kernel"),
        *("positive_maxima_kernel", "count_kernel"),
    }
    assert set(launched) - {"partials_kernel"} == kernels
    assert ("partials_kernel" in launched) == (n * k > 128)
