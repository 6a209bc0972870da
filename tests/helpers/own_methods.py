"""Methods that ask something of the contract that no shipped one does, as their authors would write them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, ClassVar

import torch
import torch.nn.functional as F
from saekit_kernels import SparseCodes, top_k
from torch import Tensor, nn

import saekit as sk
from saekit.dictionaries import (
    Dictionary,
    LinearDecoder,
    LinearDictionary,
    LinearEncoder,
    Method,
    Part,
    TiedEncoder,
    TopKDictionary,
)
from saekit.objectives import Batch, Loss, State, reconstruction_auxk, squared_error, squared_errors

# -- labels: latent 0 learns a concept (SCAR, Härle et al. 2024, arXiv 2411.07122) -------------------------------------


@dataclass(frozen=True)
class OwnLabelled(sk.TopK):
    needs: ClassVar[frozenset[str]] = frozenset({"labels"})

    def build(self, wiring: sk.Wiring, widths: Mapping[str, int]) -> Dictionary:
        return OwnLabelledDictionary(self, wiring, widths)


class OwnLabelledDictionary(TopKDictionary):
    def loss(self, batch: Batch, state: State) -> Loss:
        own = reconstruction_auxk(self, batch, state)
        u = self.pre_activations(batch.reads, torch.tensor([0]))[:, 0]
        wrong = F.binary_cross_entropy_with_logits(u, batch.labels[:, 0])
        return own._replace(total=own.total + wrong, parts={"label": wrong.detach()})


# -- gradients: latents that matter to the loss are preferred (Olmo et al. 2024, arXiv 2411.10397) ---------------------


@dataclass(frozen=True)
class OwnGradient(Method):
    k: int = 4
    needs: ClassVar[frozenset[str]] = frozenset({"gradients"})

    def build(self, wiring: sk.Wiring, widths: Mapping[str, int]) -> Dictionary:
        return OwnGradientDictionary(self, wiring, widths)


class OwnGradientDictionary(LinearDictionary):
    def encode(self, x: Any) -> SparseCodes:
        return top_k(self.pre_activations(x), self.method.k)

    def loss(self, batch: Batch, state: State) -> Loss:
        z, g = self.pre_activations(batch.reads).relu(), self.join_reads(batch.gradients)
        effect = z * (g @ self.decoder.directions.T).abs()
        score = z * (1 + effect / effect[effect > 0].mean())
        latents = score.detach().topk(self.method.k).indices
        codes = SparseCodes.from_topk(z.gather(1, latents), latents, self.d_sae)
        error = squared_errors(self.join_writes(batch.writes), self.decode(codes))
        return Loss(error.mean() / z.shape[1], error.detach(), codes, {"effect": effect.detach().mean()})


# -- u over 50 steps: biases follow target frequencies, without a gradient (arXiv 2506.14002) --------------------------


@dataclass(frozen=True)
class OwnBiasAdaptation(Method):
    frequency: float = 0.05
    every: int = 50

    def build(self, wiring: sk.Wiring, widths: Mapping[str, int]) -> Dictionary:
        return OwnBiasDictionary(self, wiring, widths)


class OwnBiasDictionary(LinearDictionary):
    def __init__(self, *given: Any) -> None:
        super().__init__(*given)
        self.encoder.bias.requires_grad_(False)

    def encode(self, x: Any) -> SparseCodes:
        return SparseCodes.from_dense(self.pre_activations(x).relu())

    def loss(self, batch: Batch, state: State) -> Loss:
        u = self.pre_activations(batch.reads).detach()
        kept = {"fired": (u > 0).float().mean(0), "largest": u.amax(0)}
        return squared_error(self, batch)._replace(kept=kept)

    def after_step(self, batch: Batch, loss: Loss, state: State) -> None:
        memory, n = state.memory, self.method.every
        memory["fired"] = memory.get("fired", 0) + loss.kept["fired"] / n
        memory["largest"] = torch.maximum(memory.get("largest", loss.kept["largest"]), loss.kept["largest"])
        if (state.step + 1) % n == 0:
            much, size = memory["fired"] > self.method.frequency, memory["largest"].clamp_min(0)
            self.encoder.bias.data += torch.where(much, -0.1 * size, 0) + torch.where(memory["fired"] < 1e-6, 0.1, 0)
            memory.clear()


# -- a norm for each token, and a skip: decoding needs what was read (MLSAE, arXiv 2409.04185, with a linear way) ------


@dataclass(frozen=True)
class OwnNormed(sk.TopK):
    def build(self, wiring: sk.Wiring, widths: Mapping[str, int]) -> Dictionary:
        return OwnNormedDictionary(self, wiring, widths)


class OwnNormedDictionary(LinearDictionary):
    def encode(self, x: Any) -> SparseCodes:
        return top_k(self.pre_activations({self.reads[0]: self._standard(x)}), self.method.k)

    def decode(self, codes: SparseCodes, x: Any = None) -> Tensor:
        if x is None:
            raise ValueError("codes are of standardised tokens: decode(codes, x).")
        x = self.join_reads(x)
        return super().decode(codes, self._standard(x)) * x.std(-1, keepdim=True) + x.mean(-1, keepdim=True)

    def codes_scale(self, scales: Mapping[str, float]) -> float:
        return 1.0  # a standardised token does not grow

    def rescale(self, scales: Mapping[str, float]) -> None:
        """Nothing: what is inside sees no scale."""

    def initialise(self, sample: Batch, state: State) -> None:
        """The bias is of standardised tokens, and begins at 0."""

    def _standard(self, x: Any) -> Tensor:
        x = self.join_reads(x)
        return (x - x.mean(-1, keepdim=True)) / x.std(-1, keepdim=True)


# -- cross-layer: a site's latents are made of it alone, and write it and all later ones (Ameisen et al. 2025) ---------


@dataclass(frozen=True)
class OwnCrossLayer(Method):
    k: int = 4

    layerwise: ClassVar[bool] = True

    def build(self, wiring: sk.Wiring, widths: Mapping[str, int]) -> Dictionary:
        n, d = len(wiring.reads), widths[wiring.reads[0]]
        encoders = Stack([LinearEncoder.random(self.d_sae // n, [d]) for _ in range(n)])
        decoders = Stack([LinearDecoder.random((layer + 1) * self.d_sae // n, [d]) for layer in range(n)])
        return OwnCrossLayerDictionary(self, wiring, widths, encoders, decoders)


class Stack(Part):
    def __init__(self, parts: list[Any]) -> None:
        super().__init__()
        self.parts = nn.ModuleList(parts)

    def rescale(self, reads: Any, writes: Any, codes: float) -> None:
        for part, read, write in zip(self.parts, reads, writes, strict=True):
            part.rescale([read], [write], codes)


class OwnCrossLayerDictionary(Dictionary):
    def encode_at(self, x: Tensor, site: str) -> SparseCodes:
        layer = self.reads.index(site)
        codes = top_k(self.encoder.parts[layer](x, None), self.method.k)
        return replace(codes, indices=codes.indices + layer * codes.d_sae, d_sae=self.d_sae)

    def decode_at(self, codes: SparseCodes, site: str, x: Any = None) -> Tensor:
        part = self.decoder.parts[self.writes.index(site)]
        reached = codes.keep(codes.indices < len(part.directions))
        return part(replace(reached, d_sae=len(part.directions)))

    def encode(self, x: Any) -> SparseCodes:
        return SparseCodes.together([self.encode_at(x[site], site) for site in self.reads])

    def decode(self, codes: SparseCodes, x: Any = None) -> Any:
        return {site: self.decode_at(codes, site) for site in self.writes}


# -- two models: a latent pays for its decoder rows in each (Lindsey et al. 2024) --------------------------------------


@dataclass(frozen=True)
class OwnDiffing(Method):
    weight: float = 0.02

    def build(self, wiring: sk.Wiring, widths: Mapping[str, int]) -> Dictionary:
        if {site.model for site in wiring.sites} == {None}:
            raise ValueError(f"a comparison is of several models, found the wiring {wiring}.")
        return OwnDiffingDictionary(self, wiring, widths, unit_norm=False)


class OwnDiffingDictionary(LinearDictionary):
    def encode(self, x: Any) -> SparseCodes:
        return SparseCodes.from_dense(self.pre_activations(x).relu())

    def loss(self, batch: Batch, state: State) -> Loss:
        own = squared_error(self, batch)
        norms = self.decoder.row_norms()
        price = (own.codes.values * norms[own.codes.indices.long()]).sum() / len(own.error)
        return own._replace(total=own.total + self.method.weight * price, parts={"price": price.detach()})


# -- tied weights: the decoder's rows read too (Cunningham et al. 2023, arXiv 2309.08600) ------------------------------


@dataclass(frozen=True)
class OwnTied(Method):
    weight: float = 0.02

    def build(self, wiring: sk.Wiring, widths: Mapping[str, int]) -> Dictionary:
        decoder = LinearDecoder.random(self.d_sae, [widths[site] for site in wiring.writes])
        return OwnTiedDictionary(self, wiring, widths, TiedEncoder(decoder), decoder)


class OwnTiedDictionary(Dictionary):
    def encode(self, x: Any) -> SparseCodes:
        return SparseCodes.from_dense(self.encoder(self.join_reads(x), self.decoder.bias).relu())

    def loss(self, batch: Batch, state: State) -> Loss:
        own = squared_error(self, batch)
        return own._replace(total=own.total + self.method.weight * own.codes.values.sum() / len(own.error))


# -- a longer first look ---------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class OwnFirstLook(sk.TopK):
    sample: ClassVar[int] = 300

    def build(self, wiring: sk.Wiring, widths: Mapping[str, int]) -> Dictionary:
        return OwnFirstLookDictionary(self, wiring, widths)


class OwnFirstLookDictionary(TopKDictionary):
    def __init__(self, *given: Any) -> None:
        super().__init__(*given)
        self.register_buffer("looked_at", torch.tensor(0))

    def initialise(self, sample: Batch, state: State) -> None:
        super().initialise(sample, state)
        self.looked_at += len(self.join_reads(sample.flat().reads))
