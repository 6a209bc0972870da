"""What a direction written at a site does to the logits on the model's own way out.

The direct path: the direction joins the residual stream, passes the final norm and the unembedding; no later attention
or MLP. The final norm is linear once its scale is known, N(d) = γ ⊙ C(d) / s with C the centring of a LayerNorm (none
for RMSNorm); γ is folded in, and s is held at its mean over counted tokens of the corpus. Then

    effect_v(f) = z_f · a_v · (U(N(d_f)) − U(0))_v,

with d_f the decoder row, U the model's own unembedding module, and a_v the slope of what the model makes of its logits
after that: 1, a scale, or the mean slope of a soft cap over tokens (``saekit.models.after``).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from jaxtyping import Float
from torch import Tensor

from saekit.activations import TokenRows
from saekit.features.written import Written, no_path
from saekit.models import SeveralModels, Site, forward, model_at
from saekit.models.after import RAW, mean_slope
from saekit.models.edit_sites import sums_hold
from saekit.models.state import evaluation

if TYPE_CHECKING:
    from transformer_lens.model_bridge import TransformerBridge

FAR = 1e4  # a direction this many times larger than the norm's epsilon knows of
ROWS = 16


def writes_residual(model: TransformerBridge, site: str) -> bool:
    """Whether a site's activation is the residual stream, or what is added to it in this model."""
    place = Site(site)
    stream = place.is_residual or (place.layer is not None and place.kind == "hook_resid_mid")
    return stream or place in sums_hold(model)


@dataclass(frozen=True)
class OutputPath:
    """The linear map from directions [n, d_model] to logits [n, d_vocab] per unit of activation."""

    model: TransformerBridge
    scale: float
    centred: bool
    slope: Float[Tensor, " d_vocab"]

    @classmethod
    def of(cls, model: TransformerBridge, rows: TokenRows) -> OutputPath | None:
        """`rows`: tokens of the corpus, of which the first few rows give the norm's mean scale. None for a model whose
        logits are not the unembedding of the normed residual stream, so that the effect on them is not known."""
        d_model = model.cfg.d_model
        last = f"blocks.{model.cfg.n_layers - 1}.hook_resid_post"
        slope = mean_slope(model, rows.tokens, rows.mask) if _is_the_way_out(model, rows.tokens[:1], last) else None
        if slope is None:
            return None
        h = forward(model, rows.tokens[:ROWS], last).kept[last].float()
        norm = getattr(model, "ln_final", None)
        ones = torch.ones(1, 1, d_model, device=h.device, dtype=_dtype(model))
        with torch.no_grad(), evaluation(model):
            # A LayerNorm takes the mean away, so that a constant vector leaves nothing but its bias.
            centred = norm is not None and _close(norm(ones * FAR), norm(ones * 0))
        scale = 1.0 if norm is None else float(_rms(h, centred)[rows.mask[:ROWS].to(h.device)].mean())
        return cls(model, scale, centred, slope)

    @torch.no_grad()
    def __call__(self, directions: Float[Tensor, "n d_model"]) -> Float[Tensor, "n d_vocab"]:
        """The logits that each direction adds, a unit of activation."""
        model = self.model
        d = directions.to(device=model.cfg.device, dtype=torch.float32)[None]
        norm = getattr(model, "ln_final", None)
        with evaluation(model):
            if norm is not None:
                size = _rms(d, self.centred)
                unit = (d * (FAR / size.clamp_min(1e-30))[..., None]).to(_dtype(model))
                d = (norm(unit) - norm(torch.zeros_like(unit))).float() * (size / self.scale)[..., None]
            d = d.to(_dtype(model))
            return (model.unembed(d) - model.unembed(torch.zeros_like(d[:, :1])))[0].float().cpu() * self.slope

    @property
    def definition(self) -> str:
        """What is measured, in words, with the scale."""
        return (
            "decoder row × activation through the final norm (its weights folded in, its scale held at "
            f"{self.scale:.4g}, the mean over tokens of the corpus) and the unembedding{self._after}; no later layer"
        )

    @property
    def _after(self) -> str:
        low, high = float(self.slope.min()), float(self.slope.max())
        if low != high:
            return ", times the slope of the soft cap on the logits, its mean over tokens"
        return "" if low == 1 else f", times {low:.4g}, the model's scale of its logits"


@dataclass(frozen=True, eq=False)
class Outputs:
    """The output path of every latent, in the model where it is written: one for each of these models. Of several sites
    there, which are added to one stream, the rows add up."""

    written: Written
    paths: list[OutputPath]
    d_vocab: int

    @classmethod
    def of(cls, model: TransformerBridge | SeveralModels, written: Written, rows: TokenRows) -> Outputs | None:
        """None where a site has no direct path to the logits, or several have none together. rows: as ``OutputPath.of``
        takes them."""
        if no_path(written.dictionary.writes) is not None:
            return None
        paths = []
        for sites in written.sites:
            own = model_at(model, sites[0])[0]
            widths = {written.dictionary.write_widths[site] for site in sites}
            residual = widths == {own.cfg.d_model} and all(writes_residual(own, site.hook) for site in sites)
            path = OutputPath.of(own, rows) if residual else None
            if path is None:
                return None
            paths.append(path)
        return cls(written, paths, model.cfg.d_vocab)

    def __call__(self, first: int, last: int) -> Float[Tensor, "n d_vocab"]:
        """The logits that latents first … last − 1 add, a unit of activation."""
        home = torch.from_numpy(self.written.home[first:last])
        logits = torch.empty(last - first, self.d_vocab)
        for number, path in enumerate(self.paths):
            some = (home == number).nonzero()[:, 0]
            if len(some):
                rows = torch.stack([*self.written.directions(number, slice(first, last)).values()]).sum(0)
                logits[some] = path(rows[some])[:, : self.d_vocab]
        return logits

    @property
    def definition(self) -> str:
        """What is measured, of several models of each."""
        if len(self.paths) == 1:
            return self.paths[0].definition
        pairs = zip(self.written.sites, self.paths, strict=True)
        named = "; ".join(f"{sites[0].model}: {path.definition}" for sites, path in pairs)
        return f"of the model in which its decoder row is longest, {named}"


@torch.no_grad()
def _is_the_way_out(model: TransformerBridge, tokens: Tensor, last: str) -> bool:
    """Whether the unembedding gets the residual stream through the final norm and nothing else."""
    kept, norm = forward(model, tokens, [last, RAW]).kept, getattr(model, "ln_final", None)
    with evaluation(model):
        found = model.unembed(kept[last] if norm is None else norm(kept[last]))
    return found.shape == kept[RAW].shape and _close(found.float(), kept[RAW].float())


def _rms(x: Tensor, centred: bool) -> Tensor:
    x = x - x.mean(-1, keepdim=True) if centred else x
    return x.pow(2).mean(-1).sqrt()


def _dtype(model: TransformerBridge) -> torch.dtype:
    return next(model.original_model.parameters()).dtype


def _close(a: Tensor, b: Tensor) -> bool:
    return bool((a - b).abs().max() <= 1e-2 * max(1.0, float(b.abs().max())))
