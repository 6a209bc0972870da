"""The fast path: an untouched copy of the model, on the same weights, with fused attention and none of the bridge's
hooks.

The bridge computes attention step by step, so that each step can be looked at; where only the residual stream, or what
goes into and comes out of attention and MLP, is wanted, the plain model gives the same numbers about three times as
fast. The copy shares the bridge's parameters, so it costs no memory. A site takes this path once it gave the bridge's
activations on a few tokens, to 1e-5 of their largest; any other site, and a model with hooks on it, goes through the
bridge. Where the lengths of rows are known, rows of like length run together, so that little padding is computed.
"""

from __future__ import annotations

import contextlib
from collections.abc import Mapping, Sequence
from functools import cached_property
from typing import TYPE_CHECKING, Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from saekit.models.bridge import NOTHING, Change, Passed, at_site, expanded, through_bridge
from saekit.models.filling import even_width, passes
from saekit.models.found import found, hooks_on
from saekit.models.plain import candidates, plain_copy
from saekit.models.site import Site
from saekit.models.state import frozen

if TYPE_CHECKING:
    from transformer_lens.model_bridge import TransformerBridge

POSITIONS_AT_ONCE = 2**11
"""On a CPU, rows × the longest of them in one pass: attention over more falls out of its caches."""
TOLERANCE = 1e-5  # of the largest activation; in lower precision some roundings of it


class _Done(Exception):
    """Raised in a hook once everything wanted was seen: later layers need not run."""


class FastPath:
    """The copy of one model, and where its sites are."""

    def __init__(self, model: TransformerBridge) -> None:
        self.plain = plain_copy(model)
        blocks = [m for m in self.plain.modules() if isinstance(m, nn.ModuleList) and len(m) == model.cfg.n_layers]
        if not blocks:
            raise ValueError("no list of blocks was found.")
        self.blocks = blocks[0]
        self.width, self.dtype = model.cfg.d_model, next(self.plain.parameters()).dtype
        self.context = model.cfg.n_ctx
        self.places: dict[str, tuple[nn.Module, str] | None] = {}
        self.changed: dict[str, bool] = {}

    def reads(self, model: TransformerBridge, site: str) -> bool:
        """Whether the site can be read here; found out once, against the bridge."""
        if site not in self.places:
            self.places[site] = None
            tokens = _some_tokens(model)
            for module, end in candidates(self.blocks, Site(site)):
                self.places[site] = (module, end)
                expected, found = through_bridge(model, tokens, [site]).kept[site], self.read(tokens, [site])[site]
                if _same(expected, found):
                    break
                self.places[site] = None
        return self.places[site] is not None

    def changes(self, model: TransformerBridge, site: str = "") -> bool:
        """Whether a change at the site does to the logits what it does through the bridge; without a site, whether the
        logits are those of the bridge. Found out once."""
        if site not in self.changed:
            tokens, change = _some_tokens(model), {site: _shift} if site else {}
            self.changed[site] = (not site or self.reads(model, site)) and _same(
                through_bridge(model, tokens, [], change, logits=True).logits,
                self.run(tokens, [], change, logits=True).logits,
            )
        return self.changed[site]

    def read(self, tokens: Tensor, sites: Sequence[str], lengths: Tensor | None = None) -> dict[str, Tensor]:
        """The activations at the sites, [row, position, d]; what stands behind the `lengths` of rows means nothing."""
        rows, width = tokens.shape
        if lengths is None:
            return self.run(tokens, sites).kept
        found: dict[str, Tensor] = {}
        for some, longest in _alike(lengths.tolist(), tokens.device.type):
            part = tokens[some, :longest]
            if tokens.device.type == "cpu":
                part = F.pad(part, (0, even_width(len(some), longest, self.context) - longest))
            seen = {site: h[:, :longest] for site, h in self.run(part, sites).kept.items()}
            if len(some) == rows and longest == width:
                return seen
            for site, h in seen.items():
                if site not in found:
                    found[site] = h.new_zeros(rows, width, *h.shape[2:])
                found[site][some, :longest] = h
        return found

    def run(
        self,
        tokens: Tensor,
        keep: Sequence[str],
        replace: Mapping[str, Tensor | Change] = NOTHING,
        logits: bool | Tensor = False,
        gradients: bool = False,
    ) -> Passed:
        """``saekit.models.forward`` at sites that can be read and changed here."""
        start = _start(keep, replace)
        sites = [site for site in dict.fromkeys([*keep, *replace]) if start is None or site != start[0]]
        waiting, kept = set(sites), dict[str, Tensor]()

        def passing(site: str, h: Tensor) -> Tensor:
            new = at_site(site, h, kept, keep, replace, gradients)
            waiting.discard(site)
            if not waiting and logits is False:
                raise _Done
            return new

        with contextlib.ExitStack() as stack:
            stack.enter_context(torch.set_grad_enabled(gradients))
            if gradients:
                stack.enter_context(frozen(self.plain))
            if start is not None:
                site, block, h = start
                h = expanded(site, h.to(tokens.device, self.dtype), (*tokens.shape, self.width))
                stack.enter_context(self._begun(block, h))
            for site in sites:
                stack.callback(self._watch(site, passing).remove)
            if isinstance(logits, Tensor):
                head: Any = self.plain.get_output_embeddings()  # type: ignore[operator]
                chosen = head.register_forward_pre_hook(lambda module, given: given[0][logits][None])
                stack.callback(chosen.remove)
            found = None
            with contextlib.suppress(_Done):
                found = self.plain(tokens, use_cache=False).logits
        if isinstance(logits, Tensor) and found is not None:
            found = found[0]
        return Passed({site: kept[site] for site in keep}, None if logits is False else found)

    def _watch(self, site: str, passing: Any) -> Any:
        """The hook at a site's place: what passes there goes to `passing`, and what that gives stands in its place."""
        module, end = self.places[site]  # type: ignore[misc]

        def before(module: nn.Module, given: tuple[Any, ...], more: dict[str, Any]) -> Any:
            h = given[0] if given else more["hidden_states"]
            new = passing(site, h)
            if new is h:
                return None
            return ((new, *given[1:]), more) if given else (given, more | {"hidden_states": new})

        def after(module: nn.Module, given: Any, out: Any) -> Any:
            h = out[0] if isinstance(out, tuple) else out
            new = passing(site, h)
            if new is h:
                return None
            return (new, *out[1:]) if isinstance(out, tuple) else new

        if end == "out":
            return module.register_forward_hook(after)
        return module.register_forward_pre_hook(before, with_kwargs=True)

    @contextlib.contextmanager
    def _begun(self, block: int, h: Tensor) -> Any:
        """The pass begins with the residual stream `h` before a block: what those before it would give is h."""
        skipped, tuples = self.blocks[:block], self._tuples
        try:
            for module in skipped:
                module.forward = lambda *given, **more: (h,) if tuples else h  # type: ignore[method-assign]
            yield
        finally:
            for module in skipped:
                module.__dict__.pop("forward", None)

    @cached_property
    def _tuples(self) -> bool:
        """Whether blocks give a tuple, of which the residual stream is the first."""
        seen: list[bool] = []
        hook = self.blocks[0].register_forward_hook(lambda m, given, out: seen.append(isinstance(out, tuple)))
        try:
            device = next(self.plain.parameters()).device
            self.plain(torch.zeros(1, 1, dtype=torch.long, device=device), use_cache=False)
        finally:
            hook.remove()
        return seen[0]


def _start(keep: Sequence[str], replace: Mapping[str, Tensor | Change]) -> tuple[str, int, Tensor] | None:
    """The site of a tensor in the residual stream before which nothing need run, the block that comes next, and it."""
    for name, value in replace.items():
        site = Site(name)
        if not isinstance(value, Tensor) or not site.is_residual or site.layer is None:
            continue
        block = site.layer + (site.kind == "hook_resid_post")
        others = [Site(other) for other in dict.fromkeys([*keep, *replace]) if other != name]
        # "hook_in" is another name of "hook_resid_pre", where what arrives may be wanted.
        behind = all(o.layer is not None and o.layer >= block and o.kind != "hook_in" for o in others)
        if block and behind and name not in keep:
            return name, block, value
    return None


def _some_tokens(model: TransformerBridge) -> Tensor:
    return torch.arange(24, device=model.cfg.device).view(2, 12) % model.cfg.d_vocab


def _shift(h: Tensor, kept: Mapping[str, Tensor]) -> Tensor:
    """A change as large as h that no norm takes away."""
    return h + h.abs().mean() * torch.linspace(-1, 1, h.shape[-1], device=h.device, dtype=h.dtype)


def _alike(lengths: list[int], device: str) -> list[tuple[list[int], int]]:
    """Rows that run together, and the longest of each group; rows stay in order where one group holds them all."""
    if device != "cpu":
        return [(list(range(len(lengths))), max(lengths))]
    return [(some, max(lengths[row] for row in some)) for some in passes(lengths, POSITIONS_AT_ONCE)]


def fast_path(
    model: TransformerBridge,
    keep: Sequence[str],
    replace: Mapping[str, Tensor | Change] = NOTHING,
    logits: bool = False,
) -> FastPath | None:
    """The fast path of a model where it can read and change all these sites, gives its logits where they are wanted,
    and nobody has hooks on it; else None."""
    if hooks_on(model) or getattr(model, "processing", "none") != "none":
        return None
    known = found(model, "fast path")
    if "path" not in known:
        try:
            known["path"] = FastPath(model)
        except (AttributeError, KeyError, TypeError, ValueError, RuntimeError, NotImplementedError):
            known["path"] = None  # a model of another make: it has its bridge
    path: FastPath | None = known["path"]
    if path is None:
        return None
    try:
        reads, changes = all(path.reads(model, site) for site in keep), all(path.changes(model, s) for s in replace)
        return path if reads and changes and (not logits or path.changes(model)) else None
    except (AttributeError, KeyError, TypeError, RuntimeError, NotImplementedError):
        known["path"] = None
        return None


def _same(expected: Tensor | None, found: Tensor | None) -> bool:
    if expected is None or found is None or expected.shape != found.shape:
        return False
    tolerance = max(TOLERANCE, 8 * torch.finfo(expected.dtype).eps)
    return float((expected - found).abs().max()) <= tolerance * float(expected.abs().max())
