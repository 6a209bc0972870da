"""LocalJudge: a chat model that runs on this machine, through transformers."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from saekit.features.explanations.chat import LanguageModelJudge, Message

MOST_NEW_TOKENS = 256


class LocalJudge(LanguageModelJudge):
    """A chat model of Hugging Face, by name or folder; loaded at the first judgement, from safetensors alone.

    Args:
        model: such as "Qwen/Qwen2.5-1.5B-Instruct". A name is downloaded where it is not in the cache.
        device: "cpu", "cuda" …; by default a GPU where there is one.
        batch: windows in a prompt; small models answer better to few.

    Decoding is greedy. Raises ValueError for a model without a chat template or a prompt over its context length.
    """

    def __init__(self, model: str | Path, *, device: str | None = None, batch: int = 5):
        if batch < 1:
            raise ValueError(f"batch is the number of windows in a prompt, at least 1, found {batch}.")
        self.model, self.device, self.batch = str(model), device, batch
        self._loaded: tuple[Any, Any] | None = None

    def ask(self, messages: list[Message]) -> str:
        """The model's answer to a conversation.

        messages: each with role and content."""
        import torch

        model, tokenizer = self._load()
        inputs = tokenizer.apply_chat_template(
            messages, add_generation_prompt=True, return_tensors="pt", return_dict=True
        ).to(model.device)
        length = inputs["input_ids"].shape[1]
        room = getattr(model.config, "max_position_embeddings", None)
        if room is not None and length + MOST_NEW_TOKENS > room:
            raise ValueError(
                f"a prompt of {length:,} tokens and an answer of up to {MOST_NEW_TOKENS} do not fit the {room:,} "
                f"tokens of {self.model}: choose a batch smaller than {self.batch} or a model with a longer context."
            )
        with torch.inference_mode():
            made = model.generate(**inputs, max_new_tokens=MOST_NEW_TOKENS, do_sample=False)
        return str(tokenizer.decode(made[0, length:], skip_special_tokens=True))

    def _load(self) -> tuple[Any, Any]:
        if self._loaded is None:
            import torch
            from transformers import AutoModelForCausalLM, AutoTokenizer

            tokenizer = AutoTokenizer.from_pretrained(self.model)
            if tokenizer.chat_template is None:
                raise ValueError(
                    f"{self.model} is no chat model, its tokenizer has no chat template: choose an instruction-tuned "
                    "one such as 'Qwen/Qwen2.5-1.5B-Instruct'."
                )
            device = self.device or ("cuda" if torch.cuda.is_available() else "cpu")
            model: Any = AutoModelForCausalLM.from_pretrained(self.model, use_safetensors=True)
            self._loaded = model.to(device).eval(), tokenizer
        return self._loaded

    def __repr__(self) -> str:
        return f"LocalJudge({self.model!r})"
