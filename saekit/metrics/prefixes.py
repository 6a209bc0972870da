"""prefix_latents: which latents and heads work by induction, and how long a repeated prefix they need.

In a row of distinct random tokens r_1 … r_w the L tokens before a place a are made those at its end, r_{a−L} … r_{a−1}
= r_{w−L+1} … r_w: nothing but induction can know that r_a is due, and the longer the prefix, the surer. Rows, places
and ends are the same for every L, and L = 0 is without repetition, so that the gain of a latent at the end,

    gain_i(L) = mean over the rows of max(0, z_i with L − z_i with 0),

is of the repetition alone. The gain of a head is the sum over the latents of which it has the largest share
(``decoder_shares``), as a multiple of their Σ mean z_i with 0.

What gains at most a quarter (a latent: nothing) needs no prefix. Else it needs a "long" one where L = 1 brings less
than a quarter of its largest gain, a "short" one where that brings half or more, and is "mixed" between. Prefixes:
Kissane et al. 2024, arXiv 2406.17759; the numbers are ours.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from jaxtyping import Float, Int
from torch import Tensor

from saekit.activations.tokens import special_ids
from saekit.dictionaries import Dictionary, check_model
from saekit.dictionaries.wanted import dictionary_of
from saekit.files.arguments import whole
from saekit.files.roles import DICTIONARY, MODEL, RUN, check_roles
from saekit.metrics.heads import decoder_shares, site_of_heads
from saekit.models import forward, joined
from saekit.models.bos import bos_of

if TYPE_CHECKING:
    import pandas
    from transformer_lens.model_bridge import TransformerBridge

LONGEST = 8
WIDTH = 40
"""Tokens of a row, BOS apart."""
GAINS, ABSENT, SHORT = 0.25, 0.25, 0.5


@dataclass(frozen=True, eq=False, repr=False)
class PrefixLatents:
    """gains: [d_sae, 8], of prefixes of 1 … 8 tokens. before: [d_sae], mean z_i without one. head: [d_sae], the head of
    the largest share. heads: how many there are. definition: what a gain is."""

    gains: Float[Tensor, "d_sae 8"]
    before: Float[Tensor, " d_sae"]
    head: Int[Tensor, " d_sae"]
    heads: int
    definition: str = (
        "gain_i(L) = mean of max(0, z_i with a repeated prefix of L tokens − z_i without one) at the end of a row of "
        "random tokens; of a head: summed over its latents, as a multiple of their Σ mean z_i without one"
    )

    def of_heads(self) -> Float[Tensor, "heads 8"]:
        """The gains of each head; 0 where none of its latents fires."""
        gains = torch.zeros(self.heads, LONGEST).index_add_(0, self.head, self.gains)
        before = torch.zeros(self.heads).index_add_(0, self.head, self.before)
        return gains / before.clamp_min(torch.finfo(before.dtype).tiny)[:, None]

    def prefixes(self) -> list[str]:
        """What each head needs: "short", "mixed", "long" or "none"."""
        return [prefix_needed(row, GAINS) for row in self.of_heads().tolist()]

    def by_head(self) -> list[dict[str, Any]]:
        """A row a head: head, latents, its gains at L=1 … 8, prefix."""
        counts = torch.bincount(self.head, minlength=self.heads).tolist()
        return [
            {"head": head, "latents": counts[head]} | _columns(row) | {"prefix": prefix}
            for head, (row, prefix) in enumerate(zip(self.of_heads().tolist(), self.prefixes(), strict=True))
        ]

    def frame(self) -> pandas.DataFrame:
        """A row a latent, the largest gain first: latent, head, its gains at L=1 … 8, prefix."""
        import pandas

        order = self.gains.amax(1).argsort(descending=True, stable=True).tolist()
        rows = [(i, int(self.head[i]), self.gains[i].tolist()) for i in order]
        return pandas.DataFrame(
            [{"latent": i, "head": k} | _columns(row) | {"prefix": prefix_needed(row, 0)} for i, k, row in rows]
        )

    def __repr__(self) -> str:
        from saekit.plots import text_table

        return text_table(self.by_head(), more=".frame()")

    def _repr_html_(self) -> str:
        from saekit.plots import html_table

        return html_table(self.by_head(), caption=self.definition)


def prefix_needed(gains: Sequence[float], least: float) -> str:
    """Which prefix something needs, "short", "mixed" or "long"; "none" where no prefix brings more than the least.

    gains: what prefixes of 1, 2 … tokens bring. least: as said."""
    largest = max(gains)
    if largest <= least:
        return "none"
    at_one = gains[0] / largest
    return "long" if at_one < ABSENT else "short" if at_one >= SHORT else "mixed"


@torch.no_grad()
def prefix_latents(
    model: TransformerBridge, dictionary: Dictionary | Any, n: int = 200, seed: int = 0
) -> PrefixLatents:
    """How much each latent of a dictionary at ``attn.hook_z``, and each head through them, gains by a repeated prefix.

    model: what the dictionary was made on. dictionary: or the run that trained it. n, seed: rows, and their draws.
    Returns ``PrefixLatents``: ``.prefixes()``, ``.by_head()``, ``.frame()``, drawn. For example
    ``sk.metrics.prefix_latents(model, sae).prefixes()``.
    Raises ValueError for a dictionary at another site or of another model, and a model of too few tokens.
    """
    call = "sk.metrics.prefix_latents(model, dictionary)"
    check_roles(call, model=(model, MODEL), dictionary=(dictionary, (DICTIONARY, RUN)))
    dictionary = dictionary_of(dictionary)
    check_model(dictionary, model)
    site = site_of_heads(dictionary)
    tokens, _ = prefix_prompts(model, n, seed)

    def codes(rows: Int[Tensor, "n position"]) -> Float[Tensor, "n d_sae"]:
        z = joined(forward(model, rows, [site]).kept[site], site)[:, -1]
        return dictionary.encode(z.cpu().to(dictionary.decoder_directions)).to_dense().float()

    without = codes(tokens[0])
    gains = torch.stack([(codes(rows) - without).clamp_min(0).mean(0) for rows in tokens[1:]], 1)
    shares = decoder_shares(dictionary.decoder_directions, model.cfg.n_heads)
    return PrefixLatents(gains, without.mean(0), shares.nan_to_num().argmax(1), model.cfg.n_heads)


def prefix_prompts(
    model: TransformerBridge, n: int = 200, seed: int = 0
) -> tuple[Int[Tensor, "length n position"], Int[Tensor, " n"]]:
    """Rows with a repeated prefix of 0 … 8 tokens: tokens [9, n, position], and the token that is due after each, [n].

    model: whose tokens they are, special ones apart. n: rows of each length. seed: of the draws.
    Raises ValueError for a model whose vocabulary or context is too small for them."""
    n, seed = whole("n", n), whole("seed", seed, least=0)
    special = torch.tensor(special_ids(model.tokenizer))
    known = min(model.cfg.d_vocab, len(model.tokenizer))
    usual = torch.arange(known)[~torch.isin(torch.arange(known), special)]
    if len(usual) < WIDTH or model.cfg.n_ctx <= WIDTH:
        raise ValueError(
            f"prompts are of {WIDTH} different tokens and BOS, and this model knows {len(usual)} tokens in a context "
            f"of {model.cfg.n_ctx}."
        )
    generator = torch.Generator().manual_seed(seed)
    rows = torch.stack([usual[torch.randperm(len(usual), generator=generator)[:WIDTH]] for _ in range(n)])
    due = torch.randint(LONGEST, WIDTH - LONGEST, (n,), generator=generator)
    of_each = []
    for length in range(LONGEST + 1):
        row = rows.clone()
        for back in range(1, length + 1):
            row[torch.arange(n), due - back] = rows[:, -back]
        of_each.append(row)
    tokens, bos = torch.stack(of_each), bos_of(model)
    if bos is not None:
        tokens = torch.cat([torch.full_like(tokens[..., :1], bos), tokens], -1)
    return tokens, rows[torch.arange(n), due]


def _columns(gains: Sequence[float]) -> dict[str, float]:
    return {f"L={length}": gain for length, gain in enumerate(gains, 1)}
