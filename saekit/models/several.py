"""Several models that read the same tokens, in the place of one: a model and its fine-tuned copy, say.

A site of theirs is named with its model, ``tuned:blocks.2.hook_resid_post``. What turns text into tokens, and whatever
asks a model for its name and hash, takes them as it takes a model; ``model_at`` and ``by_model`` tell which of them a
site is of, and leave one model as it is.
"""

from __future__ import annotations

import copy
from collections.abc import Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, Any, NamedTuple

from saekit.models.site import Site

if TYPE_CHECKING:
    from transformer_lens.model_bridge import TransformerBridge


class SeveralModels(Mapping[str, "TransformerBridge"]):
    """Models by name. Text becomes tokens by the tokenizer of the first, in rows that every one of them has room for.

    Raises TypeError for what is no model, ValueError for none at all and for different tokenizers.
    """

    def __init__(self, models: Mapping[str, TransformerBridge]) -> None:
        """models: by the names that sites have before their colon."""
        self.by_name = dict(models)
        if not self.by_name:
            raise ValueError("several models are at least one by its name, found an empty mapping.")
        for name, model in self.by_name.items():
            if not hasattr(model, "hook_dict"):
                raise TypeError(f"{name!r} is a model, as sk.load_model gives it, found a {type(model).__name__}.")
        _check_tokenizers(self.by_name)
        self.first = next(iter(self.by_name.values()))
        self.tokenizer, self.begin = self.first.tokenizer, getattr(self.first, "begin", None)
        self.cfg = copy.copy(self.first.cfg)
        for room in ("n_ctx", "d_vocab"):
            setattr(self.cfg, room, min(getattr(model.cfg, room) for model in self.by_name.values()))

    def __getitem__(self, name: str) -> TransformerBridge:
        return self.by_name[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self.by_name)

    def __len__(self) -> int:
        return len(self.by_name)

    @property
    def model_name(self) -> dict[str, str]:
        """Of each."""
        return {name: getattr(one, "model_name", None) or one.cfg.model_name for name, one in self.items()}

    @property
    def model_hash(self) -> dict[str, str | None]:
        """Of each; None where it was not loaded here."""
        return {name: getattr(one, "model_hash", None) for name, one in self.items()}

    @property
    def processing(self) -> str:
        """Of all; where they differ every one there is."""
        return ", ".join(sorted({getattr(one, "processing", "none") for one in self.values()}))


class Own(NamedTuple):
    """One of the models, its name ("" where there is one without), and its hooks by the names of the sites."""

    name: str
    model: Any
    hooks: dict[str, str]


def together(model: Any) -> Any:
    """Models given by their names as ``SeveralModels``; anything else, one model above all, as it is."""
    return SeveralModels(model) if isinstance(model, Mapping) and not isinstance(model, SeveralModels) else model


def model_at(model: TransformerBridge | SeveralModels, site: str) -> tuple[Any, Site]:
    """The model that a site is of, and the hook there. Raises ValueError for a name that no model has, or for none."""
    site = Site(site)
    if isinstance(model, SeveralModels):
        if site.model is None:
            raise ValueError(
                f"of several models {', '.join(model)} a site is named with its own: '{next(iter(model))}:{site}', "
                f"found {str(site)!r}."
            )
        if site.model not in model:
            raise ValueError(f"{str(site)!r} is a site of the model {site.model!r}; there is {', '.join(model)}.")
        return model[site.model], Site(site.hook)
    if site.model is not None:
        raise ValueError(f"{str(site)!r} is a site of the model {site.model!r}; there is one, without a name.")
    return model, site


def by_model(model: TransformerBridge | SeveralModels, sites: Iterable[str]) -> list[Own]:
    """The models that some sites are of, in the order of these, each with its own of them.

    model: one, whose sites these are all, or several by their names."""
    found: dict[str, Own] = {}
    for site in sites:
        name, (own, hook) = Site(site).model or "", model_at(model, site)
        found.setdefault(name, Own(name, own, {})).hooks[site] = hook
    return list(found.values())


def _check_tokenizers(models: Mapping[str, Any]) -> None:
    names = list(models)
    first = models[names[0]].tokenizer
    for name in names[1:]:
        if models[name].tokenizer.get_vocab() != first.get_vocab():
            raise ValueError(
                f"the models {names[0]!r} and {name!r} have different tokenizers: they read no same tokens."
            )
