"""one_sided: what the latents fire on that one of two models seems to lack.

A share s_i far from ½ (``shared_latents``) is no proof that one model lacks latent i: a penalty on the norms can push
one of them to zero for what both models have (Minder et al. 2025, arXiv 2504.02922). So look: of each of the n latents
with the most one-sided shares, which part of its firings (z > 0, weak ones too) lies in documents of each kind and in
spans of each concept; and beside them as many latents drawn at random that fire about as often. Latents that fire on
fewer than 20 tokens are left out.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import islice
from typing import TYPE_CHECKING, Any

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from saekit.activations import TokenRows, concept_masks, harvest
from saekit.corpora import Corpus, Document, load_corpus
from saekit.dictionaries import Dictionary
from saekit.dictionaries.coded import Coded, coded
from saekit.dictionaries.wanted import dictionary_of
from saekit.files.arguments import whole
from saekit.files.choices import unknown
from saekit.files.roles import CORPUS, DICTIONARY, RUN, check_roles
from saekit.metrics.shared import SharedLatents, shared_latents
from saekit.models import Site

if TYPE_CHECKING:
    import pandas

FEWEST = 20  # firings of a latent, of which a share says something
KIND = "kind."  # stands before the names of kinds, so that none is taken for a concept
DEFINITION = (__doc__ or "").split("\n\n", 1)[-1].strip()


@dataclass(frozen=True, eq=False)
class OneSided:
    """The n most one-sided latents of a model, and n random ones that fire as often.

    of:       the model whose they are. names: of kinds ("kind.sums") and concepts. tokens: how many were read.
    latents:  [n], the most one-sided first. random: [n], beside each of them another.
    share:    [d_sae], of the model ``of``: 1 where it alone has the latent. firings: [d_sae].
    inside:   [d_sae, names], which part of a latent's firings lies inside; NaN where it never fires.
    usual:    [names], which part of all tokens lies inside. definition: what these numbers are.
    """

    of: str
    names: tuple[str, ...]
    tokens: int
    latents: Int[Tensor, " n"]
    random: Int[Tensor, " n"]
    share: Float[Tensor, " d_sae"]
    firings: Int[Tensor, " d_sae"]
    inside: Float[Tensor, "d_sae names"]
    usual: Float[Tensor, " names"]
    definition: str = DEFINITION

    def fires_in(self, name: str) -> tuple[Float[Tensor, " n"], Float[Tensor, " n"]]:
        """Which part of their firings lies inside, of the one-sided latents and of the random ones.

        name: of a concept or, after "kind.", of a kind. Raises ValueError for another one."""
        if name not in self.names:
            raise ValueError(unknown("the corpus has no concept or kind", name, self.names))
        place = self.names.index(name)
        return self.inside[self.latents, place], self.inside[self.random, place]

    @property
    def telling(self) -> str:
        """Where the one-sided latents fire more than the random ones do: the name with the largest difference."""
        more = self.inside[self.latents].mean(0) - self.inside[self.random].mean(0)
        return self.names[int(more.argmax())]

    def frame(self) -> pandas.DataFrame:
        """A row a latent and a column a name, the one-sided ones first: latents ("one-sided" or "random"), latent,
        share, firings, and which part of the firings lies inside each."""
        import pandas

        both = torch.cat([self.latents, self.random])
        which = ["one-sided"] * len(self.latents) + ["random"] * len(self.random)
        columns = {"latents": which, "latent": both.tolist()}
        columns |= {"share": self.share[both].tolist(), "firings": self.firings[both].tolist()}
        inside = pandas.DataFrame(self.inside[both].numpy(), columns=list(self.names))
        return pandas.concat([pandas.DataFrame(columns), inside], axis=1)

    @property
    def rows(self) -> list[dict[str, Any]]:
        """A row a one-sided latent, with the random one beside it."""
        name = self.telling
        own, others = self.fires_in(name)
        return [
            {
                "latent": latent,
                "share": float(self.share[latent]),
                "firings": int(self.firings[latent]),
                f"in {name}": float(one),
                "a random one": other,
                "its firings": int(self.firings[other]),
                "inside": float(its),
            }
            for latent, other, one, its in zip(self.latents.tolist(), self.random.tolist(), own, others, strict=True)
        ]

    @property
    def caption(self) -> str:
        """What the rows say, in a line."""
        name = self.telling
        usual = float(self.usual[self.names.index(name)])
        return f"{self.of}'s own latents, and where they fire: {name}, which is {usual:.0%} of {self.tokens:,} tokens"

    def __repr__(self) -> str:
        from saekit.plots import text_table

        return self.caption + "\n" + text_table(self.rows, more=".frame(), .fires_in(name)")

    def _repr_html_(self) -> str:
        from saekit.plots import html_table

        return html_table(self.rows, caption=self.caption, folded=("What these numbers are", self.definition))


@torch.no_grad()
def one_sided(
    models: Mapping[str, Any],
    crosscoder: Dictionary | Any,
    corpus: Corpus | Any,
    of: str,
    n: int = 10,
    *,
    tokens: int = 20_000,
    seed: int = 0,
) -> OneSided:
    """What the n latents fire on of which one model has the largest share.

    models:     the two that the crosscoder was trained on, by the names it knows: ``{"base": model, "copy": copy}``.
    crosscoder: the dictionary, or its run.
    corpus:     with labels and of several kinds, best text not trained on; or whatever ``load_corpus`` takes.
    of:         the name of the model whose latents are asked for. n: how many.
    tokens:     read so many. seed: of the random latents.
    Returns ``OneSided``: ``.fires_in(name)``, ``.latents``, ``.frame()``, drawn. For example
    ``sk.metrics.one_sided(models, run, sk.load_corpus("pipelines", split="heldout"), of="copy")``.
    Raises ValueError for models of other names than the crosscoder's, models that read other tokens, and a text on
    which fewer than 2n latents fire.
    """
    call = "sk.metrics.one_sided(models, crosscoder, corpus, of)"
    check_roles(call, crosscoder=(crosscoder, (DICTIONARY, RUN)), corpus=(corpus, CORPUS))
    n, seed = whole("n", n), whole("seed", seed, 0)
    crosscoder = dictionary_of(crosscoder)
    shared = shared_latents(crosscoder)
    if set(models) != set(shared.models):
        raise ValueError(f"the crosscoder is of {', '.join(shared.models)}; the models are named {', '.join(models)}.")
    if of not in shared.models:
        raise ValueError(unknown("the crosscoder is not of", of, shared.models))
    corpus = corpus if isinstance(corpus, Corpus) else load_corpus(corpus)
    x: dict[str, Tensor] = {}
    rows: TokenRows | None = None
    for name, model in models.items():
        named = {site: Site(site).hook for site in crosscoder.reads if Site(site).model == name}
        acts = harvest(model, corpus, list(named.values()), tokens=whole("tokens", tokens))
        if rows is not None and not torch.equal(rows.tokens, acts.tokens):
            raise ValueError(f"the models {', '.join(models)} read other tokens: compare models of one tokenizer.")
        rows = acts.rows
        x |= {site: acts.flat(hook) for site, hook in named.items()}
    assert rows is not None  # there are two models
    labels = _labels(rows, list(islice(iter(corpus), int(rows.documents.max()) + 1)))
    masks = torch.stack([mask[rows.mask] for mask in labels.values()], 1)
    firings, inside = _counted(coded(crosscoder, iter([x | {"inside": masks}])), crosscoder.d_sae, masks.shape[1])
    return _chosen(shared, of, n, seed, tuple(labels), firings, inside, masks.cpu().double().mean(0), len(masks))


def _labels(rows: TokenRows, documents: list[Document]) -> dict[str, Bool[Tensor, "row position"]]:
    """Of kinds, then of concepts: True at their tokens."""
    kinds = [documents[number].kind for number in rows.documents.tolist()]
    found = {
        KIND + kind: torch.tensor([own == kind for own in kinds])[:, None] & rows.mask for kind in sorted(set(kinds))
    }
    return found | concept_masks(rows, documents)


def _counted(batches: Iterator[Coded], d_sae: int, names: int) -> tuple[Tensor, Tensor]:
    """How often each latent fires, and how often inside each."""
    firings, inside = torch.zeros(d_sae, dtype=torch.long), torch.zeros(d_sae, names, dtype=torch.double)
    for batch in batches:
        fires = batch.codes.values > 0
        latent, row = batch.codes.indices[fires].cpu().long(), batch.codes.rows[fires].cpu().long()
        firings += torch.bincount(latent, minlength=d_sae)
        inside.index_add_(0, latent, batch.beside["inside"].cpu().double()[row])
    return firings, inside


def _chosen(
    shared: SharedLatents,
    of: str,
    n: int,
    seed: int,
    names: tuple[str, ...],
    firings: Tensor,
    inside: Tensor,
    usual: Tensor,
    tokens: int,
) -> OneSided:
    """The most one-sided latents, and beside each a random one of those left that fire between half and twice as
    often, or where there is none the nearest."""
    share = shared.share if of == shared.models[1] else 1 - shared.share
    alive = (firings >= FEWEST) & ~share.isnan()
    if int(alive.sum()) < 2 * n:
        raise ValueError(
            f"{int(alive.sum())} latents fire on {FEWEST} or more of {tokens:,} tokens, and {2 * n} are needed to "
            f"compare {n} with {n}: read more tokens, or ask for fewer."
        )
    latents = share.masked_fill(~alive, -1).argsort(descending=True, stable=True)[:n]
    left = alive.clone()
    left[latents] = False
    generator, random = torch.Generator().manual_seed(seed), list[int]()
    for latent in latents.tolist():
        apart = (firings.cpu().double() / firings[latent]).log2().abs().masked_fill(~left, torch.inf)
        like = (apart <= 1).nonzero().flatten()
        like = like if len(like) else apart.argmin()[None]
        random.append(int(like[torch.randint(len(like), (1,), generator=generator)]))
        left[random[-1]] = False
    return OneSided(of, names, tokens, latents, torch.tensor(random), share, firings, inside / firings[:, None], usual)
