"""Reading a model on a Ray cluster: each worker loads it by its name and gives the activations that it has here."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from saekit.activations.tokens import TokenRows
from saekit.models import describe_model, forward, load_model

if TYPE_CHECKING:
    from transformer_lens.model_bridge import TransformerBridge


def read_parts(
    model: TransformerBridge,
    parts: Sequence[TokenRows],
    hooks: Sequence[str],
    engine: str,
    workers: int,
    padding: bool = False,
) -> Iterator[dict[str, Tensor]]:
    """What ``forward`` keeps on each part, here or (engine "ray") on a cluster. padding: what the model gives there is
    wanted too; otherwise anything may stand there."""
    lengths = [torch.full_like(part.lengths, part.tokens.shape[1]) if padding else part.lengths for part in parts]
    if engine == "ray":
        return read_with_ray(model, parts, lengths, hooks, workers)
    given = zip(parts, lengths, strict=True)
    return (forward(model, part.tokens, hooks, lengths=wanted).kept for part, wanted in given)


def check_engine(engine: str) -> None:
    if engine not in ("local", "ray"):
        raise ValueError(f"engine is 'local' or 'ray', found {engine!r}.")


def read_with_ray(
    model: TransformerBridge, parts: Sequence[TokenRows], lengths: Sequence[Tensor], hooks: Sequence[str], workers: int
) -> Iterator[dict[str, Tensor]]:
    """What ``forward`` keeps, on a Ray cluster, the results in order."""
    from saekit.engines.cluster import on_cluster

    described = describe_model(model)
    if described["model_hash"] is None:
        raise ValueError("engine='ray' loads the model by its name in each worker: load it with sk.load_model first.")
    dtype = model.cfg.dtype
    arguments = {
        "name": described["model"],
        "model_hash": described["model_hash"],
        "dtype": dtype,
        "hooks": list(hooks),
    }
    given = zip(parts, lengths, strict=True)
    items = [{"tokens": part.tokens.numpy(), "lengths": wanted.numpy()} for part, wanted in given]
    for item in on_cluster(items, RayReader, arguments, workers):
        yield {hook: torch.from_numpy(item[hook].copy()).to(dtype) for hook in hooks}


class RayReader:
    """What a worker of the cluster does: load the model once, read batches of tokens."""

    def __init__(self, name: str, model_hash: str, dtype: torch.dtype, hooks: list[str]) -> None:
        self.model, self.hooks = load_model(name, dtype=dtype), hooks
        if self.model.model_hash != model_hash:
            raise ValueError(f"the worker's {name!r} has model_hash {self.model.model_hash}, not {model_hash}.")

    def __call__(self, item: dict[str, Any]) -> dict[str, Any]:
        tokens, lengths = (torch.from_numpy(item[name].copy()) for name in ("tokens", "lengths"))
        read = forward(self.model, tokens, self.hooks, lengths=lengths).kept
        return {hook: h.float().cpu().numpy() for hook, h in read.items()}  # numpy has no bfloat16
