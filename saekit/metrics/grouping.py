"""layer_groups: which layers may share a dictionary (Ghilardi et al. 2024, "Efficient training of sparse autoencoders
for large language models via layer groups", arXiv 2410.21508).

With x̃_l = x_l − mean over tokens of x_l, the distance of two layers is their angle, averaged over tokens,

    D(l, m) = mean_t arccos(cos(x̃_l(t), x̃_m(t))) / π,

0 where they point the same way, ½ at right angles. Layers are joined from the nearest on, two groups being as far apart
as their two farthest members (complete linkage), until k are left. Where harvesting costs A and a dictionary T, k
groups cost A + k · T in place of A + L · T.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

import torch
from jaxtyping import Float
from torch import Tensor

from saekit.activations.source import Readable
from saekit.dictionaries import Wiring
from saekit.files.roles import ACTIVATIONS, CORPUS, MODEL, check_roles, role_of
from saekit.files.stopping import stopped_with
from saekit.metrics.beside import parts_beside, read_beside, short_names
from saekit.models import Site
from saekit.models.site import as_names

if TYPE_CHECKING:
    import pandas
    from transformer_lens.model_bridge import TransformerBridge

USUAL_TOKENS = 10_000
DEFINITION = "mean over tokens of arccos(cos(x_l − mean, x_m − mean)) / π; groups by complete linkage"


@dataclass(frozen=True, eq=False, repr=False)
class LayerGroups:
    """Groups of layers for every number k of groups.

    sites:     the L sites, in the order given. tokens: counted tokens that were read.
    distances: [L, L], D. groups: of each k from 1 to L, the sites of each group, groups in the order of their first.
    definition: what a distance is.
    """

    sites: tuple[str, ...]
    tokens: int
    distances: Float[Tensor, "layers layers"]
    groups: dict[int, list[tuple[str, ...]]]
    definition: str = DEFINITION

    def wirings(self, k: int) -> list[Wiring]:
        """Of each of k groups where its dictionary stands, ``sk.Wiring(group, each=True)``: ``sk.train(model, wiring,
        method, corpus)`` trains it. Of n sites every token is n rows of a step: to train it on as many rows as a single
        one, take ``tokens=tokens // n`` and ``batch_size=batch_size // n``, with n = len(wiring.reads).

        k: how many groups. Raises ValueError for more than there are sites."""
        return [Wiring(group, each=len(group) > 1) for group in self._of(k)]

    def farthest(self, k: int) -> float:
        """Mean over k groups of the largest distance inside each; 0 of a group of one.

        k: how many groups."""
        places = [self._places(group) for group in self._of(k)]
        return sum(float(self.distances[place][:, place].max()) for place in places) / k

    def frame(self) -> pandas.DataFrame:
        """A row a number of groups: k, groups, farthest, and contiguous, whether each is a run of neighbours."""
        import pandas

        return pandas.DataFrame(self.rows)

    @property
    def rows(self) -> list[dict[str, Any]]:
        """``frame`` as mappings."""
        rows = []
        for k, groups in self.groups.items():
            places = [self._places(group) for group in groups]
            said = [_spoken(place, short_names(self.sites)) for place in places]
            whole = all(place[-1] - place[0] + 1 == len(place) for place in places)
            rows.append({"k": k, "groups": " | ".join(said), "farthest": self.farthest(k), "contiguous": whole})
        return rows

    @property
    def chart(self) -> Any:
        """The distances, as an Altair chart."""
        import pandas

        from saekit.plots import heatmap

        names = short_names(self.sites)
        cells = [(a, b, float(self.distances[i, j])) for i, a in enumerate(names) for j, b in enumerate(names)]
        frame = pandas.DataFrame(cells, columns=["layer", "other layer", "distance"])
        return heatmap(frame, "layer", "other layer", "distance", title="Angles between layers", subtitle=DEFINITION)

    def _of(self, k: int) -> list[tuple[str, ...]]:
        if k not in self.groups:
            raise ValueError(f"{len(self.sites)} sites make 1 to {len(self.sites)} groups, found k = {k!r}.")
        return self.groups[k]

    def _places(self, group: Sequence[str]) -> list[int]:
        return [self.sites.index(site) for site in group]

    def __repr__(self) -> str:
        from saekit.plots import text_table

        return text_table(self.rows, more=".frame()") + "\n.wirings(k), .distances, .chart"

    def _repr_html_(self) -> str:
        from saekit.plots import html_table
        from saekit.plots.renderer import picture_html

        return html_table(self.rows, caption=self.definition) + picture_html(self.chart, "distances of layers")


@stopped_with("stopped; what was measured by then is not kept.")
@torch.no_grad()
def layer_groups(
    model: TransformerBridge | Any,
    corpus: Readable = None,
    sites: Sequence[str] | None = None,
    tokens: int | None = USUAL_TOKENS,
    *,
    exclude: Sequence[str] | str = (),
    context: int | None = None,
) -> LayerGroups:
    """Which layers point the same way, and so may share a dictionary, for every number of groups.

    model:   what ``load_model`` gives; or activations [n, d] by site, of the same tokens, and no corpus.
    corpus:  as ``sk.train`` takes it; it is read twice, first for the means.
    sites:   default the residual stream after each block but the last, which is as no other (in the paper too); of
             activations, all that are there.
    tokens:  counted ones that are read, from the beginning; None: all.
    exclude: special tokens that are not counted, by their text. context: tokens in a row at most.
    Returns ``LayerGroups``: ``.frame()``, ``.wirings(k)``, ``.groups``, ``.distances``, drawn. For example
    ``for wiring in sk.metrics.layer_groups(model, corpus).wirings(3): sk.train(model, wiring, method, corpus)``.
    Raises ValueError for fewer than two sites, sites of different widths, and what ``sk.activations.harvest`` raises.
    """
    call = "sk.metrics.layer_groups(model, corpus)"
    check_roles(call, model=(model, (MODEL, ACTIVATIONS)), corpus=(corpus, CORPUS))
    of_model = role_of(model) == MODEL
    if of_model == (corpus is None):
        raise TypeError(
            f"a corpus goes with a model, and none with activations, found {type(corpus).__name__}: {call}."
        )
    if sites is None:
        last = model.cfg.n_layers - 1 if of_model else 0
        sites = [f"blocks.{layer}.hook_resid_post" for layer in range(last)] if of_model else list(model)
    names = tuple(map(Site, as_names(sites)))
    if len(set(names)) < max(2, len(names)):
        raise ValueError(f"groups are made of two sites or more, each once, found {', '.join(names) or 'none'}.")
    again: Callable[[], Iterator[dict[str, Tensor]]] = (
        partial(read_beside, model, names, corpus, tokens, exclude=exclude, context=context)
        if of_model
        else partial(parts_beside, model, names)
    )
    distances, read = _distances(names, again)
    return LayerGroups(names, read, distances, _groups(names, distances))


def _distances(
    names: Sequence[str], again: Callable[[], Iterator[dict[str, Tensor]]]
) -> tuple[Float[Tensor, "layers layers"], int]:
    """D, and how many tokens were read; again: begins to read."""
    means, angles, n = torch.zeros(()), torch.zeros(len(names), len(names), dtype=torch.float64), 0
    for x in again():
        widths = {site: h.shape[1] for site, h in x.items()}
        if len(set(widths.values())) > 1:
            raise ValueError(f"angles are between sites of one width, found {widths}.")
        means = means + torch.stack([x[site].cpu().double().sum(0) for site in names])
        n += len(x[names[0]])
    for x in again():
        away = torch.stack([x[site].cpu().double() for site in names]) - (means / n)[:, None]
        unit = torch.nn.functional.normalize(away, dim=2)
        angles += torch.einsum("ltd,mtd->tlm", unit, unit).clamp(-1, 1).arccos().sum(0)
    distances = angles / n / torch.pi
    return distances.fill_diagonal_(0), n


def _groups(names: Sequence[str], distances: Float[Tensor, "layers layers"]) -> dict[int, list[tuple[str, ...]]]:
    from scipy.cluster.hierarchy import cut_tree, linkage
    from scipy.spatial.distance import squareform

    tree = linkage(squareform(distances.numpy(), checks=False), method="complete")
    found: dict[int, list[tuple[str, ...]]] = {}
    for k in range(1, len(names) + 1):
        groups: dict[int, list[str]] = {}
        for site, group in zip(names, cut_tree(tree, n_clusters=k)[:, 0].tolist(), strict=True):
            groups.setdefault(group, []).append(site)
        found[k] = [tuple(group) for group in groups.values()]
    return found


def _spoken(places: Sequence[int], names: Sequence[str]) -> str:
    """A run by its ends, anything else one by one."""
    if len(places) > 2 and list(places) == list(range(places[0], places[-1] + 1)):
        return f"{names[places[0]]}–{names[places[-1]]}"
    return ", ".join(names[place] for place in places)
