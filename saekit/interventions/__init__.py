"""Interventions: edits of a running model through a dictionary or a vector, and dictionaries spliced into it."""

from __future__ import annotations

from saekit.interventions.budget import Budget, cost, strength_at
from saekit.interventions.comparing import BeforeAndAfter, before_and_after
from saekit.interventions.edit import Edit
from saekit.interventions.editing import edited
from saekit.interventions.effects import Effects, latent_effects
from saekit.interventions.splicing import spliced

__all__ = [
    "BeforeAndAfter",
    "Budget",
    "Edit",
    "Effects",
    "before_and_after",
    "cost",
    "edited",
    "latent_effects",
    "spliced",
    "strength_at",
]


def __dir__() -> list[str]:
    return [*__all__]
