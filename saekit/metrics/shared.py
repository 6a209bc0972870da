"""shared_latents: which latents of a crosscoder over two models both of them have, and which one of them lacks.

Latent i writes a direction in each model, a_i and b_i over the sites of one and of the other. Its share

    s_i = ‖b_i‖ / (‖a_i‖ + ‖b_i‖)

is near 0 where only the first has it, near ½ where both do, near 1 where only the second does (Lindsey et al. 2024,
"Sparse crosscoders for cross-layer features and model diffing"). A share far from ½ is no proof: a penalty on the norms
can push one of them to zero for a latent that both models have (Minder et al. 2025, arXiv 2504.02922), so look at where
it fires.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from jaxtyping import Float, Int
from torch import Tensor

from saekit.dictionaries import Dictionary
from saekit.dictionaries.wanted import dictionary_of
from saekit.files.choices import unknown
from saekit.files.roles import DICTIONARY, RUN, check_roles
from saekit.models import Site

if TYPE_CHECKING:
    import pandas

ONE_SIDED = 0.1
"""The share up to which a latent is the first model's alone; from 1 minus it on it is the second's."""
BOTH = (0.4, 0.6)
BINS = 20


@dataclass(frozen=True, eq=False)
class SharedLatents:
    """models: the two names. norms: [d_sae, 2], ‖a_i‖ and ‖b_i‖. share: [d_sae], s_i; NaN for a latent that writes
    nothing. definition: what a share is."""

    models: tuple[str, str]
    norms: Float[Tensor, "d_sae 2"]
    share: Float[Tensor, " d_sae"]
    definition: str = "s = ‖b_i‖ / (‖a_i‖ + ‖b_i‖), norms of the decoder's rows over all sites of a model"

    def exclusive(self, model: str, most: float = ONE_SIDED) -> Int[Tensor, " m"]:
        """Latents that the other model lacks, the most one-sided first.

        model: one of the two. most: the share that the other may have. Raises ValueError for another name."""
        if model not in self.models:
            raise ValueError(unknown("the crosscoder is not of", model, self.models))
        of_other = self.share if model == self.models[0] else 1 - self.share
        order = of_other.nan_to_num(torch.inf).argsort(stable=True)
        return order[: int((of_other <= most).sum())]

    def frame(self) -> pandas.DataFrame:
        """A row a latent: latent, share, and the norm in each model."""
        import pandas

        norms = {f"norm in {name}": self.norms[:, place].numpy() for place, name in enumerate(self.models)}
        return pandas.DataFrame({"latent": range(len(self.share)), "share": self.share.numpy()} | norms)

    @property
    def rows(self) -> list[dict[str, Any]]:
        """How many latents are whose."""
        first, second = self.models
        low, high = BOTH
        counts = {
            f"{first} alone (s ≤ {ONE_SIDED:g})": self.share <= ONE_SIDED,
            f"both ({low:g} ≤ s ≤ {high:g})": (self.share >= low) & (self.share <= high),
            f"{second} alone (s ≥ {1 - ONE_SIDED:g})": self.share >= 1 - ONE_SIDED,
        }
        n = len(self.share)
        return [{"latents of": name, "number": int(some.sum()), "of": n} for name, some in counts.items()]

    @property
    def chart(self) -> Any:
        """How many latents have which share, as an Altair chart."""
        import pandas

        from saekit.plots import bars

        counts = torch.histc(self.share[~self.share.isnan()], BINS, 0, 1).int().tolist()
        names = [f"{place / BINS:.2f}" for place in range(BINS)]
        frame = pandas.DataFrame({"share from": names, "latents": counts})
        title = f"0: {self.models[0]} alone, 1: {self.models[1]} alone"
        return bars(frame, "share from", "latents", title="Whose latents these are", subtitle=title)

    def __repr__(self) -> str:
        from saekit.plots import text_table

        return text_table(self.rows, more=".frame(), .exclusive(model)")

    def _repr_html_(self) -> str:
        from saekit.plots import html_table
        from saekit.plots.renderer import svg

        return html_table(self.rows, caption=self.definition) + svg(self.chart.to_dict())


def shared_latents(dictionary: Dictionary | Any) -> SharedLatents:
    """Which latents of a crosscoder over two models are whose, by the norms of what they write.

    dictionary: trained over ``{"a": model, "b": copy}`` with ``sk.Wiring.crosscoder(site, models=("a", "b"))``; or its
                run. Its training divides each site by its scale, so that the norms of two sites of like scale compare.
    Returns ``SharedLatents``: ``.exclusive("b")``, ``.share``, ``.frame()``, drawn. For example
    ``sk.metrics.shared_latents(run).exclusive("b")[:10]``.
    Raises ValueError for a dictionary that does not write two models, or has no row a latent.
    """
    check_roles("sk.metrics.shared_latents(crosscoder)", dictionary=(dictionary, (DICTIONARY, RUN)))
    dictionary = dictionary_of(dictionary)
    names = list(dict.fromkeys(Site(site).model or "" for site in dictionary.writes))
    if len(names) != 2:
        found = ", ".join(dictionary.writes)
        raise ValueError(f"shares are of a crosscoder over two models, found one that writes {found}.")
    if dictionary.decoder_directions is None:
        raise ValueError("this dictionary has no decoder row a latent, so that norms say nothing of its latents.")
    squares = torch.zeros(dictionary.d_sae, 2, dtype=torch.float64)
    for site in dictionary.writes:
        rows = dictionary.decoder_directions_at(site).detach().cpu().double()
        squares[:, names.index(Site(site).model or "")] += rows.square().sum(1)
    norms = squares.sqrt()
    first, second = names
    return SharedLatents((first, second), norms, norms[:, 1] / norms.sum(1))
