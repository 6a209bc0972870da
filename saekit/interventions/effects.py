"""Effects: what each latent at each token adds to a number that one reads off the model, beside what it would be there.

The number m is any scalar of a pass of the model over a prompt. A latent's code z at a token is set beside a reference
z⁰: 0, with the dictionary's error as it is, or what z is on another prompt of the same length, with its error ε⁰.

    gradient    (z − z⁰) · ∂m/∂z at z (attribution patching: Nanda 2023)
    integrated  (z − z⁰) · mean over k < steps of ∂m/∂z at z⁰ + (k + ½)/steps · (z − z⁰), with all latents and the error
                moved together (Sundararajan et al. 2017, arXiv 1703.01365, by the midpoint rule; of latents: Marks et
                al. 2024, arXiv 2403.19647); with the error's they sum to m(z) − m(z⁰) as steps grow
    exact       m(z) − m with this one code at z⁰, a pass for each

So a positive effect says that the latent as it is makes the number larger. (Marks et al. have the other sign.)
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

import torch
from jaxtyping import Float
from saekit_kernels import SparseCodes
from torch import Tensor

from saekit.activations.harvesting import read_rows
from saekit.activations.source import Readable
from saekit.activations.tokens import TokenRows
from saekit.dictionaries import Dictionary
from saekit.dictionaries.wanted import dictionary_of
from saekit.files.arguments import whole
from saekit.files.choices import checked
from saekit.files.roles import CORPUS, DICTIONARY, MODEL, RUN, check_roles
from saekit.interventions.checks import check_standing
from saekit.interventions.effect_passes import Scalar, effects_of
from saekit.interventions.standing import Standing
from saekit.models import ROWS_AT_ONCE, Passed

if TYPE_CHECKING:
    import pandas
    from transformer_lens.model_bridge import TransformerBridge

METHODS = {
    "gradient": "(z − z⁰) · ∂m/∂z at z",
    "integrated": "(z − z⁰) · mean ∂m/∂z between z⁰ and z, {steps} midpoints",
    "exact": "m(z) − m with this one code at z⁰",
}
SHOWN = 20


@dataclass(frozen=True, eq=False)
class Effects:
    """What latents add to a number, prompt by prompt and token by token.

    codes:     SparseCodes [row, position] whose values are effects, at every code that is not 0 on the prompt or in the
               reference. z: the codes themselves, in the same places.
    error:     [row, position], of the dictionary's error; 0 where the reference keeps it. None for "exact".
    clean, reference: [row], the number on the prompts, and with every code (and error) at its reference.
    rows:      the prompts as tokens. method, steps: as asked for.
    """

    codes: SparseCodes
    z: SparseCodes
    error: Float[Tensor, "row position"] | None
    clean: Float[Tensor, " row"]
    reference: Float[Tensor, " row"]
    rows: TokenRows
    method: str
    steps: int

    @property
    def definition(self) -> str:
        """The equation."""
        return "effect = " + METHODS[self.method].format(steps=self.steps) + "; positive: it makes the number larger"

    def frame(self) -> pandas.DataFrame:
        """A row an entry: row, position, latent, z, effect."""
        import pandas

        place, positions = self.codes.rows, self.codes.shape[1]
        columns = {
            "row": place // positions,
            "position": place % positions,
            "latent": self.codes.indices,
            "z": self.z.values,
            "effect": self.codes.values,
        }
        return pandas.DataFrame({name: column.cpu().numpy() for name, column in columns.items()})

    def by_latent(self) -> pandas.DataFrame:
        """A row a latent, the largest first: effect (summed over tokens, mean over prompts), prompts (where it has
        one)."""
        found = self.frame().groupby("latent").agg(effect=("effect", "sum"), prompts=("row", "nunique"))
        found["effect"] /= len(self.clean)
        return found.sort_values("effect", key=abs, ascending=False).reset_index()

    def __repr__(self) -> str:
        from saekit.plots import text_table

        return text_table(self._shown(), more=".frame(), .by_latent()")

    def _repr_html_(self) -> str:
        from saekit.plots import html_table

        return html_table(self._shown(), caption=self.definition)

    def _shown(self) -> list[dict[str, Any]]:
        return [
            {str(name): value for name, value in row.items()} for row in self.by_latent().head(20).to_dict("records")
        ]


def latent_effects(
    model: TransformerBridge,
    dictionary: Dictionary | Any,
    prompts: Readable,
    scalar: Scalar,
    *,
    reference: Readable = None,
    method: str = "integrated",
    steps: int = 10,
    keep: Sequence[str] | str = (),
    latents: Sequence[int] | None = None,
) -> Effects:
    """What each latent of a dictionary adds to a number, at each counted token of each prompt.

    model:      what the dictionary was made on. dictionary: or the run that trained it.
    prompts:    texts, or token ids, a row each; none beyond the model's context.
    scalar:     a function of a pass (``.logits`` [row, position, d_vocab], ``.kept`` by site) and of the number of the
                prompt of each of its rows, that gives a number a row, [row].
    reference:  None: codes of 0, the error as it is; or prompts of the same lengths, whose codes and errors are it.
    method:     "gradient", "integrated" or "exact". steps: midpoints of "integrated".
    keep:       sites that ``scalar`` looks at. latents: only these; needed for "exact" where many codes are not 0.
    Returns ``Effects``: ``.by_latent()``, ``.frame()``, drawn. For example ``sk.interventions.latent_effects(model,
    sae, [text], gap)`` with ``gap = lambda passed, rows: passed.logits[:, -1, a] - passed.logits[:, -1, b]``. Rows are
    padded on the right: of prompts of different lengths pick the last place of each.
    Raises ValueError for a dictionary of another model, another number of prompts or tokens in the reference, a scalar
    that is not a number a row or has no gradient.
    """
    call = "sk.interventions.latent_effects(model, dictionary, prompts, scalar)"
    check_roles(call, model=(model, MODEL), dictionary=(dictionary, (DICTIONARY, RUN)), prompts=(prompts, CORPUS))
    dictionary, method, steps = dictionary_of(dictionary), checked("method", method, METHODS), whole("steps", steps)
    standing = Standing(dictionary)
    check_standing(model, standing)
    rows = _prompts(model, prompts, dictionary)
    beside = None if reference is None else _prompts(model, reference, dictionary)
    if beside is not None and (beside.tokens.shape != rows.tokens.shape or not torch.equal(beside.mask, rows.mask)):
        raise ValueError(
            f"prompts and their reference are equally long, token for token, found {rows.mask.sum(1).tolist()[:8]} and "
            f"{beside.mask.sum(1).tolist()[:8]} counted tokens."
        )
    keep = [keep] if isinstance(keep, str) else list(keep)
    parts, starts = [], range(0, len(rows), ROWS_AT_ONCE)
    others = [None] * len(starts) if beside is None else beside.split(ROWS_AT_ONCE)
    for start, part, other in zip(starts, rows.split(ROWS_AT_ONCE), others, strict=True):
        among = torch.arange(start, start + len(part))
        batch = (model, standing, part, other, partial(_checked, scalar), keep, among, latents)
        parts.append(effects_of(*batch, method=method, steps=steps))
    z, values, error, clean, without = zip(*parts, strict=True)
    return Effects(
        SparseCodes.cat(list(values)),
        SparseCodes.cat(list(z)),
        None if method == "exact" else torch.cat(list(error)),
        torch.cat(list(clean)),
        torch.cat(list(without)),
        rows,
        method,
        steps,
    )


def _checked(scalar: Scalar, passed: Passed, rows: Tensor) -> Tensor:
    """The number of each row. Raises ValueError where it is not one a row."""
    found = scalar(passed, rows)
    if not isinstance(found, Tensor) or found.shape != rows.shape:
        what: Any = list(found.shape) if isinstance(found, Tensor) else type(found).__name__
        raise ValueError(
            f"scalar gives a number for each of the {len(rows)} rows of a pass, [{len(rows)}], found {what}."
        )
    return found


def _prompts(model: TransformerBridge, prompts: Readable, dictionary: Dictionary) -> TokenRows:
    rows, _ = read_rows(model, prompts, bos=dictionary.provenance.prepend_bos)
    if len(rows.documents.unique()) != len(rows):
        raise ValueError(f"a prompt passes the model's context of {model.cfg.n_ctx} tokens: give shorter ones.")
    return rows
