"""What a latent is called: its label, or where there is none the commonest tokens at its strongest examples' peaks."""

from __future__ import annotations

from saekit.features.asking.opened import OpenedStore
from saekit.plots.tokens import shown

HINTS = 3  # tokens
LONGEST = 60  # characters of each: a row of an array may be a whole text


def hints(store: OpenedStore) -> list[str]:
    """What stands where there is no label, of every latent."""
    rows = store.database.rows("select peak_tokens from latents order by latent")
    return [_hint(store, row["peak_tokens"]) for row in rows]


def names(store: OpenedStore, latents: list[int]) -> dict[int, str]:
    """What these latents are called."""
    known = store.labels.all()
    query = "select latent, peak_tokens from latents where latent in (select unnest(?))"
    found = {row["latent"]: _hint(store, row["peak_tokens"]) for row in store.database.rows(query, [latents])}
    return {latent: known.get(latent, {}).get("label") or found[latent] for latent in latents}


def _hint(store: OpenedStore, tokens: list[int] | None) -> str:
    return " ".join(shown(store.text_of(token)[:LONGEST], spaces=True) for token in (tokens or [])[:HINTS])
