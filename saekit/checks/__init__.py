"""Checks under the curriculum's exercises: they say whether an answer is right and, if not, what probably went wrong."""

from __future__ import annotations

from saekit.checks.start_here import check_f1

__all__ = ["check_f1"]
