"""The widgets, which are a package of their own."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

import saekit_widgets
from saekit_widgets import TrainingMonitor

if TYPE_CHECKING:
    from saekit_widgets.protocols import FeatureSource

__all__ = ["FeatureBrowser", "TrainingMonitor"]


class FeatureBrowser(saekit_widgets.FeatureBrowser):
    """That of saekit_widgets, which takes the folder of a store too."""

    __doc__ = saekit_widgets.FeatureBrowser.__doc__  # what a notebook shows

    @staticmethod
    def _source(store: Any) -> FeatureSource:
        """A store, or the folder of one."""
        from saekit.features import FeatureStore  # here: the widgets need no DuckDB

        opened = FeatureStore(Path(store)) if isinstance(store, str | os.PathLike) else store
        return saekit_widgets.FeatureBrowser._source(opened)
