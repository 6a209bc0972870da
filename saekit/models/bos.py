"""What a row of tokens begins with: one rule, for everything that turns text into tokens.

In this order: what the tokenizer adds to a text by itself; a bos token that it has and does not add, where
TransformerLens prepends it for that family (``cfg.default_prepend_bos``), as it does for micro; else nothing. What a
tokenizer has and adds is as the checkpoint's own files say: TransformerLens loads it to add a bos always, and writes
eos into ``tokenizer.bos_token`` where there is none.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from transformer_lens.model_bridge import TransformerBridge

    from saekit.models.several import SeveralModels


@dataclass(frozen=True)
class Begin:
    """adds: the ids that the tokenizer puts before a text by itself. has: its bos token. prepends: whether
    TransformerLens prepends one for this family."""

    adds: tuple[int, ...]
    has: int | None
    prepends: bool


def bos_of(model: TransformerBridge | SeveralModels, prepend: bool | None = None) -> int | None:
    """The id that a row of tokens begins with; None where it begins with its text.

    prepend: what a dictionary's file says of it, before the rule: True for the bos token that the tokenizer has (None
    where it has none: eos never stands in its place), False for none.
    model: what ``load_model`` gives; of several the first counts.
    Raises ValueError where the tokenizer begins a text with more than one token.
    """
    if prepend is False or model.tokenizer is None or model.tokenizer.bos_token_id is None:
        return None  # TransformerLens leaves no tokenizer without one, so that somebody took it away
    begin: Begin = getattr(model, "begin", None) or begin_of(model)
    if len(begin.adds) > 1:
        raise ValueError(
            f"this tokenizer begins a text with {len(begin.adds)} tokens ({', '.join(map(str, begin.adds))}), and a "
            "row begins with one BOS at most: give tokens instead of text."
        )
    if begin.adds:
        return begin.adds[0]
    return begin.has if prepend or begin.prepends else None


def begin_of(model: TransformerBridge | SeveralModels) -> Begin:
    """What the files of the model's tokenizer say."""
    own = _as_stored(model.tokenizer)
    text, whole = (list(own("a", add_special_tokens=special)["input_ids"]) for special in (False, True))
    starts = [at for at in range(len(whole)) if whole[at : at + len(text)] == text]
    has = own.bos_token_id
    if has is not None and has >= model.cfg.d_vocab:  # a name that its class gives, of which the model knows nothing
        has = None
    return Begin(
        tuple(whole[: starts[0]] if starts else whole[:1]), has, getattr(model.cfg, "default_prepend_bos", True)
    )


def begin_alike(model: TransformerBridge) -> None:
    """Remember what the files say, and let ``model(text)`` begin as the rule does."""
    if model.tokenizer is None:
        return
    model.begin = begin_of(model)
    if len(model.begin.adds) > 1:
        return
    bos = bos_of(model)
    model.cfg.default_prepend_bos = bos is not None
    if bos is not None and model.tokenizer.bos_token_id != bos:
        model.tokenizer.bos_token = model.tokenizer.convert_ids_to_tokens(bos)


def _as_stored(tokenizer: Any) -> Any:
    """The tokenizer as its files give it; itself where it has none."""
    from transformers import AutoTokenizer

    try:
        return AutoTokenizer.from_pretrained(tokenizer.name_or_path) if tokenizer.name_or_path else tokenizer
    except (OSError, ValueError):
        return tokenizer
