"""The method that CONTRIBUTING.md adds as its example: short, and it does what the page says."""

from __future__ import annotations

import re
import sys
import types
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

import saekit as sk

PAGE = Path(__file__).parents[2] / "CONTRIBUTING.md"
SETTINGS: dict[str, Any] = {"tokens": 20_000, "batch_size": 200, "seed": 1}


def block() -> str:
    (found,) = (
        part for part in re.findall(r"```python\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.S) if "Abs" in part
    )
    return found


@pytest.fixture(scope="module")
def method() -> Iterator[Any]:
    """AbsTopK as a module of somebody's own."""
    module = types.ModuleType("somebodys_own")
    sys.modules[module.__name__] = module
    exec(compile(block(), str(PAGE), "exec"), module.__dict__)
    yield module.AbsTopK
    sk.Method.known.pop("AbsTopK")
    del sys.modules[module.__name__]


def test_it_is_short() -> None:
    assert sum(bool(line.strip()) for line in block().splitlines()) <= 40


def test_it_trains_stops_resumes_and_loads(method: Any, tmp_path: Path, one_thread: None) -> None:
    generator = torch.Generator().manual_seed(0)
    on = torch.randn(2000, 24, generator=generator) * (torch.rand(2000, 24, generator=generator) < 0.1)
    x = on @ torch.randn(24, 12, generator=generator)

    def stop(progress: Any) -> None:
        if progress.tokens >= 10_000:
            raise KeyboardInterrupt

    whole = sk.train(x, None, method(d_sae=32, k=3), callback=lambda _: None, **SETTINGS)
    sae = whole.dictionary
    codes, u = sae.encode(x), sae.pre_activations(x)
    kept = u.abs().topk(3).indices
    assert torch.equal(codes.to_dense(), torch.zeros_like(u).scatter(1, kept, u.gather(1, kept)))
    assert bool((codes.values < 0).any()) and sae.signed and not sae.fused
    assert whole.records[-1]["explained_variance"] > 0.6 > whole.records[0]["explained_variance"]
    sk.train(x, None, method(d_sae=32, k=3), out=tmp_path, callback=stop, **SETTINGS)
    sk.train(x, None, method(d_sae=32, k=3), out=tmp_path, callback=lambda _: None, **SETTINGS)
    loaded = sk.load_dictionary(tmp_path / "dictionary")
    assert all(torch.equal(tensor, sae.state_dict()[name]) for name, tensor in loaded.state_dict().items())
    assert "AbsTopK" in [row["method"] for row in sk.methods().rows]
