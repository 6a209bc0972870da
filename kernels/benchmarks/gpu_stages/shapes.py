"""The shapes (N tokens, D wide, F latents, k of them) that are measured, and tiny ones for a dry run."""

from __future__ import annotations

Shape = tuple[int, int, int, int]

R1: Shape = (8192, 2304, 65536, 64)
SMALL: Shape = (4096, 768, 24576, 32)
WIDE: Shape = (8192, 4096, 131_072, 64)
MILLION: Shape = (8192, 2304, 1_048_576, 64)
TINY: Shape = (256, 16, 1024, 4)  # a chunk of it is still worth its own operation
TINIEST: Shape = (3, 16, 20, 3)  # for the interpreter
DEAD = (0.0, 0.05, 0.2)
"""Shares of the latents that are held dead, for AuxK."""


def named(shape: Shape) -> str:
    return ", ".join(map(str, shape))
