"""Cross-layer transcoders: latents of a layer read it alone, and write it and all later ones (Ameisen et al. 2025,
"Circuit tracing"; Lindsey et al. 2024, "Sparse crosscoders").

    z^l = what the method makes of x^l;    x̂^m = Σ_{l ≤ m} Σ_i z_i^l d_i^{l→m} + b^m

So there is a dictionary for each site read, built by the method: no encoder reads two layers, and of the decoder only
the triangle exists. All learn by one squared error, Σ_m ‖y^m − x̂^m‖²: the target of each is what the others leave,
y^m − Σ_{j ≠ l} x̂^{j→m}. Its residual is then that of all together, and the gradient of its own squared error that of
the joint one. What else a method has in its loss (a penalty, AuxK) it has a layer, beside that residual.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any

import torch
from jaxtyping import Float
from saekit_kernels import SparseCodes
from torch import Tensor, nn

from saekit.dictionaries.dictionary import Activation, Dictionary
from saekit.dictionaries.method import Method
from saekit.dictionaries.parts.beside import Beside
from saekit.dictionaries.provenance import Provenance
from saekit.dictionaries.views import used_otherwise
from saekit.dictionaries.wiring import Wiring
from saekit.files.choices import unknown
from saekit.objectives import Batch, Loss, State
from saekit.objectives.layers import of_layer


def built(method: Method, wiring: Wiring, widths: Mapping[str, int]) -> Dictionary:
    """A method's dictionary with random weights; of a layerwise wiring one that is made of the method's, a site, unless
    the method builds such by itself.

    method, wiring, widths: as of ``Method.build``."""
    if wiring.layerwise and not method.layerwise:
        return CrossLayerDictionary(method, wiring, widths)
    return method.build(wiring, widths)


class CrossLayerDictionary(Dictionary):
    """``layers``: a dictionary for each site read. Their latents are numbered one layer after the other."""

    def __init__(self, method: Method, wiring: Wiring, widths: Mapping[str, int]) -> None:
        nn.Module.__init__(self)  # the parts are the layers'
        if method.skip:
            raise ValueError("a cross-layer dictionary has no linear way past its latents: leave skip out.")
        if method.learner != "gradient":
            raise ValueError(
                f"the layers of a cross-layer dictionary learn together, and {type(method).__name__} is not trained by "
                "gradient: train one a layer, sk.Wiring.transcoder(layer)."
            )
        self.method, self.wiring, self.provenance = method, wiring, Provenance()
        self.read_widths = {site: widths[site] for site in wiring.reads}
        self.write_widths = {site: widths[site] for site in wiring.writes}
        reached = [Wiring(site, wiring.writes[number:]) for number, site in enumerate(wiring.reads)]
        self.layers: Any = nn.ModuleList([method.build(each, widths) for each in reached])
        for layer in self.layers:
            layer.register_buffer("latent_max", torch.full((method.d_sae,), torch.nan), persistent=False)  # stands here
        for layer in self._later():
            layer.decoder_bias.requires_grad_(False).zero_()  # the first has that of every site
        self.register_buffer("latent_max", torch.full((len(self.layers) * method.d_sae,), torch.nan))
        self.made: list[tuple[Batch, Loss]] = []  # of each layer, between the loss of a step and its end

    def _later(self) -> list[Dictionary]:
        """Those after the first that have a bias of what they write."""
        return [layer for layer in self.layers[1:] if layer.decoder_bias is not None]

    # -- what a dictionary has ---------------------------------------------------------------------------------------

    @property
    def encoder(self) -> Any:  # type: ignore[override]
        """The layers' encoders."""
        return Beside([layer.encoder for layer in self.layers])

    @property
    def decoder(self) -> Any:  # type: ignore[override]
        """The layers' decoders."""
        return Beside([layer.decoder for layer in self.layers])

    @property
    def signed(self) -> bool:
        """As the layers' codes are."""
        return self.layers[0].signed

    @property
    def adjustable(self) -> tuple[str, ...]:  # type: ignore[override]
        """As of a layer."""
        return self.layers[0].adjustable

    @property
    def encoder_directions(self) -> Tensor | None:
        """[d_sae, d_in], a row a latent of what its layer reads; None where layers have no such rows, or others."""
        return _all([layer.encoder_directions for layer in self.layers])

    @property
    def encoder_bias(self) -> Tensor | None:
        """[d_sae], or None."""
        return _all([layer.encoder_bias for layer in self.layers])

    @property
    def decoder_directions(self) -> None:
        """None: a row reaches from its own layer on; see ``decoder_rows`` and ``decoder_directions_at``."""

    @property
    def decoder_bias(self) -> Any:
        """[d_out], that of the first layer, which writes all sites."""
        return self.layers[0].decoder_bias

    def decoder_rows(self, latents: Any) -> Any:
        """[m, d_out], rows of some latents over all sites written, 0 at those before their layer."""
        numbers, rows = torch.arange(self.d_sae)[latents], []
        for layer, wanted in self._by_layer(numbers):
            own = layer.decoder_rows(wanted)
            if own is None:
                return None
            rows.append(nn.functional.pad(own, (sum(self.write_widths.values()) - own.shape[1], 0)))
        return self._ordered(torch.cat(rows), numbers)

    def decoder_directions_at(self, site: str) -> Float[Tensor, "d_sae d_out"]:
        """The part of the decoder that writes ``site``: 0 for the latents of later layers."""
        last = self._number(site, self.writes, "write")
        rows = [layer.decoder_directions_at(layer.writes[last - n]) for n, layer in enumerate(self.layers[: last + 1])]
        return torch.cat([*rows, rows[0].new_zeros(self.d_sae - sum(map(len, rows)), rows[0].shape[1])])

    # -- what it does ------------------------------------------------------------------------------------------------

    def encode(self, x: Activation) -> SparseCodes:
        """z of every layer, from what it reads."""
        parts = zip(self.layers, self._split(x), strict=True)
        return SparseCodes.beside([layer.encode(own) for layer, own in parts])

    def encode_at(self, x: Tensor, site: str) -> SparseCodes:
        """z of the latents of one layer."""
        number = self._number(site, self.reads, "read")
        codes = self.layers[number].encode(x)
        return replace(codes, indices=codes.indices + number * self.method.d_sae, d_sae=self.d_sae)

    def decode(self, codes: SparseCodes, x: Activation | None = None) -> Activation:
        """x̂ of every site written, a mapping."""
        own = [None] * len(self.layers) if x is None else self._split(x)
        parts = zip(self.layers, self._codes(codes), own, strict=True)
        written = [layer.join_writes(layer.decode(z, read)) for layer, z, read in parts]
        return self.split_writes(_triangle(written))

    def decode_at(self, codes: SparseCodes, site: str, x: Tensor | None = None) -> Tensor:
        """x̂ at one site written; codes of later layers make no difference."""
        last = self._number(site, self.writes, "write")
        parts = enumerate(zip(self.layers[: last + 1], self._codes(codes), strict=False))
        return torch.stack([layer.decode_at(z, layer.writes[last - n]) for n, (layer, z) in parts]).sum(0)

    def pre_activations(self, x: Activation, latents: Tensor | None = None) -> Float[Tensor, "*shape m"] | None:
        """u of what each layer reads; None where its method has none."""
        wanted = [None] * len(self.layers) if latents is None else [own for _, own in self._by_layer(latents)]
        parts = zip(self.layers, self._split(x), wanted, strict=True)
        found = [layer.pre_activations(own, some) for layer, own, some in parts]
        if any(u is None for u in found):
            return None
        u = torch.cat(found, -1)
        return u if latents is None else self._ordered(u.movedim(-1, 0), latents).movedim(0, -1)

    def at(self, site: str | None = None, **changes: Any) -> Dictionary:
        """``sae.at(k=8)``: the same weights, with another k a layer."""
        view = used_otherwise(self, site, changes)
        layers = nn.ModuleList([layer.at(**changes) for layer in self.layers])
        view.__dict__["_modules"] = {**self._modules, "layers": layers}  # a copy of a module shares its modules
        return view

    # -- for training ------------------------------------------------------------------------------------------------

    @torch.no_grad()
    def initialise(self, sample: Batch, state: State) -> None:
        """As each layer begins; the first has the bias of every site written."""
        sample = sample.flat()
        target = self.join_writes(sample.writes)
        for number, layer in enumerate(self.layers):
            with of_layer(state, number, self.method.d_sae) as own:
                layer.initialise(self._batch(sample, number, target), own)
        for layer in self._later():
            layer.decoder_bias.zero_()

    def loss(self, batch: Batch, state: State) -> Loss:
        """Σ_l w_l · the loss of layer l whose target is what the others leave, w_l the share of the sites' widths that
        it writes: the squared errors are then in units of the joint mean over all dimensions. parts: means over layers.
        """
        batch, d_sae = batch.flat(), self.method.d_sae
        reads = self._split(batch.reads)
        with torch.no_grad():
            codes = [layer.encode(own) for layer, own in zip(self.layers, reads, strict=True)]
            parts = zip(self.layers, codes, reads, strict=True)
            written = [layer.join_writes(layer.decode(z, own)) for layer, z, own in parts]
            missed = self.join_writes(batch.writes) - _triangle(written)
        dead = None if state.dead is None else state.dead.view(-1, d_sae).sum(1).tolist()
        self.made, total = [], torch.zeros((), device=missed.device)
        for number, (layer, own) in enumerate(zip(self.layers, written, strict=True)):
            width = own.shape[1]
            part = self._batch(batch, number, missed[:, -width:] + own, codes[number])
            with of_layer(state, number, d_sae, dead) as own_state:
                loss = layer.loss(part, own_state)
            self.made.append((part, loss))
            total = total + loss.total * (width / missed.shape[1])
        losses = [loss for _, loss in self.made]
        means = {name: sum(loss.parts[name] for loss in losses) / len(losses) for name in losses[0].parts}
        return Loss(total, losses[0].error, SparseCodes.beside([loss.codes for loss in losses]), means)

    def before_step(self, state: State) -> None:
        """As of each layer."""
        for number, layer in enumerate(self.layers):
            with of_layer(state, number, self.method.d_sae) as own:
                layer.before_step(own)

    def after_step(self, batch: Batch, loss: Loss, state: State) -> None:
        """As of each layer, with the batch and the loss that it had."""
        for number, (layer, (part, made)) in enumerate(zip(self.layers, self.made, strict=True)):
            with of_layer(state, number, self.method.d_sae) as own:
                layer.after_step(part, made._replace(codes=made.codes.detach()), own)
        self.made = []  # and with it the step's activations

    def finalise(self, recent: Batch, state: State) -> None:
        """As of each layer."""
        recent = recent.flat()
        target = self.join_writes(recent.writes)
        for number, layer in enumerate(self.layers):
            with of_layer(state, number, self.method.d_sae) as own:
                layer.finalise(self._batch(recent, number, target), own)

    def groups(self) -> list[dict[str, Any]]:
        """The layers' parameters."""
        return [group for layer in self.layers for group in layer.groups()]

    @torch.no_grad()
    def rescale(self, scales: Mapping[str, float]) -> None:
        """Each layer its own; codes take the scale of the sites that their layer writes."""
        for layer, maxima in zip(self.layers, self.latent_max.view(len(self.layers), -1), strict=True):
            layer.rescale(scales)
            maxima.mul_(layer.codes_scale(scales))

    # -- between the whole and a layer -------------------------------------------------------------------------------

    def _number(self, site: str, sites: tuple[str, ...], does: str) -> int:
        if site not in sites:
            raise ValueError(unknown(f"the dictionary does not {does}", site, sites))
        return sites.index(site)

    def _split(self, x: Activation) -> list[Tensor]:
        """What each layer reads."""
        return list(self.join_reads(x).split(list(self.read_widths.values()), dim=-1))

    def _codes(self, codes: SparseCodes) -> Iterator[SparseCodes]:
        """Those of each layer."""
        d_sae = self.method.d_sae
        return (codes.between(first, first + d_sae) for first in range(0, self.d_sae, d_sae))

    def _by_layer(self, numbers: Tensor) -> list[tuple[Dictionary, Tensor]]:
        """Each layer and which of its latents are among these, in their order."""
        d_sae = self.method.d_sae
        return [(layer, numbers[numbers // d_sae == n] - n * d_sae) for n, layer in enumerate(self.layers)]

    def _ordered(self, rows: Tensor, numbers: Tensor) -> Tensor:
        """Rows of latents that stand as ``_by_layer`` has them, in the order of ``numbers``."""
        return rows[(numbers // self.method.d_sae).argsort(stable=True).argsort()]

    def _batch(self, batch: Batch, number: int, target: Tensor, codes: SparseCodes | None = None) -> Batch:
        """That of one layer. target: of the sites that it writes, or of those before them too."""
        layer, site = self.layers[number], self.reads[number]
        gradients = batch.gradients and {layer.reads[0]: batch.gradients[site]}
        writes = layer.split_writes(target[:, -sum(layer.write_widths.values()) :])
        writes = writes if isinstance(writes, Mapping) else {layer.writes[0]: writes}
        return replace(
            batch, reads={layer.reads[0]: batch.reads[site]}, writes=writes, gradients=gradients, codes=codes
        )


def _all(parts: list[Any]) -> Tensor | None:
    """One after the other; None where one is missing or they are not equally wide."""
    if any(part is None for part in parts) or len({part.shape[1:] for part in parts}) > 1:
        return None
    return torch.cat(parts)


def _triangle(written: list[Float[Tensor, "*shape d"]]) -> Float[Tensor, "*shape d_out"]:
    """The sum of what the layers write, each up to the last site."""
    total = written[0].clone()
    for part in written[1:]:
        total[..., -part.shape[-1] :] += part
    return total
