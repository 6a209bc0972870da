"""One feature as a browser or a card shows it: read from the tables of a store, in the shape of `FeatureView`."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from saekit_widgets.protocols import Band, Example, FeatureView

from saekit.features import schema
from saekit.features.asking.around import around, at, firings
from saekit.features.asking.heads import Marks, heads_of, reads_heads, why_none
from saekit.features.asking.numbers import facts
from saekit.features.asking.opened import OpenedStore
from saekit.features.columns import rows_or_tokens
from saekit.features.pieces import pieces
from saekit.features.schema import INTERVALS, KINDS, QUANTILES
from saekit.features.written import no_path


def feature_view(store: OpenedStore, latent: int) -> FeatureView:
    """Where the examples cannot be read, `absent` says so.

    Raises NoSuchLatent for a latent that is not there, ValueError where the table of latents cannot be read."""
    row = store.row(latent)
    latent = row["latent"]
    numbers, absent = facts(store, row), _absent(store, row)
    absent |= {name: fact["more"] for name, fact in numbers.items() if fact["value"] is None and "more" in fact}
    try:
        shown = _examples(store, row)
    except ValueError as error:  # one file that cannot be read; what the others say is drawn
        shown, absent["examples"] = {kind: [] for kind in KINDS}, str(error)
    return FeatureView(
        latent=latent,
        firings=row["firings"],
        density=row["density"],
        maximum=row["max_activation"],
        minimum=row["min_activation"],
        mean=row["mean"],
        std=row["std"],
        skewness=row["skewness"],
        kurtosis=row["kurtosis"],
        decoder_norm=row["decoder_norm"],
        numbers=numbers,
        concepts=concepts(row),
        histogram=_histogram(row),
        logits=_logits(store, row),
        neighbours=neighbours(row),
        examples=shown,
        heads=heads_of(store, latent),
        explanations=store.labels.explanations(latent),
        next_alive=None if row["firings"] else store.next_alive(latent),
        absent=absent,
    )


def concepts(row: dict[str, Any]) -> list[dict[str, Any]]:
    """The matched concepts in a row of the table latents, the best first, each with its numbers."""
    names = ("f1", "precision", "recall", "threshold", "share")
    columns = zip(*(row[f"concept_{name}"] or [] for name in names), strict=True)
    return [
        {"concept": concept, **dict(zip(names, numbers, strict=True))}
        for concept, numbers in zip(row["concept"] or [], columns, strict=True)
    ]


def neighbours(row: dict[str, Any]) -> list[dict[str, Any]]:
    """The neighbours of a row of the table latents: latent, cosine, phi."""
    columns = (row["neighbours"] or [], row["cosine"] or [], row["phi"] or [])
    return [{"latent": n, "cosine": cosine, "phi": phi} for n, cosine, phi in zip(*columns, strict=True)]


def _histogram(row: dict[str, Any]) -> dict[str, Any] | None:
    if not row["firings"]:
        return None
    return {
        "edges": bin_edges(row["min_activation"], row["max_activation"], row["histogram"]),
        "counts": row["histogram"],
    }


def _logits(store: OpenedStore, row: dict[str, Any]) -> dict[str, Any] | None:
    if row["top_tokens"] is None:
        return None
    sides = {
        side: [
            [store.text_of(token), value]
            for token, value in zip(row[f"{side}_tokens"], row[f"{side}_logits"], strict=True)
        ]
        for side in ("top", "bottom")
    }
    counts = row["logit_histogram"]
    return {**sides, "edges": bin_edges(row["logit_low"], row["logit_high"], counts), "counts": counts}


def bin_edges(low: float, high: float, counts: list[int]) -> list[float]:
    """The edges of equal bins from low to high, as many as there are counts."""
    return np.linspace(low, high, len(counts) + 1).tolist()


def quantile_counts(firings: int) -> list[int]:
    """Firings in each of the bands of equal count."""
    below = [(firings - 1) * q // QUANTILES + 1 for q in range(1, QUANTILES)]
    return np.diff([0, *below, firings]).tolist()


def _examples(store: OpenedStore, row: dict[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = {kind: [] for kind in KINDS}
    for shown, kind, band in examples(store, row["latent"], KINDS):
        found[kind].append((band, shown))
    result: dict[str, Any] = {kind: [shown for _, shown in found[kind]] for kind in ("top", "random", "near")}
    strongest = max(abs(row["max_activation"]), abs(row["min_activation"]))
    if row["firings"]:
        edges = [strongest * i / INTERVALS for i in range(INTERVALS + 1)]
        result["interval"] = _bands(found["interval"], edges, row["intervals"])
        result["quantile"] = _bands(found["quantile"], row["quantiles"], quantile_counts(row["firings"]))
    else:
        result |= {"interval": [], "quantile": []}
    return result


def _bands(found: list[tuple[int, Example]], edges: list[float], counts: list[int]) -> list[Band]:
    bands = []
    for i in reversed(range(len(counts))):
        own = [example for band, example in found if band == i]
        bands.append(Band(low=edges[i], high=edges[i + 1], count=counts[i], examples=own))
    return bands


def examples(store: OpenedStore, latent: int, kinds: tuple[str, ...]) -> list[tuple[Example, str, int]]:
    """Examples with their kind and band, in the order of kind and band; those drawn at random by strength, the others
    by rank."""
    rows = store.database.rows(
        "select kind, band, place, value, copies from examples where latent = ? and kind in (select unnest(?)) "
        "order by kind, band, if(kind in ('top', 'near'), 0, -abs(value)), rank",
        [latent, list(kinds)],
    )
    if not rows:
        return []
    tokens, peaks, stretches = around(store, np.array([row["place"] for row in rows]))
    columns = at(tokens["place"], firings(store, latent, ("value", "logit_effect", "loss_effect")))
    marks = Marks(store, latent) if schema.by_heads(store.manifest) else None
    found = []
    for row, peak, stretch in zip(rows, peaks, stretches, strict=True):
        example = _example(store, tokens, stretch, int(peak), columns)
        if marks is not None:
            example["sources"] = marks.on(example, row["place"], int(tokens["place"][stretch.start]))
        found.append((example | {"value": row["value"], "copies": row["copies"]}, row["kind"], row["band"]))
    return found  # type: ignore[return-value]


def _example(
    store: OpenedStore, tokens: dict[str, np.ndarray], window: slice, peak: int, columns: dict[str, np.ndarray]
) -> dict[str, Any]:
    ids = tokens["token"][window].tolist()
    shown = pieces([store.bytes_of(token) for token in ids])

    def of(name: str) -> list[float | None]:
        """An entry a piece: the strongest of its tokens; of effects that of its last firing."""
        column = [None if math.isnan(value) else value for value in columns[name][window].tolist()]
        if len(shown) == len(ids):
            return column
        parts = [[value for value in column[piece.start : piece.stop] if value is not None] for piece in shown]
        return [max(part, key=abs) if name == "value" else part[-1] if part else None for part in parts]

    inside = peak - window.start
    return {
        "document": int(tokens["document"][peak]),
        "position": int(tokens["position"][peak]),
        "peak": next(n for n, piece in enumerate(shown) if piece.start <= inside < piece.stop),
        "pieces": [piece.text for piece in shown],
        "tokens": [ids[piece.start : piece.stop] for piece in shown],
        "values": of("value"),
        "logit_effect": of("logit_effect"),
        "loss_effect": of("loss_effect"),
    }


def _absent(store: OpenedStore, row: dict[str, Any]) -> dict[str, str]:
    writes = ", ".join(store.manifest["dictionary"]["writes"])
    absent: dict[str, str] = {}
    if not row["firings"]:
        never = f"It never fired in {store.tokens:,} {rows_or_tokens(store.manifest)}."
        absent |= {"histogram": never, "examples": never}
    if row["top_tokens"] is None and not schema.over_arrays(store.manifest):  # of arrays nobody asks for them
        why = no_path(store.manifest["dictionary"]["writes"])
        why = f"{why[0].upper()}{why[1:]}" if why else f"{writes} is not the residual stream and not added to it"
        absent["logits"] = f"{why}: no direct path to the logits."
    if not row["neighbours"]:
        absent["neighbours"] = "It has no neighbours: the dictionary has no other latent."
    if schema.over_arrays(store.manifest):
        pass
    elif not store.manifest["concepts"]:
        absent["concepts"] = "The corpus has no labels."
    elif not row["concept"]:
        absent["concepts"] = "No labelled concept is found by it."
    if reads_heads(store.manifest) and (why := why_none(store.manifest)) is not None:
        absent["sources"] = f"Which earlier tokens it reads from is not known: {why}"
    return absent
