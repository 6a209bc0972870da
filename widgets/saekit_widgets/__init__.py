"""saekit's widgets for JupyterLab and other front ends of anywidget. They know no torch and nothing else of saekit."""

from __future__ import annotations

from saekit_widgets.feature_browser import FeatureBrowser
from saekit_widgets.training_monitor import TrainingMonitor

__all__ = ["FeatureBrowser", "TrainingMonitor"]
