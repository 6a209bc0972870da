"""Paths as people give them, made whole: a later change of the working folder does not change what they name."""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path
from typing import Any

from saekit.files.arguments import brief


def resolved(path: Any, name: str = "folder") -> Path:
    """The path from the root on, with `~` as the home folder. ``name``: the argument's.

    Raises TypeError for what is no path, ValueError for "" and for a NUL in it."""
    if not isinstance(path, str | os.PathLike) or isinstance(os.fspath(path), bytes):
        raise TypeError(f"{name} is a path, a str or a pathlib.Path, found {brief(path)}.")
    text = os.fspath(path)
    if not text or "\0" in text:
        raise ValueError(f"{name} is the name of a file or folder, found {text!r}.")
    given = Path(text)
    with suppress(RuntimeError):  # "~name" of a user whom the system does not have is a name like any other
        given = given.expanduser()
    return given.resolve()


def shown(path: Path) -> str:
    """A whole path as its reader knows it: from the working folder on where it lies in there, else from `~` or `/`."""
    for start, prefix in ((Path.cwd(), ""), (Path.home(), "~")):
        if path != start and path.is_relative_to(start):
            return os.path.join(prefix, path.relative_to(start))
    return str(path)
