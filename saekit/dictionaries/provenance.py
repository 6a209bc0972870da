"""Provenance: what a dictionary was made from."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from importlib.metadata import PackageNotFoundError, version
from typing import TYPE_CHECKING, Any

from saekit.models import describe_model

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
            "model": _models(self.model, self.model_hash),
            "made on": self.made_on and _models(self.made_on["model"], self.made_on["model_hash"]),
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


def _models(name: Any, model_hash: Any) -> str | None:
    """A model, or several by the names they were given under, each with the beginning of its hash."""
    if isinstance(name, Mapping):
        hashes = model_hash or {}
        return ", ".join(f"{given}: {_models(own, hashes.get(given))}" for given, own in name.items())
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


def on_model(provenance: Provenance, model: TransformerBridge) -> Provenance:
    """That of a view for this model: it stands where the one it was made on stood, which is kept beside it."""
    made_on = {"model": provenance.model, "model_hash": provenance.model_hash}
    described = describe_model(model)
    return replace(provenance, **described, made_on=provenance.made_on or made_on)


def check_model(dictionary: Any, model: Any) -> None:
    """Raise ValueError naming both hashes when a dictionary was made on another model.

    A dictionary made from plain arrays (hash None) passes; its width is checked where it is used.
    """
    provenance: Provenance = dictionary.provenance
    ours, theirs = provenance.model_hash, getattr(model, "model_hash", None)
    if isinstance(ours, Mapping):
        raise ValueError(
            f"the dictionary was made on the models {', '.join(ours)} together: it does not run on one of them alone."
        )
    if ours is not None and theirs is not None and ours != theirs:
        raise ValueError(
            f"the dictionary was made on {provenance.model!r} (model_hash {ours}), this model is "
            f"{getattr(model, 'model_name', '?')!r} (model_hash {theirs}): load the model it was made on, or, where "
            "this one is a copy of equal shape, use sae.on(model)."
        )
    processing = getattr(model, "processing", "none")
    if ours is not None and provenance.processing != processing:
        raise ValueError(
            f"the dictionary was made under weight processing {provenance.processing!r}, the model is under "
            f"{processing!r}."
        )


def check_named(dictionary: Any) -> None:
    """Raise ValueError where a dictionary made from plain arrays stands at none of a model's sites yet."""
    names = [str(name) for name in dictionary.reads + dictionary.writes if "hook_" not in name]
    if names and dictionary.provenance.model_hash is None:
        raise ValueError(
            f"the model has no hook {names[0]!r}: this dictionary was made of arrays, so say where it stands, "
            "sae.on(model, site='blocks.2.hook_resid_post'), or give arrays in place of the model."
        )
