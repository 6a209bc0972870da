"""What must hold before a time is printed. Each gate is a function that says what is wrong; "" is right.

Outputs are poisoned, so that what a kernel leaves unwritten is seen; distances are norm-relative to an oracle in
float64, and what is not finite is infinitely far; selections are compared with torch.topk's values bit for bit.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor

ODD = -12_345
"""What an unwritten integer holds: no index, no count."""
NEAR_TIE = 1e-5
"""Of the k-th largest: rows whose next one is nearer may be chosen differently by two right ways."""
ROWS = 1024  # looked at together: a batch's keys at 65,536 latents are 2 GB


@contextmanager
def poisoned() -> Iterator[None]:
    """torch.empty and its like give NaN, integers ODD."""
    names = ("empty", "empty_like")
    before = {name: getattr(torch, name) for name in names}

    def poisoning(make: Any) -> Any:
        def made(*arguments: Any, **settings: Any) -> Tensor:
            new = make(*arguments, **settings)
            return new.fill_(float("nan") if new.is_floating_point() else 255 if new.dtype == torch.uint8 else ODD)

        return made

    for name, make in before.items():
        setattr(torch, name, poisoning(make))
    try:
        yield
    finally:
        for name, make in before.items():
            setattr(torch, name, make)


def distance(found: Tensor, wanted: Tensor) -> float:
    """‖found − wanted‖ / ‖wanted‖ in float64; ∞ where shapes differ or a number is not finite."""
    if found.shape != wanted.shape or not bool(torch.isfinite(found).all()):
        return float("inf")
    missed, size = float((found.double() - wanted.double()).norm()), float(wanted.double().norm())
    return missed / size if size else float("inf") if missed else 0.0


def tensors(out: Any) -> list[Tensor]:
    """All tensors of a nest of tuples and lists."""
    return [out] if isinstance(out, Tensor) else [] if out is None else [t for part in out for t in tensors(part)]


def bits_differ(once: Any, again: Any) -> str:
    """Whether two results hold other bits, NaN and −0 included. A result without a tensor has shown nothing."""
    first, second = tensors(once), tensors(again)
    if not first or len(first) != len(second):
        return f"{len(first)} and {len(second)} tensors to compare"
    for number, (one, other) in enumerate(zip(first, second, strict=True)):
        if one.shape != other.shape or one.dtype != other.dtype or not torch.equal(_bytes(one), _bytes(other)):
            return f"other bits in tensor {number} of {len(first)}"
    return ""


def _bytes(tensor: Tensor) -> Tensor:
    return tensor.detach().contiguous().view(-1).view(torch.uint8)


def repeats_differ(results: Iterable[Any]) -> str:
    """The first difference between a result and those after it: a race, or another order of a sum."""
    first: Any = None
    for number, result in enumerate(results):
        if number == 0:
            first = [tensor.clone() for tensor in tensors(result)]
        elif wrong := bits_differ(first, result):
            return f"{wrong}, at repeat {number}"
    return ""


def keys(u: Tensor) -> Tensor:
    """int32 in the order of the floats: −0 is 0, every NaN above ∞."""
    bits = torch.where(u == 0, 0.0, u.float()).view(torch.int32)
    return torch.where(u.isnan(), 0x7FFFFFFF, bits ^ ((bits >> 31) & 0x7FFFFFFF))


def selection_fault(u: Tensor, values: Tensor, indices: Tensor, relu: bool = False, lower: bool = True) -> str:
    """What is wrong with `values` and `indices` [n, k] as the k largest of each row of u [n, F].

    The values, sorted, are torch.topk's bit for bit (after a ReLU where ``relu``); indices ascend strictly and are
    where the values stand; of equals at the k-th the ``lower`` indices were taken.
    """
    (n, k), f = indices.shape, u.shape[1]
    if values.shape != (n, k) or n != len(u):
        return f"values of shape {tuple(values.shape)} and indices of shape {(n, k)} for {len(u)} rows"
    for start in range(0, n, ROWS):
        part = slice(start, start + ROWS)
        row, places = keys(u[part]), indices[part].long()
        if not bool(((places >= 0) & (places < f)).all()):
            return "an index that is no latent"
        if not bool((places.diff(dim=1) > 0).all()):
            return "indices that do not ascend"
        largest = row.topk(k, dim=1).values
        if not torch.equal(row.gather(1, places).sort(dim=1, descending=True).values, largest):
            return "numbers that are not the k largest"
        found, stored = keys(values[part].to(u.dtype)), row.gather(1, places)
        if not torch.equal(found, stored.clamp_min(0) if relu else stored):
            return "values that do not stand at their indices"
        least = largest[:, -1:]
        equal = row == least
        taken = equal & (equal.cumsum(1) <= (largest == least).sum(1, keepdim=True))
        if lower and not bool((((row > least) | taken).gather(1, places)).all()):
            return "of equals not the lower index"
    return ""


def recall(u: Tensor, indices: Tensor) -> float:
    """The share of the k largest of each row that was chosen, each counted once and equals taken for each other."""
    (n, k), hits = indices.shape, 0
    for start in range(0, n, ROWS):
        row, places = keys(u[start : start + ROWS]), indices[start : start + ROWS].long().sort(dim=1).values
        once = torch.ones_like(places, dtype=torch.bool)
        once[:, 1:] = places.diff(dim=1) != 0
        hits += int(((row.gather(1, places) >= row.topk(k, dim=1).values[:, -1:]) & once).sum())
    return hits / (n * k)


def clear_rows(u: Tensor, k: int, near: float = NEAR_TIE) -> Tensor:
    """[n] bool: rows whose k-th largest is further from the next than `near` times the row's largest size, so that two
    right ways choose the same support."""
    if k >= u.shape[1]:
        return torch.ones(len(u), dtype=torch.bool, device=u.device)
    top = u.topk(k + 1, dim=1).values
    return top[:, k - 1] - top[:, k] > near * u.abs().amax(1)
