"""EndToEnd: trained by what the model makes of the reconstruction (Braun et al. 2024, arXiv 2405.12241).

With x̂ in the place of the activation at counted tokens: KL(clean ‖ spliced), or the cross-entropy of the next token,
beside a share of the base method's own loss, which keeps x̂ near x and dead latents alive. What makes codes sparse is
the base's business.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from saekit.dictionaries.cross_layer import built
from saekit.dictionaries.nested import NestedDictionary, NestedMethod
from saekit.dictionaries.wiring import Wiring
from saekit.files.choices import checked
from saekit.models import forward, put
from saekit.objectives import Batch, Loss, State, cross_entropy, divergence

LOSSES = ("kl", "ce")


@dataclass(frozen=True)
class EndToEnd(NestedMethod):
    """Any method, its reconstruction spliced into the model while it trains: ``EndToEnd(sk.TopK(…), loss="kl")``.

    loss:        "kl": KL(clean ‖ spliced) of the predictions, "ce": cross-entropy of the next token; in nats a
                 prediction
    base_weight: how much the base's own loss weighs beside it
    """

    loss: str = "kl"
    base_weight: float = 10.0

    needs: ClassVar[frozenset[str]] = frozenset({"rows", "models"})
    equation: ClassVar[str] = "KL(clean ‖ spliced with x̂), or its cross-entropy, + base_weight · the base's own loss"
    source: ClassVar[str] = "Braun et al. 2024, arXiv 2405.12241"

    def __post_init__(self) -> None:
        super().__post_init__()
        checked("loss", self.loss, LOSSES)
        if not self.base_weight >= 0:
            raise ValueError(f"base_weight must be at least 0, found {self.base_weight}.")
        if self.base.learner != "gradient":
            raise ValueError(f"EndToEnd trains by gradient, which {type(self.base).__name__} is not made by.")

    def build(self, wiring: Wiring, widths: Mapping[str, int]) -> EndToEndDictionary:
        """The base's dictionary. Raises ValueError for ``each`` and for sites of several models."""
        if wiring.each or any(site.model for site in wiring.sites):
            raise ValueError(
                f"EndToEnd splices a dictionary into one model at its own sites, found the wiring {wiring}."
            )
        return EndToEndDictionary(self, built(self.base, wiring, widths))


class EndToEndDictionary(NestedDictionary):
    """The base's dictionary; ``loss`` runs the model."""

    def loss(self, batch: Batch, state: State) -> Loss:
        """Nats a prediction of the spliced model + base_weight · the base's loss. Raises ValueError for a batch without
        rows or models."""
        if batch.rows is None or batch.models is None:
            lacks = "rows" if batch.rows is None else "models"
            raise ValueError(f"EndToEnd runs the model on whole rows of text, and this batch has no {lacks}.")
        model, rows, own = batch.models[""], batch.rows, self.base.loss(batch, state)
        parts = {self.method.loss: torch.zeros_like(own.total), **own.parts}
        total = self.method.base_weight * own.total
        if not rows.predicts.any():  # texts of one token
            return own._replace(total=total, parts=parts)
        reads = batch.flat().reads  # the counted tokens alone are coded: some methods choose from a whole batch
        # The base's own codes where they carry a gradient, which may reach more than those of encode (a threshold).
        codes = own.codes if own.codes.values.requires_grad else self.encode(reads)
        x_hat = self.decode(codes, reads)
        written = {self.writes[0]: x_hat} if isinstance(x_hat, Tensor) else x_hat
        spliced = {site: put(in_rows(h * state.scales[site], rows.mask), rows.mask) for site, h in written.items()}
        logits = forward(model, rows.tokens, replace=spliced, logits=rows.predicts, gradients=True).logits
        assert logits is not None
        if self.method.loss == "kl":
            with torch.no_grad():
                clean = forward(model, rows.tokens, logits=rows.predicts).logits
            assert clean is not None
            of_model = divergence(clean, logits)
        else:
            of_model = cross_entropy(logits, rows.tokens.roll(-1, 1)[rows.predicts])
        return own._replace(total=of_model + total, parts=parts | {self.method.loss: of_model.detach()})


def in_rows(h: Float[Tensor, "n d"], mask: Bool[Tensor, "row position"]) -> Float[Tensor, "row position d"]:
    """The tokens of a mask where they stand, zeros elsewhere."""
    return h.new_zeros(*mask.shape, h.shape[-1]).index_put((mask,), h)
