"""The peer of features.py: the statistics of a feature store as one writes them in plain dense torch.

Activations are read and encoded in batches with torch.topk; then some latents at a time are made dense,
[latent, token], and each latent's firings are looked at with torch's own functions. Definitions are the store's; draws
are its own.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from saekit.activations import harvest, tokenize

BATCH, LATENTS = 2048, 1024
TOP, BAND, BANDS, BINS, LOGITS = 20, 4, 5, 40, 10
CONSIDERED, BEFORE, AFTER, SAME = 60, 24, 16, (8, 4)
STATISTICS = ("density", "maximum", "mean", "std", "skewness", "kurtosis", "histogram", "intervals", "quantiles")


@torch.no_grad()
def dense(model: Any, sae: Any, texts: list[str], wanted: int, site: str, part: Any) -> dict[str, Any]:
    """part: a context manager that keeps the time of what is done in it, by name."""
    tokens, first, last, document, counted, x = _read(model, texts, wanted, site, part)
    with part("encoding"):
        values, indices = _encode(sae, x)
    with part("logits"):
        unembed, gain = _output(model, texts)
    places = counted.nonzero()
    listed = tuple(values.tolist() for values in (document, tokens, first, last))
    found: dict[str, list[Any]] = {name: [] for name in (*STATISTICS, "top", "band", "top_logits", "bottom_logits")}
    quantiles = torch.linspace(0, 1, BANDS + 1)
    for start in range(0, sae.d_sae, LATENTS):
        count = min(LATENTS, sae.d_sae - start)
        with part("statistics and examples"):
            z = torch.zeros(count, len(tokens))
            here = (indices >= start) & (indices < start + count)
            z[indices[here] - start, places.expand_as(indices)[here]] = values[here]
            best: list[tuple[int, int]] = []
            drawn: list[tuple[int, int]] = []
            for i in range(count):
                place = z[i].nonzero()[:, 0]
                v = z[i][place]
                _numbers(v, len(places), quantiles, found)
                strength, order = v.sort(descending=True, stable=True)
                best += [(i, p) for p in _top(place[order].tolist(), *listed)]
                drawn += [(i, p) for p in _bands(strength, place[order])]
            for name, chosen in (("top", best), ("band", drawn)):
                found[name].append(_windows(z, chosen, start, tokens, first, last))
        with part("logits"):
            effect = (sae.decoder_directions[start : start + count] * gain) @ unembed.T
            peak = z.amax(1)
            effect *= torch.where(peak > 0, peak, 1)[:, None]
            for side in ("top", "bottom"):
                found[f"{side}_logits"].append(effect.topk(LOGITS, largest=side == "top").values)
    joined = {name: torch.stack(found[name]) for name in STATISTICS}
    for name in ("top", "band"):
        joined[name] = {key: torch.cat([each[key] for each in found[name]]) for key in found[name][0]}
    return joined | {name: torch.cat(found[name]) for name in ("top_logits", "bottom_logits")}


def _read(model: Any, texts: list[str], wanted: int, site: str, part: Any) -> tuple[Any, ...]:
    """A row a token, BOS included: its id, where its row begins and ends, its document, whether it is counted; and the
    activations of those that are."""
    columns: list[tuple[Tensor, ...]] = []
    activations, base, counted = [], 0, 0
    for start in range(0, len(texts), 16):
        with part("model"):
            found = harvest(model, texts[start : start + 16], site)
        rows, kept = found.rows, found.rows.positions >= 0
        kept[:, 0] = True
        mask = rows.mask & (rows.mask.flatten().cumsum(0).view(kept.shape) <= wanted - counted)
        last = kept.sum(1).cumsum(0) + base - 1
        by_row = [values[:, None].expand_as(kept)[kept] for values in (last - kept.sum(1) + 1, last, rows.documents)]
        by_row[2] += start
        columns.append((rows.tokens[kept], *by_row, mask[kept]))
        activations.append(found[site][mask])
        base, counted = base + int(kept.sum()), counted + int(mask.sum())
        if counted == wanted:
            break
    return *(torch.cat(column) for column in zip(*columns, strict=True)), torch.cat(activations)


def _encode(sae: Any, x: Tensor) -> tuple[Tensor, Tensor]:
    values, indices = [], []
    for batch in x.split(BATCH):
        u = torch.addmm(sae.encoder_bias, batch - sae.decoder_bias, sae.encoder_directions.T)
        largest = u.topk(sae.method.k)
        values.append(largest.values.relu())
        indices.append(largest.indices)
    return torch.cat(values), torch.cat(indices)


def _output(model: Any, texts: list[str]) -> tuple[Tensor, Tensor]:
    """The unembedding, and the final norm's weights over its mean scale in the first rows."""
    rows = tokenize(model, texts[:16])
    end = f"blocks.{model.cfg.n_layers - 1}.hook_resid_post"
    h = harvest(model, rows.tokens[:16], end)[end][rows.mask[:16]]
    plain = model.original_model
    return plain.lm_head.weight, plain.model.norm.weight / h.pow(2).mean(-1).sqrt().mean()


def _numbers(v: Tensor, tokens: int, quantiles: Tensor, found: dict[str, list[Any]]) -> None:
    none = torch.tensor(torch.nan, dtype=torch.float64)
    maximum, mean = (v.max(), v.mean(dtype=torch.float64)) if len(v) else (torch.tensor(0.0), none)
    away = v.double() - mean
    variance = away.pow(2).mean() if len(v) else none
    spread = variance if variance > 0 else none
    found["density"].append(torch.tensor(len(v) / tokens, dtype=torch.float64))
    found["maximum"].append(maximum)
    found["mean"].append(mean)
    found["std"].append(variance.sqrt())
    found["skewness"].append(away.pow(3).mean() / spread**1.5 if len(v) else none)
    found["kurtosis"].append(away.pow(4).mean() / spread**2 if len(v) else none)
    found["histogram"].append(torch.histc(v, BINS, 0, float(maximum)))
    found["intervals"].append(torch.histc(v, BANDS, 0, float(maximum)))
    found["quantiles"].append(torch.quantile(v, quantiles) if len(v) else quantiles * torch.nan)


def _top(places: list[int], document: list[int], tokens: list[int], first: list[int], last: list[int]) -> list[int]:
    """The first of each document, the same text once."""
    documents, texts, found = set(), set(), []
    for place in places:
        if document[place] in documents:
            continue
        documents.add(document[place])
        begin, end = max(place - SAME[0], first[place]), min(place + SAME[1], last[place])
        text = (place - begin, *tokens[begin : end + 1])
        if text not in texts:
            texts.add(text)
            found.append(place)
        if len(found) == TOP or len(documents) == CONSIDERED:
            break
    return found


def _bands(strength: Tensor, place: Tensor) -> list[int]:
    """Draws from each fifth of (0, maximum] and of the ranks; the strongest come first."""
    if not len(strength):
        return []
    interval = (strength / strength[0] * BANDS).long().clamp_max(BANDS - 1)
    quantile = torch.arange(len(strength)) * BANDS // len(strength)
    found = []
    for bands in (interval, quantile):
        for band in range(BANDS):
            inside = place[bands == band]
            found += inside[torch.randperm(len(inside))[:BAND]].tolist()
    return found


def _windows(
    z: Tensor, chosen: list[tuple[int, int]], start: int, tokens: Tensor, first: Tensor, last: Tensor
) -> dict[str, Tensor]:
    """The context of examples (latent, place): tokens and activations [example, position], −1 and 0 outside."""
    latent, place = torch.tensor(chosen).T if chosen else torch.empty(2, 0, dtype=torch.long)
    around = place[:, None] + torch.arange(-BEFORE, AFTER + 1)
    inside = (around >= first[place][:, None]) & (around <= last[place][:, None])
    around = torch.where(inside, around, place[:, None])
    return {
        "latent": latent + start,
        "place": place,
        "tokens": torch.where(inside, tokens[around], -1),
        "values": torch.where(inside, z[latent[:, None], around], 0),
    }
