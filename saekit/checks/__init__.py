"""Checks under the curriculum's exercises: is an answer right and, if not, what went wrong?

A file a notebook, and one for what they quote. Every function of theirs whose name begins with `check_` is found here.
"""

from __future__ import annotations

from importlib import import_module
from pkgutil import iter_modules
from typing import Any

from saekit.checks.answering import answered

__all__: list[str] = []

for _file in iter_modules(__path__):
    for _name, _check in vars(import_module(f"{__name__}.{_file.name}")).items():
        if _name.startswith("check_") and _check.__module__ == f"{__name__}.{_file.name}":
            if _name in __all__:
                raise ImportError(f"{_name} stands in two files of saekit.checks: give one of them another name.")
            globals()[_name] = answered(_check)
            __all__.append(_name)


def __getattr__(name: str) -> Any:
    """What is no check, as a sentence; for type checkers, that there are names here."""
    raise AttributeError(f"saekit.checks has no {name!r}; it has {', '.join(sorted(__all__))}.")


def __dir__() -> list[str]:
    return [*__all__]
