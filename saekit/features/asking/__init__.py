"""Asking a store that was built; nothing here imports the builder."""

from __future__ import annotations
