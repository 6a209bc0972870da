"""Budget: what edits cost, and the strength that costs so much. This is what "price" and "auto" mean everywhere.

The cost of edits is the mean over the counted tokens of a neutral text of KL(p ‖ p′), p the model's prediction after
the token and p′ its prediction with the same edits there, in nats a token. A strength is chosen so that an edit costs
what one is ready to pay.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from saekit.activations import TokenRows
from saekit.activations.harvesting import read_rows
from saekit.activations.source import Readable
from saekit.files.arguments import whole
from saekit.files.roles import CORPUS, EDIT, MODEL, check_roles
from saekit.interventions.edit import Edit
from saekit.interventions.editing import edited
from saekit.models import ROWS_AT_ONCE, forward

if TYPE_CHECKING:
    import pandas
    from transformer_lens.model_bridge import TransformerBridge

USUAL_TOKENS = 2_000
KEPT_NUMBERS = 2**27
"""Log-probabilities of the model itself that are held; where there are more they are made anew for each strength."""
GROWING = ("add", "clamp", "minimum")
"""Modes whose effect grows with their strength, from none at 0 (of a clamp: from the latent's absence)."""
LEAST, MOST = 2.0**-8, 2.0**12  # factors on the strengths that are tried
CLOSE = 0.01  # of log2 of the factor: 0.7 %


@dataclass(frozen=True, eq=False)
class Budget:
    """The strength at which edits cost ``nats``, or the nearest to it that there is.

    edits:    the edits with their strengths, ready for ``sk.edited(model, budget.edits)``.
    factor:   what the strengths given were multiplied by; of one edit of strength 1 that is its strength.
    cost:     what they cost, measured. nats: what was asked for.
    reached:  False where no strength tried costs so much, or the least costs more; then ``note`` says it.
    tokens:   counted tokens that the cost is a mean over.
    tried:    (factor, cost), by rising factor.
    """

    edits: list[Edit]
    factor: float
    cost: float
    nats: float
    reached: bool
    tokens: int
    tried: list[tuple[float, float]]

    @property
    def strength(self) -> float:
        """Of the first edit."""
        return self.edits[0].strength

    @property
    def definition(self) -> str:
        """What the cost is."""
        return f"mean KL(p ‖ p′) in nats over {self.tokens:,} counted tokens of the text, p′ with the edits"

    @property
    def note(self) -> str:
        """Empty where the budget was met."""
        if self.reached:
            return ""
        side = "at most" if self.cost < self.nats else "at least"
        times = f"{self.factor:g} times what was given"
        return f"no strength costs {self.nats:g} nats a token: {side} {self.cost:.3g}, at {times}."

    def frame(self) -> pandas.DataFrame:
        """What was tried: factor, cost."""
        import pandas

        return pandas.DataFrame(self.tried, columns=["factor", "cost"])

    def __repr__(self) -> str:
        said = f"strength {self.strength:.3g} costs {self.cost:.3g} nats a token (asked for {self.nats:g})"
        return f"{said}\n{self.note}" if self.note else said

    def _repr_html_(self) -> str:
        from saekit.plots import html_table

        rows = [{"strength": self.strength, "nats a token": self.cost, "asked for": self.nats, "note": self.note}]
        return html_table(rows, caption=self.definition)


def cost(
    model: TransformerBridge, edits: Edit | Sequence[Edit], text: Readable, tokens: int | None = USUAL_TOKENS
) -> float:
    """Mean KL(p ‖ p′) in nats over the counted tokens of a text, p the model's predictions and p′ those with the edits.

    edits:  as ``sk.edited`` takes them.
    text:   neutral to what the edits are about: a corpus, a list of strings, or token ids.
    tokens: counted ones that are read, from the beginning; None: all.
    Example: ``sk.interventions.cost(model, sk.Edit(sae, latent=3), ["Anna went home.", "Peter did not."])``.
    Raises ValueError for a text without a token to count, and what ``sk.edited`` raises.
    """
    edits = _edits("sk.interventions.cost(model, edits, text)", model, edits, text)
    return _Costs(model, text, tokens).of(edits)


def strength_at(
    model: TransformerBridge,
    edits: Edit | Sequence[Edit],
    text: Readable,
    nats: float = 0.5,
    tokens: int | None = USUAL_TOKENS,
) -> Budget:
    """The strength at which edits cost ``nats`` a token on a text: all strengths given are multiplied by one factor.

    edits:  of the modes "add", "clamp" and "minimum"; their strengths say how they stand to each other, and the sign.
    text, tokens: as in ``cost``. nats: what one is ready to pay.
    Returns a ``Budget``: ``budget.edits`` with the strengths, ``budget.cost`` as measured. It is the least factor found
    by doubling from 1/256 on; the cost need not grow everywhere beyond it. For example
    ``sk.interventions.strength_at(model, sk.Edit(sae, latent=3), neutral, nats=0.5).strength``.
    Raises ValueError for modes without a strength that grows, a strength of 0, nats that are not positive.
    """
    edits = _edits("sk.interventions.strength_at(model, edits, text)", model, edits, text)
    for edit in edits:
        if edit.mode not in GROWING:
            raise ValueError(f"mode {edit.mode!r} has no strength that costs more and more: use {', '.join(GROWING)}.")
        if not edit.strength:
            raise ValueError("an edit of strength 0 stays 0 by any factor: give strength=1, or -1.")
    if not nats > 0:
        raise ValueError(f"nats is what an edit may cost a token, above 0, found {nats}.")
    costs, tried = _Costs(model, text, tokens), dict[float, float]()

    def missing(exponent: float) -> float:
        factor = 2.0**exponent
        if factor not in tried:
            tried[factor] = costs.of(_scaled(edits, factor))
        return tried[factor] - nats

    factor, reached = _crossing(missing)
    if factor is None:  # the nearest that was tried
        factor = min(tried, key=lambda each: abs(tried[each] - nats))
    found = sorted(tried.items())
    return Budget(_scaled(edits, factor), factor, tried[factor], nats, reached, costs.tokens, found)


def _crossing(missing: Any) -> tuple[float | None, bool]:
    """The least factor at which nothing is missing."""
    from math import log2

    from scipy.optimize import brentq

    exponent, end = log2(LEAST), log2(MOST)
    if missing(exponent) >= 0:
        return None, False
    while exponent < end:
        exponent += 1
        if missing(exponent) >= 0:
            root = float(brentq(missing, exponent - 1, exponent, xtol=CLOSE))
            missing(root)
            return 2.0**root, True
    return None, False


class _Costs:
    """The rows of a text, and the model's own predictions on them."""

    def __init__(self, model: TransformerBridge, text: Readable, tokens: int | None) -> None:
        rows, _ = read_rows(model, text, None if tokens is None else whole("tokens", tokens))
        self.model, self.parts, self.tokens = model, rows.split(ROWS_AT_ONCE), int(rows.mask.sum())
        held = self.tokens * model.cfg.d_vocab <= KEPT_NUMBERS
        self.own = [self._predictions(part) for part in self.parts] if held else None

    def of(self, edits: Sequence[Edit]) -> float:
        """Mean KL(p ‖ p′)."""
        total = 0.0
        for number, part in enumerate(self.parts):
            p = self._predictions(part) if self.own is None else self.own[number]
            with edited(self.model, edits):
                q = self._predictions(part)
            total += float((p.exp() * (p - q)).sum(-1).cpu().double().sum())
        return total / self.tokens

    def _predictions(self, rows: TokenRows) -> Tensor:
        """[counted token, vocabulary], log-probabilities of what follows."""
        with torch.no_grad():
            logits = forward(self.model, rows.tokens, logits=rows.mask).logits
        assert logits is not None  # they were asked for
        return logits.float().log_softmax(-1)


def _edits(call: str, model: Any, edits: Any, text: Any) -> list[Edit]:
    check_roles(call, model=(model, MODEL), edits=(edits, EDIT), text=(text, CORPUS))
    found = [edits] if isinstance(edits, Edit) else list(edits)
    if not found:
        raise ValueError("there is no edit to judge: edits is empty.")
    return found


def _scaled(edits: Sequence[Edit], factor: float) -> list[Edit]:
    return [replace(edit, strength=edit.strength * factor) for edit in edits]
