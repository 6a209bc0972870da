"""Which heads and which source tokens the latents of an attention layer's heads come from, over their top examples.

The rows that the top examples of all latents stand in are run once more, each once, with the pattern and the values
kept: A_k[t, s] · ⟨v_k(s), W_i[k]⟩ is what head k brings to latent i at token t from token s, and summed over heads and
sources, with the constant b_i − ⟨c, W_i⟩, it is the pre-activation (saekit.metrics.attention; 2406.17759).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow.parquet as pq
import torch
from jaxtyping import Float
from torch import Tensor

from saekit.dictionaries import Dictionary
from saekit.features import schema
from saekit.features.building.chunks import Readings
from saekit.features.building.tables import table, write_table
from saekit.features.loss_effects import tokens_of_rows
from saekit.features.schema import SOURCES_KEPT
from saekit.files.progress import Bar
from saekit.metrics.attention import HEADS, family, source_kinds
from saekit.models import SeveralModels, Site, forward

if TYPE_CHECKING:
    from transformer_lens.model_bridge import TransformerBridge

TOKENS_AT_ONCE = 2**13
NUMBERS_AT_ONCE = 2**22  # of patterns, and of contributions


def write_heads(
    folder: Path,
    model: TransformerBridge | SeveralModels | None,
    dictionary: Dictionary,
    readings: Readings,
    parts: Sequence[Sequence[int]],
) -> int:
    """Write the tables heads and sources of a store whose other tables are there, in its parts (first latent, latent
    behind the last). Returns how many heads there are; 0, and nothing is written, over arrays or several models, where
    the dictionary does not read and write one attn.hook_z, or where its encoder is not linear."""
    site = Site(dictionary.reads[0])
    one = tuple(dictionary.reads) == tuple(dictionary.writes) == (site,) and site.endswith(HEADS)
    if model is None or isinstance(model, SeveralModels) or not one:
        return 0
    if dictionary.encoder_directions is None or dictionary.decoder_directions is None:
        return 0
    found = _Found.of(folder, model.cfg.n_heads, parts)
    _fill(found, model, dictionary, readings)
    constant = _constant(dictionary)
    for number, (first, last) in enumerate(parts):
        for name, columns in (
            ("heads", _of_latents(found, _decoder_share(dictionary, found.heads, first, last), constant, first)),
            ("sources", found.sources(first, last)),
        ):
            write_table(folder, name, number, table(name, columns))
    return found.heads


@dataclass(frozen=True)
class _Found:
    """Of each top example, by latent and rank, its strongest sources; of each latent sums over its top examples."""

    heads: int
    latent: np.ndarray  # [example]
    place: np.ndarray
    back: np.ndarray  # [example, kept]: tokens from the peak back to the source; −1: none
    head: np.ndarray
    contribution: np.ndarray
    by_head: np.ndarray  # [latent, head]: Σ |u_k|
    sizes: np.ndarray  # [latent, 3]: Σ |contribution| from behind a copy, from near, and from all

    @classmethod
    def of(cls, folder: Path, heads: int, parts: Sequence[Sequence[int]]) -> _Found:
        """Nothing found yet: the top examples that a store has."""
        columns: dict[str, list[np.ndarray]] = {"latent": [], "place": []}
        for number in range(len(parts)):
            file = schema.part_of(folder, "examples", number)
            some = pq.read_table(file, columns=list(columns), filters=[("kind", "=", "top")])
            for name, values in columns.items():
                values.append(some[name].to_numpy())
        latent, place = (np.concatenate(values) for values in columns.values())
        shape, latents = (len(latent), SOURCES_KEPT), parts[-1][1]
        return cls(
            heads=heads,
            latent=latent,
            place=place,
            back=np.full(shape, -1, np.int32),
            head=np.zeros(shape, np.int16),
            contribution=np.zeros(shape, np.float32),
            by_head=np.zeros((latents, heads)),
            sizes=np.zeros((latents, 3)),
        )

    def keep(self, examples: np.ndarray, brought: Float[Tensor, "m heads t"], at: Tensor, kinds: list[Tensor]) -> None:
        """What the heads bring to some examples from each source of their row. at: where in the row their peaks are.
        kinds: masks [m, t] of the sources behind a copy, of those near, and of all."""
        size, latents = brought.abs().sum(1), self.latent[examples]
        np.add.at(self.by_head, latents, brought.sum(2).abs().cpu().double().numpy())
        np.add.at(self.sizes, latents, torch.stack([(size * kind).sum(1) for kind in kinds], 1).cpu().double().numpy())
        each = brought.flatten(1)
        strongest = each.abs().topk(min(SOURCES_KEPT, each.shape[1]), dim=1).indices
        head, source = strongest // brought.shape[2], strongest % brought.shape[2]
        value = each.gather(1, strongest)
        where = (examples[:, None], np.arange(strongest.shape[1]))
        self.back[where] = torch.where(value != 0, at[:, None] - source, -1).numpy()
        self.head[where], self.contribution[where] = head.numpy(), value.numpy()

    def sources(self, first: int, last: int) -> dict[str, Any]:
        """The columns of the table sources, of latents first … last − 1."""
        begin, end = np.searchsorted(self.latent, (first, last))
        example, rank = np.nonzero(self.back[begin:end] >= 0)
        example += begin
        place = self.place[example]
        return {
            "latent": self.latent[example],
            "place": place,
            "source": place - self.back[example, rank],
            "head": self.head[example, rank],
            "contribution": self.contribution[example, rank],
        }


def _fill(found: _Found, model: TransformerBridge, dictionary: Dictionary, readings: Readings) -> None:
    """Run the rows of the examples, and keep what comes from where."""
    site = Site(dictionary.reads[0])
    names = [site.beside("attn.hook_pattern"), site.beside("attn.hook_v")]
    weights = dictionary.encoder_directions.detach()
    order = np.argsort(readings.take("row_first", found.place), kind="stable")
    firsts, begins = np.unique(readings.take("row_first", found.place[order]), return_index=True)
    examples = np.split(order, begins[1:]) if len(firsts) else []
    # The model looks back alone, so that a row is run up to its last peak.
    lengths = np.array([found.place[some].max() for some in examples], np.int64) - firsts + 1
    with Bar(total=len(firsts), desc="heads and sources", unit=" row", unit_scale=True) as bar:
        for rows in _batches(lengths, found.heads):
            longest = int(lengths[rows].max())
            tokens = tokens_of_rows(readings, firsts[rows], lengths[rows], longest)
            pattern, v = (h.to("cpu", torch.float32) for h in forward(model, tokens, names).kept.values())
            v = v.repeat_interleave(found.heads // v.shape[2], dim=2)  # several heads may share their values
            for row, its in enumerate(rows):
                step = max(1, NUMBERS_AT_ONCE // (found.heads * longest))
                for start in range(0, len(examples[its]), step):
                    some = examples[its][start : start + step]
                    at = torch.from_numpy(found.place[some] - firsts[its])
                    own = (
                        weights[torch.from_numpy(found.latent[some]).long()]
                        .to("cpu", torch.float32)
                        .unflatten(1, (found.heads, -1))
                    )
                    brought = torch.einsum("shd,mhd->mhs", v[row], own) * pattern[row][:, at].movedim(1, 0)
                    behind, near = source_kinds(tokens[row], at)
                    found.keep(some, brought, at, [behind, near, torch.ones_like(near)])
            bar.update(len(rows))


def _batches(lengths: np.ndarray, heads: int) -> Iterator[np.ndarray]:
    """Numbers of rows of about the same length, as many as their patterns may be kept of; the longest first."""
    order, start = np.argsort(-lengths, kind="stable"), 0
    while start < len(order):
        longest = int(lengths[order[start]])
        count = max(1, min(TOKENS_AT_ONCE // longest, NUMBERS_AT_ONCE // (heads * longest**2)))
        yield order[start : start + count]
        start += count


def _of_latents(
    found: _Found, decoder_share: Float[np.ndarray, "m heads"], constant: Float[np.ndarray, " d_sae"], first: int
) -> dict[str, Any]:
    """The columns of the table heads, of the m latents from the first on."""
    some = slice(first, first + len(decoder_share))
    by_head, sizes = found.by_head[some], found.sizes[some]
    whole = by_head.sum(1)
    known = [bool(size) for size in sizes[:, 2]]

    def where_known(values: Any) -> list[Any]:
        return [value if one else None for value, one in zip(values, known, strict=True)]

    with np.errstate(invalid="ignore", divide="ignore"):
        shares = sizes[:, :2] / sizes[:, 2:]
        activation_share = by_head / whole[:, None]
    return {
        "latent": np.arange(first, first + len(decoder_share)),
        "decoder_share": list(decoder_share),
        "activation_share": where_known(activation_share),
        "constant": constant[some],
        "induction": where_known(shares[:, 0]),
        "local": where_known(shares[:, 1]),
        "family": where_known([family(*size) for size in sizes.tolist()]),
    }


def _decoder_share(dictionary: Dictionary, heads: int, first: int, last: int) -> Float[np.ndarray, "m heads"]:
    rows = dictionary.decoder_directions[first:last].detach().float().cpu()
    norms = rows.unflatten(1, (heads, -1)).norm(dim=2)
    return (norms / norms.sum(1, keepdim=True).clamp_min(1e-30)).numpy()


def _constant(dictionary: Dictionary) -> Float[np.ndarray, " d_sae"]:
    weights, bias, centre = dictionary.encoder_directions, dictionary.encoder_bias, dictionary.centre
    constant = torch.zeros(len(weights), device=weights.device, dtype=weights.dtype)
    if bias is not None:
        constant = constant + bias
    if centre is not None:
        constant = constant - weights @ centre
    return constant.detach().float().cpu().numpy()
