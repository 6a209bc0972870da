"""Baselines as dictionaries, so that every score can stand beside them: neurons, PCA, ICA, random directions, and a
TopK whose decoder stays random.

z = W (x − x̄), signed, of which the k largest |z| are kept where k is given; x̂ = Σ_i z_i d_i + x̄. What W and d are is
the method. They are made of all tokens at once and not trained by gradient (``learner = "fit"``); ``FrozenDecoder`` is.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

import torch
from jaxtyping import Float
from saekit_kernels import SparseCodes
from torch import Tensor

from saekit.dictionaries.dictionary import Activation
from saekit.dictionaries.linear import LinearDictionary
from saekit.dictionaries.method import Method, check_k
from saekit.dictionaries.top_k import TopK, TopKDictionary
from saekit.dictionaries.wiring import Wiring
from saekit.objectives import Batch, State


@dataclass(frozen=True)
class Directions(Method):
    """What the fitted baselines share.

    k:    latents kept for each token, the largest in size; None: all
    seed: of what is drawn at random
    """

    k: int | None = None
    seed: int = 0

    learner: ClassVar[str] = "fit"
    equation: ClassVar[str] = "z = W (x − x̄), the k largest |z|; x̂ = Σ z_i d_i + x̄"

    def __post_init__(self) -> None:
        super().__post_init__()
        check_k(self, self.k)

    def build(self, wiring: Wiring, widths: Mapping[str, int]) -> DirectionsDictionary:
        """Directions still to be made, by ``initialise``. Raises ValueError for a wiring that writes elsewhere than it
        reads."""
        if not wiring.same:
            raise ValueError(f"{type(self).__name__} writes what it reads, found the wiring {wiring}.")
        return DirectionsDictionary(self, wiring, widths)

    @abstractmethod
    def directions(self, centred: Float[Tensor, "n d"]) -> tuple[Tensor, Tensor]:
        """Encoder and decoder directions, [d_sae, d] both, for activations ``centred`` on their mean; float64."""


@dataclass(frozen=True)
class Neurons(Directions):
    """The axes themselves; d_sae is the width of the site. All are on, and reconstruct exactly."""

    def directions(self, centred: Float[Tensor, "n d"]) -> tuple[Tensor, Tensor]:
        """The axes. Raises ValueError for a d_sae that is not the width of the site."""
        if self.d_sae != centred.shape[1]:
            raise ValueError(f"there are {centred.shape[1]} neurons here: take d_sae={centred.shape[1]}.")
        axes = torch.eye(self.d_sae, dtype=torch.float64)
        return axes, axes


@dataclass(frozen=True)
class PCA(Directions):
    """Principal components, those with the most variance first."""

    def directions(self, centred: Float[Tensor, "n d"]) -> tuple[Tensor, Tensor]:
        """Eigenvectors of xᵀx, the largest eigenvalues first. Raises ValueError for a d_sae above the width."""
        if self.d_sae > centred.shape[1]:
            raise ValueError(f"PCA has at most {centred.shape[1]} components here, found d_sae={self.d_sae}.")
        _, vectors = torch.linalg.eigh(centred.T @ centred)
        components = vectors.T.flip(0)[: self.d_sae]
        return components, components


@dataclass(frozen=True)
class ICA(Directions):
    """Independent components (scikit-learn's FastICA: Hyvärinen and Oja 2000, doi:10.1016/S0893-6080(00)00026-5), of
    variance 1."""

    source: ClassVar[str] = "Hyvärinen and Oja 2000, doi:10.1016/S0893-6080(00)00026-5"

    def directions(self, centred: Float[Tensor, "n d"]) -> tuple[Tensor, Tensor]:
        """The rows that unmix and the columns that mix. Raises ValueError for a d_sae above the width."""
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
        """Normal vectors, drawn with ``seed``, made length 1."""
        generator = torch.Generator().manual_seed(self.seed)
        drawn = torch.randn(self.d_sae, centred.shape[1], generator=generator, dtype=torch.float64)
        drawn /= drawn.norm(dim=1, keepdim=True)
        return drawn, drawn


class DirectionsDictionary(LinearDictionary):
    """The dictionary of the fitted baselines. The encoder's bias stays 0."""

    adjustable = ("k",)

    @property
    def signed(self) -> bool:
        """A projection may be negative."""
        return True

    def encode_dense(self, x: Activation) -> Float[Tensor, "*shape d_sae"]:
        """z = W (x − x̄), zero but for the k largest |z| of a token where the method has a k."""
        z, k = self.pre_activations(x), self.method.k
        if k is None:
            return z
        largest = z.abs().topk(k, dim=-1).indices
        return torch.zeros_like(z).scatter(-1, largest, z.gather(-1, largest))

    def encode(self, x: Activation) -> SparseCodes:
        """The non-zeros of ``encode_dense``; rows are ragged."""
        return SparseCodes.from_dense(self.encode_dense(x))

    @torch.no_grad()
    def initialise(self, sample: Batch, state: State) -> None:
        """Raises ValueError for fewer than two tokens, and for a d_sae that the method cannot have."""
        x = self.join_reads(sample.reads)
        if len(x) < 2:
            raise ValueError(f"activations to fit are [n, d] with n ≥ 2, found shape {tuple(x.shape)}.")
        exact = x.cpu().double()
        mean = exact.mean(0)
        encoder, decoder = self.method.directions(exact - mean)
        self.decoder.bias.copy_(mean)
        self.encoder.directions.copy_(encoder)
        self.decoder.directions.copy_(decoder)


@dataclass(frozen=True)
class FrozenDecoder(TopK):
    """TopK whose random decoder is never trained: what an encoder alone can make of any directions."""

    auxk_weight: float = 0.0
    """dead latents are not helped"""

    def build(self, wiring: Wiring, widths: Mapping[str, int]) -> TopKDictionary:
        """A TopK dictionary whose decoder rows have no gradient."""
        dictionary = TopKDictionary(self, wiring, widths)
        dictionary.decoder.directions.requires_grad_(False)
        return dictionary
