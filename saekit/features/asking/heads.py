"""Where the latents of an attention layer's heads come from, as a store keeps it: by head, and by source token."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from saekit_widgets.protocols import Heads, Source

from saekit.features import schema
from saekit.features.asking.answers import Answer
from saekit.features.asking.opened import OpenedStore
from saekit.files.paths import shown
from saekit.models import Site

NAMES = ("decoder_share", "activation_share", "constant", "induction", "local", "family")


@dataclass(frozen=True, repr=False)
class Sources(Answer):
    """Where one latent comes from.

    rows:             a row a source of a top example, strongest example and source first: token (at the peak), value,
                      source (a token), back (tokens from the peak back to it), head, contribution, place, source_place.
    decoder_share:    of each head, from the weights.
    activation_share: of each head, over its top examples; None where it never fires, as what follows.
    induction, local: shares of Σ |contribution| from behind an earlier copy of the peak's token, and from near.
    family:           "induction", "local" or "long-range".
    constant:         b_i − ⟨c, W_i⟩: with all that heads and sources bring it is the pre-activation.
    """

    decoder_share: list[float]
    activation_share: list[float] | None
    constant: float
    induction: float | None
    local: float | None
    family: str | None

    def by_head(self) -> Any:
        """A frame, a row a head: head, decoder_share, activation_share."""
        import pandas

        shares = {"decoder_share": self.decoder_share, "activation_share": self.activation_share}
        return pandas.DataFrame({"head": range(len(self.decoder_share)), **shares})

    def __repr__(self) -> str:
        return f"{super().__repr__()}\n{self._said()}; .by_head()"

    def _repr_html_(self) -> str:
        from saekit.plots import html_table

        heads = self.by_head().sort_values("decoder_share", ascending=False, kind="stable").to_dict("records")
        return html_table(heads, caption=f"latent {self.latent}: {self._said()}") + super()._repr_html_()

    def _said(self) -> str:
        head = int(np.argmax(self.decoder_share))
        most = f"head {head} has {self.decoder_share[head]:.0%} of its decoder row"
        if self.induction is None or self.local is None:
            return most
        kinds = f"{self.induction:.0%} from behind an earlier copy, {self.local:.0%} from near tokens"
        return f"{self.family}: {kinds}; {most}"


def sources(store: OpenedStore, latent: int, definition: str) -> Sources:
    """The answer of ``FeatureStore.sources``. Raises ValueError where a store has none, saying why."""
    if (why := why_none(store.manifest)) is not None:
        raise ValueError(f"{shown(store.folder)} knows no sources: {why}")
    found = store.database.rows(
        "select place, value, source, head, contribution from sources join examples using (latent, place) "
        "where latent = ? and kind = 'top' order by rank, abs(contribution) desc, source, head",
        [latent],
    )
    of = _tokens(store, [row[name] for row in found for name in ("place", "source")])
    rows = [
        {
            "token": store.text_of(of[row["place"]]),
            "value": row["value"],
            "source": store.text_of(of[row["source"]]),
            "back": row["place"] - row["source"],
            "head": row["head"],
            "contribution": row["contribution"],
            "place": row["place"],
            "source_place": row["source"],
        }
        for row in found
    ]
    return Sources(latent, rows, definition, **_row(store, latent))


def heads_of(store: OpenedStore, latent: int) -> Heads | None:
    """What a browser draws of a latent's heads; None in a store that does not know them."""
    if not schema.by_heads(store.manifest):
        return None
    row = _row(store, latent)
    return Heads(
        decoder=row["decoder_share"],
        activation=row["activation_share"],
        family=row["family"],
        induction=row["induction"],
        local=row["local"],
        constant=row["constant"],
    )


class Marks:
    """The sources of a latent's top examples, to be marked in the text around their peaks."""

    def __init__(self, store: OpenedStore, latent: int) -> None:
        query = "select place, source, head, contribution from sources where latent = ? "
        self.by_place: dict[int, list[tuple[int, int, float]]] = {}
        rows = store.database.rows(query + "order by place, abs(contribution) desc, source, head", [latent])
        for row in rows:
            self.by_place.setdefault(row["place"], []).append((row["source"], row["head"], row["contribution"]))
        of = _tokens(store, [row["source"] for row in rows])
        self.texts = {place: store.text_of(token) for place, token in of.items()}

    def on(self, example: Mapping[str, Any], place: int, first: int) -> list[Source]:
        """Of the example whose peak is at a place, and whose text begins at the place `first`; none where it is no top
        example."""
        piece_of = [i for i, tokens in enumerate(example["tokens"]) for _ in tokens]
        return [
            Source(
                piece=piece_of[source - first] if source >= first else None,
                text=self.texts[source],
                back=place - source,
                head=head,
                contribution=contribution,
            )
            for source, head, contribution in self.by_place.get(place, ())
        ]


def why_none(manifest: dict[str, Any]) -> str | None:
    """Why a store does not know which tokens its latents come from, in a sentence; None where it does."""
    if schema.by_heads(manifest):
        return None
    reads, writes = manifest["dictionary"]["reads"], manifest["dictionary"]["writes"]
    if not reads_heads(manifest):
        return f"its dictionary reads {', '.join(reads)}; they are known of one at blocks.0.attn.hook_z."
    if schema.over_arrays(manifest):
        return "it is over arrays, and only a model can run their rows again."
    if not manifest["finished"]:
        return "it is half built: they are found at the end, so call FeatureStore.build again."
    if "heads" not in manifest:
        return "it was built before they were kept: build it again in an empty folder, with the same call."
    if reads != writes:
        return f"its dictionary reads {', '.join(reads)} and writes {', '.join(writes)}; both must be one attn.hook_z."
    return "its encoder is not linear, so that its codes are no sum over heads."


def reads_heads(manifest: dict[str, Any]) -> bool:
    """Whether somebody may ask for the heads of a dictionary's latents."""
    return any(Site(site).kind == "attn.hook_z" for site in manifest["dictionary"]["reads"])


def _row(store: OpenedStore, latent: int) -> dict[str, Any]:
    return store.database.rows(f"select {', '.join(NAMES)} from heads where latent = ?", [latent])[0]


def _tokens(store: OpenedStore, places: Sequence[int]) -> dict[int, int]:
    """The token at each of some places."""
    found = store.database.tokens_at(np.unique(np.array(places, np.int64)))
    return dict(zip(found["place"].tolist(), found["token"].tolist(), strict=True))
