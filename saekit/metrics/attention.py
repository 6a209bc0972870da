"""attention_sources: which tokens and which heads a latent of an attention layer's heads comes from, exactly.

A dictionary at ``attn.hook_z`` reads the heads' results one after the other, z_k(t) = Σ_s A_k[t, s] v_k(s), so with the
pattern A as it is the pre-activation of latent i is a sum over heads k and source tokens s (Kissane et al. 2024, arXiv
2406.17759):

    u_i(t) = Σ_k Σ_s A_k[t, s] · ⟨v_k(s), W_i[k]⟩ + b_i − ⟨c, W_i⟩

with W_i[k] the part of its encoder row that reads head k.

A latent is called "induction" where half of what its heads bring together, by |contribution|, comes from tokens that
stand right behind an earlier copy of the present token, "local" where half comes from at most five tokens back, else
"long-range"; the boundaries are ours.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from saekit.activations import token_strings
from saekit.activations.harvesting import read_rows
from saekit.dictionaries import Dictionary, check_model
from saekit.dictionaries.latent_number import latent_number
from saekit.dictionaries.wanted import dictionary_of
from saekit.files.roles import DICTIONARY, MODEL, RUN, check_roles
from saekit.models import Site, forward

if TYPE_CHECKING:
    import pandas
    from transformer_lens.model_bridge import TransformerBridge

NEAR = 5  # tokens back
SHARE = 0.5
FAMILIES = ("induction", "local", "long-range")
HEADS = "attn.hook_z"


@dataclass(frozen=True, eq=False)
class AttentionSources:
    """Where latents of an attention layer come from on a prompt of t tokens.

    tokens, strings: [t], BOS first where the model has one. counted: [t], False at BOS.
    latents:       [m], as asked for.
    contributions: [m, t, heads, source], what each head brings from each source token; 0 from later ones.
    constant:      [m], b_i − ⟨c, W_i⟩. u: [m, t], the pre-activations: contributions summed, and the constant.
    definition:    what a contribution is.
    """

    tokens: Int[Tensor, " t"]
    strings: list[str]
    counted: Bool[Tensor, " t"]
    latents: list[int]
    contributions: Float[Tensor, "m t heads t"]
    constant: Float[Tensor, " m"]
    u: Float[Tensor, "m t"]
    definition: str = "A_k[t, s] · ⟨v_k(s), W_i[k]⟩; summed over heads and sources and with b_i − ⟨c, W_i⟩ it is u_i(t)"

    def by_head(self) -> Float[Tensor, "m t heads"]:
        """Summed over source tokens."""
        return self.contributions.sum(-1)

    def by_source(self) -> Float[Tensor, "m t t"]:
        """Summed over heads."""
        return self.contributions.sum(2)

    def families(self) -> list[str]:
        """Of each latent at its strongest token: "induction", "local" or "long-range"."""
        return [self._family(row, int(u.masked_fill(~self.counted, -torch.inf).argmax())) for row, u in self._each()]

    def frame(self) -> pandas.DataFrame:
        """A row a latent, token, head and source that is not zero: latent, position, head, source, contribution."""
        import pandas

        latent, position, head, source = self.contributions.nonzero(as_tuple=True)
        columns = {"position": position, "head": head, "source": source}
        values = self.contributions[latent, position, head, source]
        made: dict[str, Any] = {"latent": torch.tensor(self.latents)[latent].numpy()}
        made |= {name: column.numpy() for name, column in columns.items()}
        return pandas.DataFrame(made | {"contribution": values.numpy()})

    def __repr__(self) -> str:
        from saekit.plots import text_table

        return text_table(self._rows(), more=".frame(), .by_head(), .by_source()")

    def _repr_html_(self) -> str:
        from saekit.plots import html_table

        return html_table(self._rows(), caption=self.definition)

    def _rows(self) -> list[dict[str, Any]]:
        """Of each latent its strongest token, and the head and the source that bring most there."""
        rows = []
        for (row, u), latent, family in zip(self._each(), self.latents, self.families(), strict=True):
            at = int(u.masked_fill(~self.counted, -torch.inf).argmax())
            head, source = divmod(int(row[at].abs().argmax()), row.shape[-1])
            rows.append(
                {
                    "latent": latent,
                    "at": f"{self.strings[at]} ({at})",
                    "u": float(u[at]),
                    "head": head,
                    "source": f"{self.strings[source]} ({source})",
                    "brings": float(row[at, head, source]),
                    "family": family,
                }
            )
        return rows

    def _each(self) -> list[tuple[Tensor, Tensor]]:
        return list(zip(self.contributions, self.u, strict=True))

    def _family(self, row: Float[Tensor, "t heads t"], at: int) -> str:
        size = row[at].abs().sum(0)
        behind_a_copy, near = source_kinds(self.tokens, torch.tensor([at]))
        return family(float(size[behind_a_copy[0]].sum()), float(size[near[0]].sum()), float(size.sum()))


def source_kinds(tokens: Int[Tensor, " t"], at: Int[Tensor, " m"]) -> tuple[Bool[Tensor, "m t"], Bool[Tensor, "m t"]]:
    """Which source tokens stand right behind an earlier copy of the token at each place ``at``, and which of those up
    to there are at most five tokens back.

    tokens: of a prompt. at: places in it."""
    place = torch.arange(len(tokens))
    behind_a_copy = torch.zeros(len(at), len(tokens), dtype=torch.bool)
    behind_a_copy[:, 1:] = tokens[None, :-1] == tokens[at, None]
    back = at[:, None] - place
    return behind_a_copy & (back >= 0), (back >= 0) & (back <= NEAR)


def family(induction: float, local: float, whole: float) -> str:
    """ "induction", "local" or "long-range", of what comes from behind earlier copies and from near tokens.

    induction, local, whole: sums of |contribution|: of the two kinds of sources, and of all."""
    if induction >= SHARE * whole > 0:
        return FAMILIES[0]
    return FAMILIES[1] if local >= SHARE * whole else FAMILIES[2]


@torch.no_grad()
def attention_sources(
    model: TransformerBridge, dictionary: Dictionary | Any, prompt: str | Tensor, latents: int | Sequence[int]
) -> AttentionSources:
    """Which tokens and heads latents of a dictionary at ``attn.hook_z`` come from, on a prompt.

    model:   what the dictionary was made on. dictionary: or the run that trained it.
    prompt:  a text, or token ids [1, position] or [position]. latents: a number or several.
    Returns ``AttentionSources``: ``.by_head()``, ``.by_source()``, ``.families()``, ``.frame()``, drawn. For example
    ``sk.metrics.attention_sources(model, sae, "Anna gave the book to", [3, 12])``.
    Raises ValueError for a dictionary that reads another site or has no linear encoder, one of another model, and a
    prompt that passes the context; NoSuchLatent for a latent that is not there.
    """
    call = "sk.metrics.attention_sources(model, dictionary, prompt, latents)"
    check_roles(call, model=(model, MODEL), dictionary=(dictionary, (DICTIONARY, RUN)))
    dictionary = dictionary_of(dictionary)
    check_model(dictionary, model)
    wanted = [
        latent_number(latent, dictionary.d_sae) for latent in ([latents] if isinstance(latents, int) else latents)
    ]
    site = Site(dictionary.reads[0])
    if len(dictionary.reads) != 1 or not site.endswith(HEADS):
        read = ", ".join(dictionary.reads)
        raise ValueError(f"there are no heads in what this dictionary reads, {read}: train one at blocks.0.{HEADS}.")
    rows_read = dictionary.encoder_directions
    if rows_read is None or dictionary.standardised:
        raise ValueError("this dictionary has no linear encoder, so that its codes are no sum over heads.")
    given: Any = [prompt] if isinstance(prompt, str) else torch.as_tensor(prompt).view(1, -1)
    rows, _ = read_rows(model, given, bos=dictionary.provenance.prepend_bos)
    if len(rows) != 1:
        raise ValueError(f"the prompt passes the model's context of {model.cfg.n_ctx} tokens: give a shorter one.")
    names = [site.beside(f"attn.{name}") for name in ("hook_pattern", "hook_v", "hook_z")]
    pattern, v, z = (h[0].to("cpu", rows_read.dtype) for h in forward(model, rows.tokens, names).kept.values())
    heads = pattern.shape[0]
    v = v.repeat_interleave(heads // v.shape[1], dim=1)  # several heads may share their values
    weights = rows_read[wanted].detach().cpu().unflatten(1, (heads, -1))  # [m, heads, d_head]
    brought = torch.einsum("shd,mhd->mhs", v, weights)
    contributions = torch.einsum("hts,mhs->mths", pattern, brought)
    bias, centre = dictionary.encoder_bias, dictionary.centre
    constant = torch.zeros(len(wanted), dtype=rows_read.dtype)
    if bias is not None:
        constant += bias.detach().cpu()[wanted]
    if centre is not None:
        constant -= weights.flatten(1) @ centre.detach().cpu()
    u = torch.einsum("thd,mhd->mt", z, weights) + constant[:, None]
    return AttentionSources(
        tokens=rows.tokens[0].cpu(),
        strings=list(token_strings(model, rows.tokens[0])),
        counted=rows.mask[0].cpu(),
        latents=wanted,
        contributions=contributions,
        constant=constant,
        u=u,
    )
