"""The processes that train together: one, unless torchrun started more. Without torch.distributed nothing here does
anything."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, distributed


def count() -> int:
    """How many there are."""
    return distributed.get_world_size() if distributed.is_available() and distributed.is_initialized() else 1


def number() -> int:
    """Of this process, from 0."""
    return distributed.get_rank() if count() > 1 else 0


def first() -> bool:
    """Is this the one that writes files and speaks?"""
    return number() == 0


def summed(tensor: Tensor) -> Tensor:
    """The sum over all processes, the same on each, in place of this one's tensor."""
    return _reduced(tensor, lambda t: distributed.all_reduce(t))


def mean(values: Tensor) -> Tensor:
    """The mean over the values of all processes, in float32 or better, without gradient."""
    values = values.detach().to(torch.promote_types(values.dtype, torch.float32))
    total, n = summed(torch.stack([values.sum(), values.new_tensor(values.numel())]))
    return total / n


def smallest(tensor: Tensor) -> Tensor:
    """The smallest over all processes, entry by entry, in place of this one's tensor."""
    return _reduced(tensor, lambda t: distributed.all_reduce(t, distributed.ReduceOp.MIN))


def largest(tensor: Tensor) -> Tensor:
    """The largest over all processes, entry by entry, in place of this one's tensor."""
    return _reduced(tensor, lambda t: distributed.all_reduce(t, distributed.ReduceOp.MAX))


def from_process(tensor: Tensor, source: int) -> Tensor:
    """What `source` holds; the others give a tensor of the same shape and dtype to be filled."""
    return _reduced(tensor, lambda t: distributed.broadcast(t, source))


def gathered(tensor: Tensor) -> Tensor:
    """The tensors of all processes, equal in shape, one after the other along the first dimension."""
    if count() == 1:
        return tensor
    there = _on_wire(tensor)
    parts = [torch.empty_like(there) for _ in range(count())]
    distributed.all_gather(parts, there)
    return torch.cat(parts).to(tensor.device)


def _reduced(tensor: Tensor, reduce: Callable[[Tensor], object]) -> Tensor:
    if count() == 1:
        return tensor
    there = _on_wire(tensor)
    reduce(there)
    return tensor if there is tensor else tensor.copy_(there)


def _on_wire(tensor: Tensor) -> Tensor:
    """NCCL takes tensors of a GPU only, gloo those of the CPU. One that lies on a GPU stays on that GPU."""
    if distributed.get_backend() != "nccl":
        return tensor.cpu().contiguous()
    return (tensor if tensor.is_cuda else tensor.cuda()).contiguous()
