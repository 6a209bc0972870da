"""Where a run's activations come from: a model and a corpus, several models, a store, arrays; and their stream."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from saekit.activations import (
    Activations,
    ActivationStore,
    ActivationStream,
    ArrayStream,
    ModuleActivations,
    RowStream,
    ShuffledStream,
    StoreStream,
)
from saekit.activations.arrays import as_array
from saekit.dictionaries import Method, Wiring
from saekit.files.choices import unknown
from saekit.files.roles import MODELS, role_of
from saekit.models import as_device, together

MADE_ON = ("model", "model_hash", "processing", "corpus")
Stream = ShuffledStream | ArrayStream | RowStream


@dataclass(frozen=True)
class Source:
    """model: as it was given, arrays as tensors by site (one without a site alone); the rest as in ``sk.train``.
    made_on: provenance of activations that were harvested."""

    model: Any
    corpus: Any = None
    labels: Any = None
    exclude: Sequence[str] | str = ()
    context: int | None = None
    made_on: Mapping[str, Any] | None = None

    @classmethod
    def of(cls, model: Any, corpus: Any, labels: Any, exclude: Sequence[str] | str, context: int | None) -> Source:
        """Check what ``sk.train`` was given. Raises ValueError for an empty mapping, and for exclude= or context=
        without text."""
        made_on = None
        if isinstance(model, str | os.PathLike):
            model = _at(Path(model).expanduser())
        if isinstance(model, Mapping) and not model:
            raise ValueError("activations of one's own are at least one array, found an empty mapping.")
        if role_of(model) == MODELS:
            together(model)  # says which of them is none
        if isinstance(model, Activations | ModuleActivations):
            made_on = getattr(model, "provenance", None)
            model = {site: model.flat(site) for site in model}
        if isinstance(model, Mapping) and not _models(model):
            model = {site: as_array(array, repr(str(site))) for site, array in model.items()}
        if not isinstance(model, Mapping | nn.Module | ActivationStore):
            model = as_array(model, "x, the first argument of train,")
        _check_models(model)
        source = cls(model, corpus, labels, exclude, context, made_on)
        if source.is_array and corpus is not None:
            raise ValueError("training on arrays takes no corpus: the fourth argument is for training on a model.")
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
            if isinstance(self.model, Tensor):
                if len(wiring.sites) > 1:
                    raise ValueError(f"one array is of one site, found {wiring}: give {{site: array}} for several.")
                return wiring
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

    def stream(
        self,
        wiring: Wiring,
        methods: Sequence[Method],
        batch_size: int,
        seed: int,
        multiple: float | None,
        device: torch.device,
        tokens: int,
    ) -> Stream:
        """device: the one that trains. tokens: of the run.

        Raises ValueError for a need that this source cannot meet."""
        needs = frozenset().union(*[method.needs for method in methods])
        for method in methods:
            self._check_needs(method)
        if self.labels is not None and "labels" not in needs:
            names = ", ".join(type(method).__name__ for method in methods)
            raise ValueError(f"labels were given, and {names} takes none: leave them out.")
        sites = list(wiring.sites)
        if self.is_array:
            picked: dict[str, Tensor] = {
                str(site): self.model[site] if isinstance(self.model, dict) else self.model for site in sites
            }
            made_on = {key: self.made_on[key] for key in MADE_ON if key in self.made_on} if self.made_on else None
            return ArrayStream(picked, batch_size, seed, None, self.labels, multiple, made_on, device)
        if isinstance(self.model, ActivationStore):
            of_store = StoreStream(self.model, sites, batch_size, seed, None, multiple, device)
            of_store.wanted = tokens
            return of_store
        rows = "rows" in needs
        if rows and not all("rows" in method.needs for method in methods):
            raise ValueError("a method that needs whole rows and one that takes single tokens do not share a pass.")
        settings: dict[str, Any] = {
            "max_norm_multiple": multiple,
            "device": device,
            "exclude": self.exclude,
            "context": self.context,
            "labels": self.labels,
        }
        kind = RowStream if rows else ActivationStream
        stream = kind(self.model, sites, self.corpus, batch_size, seed, gradients="gradients" in needs, **settings)
        if isinstance(stream, ActivationStream):
            stream.wanted = tokens
        return stream

    def _check_needs(self, method: Method) -> None:
        name, there = type(method).__name__, "an array" if self.is_array else "a store of activations"
        if not self.reads_text and (missing := sorted(method.needs - {"labels"})):
            raise ValueError(f"{name} needs {', '.join(missing)}, which {there} does not have: train it on a model.")
        if isinstance(self.model, ActivationStore) and "labels" in method.needs:
            raise ValueError(f"{name} needs labels, which a store of activations does not have: train it on a model.")
        if "labels" in method.needs and self.labels is None:
            raise ValueError(f"{name} needs labels: name the concepts, labels=['…'], or give an array of them.")


def _at(path: Path) -> Any:
    """The store of a folder; the path of an array. Raises ValueError for any other."""
    if (path / "manifest.json").is_file():
        return ActivationStore.open(path)
    if path.suffix != ".npy":
        raise ValueError(
            f"train takes a model, activations, or the path of a store of them or of a .npy file, found {str(path)!r}; "
            f"a model is loaded first, sk.load_model({str(path)!r})."
        )
    return path


def _check_models(model: Any) -> None:
    for each in model.values() if isinstance(model, Mapping) else [model]:
        if isinstance(each, nn.Module) and not hasattr(each, "hook_dict"):
            raise ValueError(
                f"train takes a model that sk.load_model gives, or activations, found a {type(each).__name__}; those "
                "of any module are given by sk.activations.harvest(module, inputs, names)."
            )


def _models(model: Any) -> bool:
    return isinstance(model, Mapping) and all(isinstance(each, nn.Module) for each in model.values())
