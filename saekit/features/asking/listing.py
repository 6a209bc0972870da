"""All latents of a store at once, as a browser lists, filters and searches them."""

from __future__ import annotations

from typing import Any

import numpy as np
from saekit_widgets.protocols import Listing

from saekit.features.asking.definitions import definitions
from saekit.features.asking.opened import OpenedStore
from saekit.plots.tokens import shown

HINTS = 3  # tokens


def listing(store: OpenedStore) -> Listing:
    columns = store.database.columns(
        "select density, max_activation as most, min_activation as least, loss_effect, "
        "coalesce(concept_f1[1], 'nan'::float) as f1, coalesce(concept[1], '') as concept from latents order by latent"
    )
    best = store.labels.best_scores()
    detection = np.full(store.d_sae, np.nan, np.float32)
    detection[list(best)] = list(best.values())
    strongest = np.maximum(np.abs(columns["most"]), np.abs(columns["least"]))
    names = sorted(set(columns["concept"]) - {""})
    number = {name: i for i, name in enumerate(names)} | {"": -1}
    numbers = {"density": columns["density"], "max": strongest, "f1": columns["f1"], "detection": detection}
    numbers["loss_effect"] = columns["loss_effect"]
    made, sae = store.manifest["provenance"], store.manifest["dictionary"]
    return Listing(
        title=str(store.folder),
        model=str(made["model"]),
        site=" → ".join(dict.fromkeys([*sae["reads"], *sae["writes"]])),
        facts=facts(store.manifest),
        d_sae=store.d_sae,
        columns={name: np.asarray(values, dtype="<f4") for name, values in numbers.items()},
        concept=np.array([number[name] for name in columns["concept"]], dtype="<i2"),
        concepts=names,
        hints=hints(store),
        labels=store.labels.all(),
        definitions=definitions(store.manifest),
    )


def hints(store: OpenedStore) -> list[str]:
    """What stands where there is no label: the tokens at its strongest examples' peaks."""
    rows = store.database.rows("select peak_tokens from latents order by latent")
    return [_hint(store, row["peak_tokens"]) for row in rows]


def names(store: OpenedStore, latents: list[int]) -> dict[int, str]:
    """What these latents are called: their label, or where there is none the hint."""
    known = store.labels.all()
    query = "select latent, peak_tokens from latents where latent in (select unnest(?))"
    found = {row["latent"]: _hint(store, row["peak_tokens"]) for row in store.database.rows(query, [latents])}
    return {latent: known.get(latent, {}).get("label") or found[latent] for latent in latents}


def _hint(store: OpenedStore, tokens: list[int] | None) -> str:
    return " ".join(shown(store.text_of(token), spaces=True) for token in (tokens or [])[:HINTS])


def facts(manifest: dict[str, Any]) -> str:
    """Such as "TopK k = 32 · 500,000 tokens of microworld/train"."""
    configuration = manifest["dictionary"]["configuration"]
    method = configuration["method"] + (f" k = {configuration['k']}" if configuration.get("k") else "")
    corpus = manifest["provenance"]["corpus"]
    of = f" of {corpus['name']}/{corpus['split']}" if corpus else ""
    return f"{method} · {manifest['progress']['counted']:,} tokens{of}"
