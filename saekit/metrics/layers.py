"""latent_layers: at which layers the latents of one dictionary for several layers are active (Lawson et al. 2024, arXiv
2409.04185).

Of latent i let p_i(l) be the share of its mass at the layer l, p_i(l) ∝ Σ_t |z_i(t, l)|, and of one token t
p_i(l | t) ∝ |z_i(t, l)|. A latent may be spread over layers because each token has it at many, or because different
tokens have it at different ones:

    concentration = mean over pairs (i, t) at which i fires of Var(l | i, t) / Var(l | i)

is near 0 where each token has a latent at one layer, and near 1 where its tokens are spread as all of them together
are. Beside it stands how alike the layers are to begin with: the cosine of neighbouring ones.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

import torch
from jaxtyping import Float, Int
from saekit_kernels import SparseCodes
from torch import Tensor
from torch.nn.functional import cosine_similarity

from saekit.activations.source import Readable
from saekit.dictionaries import Dictionary, check_model
from saekit.dictionaries.provenance import check_named
from saekit.dictionaries.wanted import dictionary_of
from saekit.files.roles import ACTIVATIONS, CORPUS, DICTIONARY, MODEL, RUN, check_roles, role_of
from saekit.files.stopping import stopped_with
from saekit.metrics.beside import parts_beside, read_beside, short_names
from saekit.metrics.variance import ExplainedVariance

if TYPE_CHECKING:
    import pandas
    from transformer_lens.model_bridge import TransformerBridge

SHARE = 0.05
"""Of a latent's mass: a layer with less is none that it is active at."""
LEAST = 10
"""Firings, each a token at a layer: of a latent with fewer, nothing is said of its layers."""
DRAWN = 200  # latents of a heatmap


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
        return float(((self.p[self.told] >= SHARE).sum(1) > 1).double().mean())

    @property
    def layers_a_latent(self) -> float:
        """Mean over these of exp(H(p_i)), the number of layers by entropy: 1 at one alone, L at all alike."""
        return float(torch.special.entr(self.p[self.told]).sum(1).exp().mean())

    @property
    def concentration(self) -> float:
        """As above; NaN where each latent is active at one layer alone."""
        some = self.spread > 0
        pairs = self.at_tokens[some].double()
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

        columns = {
            "site": [str(site) for site in self.sites],
            "explained_variance": self.explained,
            "l0": self.l0,
            "alive": (self.firings > 0).double().mean(0).tolist(),
            "mass": (self.mass.sum(0) / self.mass.sum()).tolist(),
            "cosine": [*self.cosines.tolist(), float("nan")],
        }
        return pandas.DataFrame(columns)

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

    @property
    def _numbers(self) -> Float[Tensor, " layers"]:
        return torch.arange(len(self.sites)).to(self.mass)

    def __repr__(self) -> str:
        from saekit.plots import text_table

        sites = text_table(self.by_site().to_dict("records"))
        return f"{text_table(self.rows)}\n\n{sites}\n.frame(), .by_site(), .chart"

    def _repr_html_(self) -> str:
        from saekit.plots import html_table
        from saekit.plots.renderer import picture_html

        tables = html_table(self.rows) + html_table(self.by_site().to_dict("records"))
        return tables + (picture_html(self.chart, "share of each latent's mass by layer") if self.mass.any() else "")


@stopped_with("stopped; what was measured by then is not kept.")
@torch.no_grad()
def latent_layers(
    model: TransformerBridge | Any,
    dictionary: Dictionary | Any,
    corpus: Readable = None,
    tokens: int | str | None = "auto",
    *,
    prompt: str | None = None,
    exclude: Sequence[str] | str = (),
    context: int | None = None,
) -> LatentLayers:
    """At which layers the latents of a dictionary for each of several sites are active, and whether one token has them
    at one layer or at many; and what it explains at each site.

    model:      what the dictionary was made on; or activations [n, d] by site, of the same tokens, and no corpus.
    dictionary: trained with ``sk.Wiring(sites, each=True)``, the sites in the order of the layers; or its run.
    corpus:     as ``sk.evaluate`` takes it. tokens: counted ones, from its beginning; "auto": 40,000; None: all.
    prompt:     a text whose heatmap stands beside that of the corpus.
    exclude:    special tokens that are not counted, by their text. context: tokens in a row at most.
    Returns ``LatentLayers``: ``.several``, ``.concentration``, ``.frame()``, ``.by_site()``, ``.chart``, drawn. For
    example ``sk.metrics.latent_layers(model, sae, corpus, tokens=20_000, prompt="Anna gave the book")``.
    Raises ValueError for a dictionary that is not for each of several sites, or of another model.
    """
    call = "sk.metrics.latent_layers(model, dictionary, corpus)"
    check_roles(
        call, model=(model, (MODEL, ACTIVATIONS)), dictionary=(dictionary, (DICTIONARY, RUN)), corpus=(corpus, CORPUS)
    )
    dictionary = dictionary_of(dictionary)
    if not dictionary.wiring.each or len(dictionary.reads) < 2:
        raise ValueError(
            "layers are compared in a dictionary for each of several sites, sk.Wiring([site, site], each=True), found "
            f"one of {dictionary.wiring}."
        )
    if role_of(model) != MODEL:
        if corpus is not None or prompt is not None:
            raise TypeError(f"a corpus and a prompt are read by a model, found a {type(model).__name__}: {call}.")
        return _measured(dictionary, parts_beside(model, dictionary.reads), None)
    if corpus is None:
        raise TypeError(f"there is no corpus to read: {call}.")
    check_model(dictionary, model)
    check_named(dictionary)
    how: dict[str, Any] = {"exclude": exclude, "context": context, "bos": dictionary.provenance.prepend_bos}
    asked = None
    if prompt is not None:
        asked = _measured(dictionary, read_beside(model, dictionary.reads, [prompt], None, **how), None)
    return _measured(dictionary, read_beside(model, dictionary.reads, corpus, tokens, **how), asked)


def _measured(
    dictionary: Dictionary, batches: Iterable[Mapping[str, Float[Tensor, "n d"]]], prompt: LatentLayers | None
) -> LatentLayers:
    sites, shape = dictionary.reads, (dictionary.d_sae, len(dictionary.reads))
    mass, firings = torch.zeros(shape, dtype=torch.float64), torch.zeros(shape, dtype=torch.int64)
    variances, at_tokens = torch.zeros(shape[0], dtype=torch.float64), torch.zeros(shape[0], dtype=torch.int64)
    cosines, explained, tokens = torch.zeros(shape[1] - 1, dtype=torch.float64), [ExplainedVariance() for _ in sites], 0
    for batch in batches:
        x = [dictionary.take(batch[site]) for site in sites]
        codes = [dictionary.encode_at(h, site) for h, site in zip(x, sites, strict=True)]
        for number, (z, h, site) in enumerate(zip(codes, x, sites, strict=True)):
            explained[number].add(h, dictionary.decode_at(z, site, h))
            latents, values = z.indices.cpu().long(), z.values.abs().cpu().double()
            mass[:, number].index_add_(0, latents, values)
            firings[:, number].index_add_(0, latents, (values > 0).long())
        latents, variance = _of_one_token(codes)
        variances.index_add_(0, latents, variance)
        at_tokens.index_add_(0, latents, torch.ones_like(latents))
        for number, (h, above) in enumerate(itertools.pairwise(x)):
            cosines[number] += cosine_similarity(h.cpu().double(), above.cpu().double(), dim=1).sum()
        tokens += len(x[0])
    return LatentLayers(
        sites=sites,
        tokens=tokens,
        mass=mass,
        firings=firings,
        at_tokens=at_tokens,
        within=variances / at_tokens,
        cosines=cosines / tokens,
        explained=[measure.value for measure in explained],
        l0=(firings.sum(0) / tokens).tolist(),
        prompt=prompt,
    )


def _of_one_token(codes: Sequence[SparseCodes]) -> tuple[Int[Tensor, " pairs"], Float[Tensor, " pairs"]]:
    """The latent of each pair (i, t) that fires, and Var(l | i, t). codes: of the same tokens, by layer."""
    keys, layers, values = [], [], []
    for number, z in enumerate(codes):
        fires = z.values != 0
        keys.append((z.rows * z.d_sae + z.indices.long())[fires].cpu())
        values.append(z.values[fires].abs().cpu().double())
        layers.append(torch.full_like(values[-1], number))
    found, pair = torch.cat(keys).unique(return_inverse=True)
    z, layer = torch.cat(values), torch.cat(layers)

    def summed(each: Tensor) -> Tensor:
        return torch.zeros(len(found), dtype=torch.float64).index_add(0, pair, each)

    whole = summed(z)
    mean = summed(z * layer) / whole
    return found % codes[0].d_sae, summed(z * (layer - mean[pair]).square()) / whole
