"""head_latents: the latents that each attention head has most to do with, and whether they serve one kind of text.

A dictionary at ``attn.hook_z`` writes the results of all heads side by side, d_i = [d_i[1] … d_i[H]]. The share of head
k in latent i is

    s_ik = ‖d_i[k]‖ / Σ_j ‖d_i[j]‖

and a head is looked at through its ten latents of the largest share (Kissane et al. 2024, arXiv 2406.17759). Of each
stand there the kind of document with most of Σ z; the concept that it detects best, by F1, latent by latent as
``match_concepts`` does it concept by concept (threshold and concept are chosen on one half of the documents, F1 is of
the other); and by ``attention_sources``, at its strongest token, whether it is local, long-range or induction.

A head is polysemantic where its latents have two labels or more. Labels are kinds of documents with at least half of
Σ z, or families of concepts ("entity" of "entity.person") that are found with an F1 of at least half; a latent that
has none, since it fires everywhere, says nothing of its head. The halves are ours.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import islice
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from saekit.activations import Activations, harvest, stacked_concept_masks
from saekit.activations.source import read_source
from saekit.corpora import Corpus, Document
from saekit.dictionaries import Dictionary
from saekit.dictionaries.coded import coded
from saekit.dictionaries.wanted import dictionary_of
from saekit.files.arguments import whole
from saekit.files.choices import checked
from saekit.files.roles import CORPUS, DICTIONARY, MODEL, RUN, check_roles
from saekit.metrics.attention import FAMILIES, HEADS, attention_sources
from saekit.metrics.labelled import Labelled
from saekit.models import Site

if TYPE_CHECKING:
    import pandas
    from transformer_lens.model_bridge import TransformerBridge

HALF = 0.5
"""The share of Σ z in a kind of document, and the F1 of a concept, from which it is the label of a latent."""


@dataclass(frozen=True, repr=False)
class HeadLatents:
    """A row a head and latent: head, latent, share, kind, of_kind (the share of Σ z there), concept, f1, source.

    rows:       the latents of each head, the largest share first. heads: how many heads there are.
    definition: what a share, a label and a polysemantic head are.
    """

    rows: list[dict[str, Any]]
    heads: int
    definition: str = (
        "share = ‖d_i[k]‖ / Σ_j ‖d_i[j]‖; polysemantic: two labels or more; labels: a kind of document with at least "
        "half of Σ z, or the family of a concept with F1 ≥ ½"
    )

    def polysemantic(self, by: str = "kind") -> float:
        """The share of heads that serve several labels.

        by: "kind" of document, or "concept", families of concepts that are found. Raises ValueError for another."""
        checked("by", by, LABELS)
        return sum(len(self._labels(head, by)) > 1 for head in range(self.heads)) / self.heads

    def sources(self) -> dict[str, int]:
        """How many of the latents are induction, local and long-range, each latent once."""
        each = {row["latent"]: row["source"] for row in self.rows}
        counts = Counter(each.values())
        return {family: counts[family] for family in FAMILIES}

    def frame(self) -> pandas.DataFrame:
        """The rows as a frame."""
        import pandas

        return pandas.DataFrame(self.rows)

    def by_head(self) -> list[dict[str, Any]]:
        """A row a head: its kinds and families of concepts with how many latents each, and its sources."""
        found = []
        for head in range(self.heads):
            mine = [row for row in self.rows if row["head"] == head]
            found.append(
                {
                    "head": head,
                    "share": f"{min(row['share'] for row in mine):.2f}–{max(row['share'] for row in mine):.2f}",
                    "kinds": _spoken(self._labels(head, "kind")),
                    "concepts": _spoken(self._labels(head, "concept")),
                    "sources": _spoken(Counter(row["source"] for row in mine)),
                }
            )
        return found

    def __repr__(self) -> str:
        from saekit.plots import text_table

        return f"{text_table(self.by_head(), more='.frame()')}\n{self._summary}"

    def _repr_html_(self) -> str:
        from saekit.plots import html_table

        return html_table(self.by_head(), caption=f"{self._summary}. {self.definition}")

    @property
    def _summary(self) -> str:
        shares = [f"{round(self.polysemantic(by) * self.heads)} by {by}" for by in ("kind", "concept")]
        return f"polysemantic of {self.heads} heads: {', '.join(shares)}; latents: {_spoken(Counter(self.sources()))}"

    def _labels(self, head: int, by: str) -> Counter[str]:
        """How many latents of the head have each label."""
        mine = [row for row in self.rows if row["head"] == head]
        return Counter(label for label in map(LABELS[by], mine) if label)


def decoder_shares(directions: Float[Tensor, "d_sae d"], heads: int) -> Float[Tensor, "d_sae heads"]:
    """s_ik = ‖d_i[k]‖ / Σ_j ‖d_i[j]‖, of rows d_i that hold the parts of all heads one after the other.

    directions: decoder rows, d = heads · d_head. heads: how many there are. NaN for a row of zeros."""
    norms = directions.detach().cpu().double().unflatten(1, (heads, -1)).norm(dim=2)
    return norms / norms.sum(1, keepdim=True)


def site_of_heads(dictionary: Dictionary) -> Site:
    """The site that the dictionary reads and writes. Raises ValueError where there are no heads in it."""
    site = Site(dictionary.reads[0])
    if dictionary.reads != dictionary.writes or len(dictionary.reads) != 1 or not site.endswith(HEADS):
        sites = ", ".join(dict.fromkeys(dictionary.reads + dictionary.writes))
        raise ValueError(f"there are no heads in what this dictionary codes, {sites}: train one at blocks.0.{HEADS}.")
    return site


@torch.no_grad()
def head_latents(
    model: TransformerBridge, dictionary: Dictionary | Any, corpus: Any, tokens: int = 40_000, *, top: int = 10
) -> HeadLatents:
    """Which latents of a dictionary at ``attn.hook_z`` belong to which head, and what each of them is about.

    model:   what the dictionary was made on. dictionary: or the run that trained it.
    corpus:  documents of several kinds, or with labelled spans, such as the microworld's. tokens: counted ones, read
             from its beginning.
    top:     latents of each head, of those that fire on the text.
    Returns ``HeadLatents``: ``.polysemantic()``, ``.sources()``, ``.by_head()``, ``.frame()``, drawn. For example
    ``sk.metrics.head_latents(model, sae, sk.load_corpus("microworld", split="heldout"))``.
    Raises ValueError for a dictionary at another site, and a corpus of one kind without labels.
    """
    call = "sk.metrics.head_latents(model, dictionary, corpus)"
    check_roles(call, model=(model, MODEL), dictionary=(dictionary, (DICTIONARY, RUN)), corpus=(corpus, CORPUS))
    dictionary, tokens, top = dictionary_of(dictionary), whole("tokens", tokens), whole("top", top)
    site = site_of_heads(dictionary)
    source = read_source(corpus, model)
    if not isinstance(source, Corpus):
        raise ValueError("token ids have no labels: give documents, such as sk.load_corpus('microworld').")
    acts = harvest(model, source, site, tokens=tokens, bos=dictionary.provenance.prepend_bos)
    documents = list(islice(iter(source), int(acts.rows.documents.max()) + 1))
    if len({document.kind for document in documents}) < 2 and not any(document.spans for document in documents):
        raise ValueError("the documents are of one kind and none has a label: sk.load_corpus('microworld') has both.")
    latent, place, value = _firings(dictionary, {site: acts.flat(site)})
    shares = decoder_shares(dictionary.decoder_directions, model.cfg.n_heads)
    live = np.unique(latent)
    best = [live[(-shares[live, head]).argsort(stable=True)[:top].numpy()] for head in range(model.cfg.n_heads)]
    chosen = np.unique(np.concatenate(best))
    kept = np.isin(latent, chosen)
    about = _about(acts, documents, chosen, np.searchsorted(chosen, latent[kept]), place[kept], value[kept])
    for number, source_of in _sources(model, dictionary, acts, about).items():
        about[number]["source"] = source_of
    rows = [
        {"head": head, "latent": int(i), "share": float(shares[i, head])}
        | {name: said for name, said in about[int(i)].items() if name != "place"}
        for head, latents in enumerate(best)
        for i in latents
    ]
    return HeadLatents(rows, model.cfg.n_heads)


def _firings(dictionary: Dictionary, x: dict[str, Tensor]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Latent, token and z of everything that fires."""
    found, counted = [], 0
    for batch in coded(dictionary, [x]):
        fires = batch.codes.values > 0
        columns = (batch.codes.indices[fires], batch.codes.rows[fires] + counted, batch.codes.values[fires])
        found.append([column.cpu().numpy() for column in columns])
        counted += len(batch.codes)
    latent, place, value = (np.concatenate(column) for column in zip(*found, strict=True))
    return latent, place, value


def _about(
    acts: Activations,
    documents: Sequence[Document],
    chosen: Int[np.ndarray, " m"],
    latent: Int[np.ndarray, " firing"],
    place: Int[np.ndarray, " firing"],
    value: Float[np.ndarray, " firing"],
) -> dict[int, dict[str, Any]]:
    """Of each chosen latent: kind, of_kind, concept, f1, and the place of its strongest token. latent: numbers among
    the chosen."""
    rows = acts.rows
    of_token = rows.documents[:, None].expand_as(rows.mask)[rows.mask].numpy()
    kinds = sorted({document.kind for document in documents})
    mass = np.zeros((len(chosen), len(kinds)))
    number_of = np.array([kinds.index(document.kind) for document in documents])
    np.add.at(mass, (latent, number_of[of_token[place]]), value)
    concepts, masks = stacked_concept_masks(rows, documents)
    label_place, label_concept = masks[:, rows.mask].T.nonzero(as_tuple=True)
    seen, halves = Counter[str](), []
    for document in documents:
        halves.append(seen[document.kind] % 2 == 0)
        seen[document.kind] += 1
    piece = {
        "chooses": np.array(halves)[of_token],
        "label_place": label_place.numpy(),
        "label_concept": label_concept.numpy(),
    }
    labelled = Labelled([piece], len(concepts))
    width = len(labelled.kept)
    scores = labelled.scores(len(chosen), latent, place, value) if width else None
    about = {}
    for m, number in enumerate(chosen.tolist()):
        kind = int(mass[m].argmax())
        concept, f1 = None, float("nan")
        if scores is not None:
            level, c = divmod(int(scores.choosing[m].argmax()), width)
            concept, f1 = concepts[labelled.kept[c]], round(float(scores.f1[m, level, c]), 4)
        mine = latent == m
        about[number] = {
            "kind": kinds[kind],
            "of_kind": round(float(mass[m, kind] / mass[m].sum()), 4),
            "concept": concept,
            "f1": f1,
            "place": int(place[mine][value[mine].argmax()]),
        }
    return about


def _sources(
    model: TransformerBridge, dictionary: Dictionary, acts: Activations, about: dict[int, dict[str, Any]]
) -> dict[int, str]:
    """Induction, local or long-range: of each latent in the row of its strongest token."""
    where = acts.mask.nonzero()
    by_row: dict[int, list[int]] = {}
    for number, said in about.items():
        by_row.setdefault(int(where[said["place"], 0]), []).append(number)
    found: dict[int, str] = {}
    for row, latents in by_row.items():
        prompt = acts.tokens[row, : int(acts.rows.lengths[row])]
        found |= dict(zip(latents, attention_sources(model, dictionary, prompt, latents).families(), strict=True))
    return found


def _kind(row: dict[str, Any]) -> str:
    """The kind of document that a latent is for; empty where none has half of it."""
    return row["kind"] if row["of_kind"] >= HALF else ""


def _family(row: dict[str, Any]) -> str:
    """The first word of a concept that is found; empty where none is."""
    return row["concept"].split(".")[0] if row["f1"] >= HALF else ""


LABELS = {"kind": _kind, "concept": _family}


def _spoken(counts: Counter[str]) -> str:
    return ", ".join(f"{name} {count}" for name, count in counts.most_common())
