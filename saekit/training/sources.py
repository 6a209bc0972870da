"""Where a run's activations come from: a model and a corpus, several models, a store, arrays; and their stream."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from saekit.activations import ActivationStore, ActivationStream, ArrayStream, RowStream, ShuffledStream, StoreStream
from saekit.dictionaries import Method, Wiring
from saekit.files.choices import unknown
from saekit.models import as_device

Stream = ShuffledStream | ArrayStream | RowStream


@dataclass(frozen=True)
class Source:
    """model: as it was given, arrays as tensors; the rest as in ``sk.train``."""

    model: Any
    corpus: Any = None
    labels: Any = None
    exclude: Sequence[str] | str = ()
    context: int | None = None

    @classmethod
    def of(cls, model: Any, corpus: Any, labels: Any, exclude: Sequence[str] | str, context: int | None) -> Source:
        """Check what ``sk.train`` was given. Raises ValueError for an empty mapping, and for exclude= or context=
        without text."""
        if isinstance(model, np.ndarray):
            model = torch.from_numpy(model)
        if isinstance(model, Mapping) and not model:
            raise ValueError("activations of one's own are at least one array, found an empty mapping.")
        if isinstance(model, Mapping) and not _models(model):
            model = {site: torch.as_tensor(array) for site, array in model.items()}
        source = cls(model, corpus, labels, exclude, context)
        if not source.reads_text and (exclude or context is not None):
            raise ValueError("exclude= and context= are for training on a model: activations here have no tokens.")
        return source

    @property
    def is_array(self) -> bool:
        """Whether it is one array or several, without a model."""
        return isinstance(self.model, Tensor | dict) and not _models(self.model)

    @property
    def reads_text(self) -> bool:
        """Whether a model reads a corpus."""
        return not self.is_array and not isinstance(self.model, ActivationStore)

    def wiring(self, site: str | Sequence[str] | Wiring | None) -> Wiring:
        """Of ``site`` as it was given. Raises ValueError where there is none and none can be guessed."""
        if self.is_array:
            names = list(self.model) if isinstance(self.model, dict) else ["x"]
            wiring = site if isinstance(site, Wiring) else Wiring(names if site is None else site)
            if missing := [name for name in wiring.sites if name not in names]:
                raise ValueError(unknown("there is no array", missing[0], names))
            return wiring
        if isinstance(self.model, ActivationStore):
            if site is None or self.corpus is not None:
                raise ValueError("training on a store needs a site, and no corpus: it was built from one.")
        elif site is None or self.corpus is None:
            raise ValueError("training on a model needs a site and a corpus.")
        return site if isinstance(site, Wiring) else Wiring(site)

    def tokens(self, tokens: int | None) -> int:
        """How many tokens to train on: as given, else one pass. Raises ValueError where a corpus is read and none is
        given."""
        if tokens is not None:
            return tokens
        if self.reads_text:
            raise ValueError("say how many tokens to train on, for example tokens=1_000_000.")
        return len(next(iter(self.model.values()))) if isinstance(self.model, dict) else len(self.model)

    def device(self, device: str | torch.device | None) -> torch.device:
        """Where to train: as given, else where the model or the array lies."""
        if device is not None:
            return as_device(device)
        if isinstance(self.model, ActivationStore):
            return torch.device("cpu")
        one = next(iter(self.model.values())) if isinstance(self.model, dict) else self.model
        return one.device if isinstance(one, Tensor) else torch.device(str(one.cfg.device))

    def stream(self, wiring: Wiring, methods: Sequence[Method], batch_size: int, seed: int) -> Stream:
        """Raises ValueError for a need that this source cannot meet."""
        needs = frozenset().union(*[method.needs for method in methods])
        for method in methods:
            self._check_needs(method)
        if self.labels is not None and "labels" not in needs:
            names = ", ".join(type(method).__name__ for method in methods)
            raise ValueError(f"labels were given, and {names} takes none: leave them out.")
        sites = list(wiring.sites)
        if self.is_array:
            arrays = self.model if isinstance(self.model, dict) else {"x": self.model}
            return ArrayStream({site: arrays[site] for site in sites}, batch_size, seed, labels=self.labels)
        if isinstance(self.model, ActivationStore):
            return StoreStream(self.model, sites, batch_size, seed)
        rows = "rows" in needs
        if rows and not all("rows" in method.needs for method in methods):
            raise ValueError("a method that needs whole rows and one that takes single tokens do not share a pass.")
        settings: dict[str, Any] = {"exclude": self.exclude, "context": self.context, "labels": self.labels}
        kind = RowStream if rows else ActivationStream
        return kind(self.model, sites, self.corpus, batch_size, seed, gradients="gradients" in needs, **settings)

    def _check_needs(self, method: Method) -> None:
        name, there = type(method).__name__, "an array" if self.is_array else "a store of activations"
        if not self.reads_text and (missing := sorted(method.needs - {"labels"})):
            raise ValueError(f"{name} needs {', '.join(missing)}, which {there} does not have: train it on a model.")
        if isinstance(self.model, ActivationStore) and "labels" in method.needs:
            raise ValueError(f"{name} needs labels, which a store of activations does not have: train it on a model.")
        if "labels" in method.needs and self.labels is None:
            raise ValueError(f"{name} needs labels: name the concepts, labels=['…'], or give an array of them.")


def _models(model: Any) -> bool:
    return isinstance(model, Mapping) and all(isinstance(each, nn.Module) for each in model.values())
