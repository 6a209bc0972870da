"""The passes behind effects: a number as a function of codes z at the places of some prompts, its gradient, and each
code put at its reference by itself.

What the dictionary writes moves by Δ = decode(z′) − decode(z), with h as it arrives: the error is kept, unless the
reference has one of its own, and moves with the codes then.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any, NamedTuple

import torch
from jaxtyping import Float
from saekit_kernels import SparseCodes
from saekit_kernels.sparse_codes import offsets_of
from torch import Tensor

from saekit.activations.tokens import TokenRows
from saekit.files.progress import Bar
from saekit.interventions.standing import Standing
from saekit.models import Change, Passed, Site, forward, joined

if TYPE_CHECKING:
    from transformer_lens.model_bridge import TransformerBridge

RUNS_AT_ONCE = 64
Scalar = Callable[[Passed, Tensor], Tensor]
"""(what a pass gives, which of the prompts each of its rows is) → a number a row, [row]"""


class Found(NamedTuple):
    """Of some prompts: z, effects in the same places, those of the error [row, position], the number with everything as
    it is and at its reference, [row]."""

    z: SparseCodes
    values: SparseCodes
    error: Float[Tensor, "row position"]
    clean: Float[Tensor, " row"]
    reference: Float[Tensor, " row"]


class _Coded(NamedTuple):
    """What a pass over rows leaves. x: of counted tokens at the sites read; written: at those written; codes."""

    x: dict[Site, Tensor]
    written: dict[Site, Tensor]
    codes: SparseCodes
    kept: Mapping[str, Tensor]


def effects_of(
    model: TransformerBridge,
    standing: Standing,
    rows: TokenRows,
    beside: TokenRows | None,
    scalar: Scalar,
    keep: list[str],
    among: Tensor,
    latents: Sequence[int] | None,
    method: str,
    steps: int,
) -> Found:
    """As ``effects`` says. among: which of the prompts these rows are; beside: the reference's rows."""
    own = _coded(model, standing, rows)
    other = None if beside is None else _coded(model, standing, beside)
    z, before = _together(own.codes, None if other is None else other.codes)
    moved = torch.ones_like(z.indices, dtype=torch.bool)
    if latents is not None:
        moved = torch.isin(z.indices, torch.as_tensor(list(latents), dtype=torch.int32, device=z.indices.device))
    change = torch.where(moved, z.values - before, 0)
    gaps = {}
    if other is not None and latents is None:
        start = replace(z, values=before)
        for site in standing.writes:
            now, then = standing.decode(z, own.x, site), standing.decode(start, other.x, site)
            gaps[site] = (own.written[site] - now) - (other.written[site] - then)
    passes = _Passes(model, standing, rows, own, z, scalar, keep, among)
    with torch.no_grad():
        clean = passes.number(z.values, {})
        reference = passes.number(z.values - change, {site: -gap for site, gap in gaps.items()})
    error = torch.zeros(rows.mask.shape)
    if method == "exact":
        values = passes.one_by_one(change, clean)
    else:
        values, of_error = passes.gradients(change, gaps, 0 if method == "gradient" else steps)
        error[rows.mask] = of_error.float().cpu()
    shape = rows.mask.shape
    return Found(
        _placed(z, rows), _placed(replace(z, values=values), rows), error.view(shape), clean.cpu(), reference.cpu()
    )


class _Passes:
    """The model on some prompts with codes of one's own."""

    def __init__(
        self,
        model: TransformerBridge,
        standing: Standing,
        rows: TokenRows,
        own: _Coded,
        z: SparseCodes,
        scalar: Scalar,
        keep: list[str],
        among: Tensor,
    ) -> None:
        self.model, self.standing, self.rows, self.own, self.z = model, standing, rows, own, z
        self.scalar, self.keep, self.among = scalar, keep, among
        self.x_hat = {site: standing.decode(z, own.x, site).detach() for site in standing.writes}

    def number(self, values: Tensor, errors: Mapping[Site, Tensor], gradients: bool = False) -> Float[Tensor, " row"]:
        """m with these values of the codes, and these errors added."""
        mask, changes = self.rows.mask, dict[str, Change | Tensor]()
        for site in self.standing.writes:
            delta = self.standing.decode(replace(self.z, values=values), self.own.x, site) - self.x_hat[site]
            delta = delta + errors[site] if site in errors else delta
            changes[site] = _adding(delta.new_zeros(*mask.shape, delta.shape[-1]).index_put(_where(mask, delta), delta))
        return self._run(self.rows.tokens, changes, self.among, gradients)

    def gradients(self, change: Tensor, gaps: Mapping[Site, Tensor], steps: int) -> tuple[Tensor, Tensor]:
        """(effect of each code, of the error at each counted token); steps: midpoints, 0: at z alone."""
        alphas = [(k + 0.5) / steps for k in range(steps)] or [1.0]
        of_codes, of_errors = torch.zeros_like(change), {site: torch.zeros_like(gap) for site, gap in gaps.items()}
        for alpha in alphas:
            values = (self.z.values - (1 - alpha) * change).detach().requires_grad_()
            errors = {site: (-(1 - alpha) * gap).detach().requires_grad_() for site, gap in gaps.items()}
            with torch.enable_grad():
                total = self.number(values, errors, gradients=True).sum()
            if not total.requires_grad:
                raise ValueError("scalar has no gradient by the codes: make it of passed.logits or passed.kept.")
            found = torch.autograd.grad(total, [values, *errors.values()], materialize_grads=True)
            of_codes += found[0] / len(alphas)
            for site, gradient in zip(errors, found[1:], strict=True):
                of_errors[site] += gradient / len(alphas)
        tokens = int(self.rows.mask.sum())
        error = sum(((gaps[site] * of_errors[site]).sum(-1) for site in gaps), change.new_zeros(tokens))
        return change * of_codes, torch.as_tensor(error)

    @torch.no_grad()
    def one_by_one(self, change: Tensor, clean: Tensor) -> Tensor:
        """m(z) − m with one code at its reference, for each code that differs from it."""
        effects, asked = torch.zeros_like(change), (change != 0).nonzero()[:, 0]
        row, position = (part[self.z.rows.cpu()] for part in self.rows.mask.nonzero(as_tuple=True))
        token = self.z.rows
        batches = asked.split(RUNS_AT_ONCE)
        for some in Bar(batches, "effects", leave=False, unit=" pass", disable=len(batches) < 8):
            codes = self.z[token[some]]
            entry = codes.offsets[:-1] + some - self.z.offsets[token[some]]
            values = codes.values.index_add(0, entry, -change[some])
            x = {site: h[token[some]] for site, h in self.own.x.items()}
            runs, at = torch.arange(len(some)), position[some.cpu()]
            changes = dict[str, Change | Tensor]()
            for site in self.standing.writes:
                delta = self.standing.decode(replace(codes, values=values), x, site) - self.standing.decode(
                    codes, x, site
                )
                whole = delta.new_zeros(len(some), self.rows.tokens.shape[1], delta.shape[-1])
                whole[runs, at] = delta
                changes[site] = _adding(whole)
            which = row[some.cpu()]
            m = self._run(self.rows.tokens[which], changes, self.among[which])
            effects[some] = (clean[which.to(clean.device)] - m).to(effects)
        return effects

    def _run(
        self, tokens: Tensor, changes: Mapping[str, Change | Tensor], among: Tensor, gradients: bool = False
    ) -> Float[Tensor, " row"]:
        passed = forward(self.model, tokens, self.keep, replace=changes, logits=True, gradients=gradients)
        return self.scalar(passed, among)


def _coded(model: TransformerBridge, standing: Standing, rows: TokenRows) -> _Coded:
    sites = [*dict.fromkeys([*standing.reads, *standing.writes])]
    kept = forward(model, rows.tokens, sites).kept
    flat = {site: joined(h, site)[rows.mask.to(h.device)] for site, h in kept.items()}
    flat = standing.dictionary.take(flat)
    x = {site: flat[site] for site in standing.reads}
    with torch.no_grad():
        codes = standing.encode(x)
    return _Coded(x, {site: flat[site] for site in standing.writes}, codes.detach(), kept)


def _together(z: SparseCodes, other: SparseCodes | None) -> tuple[SparseCodes, Tensor]:
    """z at every place where it or the other is not 0, and the other's values there."""
    if other is None:
        kept = z.keep(z.values != 0)
        return kept, torch.zeros_like(kept.values)
    keys = torch.cat([part.rows * z.d_sae + part.indices.long() for part in (z, other)])
    keys, place = keys.unique(return_inverse=True)
    both = z.values.new_zeros(2, len(keys))
    both[0, place[: len(z.values)]] = z.values
    both[1, place[len(z.values) :]] = other.values.to(both)
    offsets = offsets_of(keys // z.d_sae, len(z.offsets) - 1)
    joined_codes = SparseCodes(both[0], (keys % z.d_sae).int(), offsets, z.d_sae, z.shape)
    some = (both != 0).any(0)
    return joined_codes.keep(some), both[1, some]


def _placed(z: SparseCodes, rows: TokenRows) -> SparseCodes:
    """Codes of counted tokens as those of all places of the rows, on the CPU."""
    places = rows.mask.cpu().flatten().nonzero()[:, 0]
    offsets = offsets_of(places[z.rows.cpu()], rows.mask.numel())
    shape = tuple(rows.mask.shape)
    return SparseCodes(z.values.detach().cpu(), z.indices.cpu(), offsets, z.d_sae, shape)


def _where(mask: Tensor, like: Tensor) -> tuple[Tensor, ...]:
    return tuple(part.to(like.device) for part in mask.nonzero(as_tuple=True))


def _adding(whole: Tensor) -> Change:
    def change(h: Tensor, kept: Mapping[str, Any]) -> Tensor:
        return h + whole.to(h).view(h.shape)  # at some sites h comes head by head

    return change
