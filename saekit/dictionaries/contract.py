"""Dictionary: the contract that every sparse dictionary keeps, whoever wrote it.

A dictionary reads activations at the sites ``reads``, codes them sparsely, and writes reconstructions at ``writes``
(the same site for an SAE; another for a transcoder; several for a crosscoder). Its directions are row-major:
``encoder_directions`` [d_sae, d_in] and ``decoder_directions`` [d_sae, d_out]. With several sites the last dimension
runs over the sites one after the other, and tensors go in and out as mappings from site.

A method of one's own: a dataclass that inherits DictionaryConfiguration and says ``build``, and a Dictionary that says
``encode``. It then trains, saves, loads and edits like the others.
"""

from __future__ import annotations

import difflib
from abc import abstractmethod
from collections.abc import Mapping
from dataclasses import MISSING, asdict, dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import torch
from jaxtyping import Float
from saekit_kernels import SparseCodes, decode
from torch import Tensor, nn

from saekit.dictionaries.provenance import Provenance

if TYPE_CHECKING:
    from transformer_lens.model_bridge import TransformerBridge

Activation = Tensor | Mapping[str, Tensor]


@dataclass(frozen=True)
class DictionaryConfiguration:
    """How a dictionary is built and trained; a frozen dataclass named after its method. Subclasses register by name."""

    d_sae: int
    """number of latents"""

    objective: ClassVar[str] = "reconstruction"
    """the loss it is trained with, by its name in saekit.training.objectives"""
    known: ClassVar[dict[str, type[DictionaryConfiguration]]] = {}

    def __init_subclass__(cls, **keywords: Any) -> None:
        super().__init_subclass__(**keywords)
        before = DictionaryConfiguration.known.get(cls.__name__)
        if before is not None and before.__module__.startswith("saekit.") and before.__module__ != cls.__module__:
            raise TypeError(f"saekit has a method {cls.__name__!r}, whose files would be read as yours: rename yours.")
        DictionaryConfiguration.known[cls.__name__] = cls

    @abstractmethod
    def build(self, reads: Mapping[str, int], writes: Mapping[str, int]) -> Dictionary:
        """A dictionary with random weights that reads and writes sites of the given widths."""
        raise NotImplementedError

    def to_json(self) -> dict[str, Any]:
        return {"method": type(self).__name__, **asdict(self)}

    @staticmethod
    def from_json(values: Mapping[str, Any]) -> DictionaryConfiguration:
        """The configuration written by ``to_json``. Raises ValueError for a method or field unknown or missing."""
        if not isinstance(values, Mapping):
            raise ValueError(f"a configuration is a mapping of fields, found {values!r}.")
        values = {name: _tuples(value) for name, value in values.items()}
        method, known = str(values.pop("method", "")), DictionaryConfiguration.known
        if method not in known:
            raise ValueError(
                f"method {method!r} is not known here (known: {', '.join(sorted(known))}); if it is your own, import "
                "the module that defines it first."
            )
        names = [f.name for f in fields(known[method])]
        for name in values:
            if name not in names:
                near = difflib.get_close_matches(name, names, 1, 0.0)[0]
                raise ValueError(f"{method} has no field {name!r}; the closest is {near!r}.")
        for f in fields(known[method]):
            if f.name not in values and f.default is MISSING and f.default_factory is MISSING:
                raise ValueError(f"{method} lacks {f.name!r}.")
        return known[method](**values)


class Dictionary(nn.Module):
    """A sparse dictionary. Subclasses give ``encode``; ``decode`` is linear unless they say otherwise.

    latent_max: [d_sae], the largest activation of each latent on the corpus that ``provenance.latent_max`` names; the
    unit of every strength. All NaN until measured.
    """

    encoder_directions: nn.Parameter
    decoder_directions: nn.Parameter
    latent_max: Tensor
    unit_norm_decoder: ClassVar[bool] = True
    """training keeps every decoder row at norm 1"""
    signed: ClassVar[bool] = False
    """codes may be negative: the strength of a firing is |z|"""
    progress: float = 1.0
    """how far training is, 0 to 1; an objective may read it"""

    def __init__(
        self, configuration: DictionaryConfiguration, reads: Mapping[str, int], writes: Mapping[str, int] | None = None
    ) -> None:
        super().__init__()
        self.configuration = configuration
        self.read_widths, self.write_widths = dict(reads), dict(writes or reads)
        self.provenance = Provenance()
        d_in, d_out = sum(self.read_widths.values()), sum(self.write_widths.values())
        directions = torch.randn(configuration.d_sae, d_out)
        directions /= directions.norm(dim=1, keepdim=True)
        self.decoder_directions = nn.Parameter(directions)
        same = self.read_widths == self.write_widths
        encoder = directions.clone() if same else torch.randn(configuration.d_sae, d_in) / d_in**0.5
        self.encoder_directions = nn.Parameter(encoder)
        self.decoder_bias = nn.Parameter(torch.zeros(d_out))
        self.register_buffer("latent_max", torch.full((configuration.d_sae,), torch.nan))

    # -- where it stands ---------------------------------------------------------------------------------------------

    @property
    def reads(self) -> tuple[str, ...]:
        return tuple(self.read_widths)

    @property
    def writes(self) -> tuple[str, ...]:
        return tuple(self.write_widths)

    @property
    def d_sae(self) -> int:
        return self.configuration.d_sae

    @property
    def d_in(self) -> int:
        """Width of the one site it reads."""
        return _single(self.read_widths, "d_in")[1]

    @property
    def d_out(self) -> int:
        """Width of the one site it writes."""
        return _single(self.write_widths, "d_out")[1]

    @property
    def site(self) -> str:
        """The one site it reads and writes."""
        site = _single(self.read_widths, "site")[0]
        if self.writes != (site,):
            raise ValueError(f"this dictionary reads {site!r} and writes {', '.join(self.writes)}: no single site.")
        return site

    # -- what it does ------------------------------------------------------------------------------------------------

    @abstractmethod
    def encode(self, x: Activation) -> SparseCodes:
        """Sparse codes of activations [..., d_in] (a mapping from site when several are read)."""
        raise NotImplementedError

    def encode_dense(self, x: Activation) -> Float[Tensor, "*shape d_sae"]:
        """The codes as a dense tensor: large."""
        return self.encode(x).to_dense()

    def decode(self, codes: SparseCodes) -> Activation:
        """x̂ = Σ_i z_i d_i + b, a tensor, or a mapping from site when several are written."""
        return self.split_writes(decode(codes, self.decoder_directions, self.decoder_bias))

    def forward(self, x: Activation) -> Activation:
        return self.decode(self.encode(x))

    def decoder_directions_at(self, site: str) -> Float[Tensor, "d_sae d_out"]:
        """The part of the decoder that writes ``site``."""
        if site not in self.write_widths:
            raise ValueError(f"the dictionary does not write {site!r}; it writes {', '.join(self.writes)}.")
        widths = list(self.write_widths.values())
        return self.decoder_directions.split(widths, dim=1)[self.writes.index(site)]

    def join_reads(self, x: Activation) -> Float[Tensor, "*shape d_in"]:
        """Activations as one tensor, sites one after the other. Raises ValueError naming a wrong width or site."""
        return _join(x, self.read_widths, "reads")

    def join_writes(self, x: Activation) -> Float[Tensor, "*shape d_out"]:
        return _join(x, self.write_widths, "writes")

    def split_writes(self, x: Float[Tensor, "*shape d_out"]) -> Activation:
        if len(self.write_widths) == 1:
            return x
        return dict(zip(self.writes, x.split(list(self.write_widths.values()), dim=-1), strict=True))

    # -- for training ------------------------------------------------------------------------------------------------

    @torch.no_grad()
    def initialise(self, x: Activation, target: Activation) -> None:
        """Look at the first activations before training: the decoder bias begins at their mean."""
        self.decoder_bias.copy_(self.join_writes(target).mean(0))

    def observe(self, codes: SparseCodes) -> None:
        """Look at the codes of a training batch after its loss: what a method follows beside its parameters."""

    @torch.no_grad()
    def rescale(self, scale: float) -> None:
        """Turn the dictionary of x into that of scale · x: biases and thresholds, the one-dimensional parameters, grow.

        Exact where codes grow with the input (ReLU, TopK, JumpReLU); a method for which they do not overrides it.
        """
        for parameter in self.parameters():
            if parameter.ndim == 1:
                parameter.mul_(scale)
        self.latent_max.mul_(scale)

    def save(self, folder: str | Path) -> Path:
        """Write ``config.json`` and ``weights.safetensors`` into a folder; ``load_dictionary`` reads them."""
        from saekit.dictionaries.storage import write_dictionary

        return write_dictionary(self, folder)

    def extra_repr(self) -> str:
        return f"{self.configuration}, reads={self.reads}, writes={self.writes}"


def check_model(dictionary: Dictionary, model: TransformerBridge) -> None:
    """Raise ValueError naming both hashes when a dictionary was made on another model.

    A dictionary made from plain arrays (hash None) passes; its width is checked where it is used.
    """
    ours, theirs = dictionary.provenance.model_hash, getattr(model, "model_hash", None)
    if ours is not None and theirs is not None and ours != theirs:
        raise ValueError(
            f"the dictionary was made on {dictionary.provenance.model!r} (model_hash {ours}), this model is "
            f"{getattr(model, 'model_name', '?')!r} (model_hash {theirs}): load the model it was made on."
        )
    processing = getattr(model, "processing", "none")
    if ours is not None and dictionary.provenance.processing != processing:
        raise ValueError(
            f"the dictionary was made under weight processing {dictionary.provenance.processing!r}, the model is under "
            f"{processing!r}."
        )


def _tuples(value: Any) -> Any:
    """JSON's lists as the tuples that a frozen configuration holds."""
    return tuple(map(_tuples, value)) if isinstance(value, list) else value


def _single(widths: Mapping[str, int], name: str) -> tuple[str, int]:
    if len(widths) != 1:
        raise ValueError(f"{name} is for dictionaries of a single site; this one has {', '.join(widths)}.")
    return next(iter(widths.items()))


def _join(x: Activation, widths: Mapping[str, int], what: str) -> Tensor:
    if isinstance(x, Mapping):
        missing = [site for site in widths if site not in x]
        if missing:
            raise ValueError(f"the dictionary {what} {missing[0]!r}, which is not among {', '.join(x)}.")
        for site, width in widths.items():
            if x[site].shape[-1] != width:
                raise ValueError(f"the dictionary {what} {width} values at {site!r}, found {x[site].shape[-1]}.")
        return torch.cat([x[site] for site in widths], dim=-1) if len(widths) > 1 else x[next(iter(widths))]
    if x.shape[-1] != sum(widths.values()):
        raise ValueError(
            f"the dictionary {what} activations of width {sum(widths.values())} ({', '.join(widths)}), "
            f"found width {x.shape[-1]} in shape {tuple(x.shape)}."
        )
    return x
