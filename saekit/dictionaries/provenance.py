"""Provenance: what a dictionary was made from."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from importlib.metadata import PackageNotFoundError, version
from typing import TYPE_CHECKING, Any

from saekit.files.choices import unknown
from saekit.models import SeveralModels, describe_model, together

if TYPE_CHECKING:
    from transformer_lens.model_bridge import TransformerBridge


def installed_versions() -> dict[str, str]:
    """Versions of what the numbers depend on."""
    found = {}
    for package in ("saekit", "torch", "transformer-lens", "transformers"):
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            continue
    return found


@dataclass(frozen=True, repr=False)
class Provenance:
    """The model (name, hash, processing), the corpus (with its fingerprint), tokens, seed and versions.

    model, model_hash: of a dictionary over several models, by the names it was given them under.
    prepend_bos: whether the rows it was trained on began with BOS; None: as ``saekit.models.bos`` says of the model.
    made_on: of a view for another model (``sae.on(model)``), the name and hash of the model it was made on.

    latent_max: the "corpus" and the number of "tokens" that ``latent_max`` was measured on, the first of the corpus or
        array where nothing else is said; "which": "the last of training", where ``sk.train`` measured it on the tokens
        of a model that it was trained on in the end. Empty where it was not measured.
    """

    model: str | Mapping[str, str] | None = None
    model_hash: str | Mapping[str, str] | None = None
    processing: str = "none"
    corpus: Mapping[str, Any] | None = None
    tokens: int | None = None
    seed: int | None = None
    latent_max: Mapping[str, Any] = field(default_factory=dict)
    versions: Mapping[str, str] = field(default_factory=installed_versions)
    made_on: Mapping[str, Any] | None = None
    prepend_bos: bool | None = None

    def __repr__(self) -> str:
        """A line an entry that is known, hashes and fingerprints by their first 12 characters."""
        known = {
            "model": spoken_model(self.model, self.model_hash),
            "made on": self.made_on and spoken_model(self.made_on["model"], self.made_on["model_hash"]),
            "processing": None if self.processing == "none" else self.processing,
            "corpus": _corpus(self.corpus),
            "tokens": None if self.tokens is None else f"{self.tokens:,}",
            "seed": self.seed,
            "rows begin with BOS": self.prepend_bos,
            "latent_max": _measured(self.latent_max),
            "versions": ", ".join(f"{package} {number}" for package, number in self.versions.items()),
        }
        lines = [f"    {name}: {value}" for name, value in known.items() if value is not None]
        return "\n".join(["Provenance, whole in .to_json()", *lines])

    def to_json(self) -> dict[str, Any]:
        """Its fields by name, as they stand in a config.json."""
        return asdict(self)


def spoken_model(name: Any, model_hash: Any) -> str | None:
    """A model, or several by the names they were given under, each with the beginning of its hash."""
    if isinstance(name, Mapping):
        hashes = model_hash or {}
        return ", ".join(f"{given}: {spoken_model(own, hashes.get(given))}" for given, own in name.items())
    return None if name is None else name + (f" ({model_hash[:12]})" if model_hash else "")


def _corpus(corpus: Mapping[str, Any] | None) -> str | None:
    if not corpus:
        return None
    said = f"{corpus.get('name', '?')}/{corpus.get('split', '?')}"
    return said + (f" ({corpus['fingerprint'][:12]})" if corpus.get("fingerprint") else "")


def _measured(latent_max: Mapping[str, Any]) -> str | None:
    if not latent_max:
        return None
    which = latent_max.get("which")
    tokens = f"{latent_max.get('tokens') or 0:,} tokens" + (f", {which}" if which else "")
    return ", ".join(filter(None, [_corpus(latent_max.get("corpus")), tokens]))


def on_model(provenance: Provenance, model: TransformerBridge | SeveralModels) -> Provenance:
    """That of a view for this model: it stands where the one it was made on stood, which is kept beside it."""
    made_on = {"model": provenance.model, "model_hash": provenance.model_hash}
    described = describe_model(model)
    return replace(provenance, **described, made_on=provenance.made_on or made_on)


def check_model(dictionary: Any, model: Any) -> None:
    """Raise ValueError naming both hashes when a dictionary was made on another model. One over several models wants
    each of them under the name that its sites give it.

    A dictionary made from plain arrays (hash None) passes; its width is checked where it is used.
    """
    provenance: Provenance = dictionary.provenance
    names = [name for site in dictionary.wiring.sites if (name := site.model) is not None]
    if names or isinstance(model, Mapping):
        _check_names([*dict.fromkeys(names)], model)
        model = together(model)
        for name in model:
            made_on, ours = (_of(name, given) for given in (provenance.model, provenance.model_hash))
            _check_hash(made_on, ours, model.model_name[name], model.model_hash[name], f", as its model {name!r}")
    else:
        theirs = getattr(model, "model_hash", None)
        _check_hash(provenance.model, provenance.model_hash, getattr(model, "model_name", "?"), theirs)
    processing = getattr(model, "processing", "none")
    if provenance.model_hash is not None and provenance.processing != processing:
        raise ValueError(
            f"the dictionary was made under weight processing {provenance.processing!r}, the model is under "
            f"{processing!r}."
        )


def _check_names(names: list[str], model: Any) -> None:
    """names: of a dictionary's models; none where it is over one without a name."""
    if not names:
        raise ValueError(f"the dictionary was made on one model: give it alone, found {', '.join(model)} by name.")
    of, example = ", ".join(names), ", ".join(f"{name!r}: …" for name in names)
    if not isinstance(model, Mapping):
        raise ValueError(
            f"the dictionary was made on the models {of} together: it does not run on one of them alone, so give all "
            f"by name, {{{example}}}."
        )
    if missing := [name for name in names if name not in model]:
        raise ValueError(
            f"the dictionary was made on the models {of} together, and {missing[0]!r} is not among those given, "
            f"{', '.join(model) or 'none'}: give {{{example}}}."
        )
    if others := [name for name in model if name not in names]:
        raise ValueError(unknown("the dictionary was made on no model", others[0], names))


def _of(name: str, given: Any) -> Any:
    """What a provenance says of one of several models."""
    return given.get(name) if isinstance(given, Mapping) else None


def _check_hash(made_on: Any, ours: Any, name: Any, theirs: Any, place: str = "") -> None:
    if ours is not None and theirs is not None and ours != theirs:
        raise ValueError(
            f"the dictionary was made on {made_on!r} (model_hash {ours}){place}, this model is {name!r} (model_hash "
            f"{theirs}): load the model it was made on, or, where this one is a copy of equal shape, use sae.on(model)."
        )


def check_named(dictionary: Any) -> None:
    """Raise ValueError where a dictionary made from plain arrays stands at none of a model's sites yet."""
    names = [str(name) for name in dictionary.reads + dictionary.writes if "hook_" not in name]
    if names and dictionary.provenance.model_hash is None:
        raise ValueError(
            f"the model has no hook {names[0]!r}: this dictionary was made of arrays, so say where it stands, "
            "sae.on(model, site='blocks.2.hook_resid_post'), or give arrays in place of the model."
        )
