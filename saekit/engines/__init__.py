"""Where work runs: this process, or several that torchrun starts."""

from __future__ import annotations
