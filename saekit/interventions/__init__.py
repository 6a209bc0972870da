"""Interventions: edits of a running model through a dictionary or a vector."""

from __future__ import annotations

from saekit.interventions.edit import Edit
from saekit.interventions.edited import edited

__all__ = ["Edit", "edited"]
