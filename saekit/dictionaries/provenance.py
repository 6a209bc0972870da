"""Provenance: what a dictionary was made from."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from importlib.metadata import PackageNotFoundError, version
from typing import Any


def installed_versions() -> dict[str, str]:
    """Versions of what the numbers depend on."""
    found = {}
    for package in ("saekit", "torch", "transformer-lens", "transformers"):
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            continue
    return found


@dataclass(frozen=True)
class Provenance:
    """The model (name, hash, processing), the corpus (with its fingerprint), tokens, seed and versions.

    latent_max: the corpus and the number of tokens that ``latent_max`` was measured on; empty where it was not.
    """

    model: str | None = None
    model_hash: str | None = None
    processing: str = "none"
    corpus: Mapping[str, Any] | None = None
    tokens: int | None = None
    seed: int | None = None
    latent_max: Mapping[str, Any] = field(default_factory=dict)
    versions: Mapping[str, str] = field(default_factory=installed_versions)

    def to_json(self) -> dict[str, Any]:
        return asdict(self)
