"""Activations of the same tokens at several sites, a part at a time: what numbers across layers are made of."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import torch
from jaxtyping import Float
from torch import Tensor

from saekit.activations.arrays import by_site
from saekit.activations.finite import check_finite
from saekit.activations.source import Readable
from saekit.engines.threads import products_of, threads_for, working_with
from saekit.files.progress import Bar
from saekit.metrics.reading import Reading, rounded
from saekit.models import Site, check_site, forward, joined

if TYPE_CHECKING:
    from transformer_lens.model_bridge import TransformerBridge

TOKENS_AT_ONCE = 1024


@torch.no_grad()
def read_beside(
    model: TransformerBridge, sites: Sequence[str], source: Readable, tokens: int | str | None, **how: Any
) -> Iterator[dict[str, Float[Tensor, "n d"]]]:
    """Activations of counted tokens by site. tokens, how: as ``Reading`` takes them.

    Raises ValueError for a site that is not there, NaN and infinite activations, and a source without a token."""
    for site in sites:
        check_site(model, site)
    reading = Reading(model, source, tokens, **how)
    threads = threads_for(products_of(model), str(model.cfg.device))
    with Bar(total=reading.tokens, desc="layers", unit=" token", unit_scale=True, leave=False) as bar:
        for number, (rows, _) in enumerate(reading):
            lengths = rounded(rows.lengths).clamp_max(rows.tokens.shape[1])
            with working_with(threads):
                kept = forward(model, rows.tokens, list(sites), lengths=lengths).kept
            for site, h in kept.items():
                check_finite(h[rows.mask.to(h.device)], site, number)
            yield from parts_beside({site: joined(h, site)[rows.mask.to(h.device)] for site, h in kept.items()}, sites)
            bar.update(int(rows.mask.sum()))


def parts_beside(x: Mapping[str, Any], sites: Sequence[str]) -> Iterator[dict[str, Float[Tensor, "n d"]]]:
    """The same of arrays [n, d] by site, or of what ``harvest`` gave.

    Raises ValueError for a site without an array, and arrays of other lengths."""
    arrays = by_site(x, list(sites))
    if len({len(h) for h in arrays.values()}) > 1 or not all(len(h) for h in arrays.values()):
        raise ValueError(f"there must be as many rows at each site, found {[len(h) for h in arrays.values()]}.")
    for start in range(0, len(arrays[sites[0]]), TOKENS_AT_ONCE):
        part = {site: h[start : start + TOKENS_AT_ONCE] for site, h in arrays.items()}
        for site, h in part.items():
            check_finite(h, site, start // TOKENS_AT_ONCE)
        yield part


def short_names(sites: Sequence[str]) -> list[str]:
    """The numbers of their layers where that tells the sites apart and all are of one kind, else their names."""
    found = [Site(site) for site in sites]
    layers = [site.layer for site in found]
    alike = len({(site.model, site.kind) for site in found}) == 1
    return [str(layer) for layer in layers] if alike and None not in layers else [str(site) for site in sites]
