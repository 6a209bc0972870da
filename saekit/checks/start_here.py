"""Checks of 00_start_here."""

from __future__ import annotations

import math
from collections.abc import Callable


def check_f1(f1: Callable[[int, int, int], float]) -> str:
    """Is ``f1(hits, fired, positives)`` the harmonic mean of precision and recall? Praise, or a diagnosis raised."""
    hits, fired, positives = 30, 40, 120
    value = f1(hits, fired, positives)
    precision, recall = hits / fired, hits / positives
    if value is None:
        raise AssertionError("f1 returned None: did you forget to return the number?")
    if math.isclose(value, precision):
        raise AssertionError(f"{value:.2f} is the precision alone: a latent that fires on one of its tokens would win.")
    if math.isclose(value, recall):
        raise AssertionError(f"{value:.2f} is the recall alone: a latent that fires everywhere would win.")
    if math.isclose(value, (precision + recall) / 2):
        raise AssertionError(f"{value:.2f} is the plain mean of precision and recall; F1 is their harmonic mean.")
    right = 2 * hits / (fired + positives)
    if not math.isclose(value, right, rel_tol=1e-6):
        raise AssertionError(f"f1({hits}, {fired}, {positives}) should be {right:.4f}, found {value:.4f}.")
    if f1(0, 0, 10) != 0:
        raise AssertionError("a latent that never fires should have F1 0: mind the division by zero.")
    return "Right: F1 is high only when a latent fires on the concept and on little else."
