"""logit_lens: which tokens a latent promotes, d_i W_U, read straight off its decoder row (nostalgebraist 2020).

Where the model scales its logits (Cohere, Granite), so are these; a soft cap has slope 1 at 0.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch

from saekit.activations import token_strings
from saekit.dictionaries import Dictionary, check_model
from saekit.dictionaries.latent_number import latent_number
from saekit.models import model_at, together
from saekit.models.after import slope_at_zero

if TYPE_CHECKING:
    import pandas
    from transformer_lens.model_bridge import TransformerBridge

DEFINITION = "d_i · W_U, the decoder row through the unembedding alone; no norm, no later layer"
SCALED = "; times {scale:.4g}, the model's scale of its logits"


@dataclass(frozen=True, repr=False)
class LogitLens:
    """A row a latent and rank: latent, side ("promoted" or "suppressed"), rank from 0, token, logit.

    rows: as said. definition: what a logit is here."""

    rows: list[dict[str, Any]]
    definition: str = DEFINITION

    def frame(self) -> pandas.DataFrame:
        """The rows as a frame."""
        import pandas

        return pandas.DataFrame(self.rows, columns=["latent", "side", "rank", "token", "logit"])

    def __repr__(self) -> str:
        from saekit.plots import text_table

        return text_table(self.rows, more=".frame()")

    def _repr_html_(self) -> str:
        from saekit.plots import html_table

        return html_table(self.rows, caption=self.definition)


@torch.no_grad()
def logit_lens(
    model: TransformerBridge | Any,
    dictionary: Dictionary,
    latents: int | Sequence[int],
    count: int = 5,
    site: str | None = None,
) -> LogitLens:
    """The ``count`` tokens that each latent promotes and suppresses most.

    Meaningful where the dictionary writes the residual stream (or what is added to it). Raises ValueError for a
    dictionary of another model or width, NoSuchLatent for a latent that is not there.

    model: what the dictionary was made on; of one over several models all of them by their names.
    latents: a number or several. site: of those written, default the first."""
    check_model(dictionary, model)
    site = site or dictionary.writes[0]
    rows = dictionary.decoder_directions_at(site)
    model, _ = model_at(together(model), site)
    given = [latents] if isinstance(latents, int) else latents
    wanted = [latent_number(latent, dictionary.d_sae) for latent in given]
    unembedding = model.W_U
    if rows.shape[1] != len(unembedding):
        raise ValueError(f"the dictionary writes {rows.shape[1]} values, the unembedding takes {len(unembedding)}.")
    logits, definition = rows[wanted].to(unembedding) @ unembedding, DEFINITION
    slope = slope_at_zero(model)
    if slope is not None and bool((slope != 1).any()):
        logits, definition = logits * slope.to(logits), DEFINITION + SCALED.format(scale=float(slope.mean()))
    found = []
    for latent, row in zip(wanted, logits, strict=True):
        for side, sign in (("promoted", 1), ("suppressed", -1)):
            best = (sign * row).topk(count).indices.tolist()
            shown = token_strings(model, best)
            found += [
                {"latent": latent, "side": side, "rank": rank, "token": text, "logit": round(float(row[token]), 3)}
                for rank, (token, text) in enumerate(zip(best, shown, strict=True))
            ]
    return LogitLens(found, definition)
