"""What writes into the frozen model on a prompt: features that fire, errors and tokens, and what is none of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor
from torch.nn.functional import linear

from saekit.circuits.frozen import FrozenModel
from saekit.circuits.replacement import WRITTEN, LayerTranscoder
from saekit.models import Change, Site


@dataclass(frozen=True, eq=False)
class Sources:
    """n features that fire, an error a layer and position, a token a position; in this order they are columns.

    layer, position, latent, z: of each feature, sorted by layer, then position, then latent (its number in its layer).
    u:           pre-activation of each feature.
    encoder:     row of W_enc of each feature, by layer.
    writers:     of each site the positions where features write: (position, columns, z_s · d_s of each).
    errors:      ε, by the site written.
    embedding:   of each token.
    base:        what is written where every feature, error and token is 0, without a skip: b where tokens are counted.
    constant:    mlp − W_skip x, by the site written.
    """

    layer: Int[Tensor, " n"]
    position: Int[Tensor, " n"]
    latent: Int[Tensor, " n"]
    z: Float[Tensor, " n"]
    u: Float[Tensor, " n"]
    encoder: Sequence[Float[Tensor, "of_layer d_in"]]
    writers: Mapping[Site, list[tuple[int, Int[Tensor, " k"], Float[Tensor, "k d"]]]]
    errors: Mapping[Site, Float[Tensor, "t d"]]
    embedding: Float[Tensor, "t d"]
    base: Mapping[Site, Float[Tensor, "t d"]]
    constant: Mapping[Site, Float[Tensor, "t d"]]

    def __len__(self) -> int:
        return len(self.z) + (len(self.errors) + 1) * len(self.embedding)

    def adding(
        self, by_embedding: Float[Tensor, "row t d"], by_output: Mapping[Site, Float[Tensor, "row t d"]]
    ) -> Float[Tensor, "row columns"]:
        """What each source adds to something of which these are the gradients by what is written."""
        n, t = len(self.z), len(self.embedding)
        found = by_embedding.new_zeros(len(by_embedding), len(self))
        for number, (site, error) in enumerate(self.errors.items()):
            if site not in by_output:  # written behind what is read
                continue
            gradient = by_output[site]
            found[:, n + number * t : n + (number + 1) * t] = (gradient * error).sum(-1)
            for position, columns, rows in self.writers[site]:
                found[:, columns] += gradient[:, position] @ rows.T
        found[:, len(self) - t :] = (by_embedding * self.embedding).sum(-1)
        return found


@torch.no_grad()
def sources_of(frozen: FrozenModel, parts: Sequence[LayerTranscoder], counted: Bool[Tensor, " t"]) -> Sources:
    """What fires and writes in the frozen forward, where every MLP adds what it added in the model.

    parts: in the order of layers. counted: where there are features."""
    kept = frozen.run(frozen.embedding, frozen.outputs, [part.reads for part in parts])
    like = kept[parts[0].reads].new_zeros((), dtype=torch.promote_types(frozen.embedding.dtype, torch.float32))
    x = [kept[part.reads][0].to(like) for part in parts]
    mask = counted.to(like.device)
    places = mask.nonzero()[:, 0]
    errors = {site: output[0].to(like, copy=True) for site, output in frozen.outputs.items()}
    base = {site: torch.zeros_like(error) for site, error in errors.items()}
    writers: dict[Site, list[tuple[int, Tensor, Tensor]]] = {site: [] for site in errors}
    columns: list[list[Tensor]] = []
    encoder, first = [], 0
    for part, read in zip(parts, x, strict=True):
        if part.skip is not None:
            errors[part.reads.beside(WRITTEN)] -= linear(read, part.skip.to(like)) * mask[:, None]
        for site, bias in part.decoder_bias().items():
            base[site][places] += bias.to(like)
    constant = {site: error.clone() for site, error in errors.items()}
    for part, every in zip(parts, x, strict=True):
        read = every[places]
        codes = part.encode(read)
        codes = codes.keep(codes.values != 0)
        at, latents, z = places[codes.rows], codes.indices.long(), codes.values.to(like)
        u = part.pre_activations(read)[codes.rows, latents].to(like)
        columns.append([torch.full_like(at, part.layer), at, latents, z, u])
        encoder.append(part.encoder_rows(latents).to(like))
        for site, rows in part.decoder_rows(latents).items():
            adds = rows.to(like) * z[:, None]
            errors[site].index_add_(0, at, adds, alpha=-1)
            for position in at.unique().tolist():
                (here,) = torch.where(at == position)
                writers[site].append((position, first + here, adds[here]))
        first += len(z)
    for site, error in errors.items():
        error -= base[site]
    layer, position, latent, z, u = (torch.cat(each) for each in zip(*columns, strict=True))
    embedding = frozen.embedding[0].to(like)
    return Sources(layer, position, latent, z, u, encoder, writers, errors, embedding, base, constant)


def written(
    parts: Sequence[LayerTranscoder], counted: Bool[Tensor, " t"], put: Mapping[Site, Float[Tensor, "row t d"]]
) -> dict[Site, Tensor | Change]:
    """What each MLP adds where ``put`` is all of it that is not W_skip x."""
    return {
        (site := part.reads.beside(WRITTEN)): put[site] if part.skip is None else _skipping(part, counted, put[site])
        for part in parts
    }


def _skipping(part: LayerTranscoder, counted: Tensor, put: Tensor) -> Change:
    skip, reads = part.skip, part.reads
    assert skip is not None

    def change(h: Tensor, kept: Mapping[str, Tensor]) -> Tensor:
        return (put + linear(kept[reads].to(put), skip.detach().to(put)) * counted.to(put)[:, None]).to(h)

    return change
