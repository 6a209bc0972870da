"""answers: whether a model gives the right answers of prompt pairs, as it is or with edits, as one number of quality.

right: the arg max after the clean prompt is one of its answers. gap: mean log p of the answers − mean log p of the
wrong ones there, in nats. What an edit does to either is the difference of two calls, with its sign.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from saekit.corpora import Pairs
from saekit.files.roles import EDIT, MODEL, check_roles
from saekit.interventions import Edit, edited
from saekit.models import forward
from saekit.models.bos import bos_of

if TYPE_CHECKING:
    import pandas
    from transformer_lens.model_bridge import TransformerBridge


@dataclass(frozen=True, eq=False, repr=False)
class Answers:
    """Of n pairs: right [n], gap [n] in nats. definition: what they are."""

    right: Bool[Tensor, " n"]
    gap: Float[Tensor, " n"]
    definition: str = "right: the arg max is an answer; gap: mean log p of the answers − of the wrong ones, in nats"

    @property
    def accuracy(self) -> float:
        """The share of pairs with a right answer."""
        return float(self.right.cpu().double().mean())

    def frame(self) -> pandas.DataFrame:
        """A row a pair: right, gap."""
        import pandas

        return pandas.DataFrame({"right": self.right.numpy(), "gap": self.gap.numpy()})

    @property
    def _rows(self) -> list[dict[str, Any]]:
        return [{"pairs": len(self.gap), "accuracy": self.accuracy, "mean gap": float(self.gap.mean())}]

    def __repr__(self) -> str:
        from saekit.plots import text_table

        return text_table(self._rows, more=".frame()")

    def _repr_html_(self) -> str:
        from saekit.plots import html_table

        return html_table(self._rows, caption=self.definition)


@torch.no_grad()
def answers(model: TransformerBridge, pairs: Pairs, edits: Edit | Sequence[Edit] = ()) -> Answers:
    """The answers of a model to the clean prompts of pairs.

    model: what ``load_model`` gives. pairs: what ``load_pairs`` gives for its tokenizer. edits: one ``sk.Edit`` or
    several that the model runs with; prompts of one length run together, so that positions are as in each prompt.
    Returns ``Answers``: ``.accuracy``, ``.gap``, ``.frame()``, drawn. For example ``sk.metrics.answers(model,
    sk.load_pairs("refusal"), sk.Edit(sae, latent=3, strength=2)).accuracy``.
    Raises ValueError where there are no pairs, and what ``sk.edited`` raises.
    """
    check_roles("sk.metrics.answers(model, pairs, edits)", model=(model, MODEL), edits=(edits or None, EDIT))
    if not len(pairs):
        raise ValueError("there are no pairs to answer: sk.load_pairs('refusal') has some.")
    tokenizer, bos = model.tokenizer, bos_of(model)
    begin = [] if bos is None else [bos]
    by_length: dict[int, list[tuple[int, list[int]]]] = defaultdict(list)
    for number, pair in enumerate(pairs):
        ids = begin + tokenizer.encode(pair.clean, add_special_tokens=False)
        by_length[len(ids)].append((number, ids))
    right, gap = torch.zeros(len(pairs), dtype=torch.bool), torch.zeros(len(pairs))
    with edited(model, edits):
        for group in by_length.values():
            tokens = torch.tensor([ids for _, ids in group])
            last = torch.zeros_like(tokens, dtype=torch.bool)
            last[:, -1] = True
            logits = forward(model, tokens, logits=last).logits
            assert logits is not None  # they were asked for
            for (number, _), row in zip(group, logits.float().log_softmax(-1).cpu(), strict=True):
                good, bad = (
                    [tokenizer.encode(word, add_special_tokens=False)[-1] for word in words]
                    for words in (pairs[number].answers, pairs[number].wrong)
                )
                right[number] = int(row.argmax()) in good
                gap[number] = row[good].mean() - row[bad].mean()
    return Answers(right, gap)
