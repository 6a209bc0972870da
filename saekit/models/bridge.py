"""A pass through the bridge that keeps activations and puts others in their place, and the same hooks around calls that
somebody else makes.

What happens at a site is said once, in ``at_site``: first what arrives is kept, then it is replaced.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING, Any, NamedTuple

import torch
from torch import Tensor

from saekit.models.site import Site
from saekit.models.state import evaluation, frozen

if TYPE_CHECKING:
    from transformer_lens.model_bridge import TransformerBridge

Change = Callable[[Tensor, Mapping[str, Tensor]], Tensor]
"""(h as it arrives, what was kept so far in this pass) → h', of the same shape"""
NOTHING: Mapping[str, Any] = {}


class Passed(NamedTuple):
    """What a pass gives: the activations kept, by site, and the logits where they were asked for."""

    kept: dict[str, Tensor]
    logits: Tensor | None


class Call(NamedTuple):
    """What the model was called with in a pass that somebody else makes.

    tokens: [row, position], None where the call gave embeddings. mask: the attention mask of past and new positions.
    past:   positions that lie in the cache already. cached: whether the pass reads or fills a cache.
    again:  run the model on the same once more, or the Hugging Face model that is given.
    """

    tokens: Tensor | None
    mask: Tensor | None
    past: int
    cached: bool
    again: Callable[..., object]


def at_site(
    site: str, h: Tensor, kept: dict[str, Tensor], keep: Collection[str], replace: Mapping[str, Any], gradients: bool
) -> Tensor:
    """Keep h as it arrives, then give what stands in its place; h itself where nothing does."""
    if not isinstance(h, Tensor):
        raise ValueError(f"hook {str(site)!r} gives a {type(h).__name__}, not a tensor: choose another one.")
    if site in keep:
        if gradients and not h.requires_grad and h.is_floating_point():
            h = h.detach().requires_grad_()
        kept[site] = h if gradients else h.detach()
    if site not in replace:
        return h
    value = replace[site]
    new = value.to(h) if isinstance(value, Tensor) else value(h, kept)
    return expanded(site, new, h.shape)


def expanded(site: str, new: Tensor, shape: Sequence[int]) -> Tensor:
    """What stands at a site, in the shape of what it replaces. Raises ValueError where it does not expand to it."""
    try:
        return new if new.shape == shape else new.expand(*shape)
    except RuntimeError as error:
        raise ValueError(
            f"what stands at {str(site)!r} must have the shape {tuple(shape)} of what it replaces, found "
            f"{tuple(new.shape)}."
        ) from error


@contextmanager
def hooked(
    model: TransformerBridge,
    keep: Sequence[str] = (),
    replace: Mapping[str, Tensor | Change] = NOTHING,
    *,
    gradients: bool = False,
    begin: Callable[[Call], object] | None = None,
) -> Iterator[dict[str, Tensor]]:
    """Keep and replace in the calls of the model that are made inside, generation included; yields what the latest call
    has kept. Hooks that others have on the model come first, and are respected.

    keep, replace, gradients: as in ``forward``. begin: told of every pass before it runs.
    """
    kept: dict[str, Tensor] = {}

    def look(module: Any, arguments: tuple[Any, ...], keywords: dict[str, Any]) -> None:
        kept.clear()
        if begin is not None:
            begin(_call(module, arguments, keywords))

    def put(site: str) -> Callable[..., Tensor | None]:
        def hook(h: Tensor, hook: Any) -> Tensor | None:
            new = at_site(site, h, kept, keep, replace, gradients)
            return None if new is h else new

        return hook

    # Those that keep come first: of two names of one hook, one may be kept and the other replaced.
    sites = dict.fromkeys([*keep, *replace])
    handle = model.original_model.register_forward_pre_hook(look, with_kwargs=True)
    try:
        with model.hooks(fwd_hooks=[(str(site), put(site)) for site in sites]):
            yield kept
    finally:
        handle.remove()


def through_bridge(
    model: TransformerBridge,
    tokens: Tensor,
    keep: Sequence[str],
    replace: Mapping[str, Tensor | Change] = NOTHING,
    logits: bool | Tensor = False,
    gradients: bool = False,
) -> Passed:
    """``forward`` on the bridge, with the hooks that others have on it."""
    sites = [Site(site) for site in (*keep, *replace)]
    layers = [site.layer for site in sites]
    last = max((layer for layer in layers if layer is not None), default=0)
    wanted = logits is not False
    inside = not wanted and all(layer is not None for layer in layers) and last + 1 < model.cfg.n_layers
    fired: set[str] = set()
    noted = {site: _noting(site, value, fired) for site, value in replace.items()}
    with ExitStack() as stack:
        stack.enter_context(evaluation(model))
        stack.enter_context(torch.set_grad_enabled(gradients))
        if gradients:
            stack.enter_context(frozen(model, model.original_model))
        kept = stack.enter_context(hooked(model, keep, noted, gradients=gradients))
        found = model(
            tokens.to(model.cfg.device),
            return_type="logits" if wanted else None,
            stop_at_layer=last + 1 if inside else None,
        )
    for site in sites:
        if site not in kept and site not in fired:
            raise ValueError(f"hook {str(site)!r} did not fire in a forward pass of this model: choose another one.")
    chosen = found[logits.to(found.device)] if isinstance(logits, Tensor) else found
    return Passed({site: kept[site] for site in keep}, chosen if wanted else None)


def _noting(site: str, value: Tensor | Change, fired: set[str]) -> Change:
    def change(h: Tensor, kept: Mapping[str, Tensor]) -> Tensor:
        fired.add(site)
        return value.to(h) if isinstance(value, Tensor) else value(h, kept)

    return change


def _call(module: Any, arguments: tuple[Any, ...], keywords: dict[str, Any]) -> Call:
    tokens = keywords.get("input_ids", arguments[0] if arguments else None)
    if not isinstance(tokens, Tensor) or tokens.is_floating_point():
        tokens = None
    cache, mask = keywords.get("past_key_values"), keywords.get("attention_mask")

    def again(on: Any = module) -> object:
        device = next(on.parameters()).device
        there = [h.to(device) if isinstance(h, Tensor) else h for h in (*arguments, *keywords.values())]
        return on(*there[: len(arguments)], **dict(zip(keywords, there[len(arguments) :], strict=True)))

    return Call(
        tokens=tokens,
        mask=mask if isinstance(mask, Tensor) and mask.ndim == 2 else None,
        past=int(cache.get_seq_length()) if cache is not None else 0,
        cached=cache is not None or bool(keywords.get("use_cache")),
        again=again,
    )
