"""On-disk formats, and load_dictionary, which finds the right one."""

from __future__ import annotations

from saekit.formats.load import load_dictionary

__all__ = ["load_dictionary"]
