"""A model on one prompt with everything held that is not linear: attention patterns and norm scales are the constants
that were recorded, and what the MLPs add is whatever one puts there.

What is left is affine in the embedding and in the MLPs' outputs, so that gradients are exact differences. The constants
stand in the place of what the model computes: patterns and scales that are merely detached leave float32 rounding where
Hugging Face computes a norm in float32, 2.5e-7 of the gradients of a float64 model.
"""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from jaxtyping import Float, Int
from torch import Tensor

from saekit.models import Change, Site, forward, hooked

if TYPE_CHECKING:
    from transformer_lens.model_bridge import TransformerBridge

EMBEDDING, FINAL, RAW_LOGITS = "hook_embed", "unembed.hook_in", "unembed.hook_out"
HELD = (".hook_pattern", ".hook_scale")
RECONSTRUCTED = "A forward hook edited hook_scale/hook_normalized"  # how TransformerLens's warnings begin
DISCARDED = "A hook on attn.hook_pattern returned a modified tensor"


class _Reached(Exception):
    """Raised behind the last norm, since the unembedding of many rows is large and not wanted."""

    def __init__(self, kept: dict[str, Tensor]) -> None:
        super().__init__()
        self.kept = kept


@dataclass(frozen=True, eq=False)
class FrozenModel:
    """A model and what was recorded of it on a prompt of t tokens.

    held:      attention patterns and norm scales, by hook.
    embedding: what the token embedding gives.
    outputs:   what each MLP adds, by the site where it does.
    logits:    the model's own.
    """

    model: TransformerBridge
    tokens: Int[Tensor, "1 t"]
    held: Mapping[str, Tensor]
    embedding: Float[Tensor, "1 t d"]
    outputs: Mapping[Site, Float[Tensor, "1 t d"]]
    logits: Float[Tensor, "1 t d_vocab"]

    @classmethod
    def recorded(cls, model: TransformerBridge, tokens: Int[Tensor, "1 t"], outputs: Sequence[Site]) -> FrozenModel:
        """The model as it runs on the prompt, hooks that others have on it included.

        outputs: the sites where MLPs add what they make. Raises ValueError for a model without attention patterns."""
        held = [hook for hook in model.hook_dict if hook.endswith(HELD)]
        with hooked(model, [*held, EMBEDDING, *outputs]) as kept:
            logits = forward(model, tokens, logits=True).logits
        assert logits is not None
        found = {hook: kept[hook] for hook in held if hook in kept}
        attends = sum(hook.endswith(HELD[0]) for hook in found)
        if attends < model.cfg.n_layers:
            raise ValueError(
                f"attribution holds the attention pattern of every layer, and {attends} of this model's "
                f"{model.cfg.n_layers} layers have one: layers without attention are not offered."
            )
        return cls(model, tokens, found, kept[EMBEDDING], {site: kept[site] for site in outputs}, logits)

    def run(
        self,
        embedding: Float[Tensor, "row t d"],
        outputs: Mapping[Site, Float[Tensor, "row t d"] | Change],
        keep: Sequence[str],
        *,
        gradients: bool = False,
    ) -> dict[str, Tensor]:
        """The frozen forward: what arrives at the sites kept and, as ``unembed.hook_in``, behind the last norm.

        embedding: in the place of the token embedding, of as many rows as one likes. outputs: what each MLP adds, or a
        function of what it would and of what was kept so far. gradients: as of ``saekit.models.forward``."""

        def stop(h: Tensor, kept: Mapping[str, Tensor]) -> Tensor:
            raise _Reached({**kept, FINAL: h})

        replace: dict[str, Tensor | Change] = {**self.held, EMBEDDING: embedding, FINAL: stop}
        replace |= {str(site): put for site, put in outputs.items()}
        tokens = self.tokens.expand(len(embedding), -1)
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", RECONSTRUCTED)  # it is what is wanted
            warnings.filterwarnings("error", DISCARDED)
            try:
                forward(self.model, tokens, keep, replace=replace, logits=True, gradients=gradients)
                why = f"its hook {FINAL!r} did not fire"
            except _Reached as reached:
                return reached.kept
            except (AttributeError, UserWarning) as error:
                why = str(error)
        raise ValueError(
            f"TransformerLens does not run {type(self.model.original_model).__name__} with its attention patterns and "
            f"norm scales held, so that attribution is not offered: {why}"
        )
