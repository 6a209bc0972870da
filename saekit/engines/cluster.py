"""Work on a Ray cluster (Ray Data): a class over many items, their results in order. An optional extra: `saekit[ray]`.

Without a cluster (`ray.init(address=…)` before the call) one is started on this machine."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, Protocol

import numpy as np

Item = dict[str, np.ndarray]
FAILED = "the worker's error: "


class Worker(Protocol):
    def __call__(self, item: Item) -> Item: ...


def on_cluster(items: Sequence[Item], worker: type[Worker], arguments: dict[str, Any], workers: int) -> Iterator[Item]:
    """`worker(**arguments)` is made once on each of `workers` processes and called on the items; results in order.

    Raises ModuleNotFoundError where Ray is not installed, RuntimeError with the cause where a worker fails."""
    try:
        import ray
    except ImportError as error:
        raise ModuleNotFoundError("engine='ray' needs Ray: pip install 'saekit[ray]'.") from error
    if not ray.is_initialized():
        ray.init(include_dashboard=False, log_to_driver=False, logging_level=logging.ERROR, num_cpus=workers + 1)
    ray.data.DataContext.get_current().enable_progress_bars = False
    rows = [{"number": number, **item} for number, item in enumerate(items)]
    numbered: Any = _Numbered  # Ray's types know functions only
    data = ray.data.from_items(rows, override_num_blocks=len(rows)).map(
        numbered,
        fn_constructor_kwargs={"worker": worker, "arguments": arguments},
        concurrency=workers,
        num_cpus=1,
    )
    waiting: dict[int, Item] = {}
    wanted = 0
    try:
        for row in data.iter_rows():
            waiting[int(row.pop("number"))] = row
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
    def __init__(self, worker: type[Worker], arguments: dict[str, Any]) -> None:
        with _telling():
            self.worker = worker(**arguments)

    def __call__(self, row: dict[str, Any]) -> dict[str, Any]:
        number = row.pop("number")
        with _telling():
            return {"number": number, **self.worker(row)}


@contextmanager
def _telling() -> Iterator[None]:
    """An error of the worker in one line that can be found again among Ray's."""
    try:
        yield
    except Exception as error:
        raise RuntimeError(f"{FAILED}{type(error).__name__}: {' '.join(str(error).split())}") from None
