"""Gradients of a dictionary's rows from its sparse codes, and the optimiser's step fused with them."""

from __future__ import annotations
