"""Dictionary: the contract that every sparse dictionary keeps, whoever wrote it.

It reads activations at the sites ``reads``, codes them sparsely, and writes reconstructions at ``writes`` (the same
site for an SAE; another for a transcoder; several for a crosscoder). It is an encoder and a decoder, each the owner of
its parameters, and a loss. Several sites go in and out as mappings from site, or as one tensor with the sites' numbers
one after the other; with ``Wiring.each`` it reads and writes one of its sites at a time.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import torch
from jaxtyping import Float
from saekit_kernels import SparseCodes
from torch import Tensor, nn

from saekit.dictionaries import sites, views
from saekit.dictionaries.parts.part import Part
from saekit.dictionaries.provenance import Provenance
from saekit.dictionaries.storage import write_dictionary
from saekit.dictionaries.wiring import Wiring
from saekit.files.choices import unknown
from saekit.files.roles import DICTIONARY
from saekit.objectives import Batch, Loss, State, squared_error

if TYPE_CHECKING:
    from transformer_lens.model_bridge import TransformerBridge

Activation = Tensor | Mapping[str, Tensor]
SHORTCUTS = {f"{part}_{own}": (part, own) for part in ("encoder", "decoder") for own in ("directions", "bias")}


class Dictionary(nn.Module, ABC):
    """A sparse dictionary. Subclasses give ``encode``, and what else differs of a linear decoder and a squared error.

    method:      the Method it was built by; its file imports this one.
    encoder, decoder: the parts.
    latent_max: [d_sae], the largest |z| of each latent on the tokens that ``provenance.latent_max`` names, where a
                model was read the last 100,000 of training; the unit of every strength. All NaN until measured.
    wiring: the sites it reads and writes. widths: the width of each. d_sae: latents, where it is not the method's.
    """

    role: ClassVar[str] = DICTIONARY
    encoder: Part
    decoder: Part
    read_widths: dict[str, int]
    write_widths: dict[str, int]
    latent_max: Tensor
    adjustable: ClassVar[tuple[str, ...]] = ()
    """fields of the method that ``at`` may change without training again"""

    def __init__(
        self, method: Any, wiring: Wiring, widths: Mapping[str, int], encoder: Part, decoder: Part, d_sae: int = 0
    ) -> None:
        super().__init__()
        self.method, self.wiring = method, wiring
        self.read_widths = {site: widths[site] for site in wiring.reads}
        self.write_widths = {site: widths[site] for site in wiring.writes}
        if wiring.layerwise and not method.layerwise:
            raise ValueError(f"{type(method).__name__} builds the dictionary of one layer: {wiring} has several.")
        if wiring.each and len(set(self.read_widths.values())) > 1:
            raise ValueError(f"with each=True all sites must be equally wide, found {self.read_widths}.")
        if method.skip and getattr(decoder, "skip", None) is None:
            raise ValueError(f"{type(method).__name__} has no linear way past its latents: leave skip out.")
        self.provenance = Provenance()
        self.encoder, self.decoder = encoder, decoder
        self.register_buffer("latent_max", torch.full((d_sae or method.d_sae,), torch.nan))

    # -- where it stands ---------------------------------------------------------------------------------------------

    @property
    def reads(self) -> tuple[str, ...]:
        """The sites it reads, by name."""
        return self.wiring.reads

    @property
    def writes(self) -> tuple[str, ...]:
        """The sites it writes, by name."""
        return self.wiring.writes

    @property
    def d_sae(self) -> int:
        """Latents that there are."""
        return len(self.latent_max)

    @property
    def d_in(self) -> int:
        """Width of the one site it reads."""
        return sites.single(self.read_widths, "d_in", self.wiring.each)[1]

    @property
    def d_out(self) -> int:
        """Width of the one site it writes."""
        return sites.single(self.write_widths, "d_out", self.wiring.each)[1]

    @property
    def site(self) -> str:
        """The one site it reads and writes."""
        site = sites.single(self.read_widths, "site")[0]
        if self.writes != (site,):
            raise ValueError(f"this dictionary reads {site!r} and writes {', '.join(self.writes)}: no single site.")
        return site

    @property
    def signed(self) -> bool:
        """Codes may be negative: the strength of a firing is |z|."""
        return False

    @property
    def layerwise(self) -> bool:
        """It codes its sites one by one (``encode_at``), so that it can be spliced a layer at a time."""
        return type(self).encode_at is not Dictionary.encode_at

    @property
    def standardised(self) -> bool:
        """It codes standardised tokens: what a latent writes is its decoder row times the size of each token."""
        return False

    @property
    def fused(self) -> bool:
        """Nothing but what the fused kernels know (see ``LinearDictionary``)."""
        return False

    @property
    def centre(self) -> Tensor | None:
        """What is subtracted before encoding, where it is the decoder's bias."""
        return None

    @property
    def encoder_directions(self) -> Any:
        """[d_sae, d_in], a row a latent; None where the encoder has no such rows."""
        return getattr(self.encoder, "directions", None)

    @property
    def decoder_directions(self) -> Any:
        """[d_sae, d_out], a row a latent; None where the decoder has no such rows."""
        return getattr(self.decoder, "directions", None)

    @property
    def encoder_bias(self) -> Any:
        """[d_sae]; None where the encoder has none."""
        return getattr(self.encoder, "bias", None)

    @property
    def decoder_bias(self) -> Any:
        """[d_out]; None where the decoder has none."""
        return getattr(self.decoder, "bias", None)

    def decoder_directions_at(self, site: str) -> Float[Tensor, "d_sae d_out"]:
        """The part of the decoder that writes ``site``."""
        if site not in self.write_widths:
            raise ValueError(unknown("the dictionary does not write", site, self.writes))
        if self.wiring.each:
            return self.decoder_directions
        widths = list(self.write_widths.values())
        return self.decoder_directions.split(widths, dim=1)[self.writes.index(site)]

    def decoder_rows(self, latents: Any) -> Any:
        """[m, d_out], decoder rows of some latents over all sites written; None where the decoder has none.

        latents: a slice, numbers or a mask."""
        rows = self.decoder_directions
        return None if rows is None else rows[latents]

    # -- what it does ------------------------------------------------------------------------------------------------

    @abstractmethod
    def encode(self, x: Activation) -> SparseCodes:
        """Sparse codes of x: activations [..., d_in], or a mapping from site when several are read."""

    def decode(self, codes: SparseCodes, x: Activation | None = None) -> Activation:
        """x̂ = Σ_i z_i d_i + b, a tensor, or a mapping from site when several are written.

        x: what was encoded, for dictionaries that add to it (a skip), or decode in units of it.
        codes: z, as ``encode`` gives them."""
        return self.split_writes(self.decoder(codes, None if x is None else self.join_reads(x)))

    def forward(self, x: Activation) -> Activation:
        """x̂; with ``Wiring.each`` at every site that x has."""
        if self.wiring.each and isinstance(x, Mapping) and len(x) > 1:
            return {site: self.decode_at(self.encode(x[site]), site, x[site]) for site in self.reads if site in x}
        return self.decode(self.encode(x), x)

    def encode_dense(self, x: Activation) -> Float[Tensor, "*shape d_sae"]:
        """The codes of x as a dense tensor: large."""
        return self.encode(x).to_dense()

    def pre_activations(self, x: Activation, latents: Tensor | None = None) -> Float[Tensor, "*shape m"] | None:
        """u of x for all latents, or for a few, of which the codes are made; None where a method has none."""
        return None

    def encode_at(self, x: Tensor, site: str) -> SparseCodes:
        """Codes of x, what is read at one site: of a dictionary of one, of any (``each``), or where a method codes its
        sites one by one (a cross-layer transcoder: the latents of that site alone)."""
        if site in self.reads and (self.wiring.each or len(self.reads) == 1):
            return self.encode(x)
        raise ValueError(
            f"this dictionary reads {', '.join(self.reads)} at once, so it has no codes of {site!r} alone."
        )

    def decode_at(self, codes: SparseCodes, site: str, x: Tensor | None = None) -> Tensor:
        """x̂ at one of the sites it writes, from all codes so far; x: what was read at that site."""
        if site not in self.writes:
            raise ValueError(unknown("the dictionary does not write", site, self.writes))
        x_hat = self.decode(codes, x)
        return x_hat[site] if isinstance(x_hat, Mapping) else x_hat

    def at(self, site: str | None = None, **changes: Any) -> Dictionary:
        """The same weights, used otherwise: ``sae.at(k=8)``, ``sae.at(steps=4)``; of a dictionary for each of several
        sites that for one of them, ``sae.at(site=…)``. A view: the parameters are shared."""
        return views.used_otherwise(self, site, changes)

    def on(self, model: TransformerBridge, site: str | Wiring | None = None) -> Dictionary:
        """A view for another model of equal shape (a fine-tuned copy), or for a model of a dictionary made from plain
        arrays, at ``site``: a site, or a wiring of as many. Both hashes stand in its provenance and its reports."""
        return views.on_another_model(self, model, site)

    def take(self, x: Any) -> Any:
        """Activations x on its device and in its precision."""
        like = self.latent_max
        if isinstance(x, Mapping):
            return {site: h.to(like) for site, h in x.items()}
        return torch.as_tensor(x).to(like)

    def join_reads(self, x: Activation) -> Float[Tensor, "*shape d_in"]:
        """Activations x as one tensor, sites one after the other. Raises ValueError naming a wrong width or site."""
        return sites.join(x, self.read_widths, "reads", self.wiring.each)

    def join_writes(self, x: Activation) -> Float[Tensor, "*shape d_out"]:
        """``join_reads`` of x at the sites written."""
        return sites.join(x, self.write_widths, "writes", self.wiring.each)

    def split_writes(self, x: Float[Tensor, "*shape d_out"]) -> Activation:
        """x of ``join_writes``, undone: a mapping from site, or the tensor itself where one site is written."""
        if len(self.write_widths) == 1 or self.wiring.each:
            return x
        return dict(zip(self.writes, x.split(list(self.write_widths.values()), dim=-1), strict=True))

    # -- for training ------------------------------------------------------------------------------------------------

    @torch.no_grad()
    def initialise(self, sample: Batch, state: State) -> None:
        """Look at activations before training: the decoder's bias begins at their mean.

        sample: the batch it sees. state: the run's."""
        if self.decoder_bias is not None:
            self.decoder_bias.copy_(self.join_writes(sample.flat().writes).mean(0))

    def loss(self, batch: Batch, state: State) -> Loss:
        """What training minimises: the squared error, unless a method says otherwise.

        batch, state: the step's (saekit.objectives.Batch, State)."""
        return squared_error(self, batch)

    def before_step(self, state: State) -> None:
        """Between backward pass and optimiser, after the parts' own. state: the run's."""

    def after_step(self, batch: Batch, loss: Loss, state: State) -> None:
        """After the optimiser and the parts' own: what a method follows beside its parameters.

        batch, loss, state: the step's."""

    def finalise(self, recent: Batch, state: State) -> None:
        """After training: what a method measures with its final weights, on the last tokens it was trained on.

        recent: a batch of the last ``method.recent`` tokens. state: the run's."""

    def groups(self) -> list[dict[str, Any]]:
        """The parameters that are learned, each group with a ``factor`` on the learning rate."""
        return [{"params": [p for p in self.parameters() if p.requires_grad], "factor": 1.0}]

    @torch.no_grad()
    def rescale(self, scales: Mapping[str, float]) -> None:
        """Turn the dictionary of x_s / scales[s] into that of x_s: each part its own parameters. Codes take the scale
        of the site written (of several, the root of their mean square). A method with parameters or buffers beside its
        parts, or whose codes do not grow with its input (``codes_scale`` 1), says so by overriding."""
        first = slice(0, 1 if self.wiring.each else None)  # one dictionary for any of them has one scale
        reads, writes = ([scales[site] for site in some[first]] for some in (self.reads, self.writes))
        codes = self.codes_scale(scales)
        self.encoder.rescale(reads, writes, codes)
        self.decoder.rescale(reads, writes, codes)
        self.latent_max.mul_(codes)

    def codes_scale(self, scales: Mapping[str, float]) -> float:
        """How many times as large codes become in ``rescale``.

        scales: of each site."""
        writes = [scales[site] for site in self.writes]
        return writes[0] if len(set(writes)) == 1 else (sum(s**2 for s in writes) / len(writes)) ** 0.5

    def save(self, folder: str | Path) -> Path:
        """Write ``config.json`` and ``weights.safetensors`` into a folder; ``load_dictionary`` reads them."""
        return write_dictionary(self, folder)

    def resize(self, d_sae: int) -> None:
        """Make room for another number of latents, before weights are loaded; of methods that grow."""
        raise ValueError(f"{type(self.method).__name__} has {self.d_sae} latents, not {d_sae}.")

    def extra_repr(self) -> str:
        """Method and wiring, in the module's repr."""
        return f"{self.method}, {self.wiring}"

    def __setattr__(self, name: str, value: Any) -> None:
        if name in SHORTCUTS:  # ``sae.decoder_bias += 1`` reaches the part's own
            part, own = SHORTCUTS[name]
            setattr(getattr(self, part), own, value)
        else:
            super().__setattr__(name, value)

    def __getattr__(self, name: str) -> Any:
        if name == "configuration":
            raise AttributeError("a dictionary's configuration is called method now: sae.method.")
        return super().__getattr__(name)
