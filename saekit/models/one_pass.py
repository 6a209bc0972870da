"""forward: one pass of a model that keeps activations, puts others in their place, and gives logits or gradients."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from jaxtyping import Bool, Int
from torch import Tensor

from saekit.files.durations import spoken_bytes
from saekit.files.memory import room_on, saying_what_fits
from saekit.models.bridge import NOTHING, Change, Passed, through_bridge
from saekit.models.fast import fast_path
from saekit.models.sites import check_site

if TYPE_CHECKING:
    from transformer_lens.model_bridge import TransformerBridge


def forward(
    model: TransformerBridge,
    tokens: Int[Tensor, "row position"],
    keep: Sequence[str] | str = (),
    *,
    replace: Mapping[str, Tensor | Change] = NOTHING,
    logits: bool | Bool[Tensor, "row position"] = False,
    gradients: bool = False,
    lengths: Int[Tensor, " row"] | None = None,
) -> Passed:
    """Run the model on tokens, in evaluation mode, no further than what is asked for needs.

    keep:      sites whose activations are kept, as they arrive there, before this call's own replacement:
               [row, position, d], and [row, position, heads, d_head] at ``attn.hook_q``, ``_k``, ``_v`` and ``_z``.
    replace:   what stands at a site from there on: a tensor of the shape of the activation, or one that expands to it;
               or a function of the activation as it arrives and of what was kept so far in this pass. Behind a tensor
               in the residual stream, the blocks before it are not run where nothing else needs them.
    logits:    True: all, [row, position, d_vocab]; a mask [row, position] of n places: theirs alone, [n, d_vocab].
    gradients: autograd is on, and what is kept is part of the graph: an activation that has no gradient becomes a leaf,
               so that torch.autograd.grad(loss(logits), [kept[a], kept[b]]) works at several sites at once. The model's
               parameters are constants. Otherwise nothing has a gradient.
    lengths:   how many positions of each row are wanted (≥ 1); what stands behind them means nothing. It saves time.

    On the fast path where it gives the same, else through the bridge; hooks that others have on the model are
    respected. Raises ValueError for a site that is not there or does not fire, and a replacement of a wrong shape;
    MemoryError, which says how long the rows were, where memory runs out.
    """
    keep = [keep] if isinstance(keep, str) else list(dict.fromkeys(keep))
    if not keep and not replace and logits is False:
        return Passed({}, None)
    tokens = tokens.to(model.cfg.device)
    logits = logits.to(tokens.device) if isinstance(logits, Tensor) else logits
    with saying_what_fits(lambda: _too_many(tokens)):
        path = fast_path(model, keep, replace, logits is not False)
        if path is None:
            for site in (*keep, *replace):
                check_site(model, site)
            return through_bridge(model, tokens, keep, replace, logits, gradients)
        if lengths is not None and not replace and logits is False and not gradients:
            return Passed(path.read(tokens, keep, lengths), None)
        return path.run(tokens, keep, replace, logits, gradients)


def _too_many(tokens: Tensor) -> str:
    rows, positions = tokens.shape
    room = room_on(tokens.device)
    free = "" if room is None else f", with {spoken_bytes(room.free)} free"
    shorter = f"rows are cut by context=, for example context={positions // 2}" if positions > 1 else "free some"
    ran = f"while the model ran {rows} rows of up to {positions} tokens"
    return f"memory ran out on {tokens.device}{free} {ran}: {shorter}."
