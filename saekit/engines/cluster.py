"""Work on a Ray cluster (Ray Data): a worker over many items, their results in order. An optional extra: `saekit[ray]`.

Without a cluster (`ray.init(address=…)` before the call) one is started on this machine."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch

from saekit.engines.worker import Item, Worker

FAILED = "the worker's error: "


def on_cluster(items: Sequence[Item], make: Callable[[], Worker], workers: int) -> Iterator[Item]:
    """`make()` is called once on each of `workers` processes and what it gives on the items; results in order.

    Raises ModuleNotFoundError where Ray is not installed, RuntimeError with the cause where a worker fails."""
    try:
        import ray
    except ImportError as error:
        raise ModuleNotFoundError("engine='ray' needs Ray: pip install 'saekit[ray]'.") from error
    if not ray.is_initialized():
        ray.init(include_dashboard=False, log_to_driver=False, logging_level=logging.ERROR, num_cpus=workers + 1)
    ray.data.DataContext.get_current().enable_progress_bars = False
    rows = [{"number": number, **_arrays(item)} for number, item in enumerate(items)]
    numbered: Any = _Numbered  # Ray's types know functions only
    data = ray.data.from_items(rows, override_num_blocks=len(rows)).map(
        numbered, fn_constructor_kwargs={"make": make}, concurrency=workers, num_cpus=1
    )
    waiting: dict[int, Item] = {}
    wanted = 0
    try:
        for row in data.iter_rows():
            number = int(row.pop("number"))
            waiting[number] = _tensors(row)
            while wanted in waiting:
                yield waiting.pop(wanted)
                wanted += 1
    except ray.exceptions.RayError as error:
        lines = str(error).strip().splitlines()
        # Ray puts words of its own around the worker's, and which come last depends on where it failed.
        told = [line.partition(FAILED)[2] for line in lines if FAILED in line]
        cause = (told or lines or [type(error).__name__])[-1]
        raise RuntimeError(f"a worker of the cluster failed: {cause}") from error


class _Numbered:
    def __init__(self, make: Callable[[], Worker]) -> None:
        with _telling():
            self.worker = make()

    def __call__(self, row: dict[str, Any]) -> dict[str, Any]:
        number = row.pop("number")
        with _telling():
            return {"number": number, **_arrays(self.worker(_tensors(row)))}


def _arrays(item: Item) -> dict[str, np.ndarray]:
    """As Ray carries them, each named with its dtype: NumPy has no bfloat16, which float32 holds exactly."""
    named = {f"{str(x.dtype).removeprefix('torch.')}:{name}": x.cpu() for name, x in item.items()}
    return {name: (x.float() if x.dtype == torch.bfloat16 else x).numpy() for name, x in named.items()}


def _tensors(row: Mapping[str, np.ndarray]) -> Item:
    found: Item = {}
    for key, array in row.items():
        dtype, _, name = key.partition(":")
        found[name] = torch.from_numpy(array.copy()).to(getattr(torch, dtype))  # Ray's arrays cannot be written to
    return found


@contextmanager
def _telling() -> Iterator[None]:
    """An error of the worker in one line that can be found again among Ray's."""
    try:
        yield
    except Exception as error:
        raise RuntimeError(f"{FAILED}{type(error).__name__}: {' '.join(str(error).split())}") from None
