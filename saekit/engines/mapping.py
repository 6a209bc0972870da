"""``mapped``: one worker over many items, in this process or on a cluster."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from saekit.engines.worker import Item, Worker
from saekit.files.choices import checked

ENGINES = ("local", "ray")


def check_engine(engine: str) -> str:
    """The engine, where there is one of that name. Raises ValueError naming those that there are."""
    return checked("engine", engine, ENGINES)


def mapped(items: Sequence[Item], worker: Worker, engine: str = "local", workers: int = 2) -> Iterator[Item]:
    """What the worker makes of each item, in order, as it is asked for.

    engine: "local": the worker itself, one item after another; "ray": its like on ``workers`` processes of a Ray
            cluster (see ``saekit.engines.cluster``).
    Raises ValueError for another engine, ModuleNotFoundError where Ray is not installed, RuntimeError with the cause
    where a worker of the cluster fails."""
    if check_engine(engine) == "local":
        return map(worker, items)
    from saekit.engines.cluster import on_cluster

    return on_cluster(items, worker.elsewhere(), workers)
