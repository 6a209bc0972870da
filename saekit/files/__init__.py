"""Files and long work: written whole or not at all, described by manifests, stopped cleanly, how long it takes."""

from __future__ import annotations

from saekit.files.stopping import whole_step
from saekit.files.writing import NotWritten, append_lines, make_folder, remove_leftovers, write_atomically

__all__ = ["NotWritten", "append_lines", "make_folder", "remove_leftovers", "whole_step", "write_atomically"]
