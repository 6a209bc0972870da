"""What stands in the place of a model's MLPs: for each the transcoder that reads it, and where that writes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from jaxtyping import Float, Int
from saekit_kernels import SparseCodes
from torch import Tensor

from saekit.dictionaries import Dictionary, NestedDictionary
from saekit.dictionaries.cross_layer import CrossLayerDictionary
from saekit.dictionaries.wanted import dictionary_of
from saekit.formats import load_dictionary
from saekit.interventions.checks import check_standing
from saekit.interventions.standing import Standing
from saekit.models import Site

if TYPE_CHECKING:
    from transformer_lens.model_bridge import TransformerBridge

WRITTEN = "hook_mlp_out"


@dataclass(frozen=True, eq=False)
class LayerTranscoder:
    """The transcoder that reads the MLP of one layer, x̂^m = Σ_i z_i d_i^m + b^m (+ W_skip x) at each m it writes.

    whole: the dictionary it is of: itself, or the cross-layer one whose latents of this layer begin at ``first``.
    """

    own: Dictionary
    whole: Dictionary
    first: int

    @property
    def reads(self) -> Site:
        """The site that it reads."""
        return Site(self.own.reads[0])

    @property
    def layer(self) -> int:
        """The layer whose MLP it reads."""
        assert self.reads.layer is not None
        return self.reads.layer

    @property
    def skip(self) -> Float[Tensor, "d_out d_in"] | None:
        """W_skip; None without."""
        return getattr(self.own.decoder, "skip", None)

    def encode(self, x: Float[Tensor, "n d_in"]) -> SparseCodes:
        """z."""
        return self.own.encode(self.own.take(x))

    def pre_activations(self, x: Float[Tensor, "n d_in"]) -> Float[Tensor, "n d_sae"]:
        """u = W_enc x + b_enc."""
        found = self.own.pre_activations(self.own.take(x))
        assert found is not None
        return found

    def encoder_rows(self, latents: Int[Tensor, " n"]) -> Float[Tensor, "n d_in"]:
        """W_enc of some latents."""
        return self.own.encoder_directions[latents]

    def decoder_rows(self, latents: Int[Tensor, " n"]) -> dict[Site, Float[Tensor, "n d"]]:
        """d_i of some latents, by the site written."""
        return self._by_site(self.own.decoder_rows(latents))

    def decoder_bias(self) -> dict[Site, Float[Tensor, " d"]]:
        """b, by the site written; 0 where there is none."""
        bias, width = self.own.decoder_bias, sum(self.own.write_widths.values())
        return self._by_site(self.own.latent_max.new_zeros(width) if bias is None else bias.detach())

    def _by_site(self, joined: Float[Tensor, "*n d_out"]) -> dict[Site, Float[Tensor, "*n d"]]:
        parts = joined.split(list(self.own.write_widths.values()), dim=-1)
        return {Site(site): part for site, part in zip(self.own.writes, parts, strict=True)}


def layer_transcoders(model: TransformerBridge, transcoders: Any) -> list[LayerTranscoder]:
    """One for each layer of the model, in order.

    transcoders: "micro", for the four that ship; a name or folder as ``sk.load_dictionary`` takes it; a cross-layer
    transcoder; or transcoders (or runs) of all layers, in any order, or by layer in a mapping.
    Raises ValueError for one of another model, a layer without or with two, one that reads or writes anything else
    than MLPs, and one that is not linear."""
    found = [part for each in _given(model, transcoders) for part in _parts(model, each)]
    by_layer: dict[int, LayerTranscoder] = {}
    for part in found:
        if part.layer in by_layer:
            raise ValueError(f"each MLP is read by one transcoder, and two of those given read layer {part.layer}.")
        by_layer[part.layer] = part
    missing = [layer for layer in range(model.cfg.n_layers) if layer not in by_layer]
    if missing:
        have = ", ".join(map(str, sorted(by_layer))) or "none"
        raise ValueError(
            f"attribution replaces every MLP, and layer{'s' * (len(missing) > 1)} {', '.join(map(str, missing))} of "
            f"this model's {model.cfg.n_layers} have no transcoder (found: {have}): "
            f"sk.train(model, sk.Wiring.transcoder({missing[0]}), …) makes one."
        )
    return [by_layer[layer] for layer in sorted(by_layer)]


def _given(model: TransformerBridge, transcoders: Any) -> list[Dictionary]:
    """Dictionaries, loaded where they are named."""
    if isinstance(transcoders, Mapping):
        transcoders = list(transcoders.values())
    if transcoders == "micro":
        transcoders = [f"micro/blocks.{layer}.mlp" for layer in range(4)]
    several = transcoders if isinstance(transcoders, Sequence) and not isinstance(transcoders, str) else [transcoders]
    precision = torch.promote_types(model.cfg.dtype, torch.float32)
    loaded = [
        load_dictionary(each, model.cfg.device, precision) if isinstance(each, str) else dictionary_of(each)
        for each in several
    ]
    if not loaded:
        raise ValueError('attribution needs a transcoder for each layer, or "micro" for those that ship, found none.')
    return loaded


def _parts(model: TransformerBridge, dictionary: Dictionary) -> list[LayerTranscoder]:
    """The transcoders of single layers that a dictionary is made of."""
    wiring = dictionary.wiring
    wrong = [site for site in wiring.writes if site.kind != WRITTEN]
    if wrong or wiring.each or (len(wiring.reads) > 1 and not wiring.layerwise):
        raise ValueError(
            f"attribution takes transcoders, which read what an MLP reads and write what it adds, such as "
            f"sk.Wiring.transcoder({wiring.reads[0].layer or 0}), found a dictionary of {wiring}."
        )
    check_standing(model, Standing(dictionary))
    own = dictionary
    while isinstance(own, NestedDictionary) and type(own).encode is NestedDictionary.encode:
        own = own.base  # trained otherwise, and the same dictionary
    layers = list(own.layers) if isinstance(own, CrossLayerDictionary) else [own]
    parts, first = [], 0
    for layer in layers:
        part = LayerTranscoder(layer, dictionary, first)
        first += layer.d_sae
        if Site(layer.writes[0]).layer != part.reads.layer:
            raise ValueError(
                f"a transcoder writes the MLP of the layer that it reads, and this one reads {str(part.reads)!r} and "
                f"writes {str(layer.writes[0])!r}."
            )
        _check_linear(layer)
        parts.append(part)
    return parts


def _check_linear(layer: Dictionary) -> None:
    rows = layer.decoder_rows(slice(0, 1))
    seen = layer.pre_activations(torch.zeros(1, layer.d_in).to(layer.latent_max))
    if layer.standardised or rows is None or layer.encoder_directions is None or seen is None:
        raise ValueError(
            f"attribution needs a linear encoder and decoder, u = W_enc x + b and x̂ = Σ z d + b, and a "
            f"{type(layer.method).__name__} has none: TopK, BatchTopK, JumpReLU, ReLU and Gated have."
        )
