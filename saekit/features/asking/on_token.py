"""Which latents fire on a token, by its text: how often, how strongly, and how much of either's that is."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from saekit.features.asking.hints import names
from saekit.features.asking.opened import OpenedStore
from saekit.files.choices import closest

if TYPE_CHECKING:
    import pandas

CLEAR = 0.1  # of a token's occurrences or of a latent's firings: less is chance
# Of a latent of which the store keeps a sample, firings are estimated from it: the share of the sample, of all.
_FIRINGS = """
with occurrences as (select place from tokens where counted and token in (select unnest(?))),
    fired as (
        select latent, count(*) as kept, max(abs(value)) as max
        from stored_activations semi join occurrences using (place) group by latent
    ),
    sampled as (
        select latent, count(*) as all_kept from stored_activations
        where latent in (select latent from stored_latents where firings > ?) group by latent
    )
select latent, max, kept * coalesce(firings / all_kept, 1) as firings, firings as all_firings,
    (select count(*) from occurrences) as occurrences
from fired join (select latent, firings from stored_latents) using (latent) left join sampled using (latent)
order by firings desc, latent
"""


def on_token(store: OpenedStore, text: str) -> pandas.DataFrame:
    """A row a latent that fires on it: see FeatureStore.on_token."""
    import pandas

    if not isinstance(text, str):
        raise TypeError(f"token is the text of one, such as ' the', found {text!r}.")
    tokens = store.tokens_of(text)
    found = _firings(store, tokens)
    if not found["occurrences"].size and not _is_read(store, tokens):
        raise ValueError(_never_read(store, text))
    called = names(store, found["latent"].tolist())
    firings = np.rint(found["firings"]).astype(np.int64)
    return pandas.DataFrame(
        {
            "latent": found["latent"],
            "name": pandas.Series([called[latent] for latent in found["latent"].tolist()], dtype=object),
            "firings": firings,
            "max_activation": found["max"],
            "share_of_token": np.minimum(1, firings / found["occurrences"]),
            "share_of_latent": np.minimum(1, firings / found["all_firings"]),
        }
    )


def firing_on(store: OpenedStore, search: str) -> list[int]:
    """The latents that clearly fire on the token that a search names, as it is written or with a space before it: on a
    tenth of its occurrences or more, or with a tenth of their firings. None where it names none."""
    written = [search] if search.startswith(" ") else [search, f" {search}"]
    tokens = [token for text in written for token in store.tokens_of(text)]
    if not search.strip() or not tokens:
        return []
    found = _firings(store, tokens)
    clear = np.maximum(found["firings"] / found["occurrences"], found["firings"] / found["all_firings"]) >= CLEAR
    return np.sort(found["latent"][clear]).tolist()


def _firings(store: OpenedStore, tokens: list[int]) -> dict[str, np.ndarray]:
    return store.database.columns(_FIRINGS, [tokens, store.manifest["settings"]["most_firings"]])


def _is_read(store: OpenedStore, tokens: list[int]) -> bool:
    query = "select 1 from tokens where counted and token in (select unnest(?)) limit 1"
    return bool(store.database.rows(query, [tokens]))


def _never_read(store: OpenedStore, text: str) -> str:
    read = store.database.rows("select distinct token from tokens where counted")
    known = [store.text_of(row["token"]) for row in read]
    near = [one for one in known if one.strip().casefold() == text.strip().casefold()]
    name = near[0] if near else closest(text, known)
    offer = "" if name is None else f"; the closest is {name!r}"
    return f"no counted token of the store is {text!r}{offer}."
