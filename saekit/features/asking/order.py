"""The order in which latents are listed until somebody sorts them: what is worth reading first.

Where the corpus has labels, by the F1 of the concept that each finds best. A detector of a special token or of a chat's
marker is perfect and tells nothing, so these come last, after those that find no concept. Without labels, those of
middling density first (.05 to 5 %: neither once in a book nor everywhere), the strongest of them on top.
"""

from __future__ import annotations

import numpy as np

from saekit.features.asking.opened import OpenedStore
from saekit.features.schema import COACTIVE_TOKENS

MIDDLING = (0.0005, 0.05)  # densities


def usual(store: OpenedStore) -> np.ndarray:
    """Each latent's place in the order, from 0; worked out once for a store."""
    if "usual" not in store.made:
        store.made["usual"] = _usual(store)
    return store.made["usual"]


def _usual(store: OpenedStore) -> np.ndarray:
    found = store.database.columns(
        "select density, greatest(abs(max_activation), abs(min_activation)) as strongest, "
        "coalesce(concept[1], '') as best, concept_f1[1]::float as f1 from latents order by latent"
    )
    strongest = np.asarray(found["strongest"])
    if store.manifest["concepts"]:
        f1 = np.asarray(found["f1"], np.float32)
        last = np.isin(found["best"], special_concepts(store))
        group = np.where(last, 2, np.isnan(f1))
        order = np.lexsort((-strongest, -np.nan_to_num(f1), group))
    else:
        low, high = MIDDLING
        order = np.lexsort((-strongest, (found["density"] < low) | (found["density"] > high)))
    place = np.empty(store.d_sae, np.int32)
    place[order] = np.arange(store.d_sae, dtype=np.int32)  # lexsort is stable: ties go by number
    return place


def special_concepts(store: OpenedStore) -> list[str]:
    """The labelled concepts whose tokens are mostly special ones, such as a chat's markers; of the first tokens, which
    have them too."""
    rows = store.database.rows(
        "with marks as (select place from tokens join vocabulary using (token) where special and counted and place < ?)"
        "select concept from concepts left join marks using (place) where concepts.place < ? "
        "group by concept having count(marks.place) > count(*) / 2",
        [COACTIVE_TOKENS, COACTIVE_TOKENS],
    )
    return [row["concept"] for row in rows]
