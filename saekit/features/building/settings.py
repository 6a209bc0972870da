"""What a store is built with, beside model, dictionary and corpus: it stands in the manifest."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from saekit.files.arguments import whole
from saekit.files.choices import checked

MOST = 2**61  # of a count or seed
LEAST = {
    "tokens": 1,
    "context": 1,
    "most_firings": 1,
    **dict.fromkeys(("loss_examples", "top", "per_band", "random", "seed"), 0),
}
LOSS_EFFECTS = ("opened", "all")


@dataclass(frozen=True)
class Settings:
    """The arguments of FeatureStore.build; see there. Raises ValueError for what one of them cannot be."""

    tokens: int | None
    top: int
    per_band: int
    random: int
    loss_examples: int
    loss_effects: str
    most_firings: int
    exclude: Sequence[str]
    context: int | None
    seed: int

    def __post_init__(self) -> None:
        for name, least in LEAST.items():
            if getattr(self, name) is None and name in ("tokens", "context"):
                continue
            count = whole(name, getattr(self, name), least)
            if count >= MOST:
                raise ValueError(f"{name} is a whole number below 2⁶¹, found {count}.")
            object.__setattr__(self, name, count)  # as a plain int, however it was given
        checked("loss_effects", self.loss_effects, LOSS_EFFECTS)

    @property
    def effects_now(self) -> bool:
        """Whether loss effects are measured while the store is built; else when a feature is opened."""
        return self.loss_effects == "all"

    def in_manifest(self) -> dict[str, Any]:
        """As the manifest has them, where per_band is called band."""
        found = asdict(self) | {"exclude": self.exclude if isinstance(self.exclude, str) else list(self.exclude)}
        return {"band" if name == "per_band" else name: value for name, value in found.items()}


def as_arguments(described: dict[str, Any]) -> dict[str, Any]:
    """A manifest with its settings by the names that FeatureStore.build gives them. Stores of before loss effects could
    wait have all of them; of before a context could be said, the model's."""
    settings = described.get("settings")
    if not isinstance(settings, dict):
        return described
    named = {"per_band" if name == "band" else name: value for name, value in settings.items()}
    return described | {"settings": {"loss_effects": "all", "context": None} | named}
