"""Checks of 00_start_here."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor


def check_f1(f1: Callable[[int, int, int], float]) -> str:
    """Is ``f1(hits, fired, positives)`` the harmonic mean of precision and recall? Praise, or a diagnosis raised."""
    hits, fired, positives = 30, 40, 120
    value = f1(hits, fired, positives)
    precision, recall = hits / fired, hits / positives
    if value is None:
        raise AssertionError("f1 returned None: did you forget to return the number?")
    if not hasattr(value, "__float__"):
        raise AssertionError(f"f1 should return a number, found {value!r}.")
    if math.isclose(value, precision):
        raise AssertionError(f"{value:.2f} is the precision alone: a latent that fires on one of its tokens would win.")
    if math.isclose(value, recall):
        raise AssertionError(f"{value:.2f} is the recall alone: a latent that fires everywhere would win.")
    if math.isclose(value, (precision + recall) / 2):
        raise AssertionError(f"{value:.2f} is the plain mean of precision and recall; F1 is their harmonic mean.")
    right = 2 * hits / (fired + positives)
    if not math.isclose(value, right, rel_tol=1e-6):
        raise AssertionError(f"f1({hits}, {fired}, {positives}) should be {right:.4f}, found {value:.4f}.")
    try:
        silent = [f1(0, 0, 10), f1(0, 0, 0)]
    except ZeroDivisionError:
        raise AssertionError("a latent that never fires should have F1 0: mind the division by zero.") from None
    for found in silent:
        if found != 0:
            raise AssertionError(f"a latent that never fires should have F1 0, found {found}.")
    return "Right: F1 is high only when a latent fires on the concept and on little else."


_WRONG = {  # what a latent was made to win by, and what to say of whoever picks it
    "silent": "it never fires, and 0 / 0 is not a number: a latent without a hit has F1 0",
    "one token": "it fires on one token of the concept and nowhere else: that is the best precision, with 99 % missed",
    "everywhere": "it fires on every token: that is the best recall (and most hits), and it says nothing",
    "shy": "it fires on 20 tokens, 19 of them in the concept, and misses 81: did you take the plain mean of precision "
    "and recall, or the share of tokens it is right about?",
    "opposite": "it fires wherever the concept is not: did you mix up positive and negative tokens?",
    "faithful": "",
}


def check_find_latent(find_latent: Callable[[Any, Any], Any]) -> str:
    """Does ``find_latent(fires, positive)`` pick the latent with the highest F1? Praise, or a diagnosis raised.

    fires: bool [n, d_sae]; positive: bool [n]. The latents are planted, each the best by another, wrong measure.
    """
    for seed in range(4):  # a lucky constant does not pass
        fires, positive, names = _planted(seed)
        picked = find_latent(fires.clone(), positive.clone())
        if picked is None:
            raise AssertionError("find_latent returned None: did you forget to return the number of the latent?")
        picked = int(picked)
        if not 0 <= picked < len(names):
            raise AssertionError(f"there are latents 0 to {len(names) - 1} and you picked {picked}: is it an index?")
        if names[picked] != "faithful":
            raise AssertionError(f"not latent {picked}: {_WRONG[names[picked]]}.")
    return "Right: neither the careful one nor the chatty one, but the one that keeps to the concept."


def _planted(seed: int) -> tuple[Tensor, Tensor, list[str]]:
    """1,000 tokens, 100 of them in the concept, and six latents in a seeded order."""
    generator = torch.Generator().manual_seed(seed)
    hits_and_misses = {
        "silent": (0, 0),
        "one token": (1, 0),
        "everywhere": (100, 900),
        "shy": (19, 1),
        "opposite": (0, 900),
        "faithful": (56, 44),
    }
    names = [list(hits_and_misses)[i] for i in torch.randperm(6, generator=generator).tolist()]
    fires = torch.zeros(1000, 6, dtype=torch.bool)
    for column, name in enumerate(names):
        hits, misses = hits_and_misses[name]
        fires[:hits, column] = True
        fires[100 : 100 + misses, column] = True
    order = torch.randperm(1000, generator=generator)
    return fires[order], (torch.arange(1000) < 100)[order], names
