"""Learners: who trains a dictionary. ``Method.learner`` names one: "gradient", "growing" or "fit"."""

from __future__ import annotations

from collections.abc import Mapping

from saekit.dictionaries import Method, Wiring
from saekit.training.learners.fit import FitLearner
from saekit.training.learners.gradient import GradientLearner
from saekit.training.learners.growing import GrowingLearner
from saekit.training.learners.learner import Learner
from saekit.training.settings import Settings

LEARNERS: dict[str, type[Learner]] = {"gradient": GradientLearner, "growing": GrowingLearner, "fit": FitLearner}

__all__ = ["LEARNERS", "FitLearner", "GradientLearner", "GrowingLearner", "Learner", "make_learner"]


def make_learner(method: Method, wiring: Wiring, widths: Mapping[str, int], settings: Settings) -> Learner:
    """The learner that the method names, with a dictionary of its own."""
    return LEARNERS[method.learner](method, wiring, widths, settings)
