"""LatentLayers: at which layers the latents of one dictionary for several layers are active (Lawson et al. 2024, arXiv
2409.04185).

Of latent i let p_i(l) be the share of its mass at the layer l, p_i(l) ∝ Σ_t |z_i(t, l)|, and of one token t
p_i(l | t) ∝ |z_i(t, l)|. A latent may be spread over layers because each token has it at many, or because different
tokens have it at different ones:

    concentration = mean over pairs (i, t) at which i fires of Var(l | i, t) / Var(l | i)

is near 0 where each token has a latent at one layer, and near 1 where its tokens are spread as all of them together
are. Beside it stands how alike the layers are to begin with: the cosine of neighbouring ones.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

import torch
from jaxtyping import Float, Int
from torch import Tensor

from saekit.metrics.beside import short_names

if TYPE_CHECKING:
    import pandas

SHARE = 0.05
"""Of a latent's mass: a layer with less is none that it is active at."""
LEAST = 10
"""Firings, each a token at a layer: of a latent with fewer, nothing is said of its layers."""
DRAWN = 200  # latents of a heatmap
SITES = 15  # that are printed


@dataclass(frozen=True, eq=False, repr=False)
class LatentLayers:
    """Where the latents are active. Layers are counted from 0 in the order of the dictionary's sites.

    sites:         the L sites. tokens: counted tokens that were read.
    mass, firings: [d_sae, L], Σ_t |z_i(t, l)|, and at how many tokens z_i(t, l) ≠ 0.
    at_tokens:     [d_sae], tokens at which a latent fires at any layer.
    within:        [d_sae], the mean over these of Var(l | i, t); NaN for a latent that never fires.
    cosines:       [L − 1], the mean over tokens of cos(x_l, x_{l+1}).
    explained, l0: [L], explained variance and mean number of active latents at each site.
    prompt:        the same of the prompt that was asked for.
    """

    sites: tuple[str, ...]
    tokens: int
    mass: Float[Tensor, "d_sae layers"]
    firings: Int[Tensor, "d_sae layers"]
    at_tokens: Int[Tensor, " d_sae"]
    within: Float[Tensor, " d_sae"]
    cosines: Float[Tensor, " between"]
    explained: list[float]
    l0: list[float]
    prompt: LatentLayers | None = None

    @cached_property
    def p(self) -> Float[Tensor, "d_sae layers"]:
        """p_i(l); NaN for a latent that never fires."""
        return self.mass / self.mass.sum(1, keepdim=True)

    @cached_property
    def mean_layer(self) -> Float[Tensor, " d_sae"]:
        """Σ_l l p_i(l)."""
        return self.p @ self._numbers

    @cached_property
    def spread(self) -> Float[Tensor, " d_sae"]:
        """Var(l | i) under p_i."""
        return (self.p @ self._numbers.square() - self.mean_layer.square()).clamp_min(0)

    @property
    def told(self) -> Tensor:
        """[d_sae], True for the latents with so many firings that their layers are spoken of."""
        return self.firings.sum(1) >= LEAST

    @property
    def several(self) -> float:
        """Share of these that are active at two layers or more, each with at least SHARE of the latent's mass."""
        return float(((self.p[self.told] >= SHARE).sum(1) > 1).cpu().double().mean())

    @property
    def layers_a_latent(self) -> float:
        """Mean over these of exp(H(p_i)), the number of layers by entropy: 1 at one alone, L at all alike."""
        return float(torch.special.entr(self.p[self.told]).sum(1).exp().mean())

    @property
    def concentration(self) -> float:
        """As above; NaN where each latent is active at one layer alone."""
        some = self.spread > 0
        pairs = self.at_tokens[some].cpu().double()
        return float((pairs * self.within[some] / self.spread[some]).sum() / pairs.sum())

    @property
    def rows(self) -> list[dict[str, Any]]:
        """The numbers of all latents together, and how each is defined."""
        told, count = int(self.told.sum()), len(self.sites)
        of = f"of {told:,} latents with {LEAST} firings and more"
        said = {
            "at several layers": (self.several, f"share {of}: two layers or more with {SHARE:.0%} of Σ|z| each"),
            "layers a latent": (self.layers_a_latent, f"mean {of}: exp of the entropy of p(l) ∝ Σ|z|, 1 to {count}"),
            "concentration": (
                self.concentration,
                "mean over (latent, token) of Var(l | i, t) / Var(l | i); 0: one layer",
            ),
            "cosine of neighbours": (float(self.cosines.mean()), "cos(x_l, x_l+1), mean over tokens and layers"),
        }
        return [{"number": name, "value": value, "definition": words} for name, (value, words) in said.items()]

    def by_site(self) -> pandas.DataFrame:
        """A row a site: site, explained_variance, l0, alive (share of latents that fire there), mass (share of all),
        and cosine, with the next site."""
        import pandas

        return pandas.DataFrame(self._sites())

    def frame(self) -> pandas.DataFrame:
        """A row a latent: latent, tokens, mean_layer, spread Var(l | i), within, and p at each site."""
        import pandas

        columns = {
            "tokens": self.at_tokens,
            "mean_layer": self.mean_layer,
            "spread": self.spread,
            "within": self.within,
        }
        columns |= {f"p at {site}": self.p[:, number] for number, site in enumerate(self.sites)}
        made = {name: column.numpy() for name, column in columns.items()}
        return pandas.DataFrame({"latent": range(len(self.mass))} | made)

    @property
    def chart(self) -> Any:
        """p of latents × layers, latents by their mean layer, as an Altair chart; that of the prompt beside it, its
        latents in the same order."""
        from altair import hconcat

        own = self._heatmap(self.mean_layer, f"{self.tokens:,} tokens")
        if self.prompt is None or not self.prompt.mass.any():
            return own
        return hconcat(own, self.prompt._heatmap(self.mean_layer, "The prompt"))

    def _heatmap(self, order: Float[Tensor, " d_sae"], title: str) -> Any:
        import pandas

        from saekit.plots import heatmap

        fires = self.mass.sum(1) > 0
        order = torch.where(order.isfinite(), order, self.mean_layer)  # of those on the prompt alone
        latents = fires.nonzero()[:, 0][order[fires].argsort(stable=True)]
        if not (count := len(latents)):
            raise ValueError("no latent fires here, so there is nothing to draw.")
        latents = latents[torch.linspace(0, count - 1, min(count, DRAWN)).round().long()]
        said = f"{len(latents):,} of {count:,} latents that fire, by mean layer"
        names, p = short_names(self.sites), self.p[latents].T.flip(0)
        columns = {
            "latent": latents.repeat(len(names)).tolist(),
            "layer": [name for name in reversed(names) for _ in latents],
            "share": p.flatten().tolist(),
        }
        drawn = pandas.DataFrame(columns)
        return heatmap(drawn, "latent", "layer", "share", highest=1, names=False, title=title, subtitle=said)

    def _sites(self) -> list[dict[str, Any]]:
        alive, mass = (self.firings > 0).cpu().double().mean(0), self.mass.sum(0) / self.mass.sum()
        return [
            {
                "site": str(site),
                "explained_variance": self.explained[number],
                "l0": self.l0[number],
                "alive": float(alive[number]),
                "mass": float(mass[number]),
                "cosine": float(self.cosines[number]) if number < len(self.cosines) else None,
            }
            for number, site in enumerate(self.sites)
        ]

    @property
    def _numbers(self) -> Float[Tensor, " layers"]:
        return torch.arange(len(self.sites)).to(self.mass)

    def __repr__(self) -> str:
        from saekit.plots import text_table

        sites = text_table(self._sites(), more=".by_site()", most=SITES)
        return f"{text_table(self.rows)}\n\n{sites}\n.frame(), .by_site(), .chart"

    def _repr_html_(self) -> str:
        from saekit.plots import html_table
        from saekit.plots.renderer import picture_html

        tables = html_table(self.rows) + html_table(self._sites())
        return tables + (picture_html(self.chart, "share of each latent's mass by layer") if self.mass.any() else "")
