"""Conversations to texts, in the chat format of a model's tokenizer."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from saekit.corpora.chats import chat, is_chat

if TYPE_CHECKING:
    from transformer_lens.model_bridge import TransformerBridge


def chat_texts(model: TransformerBridge, conversations: Sequence[Sequence[Mapping[str, str]]]) -> list[str]:
    """One text a conversation, for harvest, training or a store; each is a list of {"role": …, "content": …}.

        harvest(model, chat_texts(model, conversations), hook, exclude="special")

    Written by the tokenizer's chat template, without the BOS that it may begin with, since reading puts one there.
    Raises ValueError where the tokenizer has no template, the template refuses, or that is no conversation.
    """
    tokenizer = model.tokenizer
    if not getattr(tokenizer, "chat_template", None):
        raise ValueError("the tokenizer has no chat template: set model.tokenizer.chat_template, or write the texts.")
    texts = []
    for number, conversation in enumerate(conversations):
        document = chat(conversation, f"conversation {number}", tokenizer) if is_chat(conversation) else None
        if document is None:
            raise ValueError(
                f"a conversation is a list of {{'role': …, 'content': …}}, found {conversation!r} as number {number}."
            )
        texts.append(document.text.removeprefix(tokenizer.bos_token or ""))
    return texts
