"""Conversations to texts, in the chat format of a model's tokenizer."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from transformer_lens.model_bridge import TransformerBridge


def chat_texts(model: TransformerBridge, conversations: Sequence[Sequence[Mapping[str, str]]]) -> list[str]:
    """One text a conversation, for harvest, training or a store; each is a list of {"role": …, "content": …}.

        harvest(model, chat_texts(model, conversations), hook, exclude="special")

    Written by the tokenizer's chat template, without the BOS that it may begin with, since reading puts one there.
    Raises ValueError where the tokenizer has no template, the template refuses, or that is no conversation.
    """
    from jinja2 import TemplateError

    tokenizer = model.tokenizer
    if not getattr(tokenizer, "chat_template", None):
        raise ValueError("the tokenizer has no chat template: set model.tokenizer.chat_template, or write the texts.")
    texts = []
    for number, conversation in enumerate(conversations):
        turns = [] if isinstance(conversation, str | Mapping) else list(conversation)
        if not turns or not all(isinstance(turn, Mapping) and {"role", "content"} <= set(turn) for turn in turns):
            raise ValueError(
                f"a conversation is a list of {{'role': …, 'content': …}}, found {conversation!r} as number {number}."
            )
        try:
            text = tokenizer.apply_chat_template(turns, tokenize=False)
        except TemplateError as error:
            raise ValueError(f"the chat template refuses conversation {number}: {error}") from error
        texts.append(text.removeprefix(tokenizer.bos_token or ""))
    return texts
