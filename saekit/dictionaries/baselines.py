"""Baselines as dictionaries, so that every score can stand beside them: neurons, PCA, ICA, random directions, and a
TopK whose decoder stays random.

z = W (x − x̄), signed, of which the k largest |z| are kept where k is given; x̂ = Σ_i z_i d_i + x̄. What W and d are is
the method. They are fitted to activations at once, `fit(PCA(d_sae=64), x)`, and not trained; ``FrozenDecoder`` is
trained.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

import torch
from jaxtyping import Float
from saekit_kernels import SparseCodes
from torch import Tensor

from saekit.dictionaries.contract import Activation, Dictionary, DictionaryConfiguration
from saekit.dictionaries.linear import check_size
from saekit.dictionaries.top_k import TopK, TopKDictionary


@dataclass(frozen=True)
class Directions(DictionaryConfiguration):
    """What the fitted baselines share."""

    k: int | None = None
    """latents kept for each token, the largest in size; None: all"""
    seed: int = 0

    def __post_init__(self) -> None:
        check_size(self.d_sae, self.k)

    def build(self, reads: Mapping[str, int], writes: Mapping[str, int]) -> DirectionsDictionary:
        return DirectionsDictionary(self, reads, writes)

    def directions(self, centred: Float[Tensor, "n d"]) -> tuple[Tensor, Tensor]:
        """Encoder and decoder directions, [d_sae, d] both, for activations whose mean is zero; float64."""
        raise NotImplementedError


@dataclass(frozen=True)
class Neurons(Directions):
    """The axes themselves; d_sae is the width of the site. All are on, and reconstruct exactly."""

    def directions(self, centred: Float[Tensor, "n d"]) -> tuple[Tensor, Tensor]:
        if self.d_sae != centred.shape[1]:
            raise ValueError(f"there are {centred.shape[1]} neurons here: take d_sae={centred.shape[1]}.")
        axes = torch.eye(self.d_sae, dtype=torch.float64)
        return axes, axes


@dataclass(frozen=True)
class PCA(Directions):
    """Principal components, those with the most variance first."""

    def directions(self, centred: Float[Tensor, "n d"]) -> tuple[Tensor, Tensor]:
        if self.d_sae > centred.shape[1]:
            raise ValueError(f"PCA has at most {centred.shape[1]} components here, found d_sae={self.d_sae}.")
        _, vectors = torch.linalg.eigh(centred.T @ centred)
        components = vectors.T.flip(0)[: self.d_sae]
        return components, components


@dataclass(frozen=True)
class ICA(Directions):
    """Independent components (scikit-learn's FastICA: Hyvärinen and Oja 2000, doi:10.1016/S0893-6080(00)00026-5), of
    variance 1."""

    def directions(self, centred: Float[Tensor, "n d"]) -> tuple[Tensor, Tensor]:
        from sklearn.decomposition import FastICA

        if self.d_sae > centred.shape[1]:
            raise ValueError(f"ICA has at most {centred.shape[1]} components here, found d_sae={self.d_sae}.")
        found = FastICA(self.d_sae, random_state=self.seed, whiten="unit-variance", max_iter=500, tol=1e-3)
        found.fit(centred.numpy())
        return torch.from_numpy(found.components_), torch.from_numpy(found.mixing_.T)


@dataclass(frozen=True)
class RandomDirections(Directions):
    """Random directions of norm 1. They reconstruct badly, since they overlap; their latents are a baseline for
    concepts."""

    def directions(self, centred: Float[Tensor, "n d"]) -> tuple[Tensor, Tensor]:
        generator = torch.Generator().manual_seed(self.seed)
        drawn = torch.randn(self.d_sae, centred.shape[1], generator=generator, dtype=torch.float64)
        drawn /= drawn.norm(dim=1, keepdim=True)
        return drawn, drawn


class DirectionsDictionary(Dictionary):
    """The dictionary of the fitted baselines."""

    configuration: Directions
    signed: ClassVar[bool] = True

    def pre_activations(self, x: Activation) -> Float[Tensor, "*shape d_sae"]:
        return (self.join_reads(x) - self.decoder_bias) @ self.encoder_directions.T

    def encode_dense(self, x: Activation) -> Float[Tensor, "*shape d_sae"]:
        z = self.pre_activations(x)
        k = self.configuration.k
        if k is None:
            return z
        largest = z.abs().topk(k, dim=-1).indices
        return torch.zeros_like(z).scatter(-1, largest, z.gather(-1, largest))

    def encode(self, x: Activation) -> SparseCodes:
        return SparseCodes.from_dense(self.encode_dense(x))


def fit(configuration: Directions, x: Float[Tensor, "n d"], site: str = "x") -> DirectionsDictionary:
    """Fit a baseline to activations, such as ``acts.flat(site)``; ``latent_max`` is measured on them.

    site: where they were taken, so that the dictionary can be put on the model there.
    Raises ValueError for activations that are not [n, d], and for a d_sae that the method cannot have."""
    if x.ndim != 2 or len(x) < 2:
        raise ValueError(f"activations to fit are [n, d] with n ≥ 2, found shape {tuple(x.shape)}.")
    dictionary = configuration.build({site: x.shape[1]}, {site: x.shape[1]}).to(x.device)
    exact = x.detach().cpu().double()
    mean = exact.mean(0)
    encoder, decoder = configuration.directions(exact - mean)
    with torch.no_grad():
        dictionary.decoder_bias.copy_(mean)
        dictionary.encoder_directions.copy_(encoder)
        dictionary.decoder_directions.copy_(decoder)
        dictionary.latent_max.copy_(torch.stack([dictionary.encode_dense(p).amax(0) for p in x.split(4096)]).amax(0))
    return dictionary.eval().requires_grad_(False)


@dataclass(frozen=True)
class FrozenDecoder(TopK):
    """TopK whose random decoder is never trained: what an encoder alone can make of any directions."""

    objective: ClassVar[str] = "reconstruction"

    def build(self, reads: Mapping[str, int], writes: Mapping[str, int]) -> TopKDictionary:
        dictionary = TopKDictionary(self, reads, writes)
        dictionary.decoder_directions.requires_grad_(False)
        return dictionary
