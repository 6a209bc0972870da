"""On-disk formats of dictionaries: one registry, one file a format, saekit's own (``native``) among them."""

from __future__ import annotations

from saekit.formats import native as native  # registers it
from saekit.formats.load import export, load_dictionary
from saekit.formats.registry import REGISTRY, Format, register

__all__ = ["REGISTRY", "Format", "export", "load_dictionary", "register"]


def __dir__() -> list[str]:
    return [*__all__]
