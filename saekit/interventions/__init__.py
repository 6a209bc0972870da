"""Interventions: edits of a running model through a dictionary or a vector, and dictionaries spliced into it."""

from __future__ import annotations

from saekit.interventions.comparing import BeforeAndAfter, before_and_after
from saekit.interventions.edit import Edit
from saekit.interventions.editing import edited
from saekit.interventions.splicing import spliced

__all__ = ["BeforeAndAfter", "Edit", "before_and_after", "edited", "spliced"]


def __dir__() -> list[str]:
    return [*__all__]
