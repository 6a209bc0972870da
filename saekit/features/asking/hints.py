"""What a latent is called: its label, or where nobody gave one its best explanation, or else the commonest words at its
strongest examples' peaks."""

from __future__ import annotations

from typing import Any

from saekit.features.asking.opened import OpenedStore
from saekit.plots.tokens import shown

HINTS = 3  # words
LONGEST = 60  # characters of each: a row of an array may be a whole text


def hints(store: OpenedStore) -> list[str]:
    """What stands where there is no label, of every latent."""
    rows = store.database.rows("select peak_tokens, peak_words from latents order by latent")
    return [_hint(store, row) for row in rows]


def names(store: OpenedStore, latents: list[int]) -> dict[int, str]:
    """What these latents are called."""
    known, explained = store.labels.all(), store.labels.best_explanations()
    query = "select latent, peak_tokens, peak_words from latents where latent in (select unnest(?))"
    found = {row["latent"]: _hint(store, row) for row in store.database.rows(query, [latents])}
    said = {latent: text for latent, (text, _) in explained.items()}
    return {latent: known.get(latent, {}).get("label") or said.get(latent) or found[latent] for latent in latents}


def _hint(store: OpenedStore, row: dict[str, Any]) -> str:
    words = row["peak_words"]
    if words is None:
        texts = [store.text_of(token) for token in row["peak_tokens"] or []]
        words = [text.strip() or text for text in texts]
    return " · ".join(shown(word[:LONGEST], spaces=not word.strip()) for word in words[:HINTS])
