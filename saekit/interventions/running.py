"""Changes of a running model that read at some sites and write at others, in the order given.

At a site the steps that write it are made one after the other, each on what the former left; what is read at a site is
what they all leave there, or, where a step reads what it writes, what the former ones left. A step that must read all
its sites before it writes the first of them reads them in a pass of its own, of the same tokens and with the steps
before it, which runs first. Of several models, what a step reads in the others comes from a pass of theirs, of the same
tokens and without any step. Hooks that others have on a model see these passes too.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Any, Protocol

import torch
from jaxtyping import Bool
from saekit_kernels import SparseCodes
from torch import Tensor

from saekit.interventions.standing import Standing
from saekit.models import Call, SeveralModels, Site, hooked, joined
from saekit.models.state import evaluation, unstopped

if TYPE_CHECKING:
    from transformer_lens.model_bridge import TransformerBridge


class Part(Protocol):
    """What a step does, and at which sites."""

    @property
    def writes(self) -> tuple[Site, ...]:
        """The sites it changes."""
        ...

    @property
    def standing(self) -> Standing | None:
        """Where the codes come from; None where it needs none."""

    def new(self, site: Site, h: Tensor, codes: SparseCodes | None, x: Mapping[Site, Tensor]) -> Tensor:
        """h' from h at the tokens chosen, [..., d]; codes and x of what was read there."""
        ...


@dataclass
class Step:
    """A part, and the tokens it is for: a mask [position] or [row, position], None for all. model: of several, the name
    of the one that it changes."""

    part: Part
    chosen: Callable[[Call, int], Bool[Tensor, "*row position"] | None]
    model: str | None = None
    seen: dict[Site, Tensor] = field(default_factory=dict)  # by passes that only read
    x: dict[Site, Tensor] = field(default_factory=dict)  # of this pass, at the tokens chosen
    codes: dict[Site, SparseCodes] = field(default_factory=dict)  # of x, made once

    @property
    def reads(self) -> tuple[Site, ...]:
        """The sites its dictionary reads; none where it needs no codes."""
        return self.part.standing.reads if self.part.standing is not None else ()

    @property
    def here(self) -> tuple[Site, ...]:
        """Those of the model it changes."""
        return tuple(site for site in self.reads if site.model == self.model)

    @property
    def ahead(self) -> bool:
        """Whether it must read in a pass of its own, before it writes."""
        return self.part.standing is not None and self.part.standing.ahead(self.model)

    def forget(self) -> None:
        """Drop what was read and coded in the last pass."""
        self.x.clear()
        self.codes.clear()

    def made(self, site: Site, h: Tensor, left: Mapping[Site, Tensor], call: Call) -> Tensor:
        """h' [row, position, d] from h, as it arrives at the step."""
        mask = self.chosen(call, h.shape[1])
        if mask is not None and not bool(mask.any()):
            return h
        where: Any = ... if mask is None else mask.to(h.device) if mask.ndim == 2 else (slice(None), mask.to(h.device))
        at = h[where]
        if self.part.standing is None:
            new = self.part.new(site, at, None, {})
        else:
            self._read(self.part.standing, site, at, left, where)
            new = self.part.new(site, at, self.part.standing.encode(self.x, self.codes), self.x)
        if mask is None:
            return new
        result = h.clone()
        result[where] = new
        return result

    def _read(self, standing: Standing, site: Site, h: Tensor, left: Mapping[Site, Tensor], where: Any) -> None:
        if site in self.reads and not self.ahead:
            self.x.setdefault(site, h)
        source = self.seen if self.ahead else {**left, **self.seen}
        for read in self.reads:
            if read not in self.x and read in source:
                self.x[read] = source[read][where]
        missing = [read for read in self.reads if read not in self.x]
        if missing and (not self.x or not standing.layerwise):
            raise ValueError(
                f"the dictionary reads {str(missing[0])!r}, which the model reaches only after {str(site)!r}."
            )


@contextmanager
def running(
    model: TransformerBridge | SeveralModels, steps: Callable[[str | None], Sequence[Step]]
) -> Iterator[TransformerBridge | SeveralModels]:
    """Run the model with these steps, its generation included; of several models each with its own.

    steps: those of the model of a name; of one alone, without a name, of None."""
    models: dict[str | None, Any] = {None: model}
    if isinstance(model, SeveralModels):
        models = dict(model.items())
    runs: dict[str | None, _Run] = {}
    with ExitStack() as stack:
        for name, own in models.items():
            own_steps = [step for step in steps(name) if any(site.model == name for site in step.part.writes)]
            run = runs[name] = _Run(own, own_steps, runs)
            # Sites that are only read come last: a site may have two names, and what is read is what the steps leave.
            sites = dict.fromkeys(
                [*(s for step in run.steps for s in step.part.writes), *(s for step in run.steps for s in step.here)]
            )
            replace = {site.hook: partial(run.at, site) for site in sites if site.model == name}
            stack.enter_context(hooked(own, replace=replace, begin=run.begin))
        yield model


class _Seen(Exception):
    """Raised once a pass that only reads has seen what it is for."""


class _Run:
    """One pass of a model after the other. left: what the steps leave at the sites that are read."""

    def __init__(self, model: TransformerBridge, steps: Sequence[Step], runs: Mapping[str | None, _Run]) -> None:
        """runs: of all models, by name."""
        self.model, self.steps, self.active, self.runs = model, list(steps), list(steps), runs
        self.read = {site for step in steps for site in step.here}
        self.wanted: tuple[Site, ...] = ()  # by a pass that only reads
        self.clean = False  # during a pass for a step of another model
        self.left: dict[Site, Tensor] = {}
        self.call = Call(None, None, 0, False, lambda: None)

    def begin(self, call: Call) -> None:
        if self.wanted or self.clean:
            return
        self.call = call
        self._forget()
        beside = self._read_beside(call)
        for number, step in enumerate(self.steps):
            step.seen = {site: beside[site] for site in step.reads if site in beside}
            if step.ahead:
                step.seen |= self._read_ahead(number, step.here, call)

    def at(self, site: Site, h: Tensor, kept: Mapping[str, Tensor]) -> Tensor:
        if self.clean:
            return h
        whole = now = joined(h, site)
        for step in self.active:
            if site in step.part.writes:
                now = step.made(site, now, self.left, self.call)
        if site in self.read:
            self.left[site] = now
        if self.wanted and all(read in self.left for read in self.wanted):
            raise _Seen
        return h if now is whole else now.reshape(h.shape)

    def _read_ahead(self, number: int, reads: tuple[Site, ...], call: Call) -> dict[Site, Tensor]:
        _check_whole(call, reads)
        self.active, self.wanted = self.steps[:number], reads
        try:
            with suppress(_Seen), unstopped(self.model):
                call.again()
            return {read: self.left[read] for read in reads}
        finally:
            self.active, self.wanted = self.steps, ()
            self._forget()

    def _read_beside(self, call: Call) -> dict[Site, Tensor]:
        """What the steps read in other models, at the same tokens."""
        sites = dict.fromkeys(site for step in self.steps for site in step.reads if site.model != step.model)
        if sites:
            _check_whole(call, tuple(sites))
            if call.tokens is None:
                raise ValueError("several models read the same tokens, and this call has none: call it with tokens.")
        found: dict[Site, Tensor] = {}
        for name in dict.fromkeys(site.model for site in sites):
            found |= self.runs[name].read_clean([site for site in sites if site.model == name], call)
        return {site: h.to(self.model.cfg.device) for site, h in found.items()}

    def read_clean(self, sites: Sequence[Site], call: Call) -> dict[Site, Tensor]:
        """What is at some sites in a pass of the tokens of another model's call, without the steps."""
        self.clean = True
        try:
            with torch.no_grad(), evaluation(self.model), hooked(self.model, [site.hook for site in sites]) as kept:
                call.again(self.model.original_model)
                return {site: joined(kept[site.hook], site) for site in sites}
        finally:
            self.clean = False

    def _forget(self) -> None:
        self.left.clear()
        for step in self.steps:
            step.forget()


def _check_whole(call: Call, reads: Sequence[Site]) -> None:
    """Raise ValueError where a pass that only reads cannot be made of a call, since it has no whole tokens."""
    if call.cached:
        raise ValueError(
            f"a dictionary that reads {', '.join(reads)} before it writes them needs a pass of its own, for which "
            "generation with a cache has no place: generate with use_past_kv_cache=False."
        )
