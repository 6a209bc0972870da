"""What is read: a corpus or token ids, checked against the model, and part by part."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

from torch import Tensor

from saekit.activations.given import GivenTokens, given_tokens
from saekit.corpora import Corpus, Document, load_corpus

if TYPE_CHECKING:
    from transformer_lens.model_bridge import TransformerBridge

    from saekit.models import SeveralModels

Readable = Corpus | Sequence[str] | Tensor | Any
"""What can be read: a corpus, whatever ``load_corpus`` takes, or token ids in a form that ``given_tokens`` takes."""


def read_source(
    source: Readable, model: TransformerBridge | SeveralModels, context: int | None = None
) -> Corpus | GivenTokens:
    """A source as it is read: token ids in their normal form, checked against the model; anything else as a corpus, its
    chats written by the model's own template.

    Raises as ``given_tokens``, ``check_given`` and ``load_corpus`` do."""
    if isinstance(source, Corpus):
        return source
    given = given_tokens(source)
    if given is None:
        return load_corpus(source, tokenizer=_chat_writer(model.tokenizer))
    check_given(given, model, context)
    return given


def _chat_writer(tokenizer: Any) -> Any:
    """Who writes chats: the tokenizer, or None for micro's, whose format the corpora know."""
    knows = getattr(tokenizer, "chat_template", None) is None and "<|user|>" in tokenizer.get_vocab()
    return None if knows else tokenizer


def in_parts(source: Corpus | GivenTokens, size: int, skip: int = 0) -> Iterator[list[Document] | GivenTokens]:
    """A source from its ``skip``-th document or row on, so many at a time."""
    if isinstance(source, GivenTokens):
        yield from source[skip:].split(size)
        return
    documents = itertools.islice(iter(source), skip, None)
    while some := list(itertools.islice(documents, size)):
        yield some


def texts_of(part: list[Document] | GivenTokens) -> list[str] | GivenTokens:
    """What is tokenised of a part."""
    return part if isinstance(part, GivenTokens) else [document.text for document in part]


def check_given(given: GivenTokens, model: Any, context: int | None = None) -> None:
    """Raise ValueError for ids that the model does not have, rows that pass its context (or a given one), and padding
    that is not told apart from text."""
    cfg, width = model.cfg, given.ids.shape[1]
    room = min(cfg.n_ctx, cfg.n_ctx if context is None else context)
    if width > room:
        whose = "the model's context" if room == cfg.n_ctx else "context="
        raise ValueError(f"rows of {width} tokens pass {whose} of {room}: cut them to it.")
    ids = given.ids[given.mask]
    if ids.numel() and not 0 <= int(ids.min()) <= int(ids.max()) < cfg.d_vocab:
        raise ValueError(f"token ids must lie in 0 … {cfg.d_vocab - 1}, found {int(ids.min())} … {int(ids.max())}.")
    if not given.masked:
        _check_padding(given.ids, model.tokenizer)


def _check_padding(ids: Tensor, tokenizer: Any) -> None:
    pad = getattr(tokenizer, "pad_token_id", None)
    if pad is None or not ids.numel():
        return
    is_pad = ids == pad
    run = 1 if pad not in (tokenizer.bos_token_id, tokenizer.eos_token_id) else 2
    if ids.shape[1] < run:
        return
    outside = is_pad[:, :run].all(1) | is_pad[:, -run:].all(1)
    if not outside.any():
        return
    row, name = int(outside.nonzero()[0]), tokenizer.convert_ids_to_tokens(pad)
    what = f"the padding token {name!r}" if run == 1 else f"two or more of {name!r}, which also pads"
    raise ValueError(
        f"row {row} of the tokens begins or ends in {what}: say what is text by an attention mask, "
        "{'input_ids': tokens, 'attention_mask': mask}, where 1 is text."
    )
