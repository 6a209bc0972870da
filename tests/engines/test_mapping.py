"""mapped: in order and as asked for; what travels to a cluster comes back as it was."""

from __future__ import annotations

import pickle
from collections.abc import Callable

import pytest
import torch

from saekit.activations.model_worker import ModelWorker
from saekit.engines import Item, mapped
from saekit.engines.cluster import _arrays, _tensors


class Doubling:
    def __init__(self) -> None:
        self.calls = 0

    def __call__(self, item: Item) -> Item:
        self.calls += 1
        return {name: 2 * x for name, x in item.items()}

    def elsewhere(self) -> Callable[[], Doubling]:
        return Doubling


def test_here_the_worker_itself_works_when_asked() -> None:
    worker = Doubling()
    found = mapped([{"x": torch.tensor([float(n)])} for n in range(3)], worker)
    assert worker.calls == 0
    assert next(found)["x"].tolist() == [0.0] and worker.calls == 1
    assert [item["x"].item() for item in found] == [2.0, 4.0]


def test_an_engine_that_is_none() -> None:
    with pytest.raises(ValueError, match=r"engine cannot be 'rya'; the closest is 'ray' \(of local, ray\)"):
        mapped([], Doubling(), "rya")


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.float16, torch.bfloat16, torch.int64])
def test_tensors_travel_with_their_dtype(dtype: torch.dtype) -> None:
    x = torch.tensor([[1.5, -2.25], [2**30 + 1, 1e-3]], dtype=torch.float64).to(dtype)
    found = _tensors(_arrays({"blocks.0:z": x}))["blocks.0:z"]
    assert found.dtype == dtype and torch.equal(found, x)


def test_a_model_worker_is_made_elsewhere_from_plain_values(tiny_gpt2, monkeypatch) -> None:
    worker = ModelWorker(tiny_gpt2, ["blocks.0.hook_resid_post"])
    assert len(pickle.dumps(worker.elsewhere())) < 1_000, "the weights do not travel"
    monkeypatch.setattr(tiny_gpt2, "model_hash", None)
    with pytest.raises(ValueError, match="loads the model by its name in each worker: load it with"):
        worker.elsewhere()
