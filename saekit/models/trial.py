"""Whether a model that was loaded is one that saekit can read, tried on a few tokens.

Rows stand in one batch, are padded on the right and come without an attention mask; so what a token gives may depend on
the tokens before it in its row and on nothing else. And what is read is read from the bridge; so the bridge must give
what Hugging Face's own model gives on the same weights.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor

from saekit.models.plain import plain_copy
from saekit.models.state import evaluation

if TYPE_CHECKING:
    from transformer_lens.model_bridge import TransformerBridge

LENGTH, TAIL = 5, 3
TOLERANCE = 1e-3  # of the largest logit; in lower precision some roundings of it


@torch.no_grad()
def check_trial(model: TransformerBridge) -> None:
    """Raise ValueError in one sentence where the model does not run on tokens, is no causal language model, or where
    the bridge's logits are not Hugging Face's."""
    kind = type(model.original_model).__name__
    takes = "load_model takes causal language models, in which a token sees those before it"
    if getattr(model.original_model.config, "is_encoder_decoder", False):
        raise ValueError(f"{takes}; {kind} has an encoder and a decoder.")
    tokens = torch.arange(5, 5 + 2 * (LENGTH + TAIL), device=model.cfg.device).view(2, -1) % max(model.cfg.d_vocab, 1)
    with evaluation(model):
        try:
            alone, together = model(tokens[:1, :LENGTH])[0], model(tokens)[0, :LENGTH]
        except Exception as error:
            said = str(error).strip().splitlines()
            raise ValueError(
                f"{takes}; {kind} does not run on tokens alone in TransformerLens "
                f"({type(error).__name__}: {said[0] if said else 'no reason given'})."
            ) from error
    if (apart := _apart(alone, together)) > _tolerance(alone):
        raise ValueError(
            f"{takes}; in {kind} later tokens of a row, or other rows, change what a token gives (logits move by "
            f"{apart:.2g} of the largest)."
        )
    expected = _of_hugging_face(model, tokens[:1, :LENGTH])
    if expected is not None and (apart := _apart(alone, expected)) > _tolerance(alone):
        raise ValueError(
            f"TransformerLens does not give the logits that Hugging Face gives for this {kind} (they are apart by "
            f"{apart:.2g} of the largest), so that nothing read from it would be right."
        )


def _of_hugging_face(model: TransformerBridge, tokens: Tensor) -> Tensor | None:
    """The logits of the plain model on the same weights; None where it cannot be built beside the bridge."""
    try:
        return plain_copy(model, "eager")(tokens, use_cache=False).logits[0]  # type: ignore[no-any-return]
    except (AttributeError, KeyError, TypeError, ValueError, RuntimeError, NotImplementedError):
        return None


def _apart(a: Tensor, b: Tensor) -> float:
    """Of the positions the median: where experts are chosen, a rounding may choose another one at some."""
    gap, size = (a.float() - b.float()).abs().amax(-1), b.float().abs().amax(-1)
    return float((gap / size.clamp_min(1e-30)).median())


def _tolerance(logits: Tensor) -> float:
    return max(TOLERANCE, 16 * torch.finfo(logits.dtype).eps)
