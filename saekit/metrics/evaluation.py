"""evaluate: the numbers of a dictionary on a corpus, as a Report that says how each is defined."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from jaxtyping import Float
from saekit_kernels import SparseCodes
from torch import Tensor

from saekit.activations import TokenRows, harvest
from saekit.corpora import Corpus
from saekit.dictionaries import Dictionary, check_model, check_one_site
from saekit.dictionaries.provenance import installed_versions
from saekit.metrics import variance
from saekit.metrics.concepts import ConceptMatch, match_codes
from saekit.metrics.recovery import Recovered, recovered
from saekit.metrics.scale import DEFINITION as SHRINKAGE
from saekit.metrics.scale import Shrinkage
from saekit.models import check_edit_site

if TYPE_CHECKING:
    import pandas
    from transformer_lens.model_bridge import TransformerBridge


@dataclass(frozen=True, eq=False)
class Report:
    """Numbers of a dictionary on counted tokens of a corpus.

    explained_variance, l0, dead (share of latents that never fire here), density [d_sae], shrinkage, recovered (the
    model's predictions with the reconstruction in place; None where the model cannot be edited at the site), concepts
    (None where the corpus has no labels), tokens counted, what was excluded, and a header that reproduces it.
    """

    explained_variance: float
    l0: float
    dead: float
    density: Float[Tensor, " d_sae"]
    shrinkage: float
    recovered: Recovered | None
    tokens: int
    excluded: dict[str, int]
    concepts: ConceptMatch | None
    header: dict[str, Any]

    @property
    def ce_recovered(self) -> float:
        """NaN where the model cannot be edited at the site."""
        return float("nan") if self.recovered is None else self.recovered.ce_recovered

    @property
    def kl_recovered(self) -> float:
        return float("nan") if self.recovered is None else self.recovered.kl_recovered

    def rows(self) -> list[dict[str, object]]:
        """name, value, definition of each number."""
        dead = "share of latents with z ≠ 0 on none of the counted tokens"
        rows = [
            ("explained variance", round(self.explained_variance, 4), variance.DEFINITION),
            ("L0", round(self.l0, 2), "mean number of latents with z ≠ 0 a counted token"),
            ("dead", round(self.dead, 4), dead),
            ("shrinkage", round(self.shrinkage, 4), SHRINKAGE),
        ]
        if self.recovered is not None:
            rows += [
                ("CE recovered", round(self.ce_recovered, 4), self.recovered.definition),
                ("KL recovered", round(self.kl_recovered, 4), "1 − KL(clean ‖ spliced) / KL(clean ‖ ablated), there"),
            ]
        rows += [
            ("tokens", self.tokens, f"counted tokens; left out: {self.excluded}"),
        ]
        if self.concepts is not None and self.concepts.rows:
            best = self.concepts.best
            rows.append(
                (
                    f"best concept, {best['concept']}",
                    best["f1"],
                    f"F1 of latent {best['latent']} on held-back documents",
                )
            )
        return [{"name": name, "value": value, "definition": definition} for name, value, definition in rows]

    def frame(self) -> pandas.DataFrame:
        import pandas

        return pandas.DataFrame(self.rows())

    def _repr_html_(self) -> str:
        from saekit.plots import html_table

        header = " · ".join(f"{key} {value}" for key, value in self.header.items())
        return html_table(self.rows(), caption="Report", header=header)


@torch.no_grad()
def evaluate(
    model: TransformerBridge,
    dictionary: Dictionary,
    corpus: Corpus | Sequence[str] | Tensor,
    tokens: int | None = None,
    *,
    ablation: str = "zero",
    ce_tokens: int | None = 20_000,
) -> Report:
    """Explained variance, L0, density, dead latents, CE and KL recovered, shrinkage and concept match of a dictionary.

    ablation:  "zero" or "mean", what CE and KL recovered are measured against.
    ce_tokens: CE and KL come from the first so many predictions (three passes of the whole model); None: from all.
    Raises ValueError for a dictionary of another model (naming both hashes), an empty corpus, an endless one without
    ``tokens``, NaN or infinite activations.
    """
    check_model(dictionary, model)
    check_one_site(dictionary)
    sites = [*dict.fromkeys(dictionary.reads + dictionary.writes)]
    acts = harvest(model, corpus, sites, tokens=tokens)
    measure, shrunk = variance.ExplainedVariance(), Shrinkage()
    fired = torch.zeros(dictionary.d_sae, dtype=torch.int64)
    active, n = 0, int(acts.mask.sum())
    labelled = isinstance(corpus, Corpus) and bool(corpus.concepts)
    kept: list[SparseCodes] = []
    flat = {site: acts.flat(site) for site in sites}
    for start in range(0, n, 4096):
        part = {site: h[start : start + 4096].to(dictionary.latent_max) for site, h in flat.items()}
        codes = dictionary.encode(part)
        target = dictionary.join_writes({site: part[site] for site in dictionary.writes})
        x_hat = dictionary.join_writes(dictionary.decode(codes, part))
        measure.update(target, x_hat)
        shrunk.update(target, x_hat)
        fired += torch.bincount(codes.indices[codes.values != 0].long().cpu(), minlength=dictionary.d_sae)
        active += int(codes.l0.sum())
        if labelled:
            kept.append(codes.to("cpu"))
    header = {"model": acts.provenance["model"], "model_hash": (acts.provenance["model_hash"] or "none")[:12]}
    if made_on := dictionary.provenance.made_on:  # a view for another model than its own
        header["made on"] = f"{made_on['model']} ({str(made_on['model_hash'])[:12]})"
    if isinstance(acts.provenance.get("corpus"), dict):
        header["corpus"] = f"{acts.provenance['corpus']['name']}/{acts.provenance['corpus']['split']}"
        header["seed"] = acts.provenance["corpus"]["seed"]
        header["fingerprint"] = acts.provenance["corpus"]["fingerprint"][:12]
    return Report(
        explained_variance=measure.value,
        l0=active / n,
        dead=float((fired == 0).double().mean()),
        density=fired.double() / n,
        shrinkage=shrunk.value,
        recovered=_recovered(model, dictionary, acts.rows, ce_tokens, ablation),
        tokens=n,
        excluded=acts.rows.excluded,
        concepts=match_codes(SparseCodes.cat(kept), acts, corpus) if labelled else None,  # type: ignore[arg-type]
        header=header | installed_versions(),
    )


def _recovered(
    model: TransformerBridge, dictionary: Dictionary, rows: TokenRows, tokens: int | None, ablation: str
) -> Recovered | None:
    try:
        for site in dictionary.writes:
            check_edit_site(model, site)
    except ValueError:
        return None
    return recovered(model, dictionary, rows, tokens, ablation)
