"""The widgets, which are a package of their own."""

from __future__ import annotations

from saekit_widgets import FeatureBrowser, TrainingMonitor

__all__ = ["FeatureBrowser", "TrainingMonitor"]
