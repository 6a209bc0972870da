"""sk.corpora.available(): the corpora that ship, split by split."""

from __future__ import annotations

from saekit.corpora import microworld
from saekit.corpora.load import NAMES, PER_KIND, SPLITS
from saekit.plots.available import Available

KINDS = {"microworld": len(microworld.KINDS), "python": 1, "pipelines": 1}
WHAT = {
    ("microworld", "train"): f"English-like, {KINDS['microworld']} kinds, its generator labels every span",
    ("microworld", "heldout"): "fillers and combinations of phrases that train never has",
    ("microworld", "unseen_dev"): "phrases that train never has, to develop on",
    ("microworld", "unseen"): "phrases that train never has, for final numbers alone",
    ("python", "train"): "the standard library of Python 3.11, labelled by its parser",
    ("pipelines", "train"): "a kind of document that micro never read, to fine-tune a copy on",
    ("pipelines", "heldout"): "beginnings and combinations of phrases that train never has",
    ("pipelines", "unseen_dev"): "phrases that train never has, to develop on",
    ("pipelines", "unseen"): "phrases that train never has, for final numbers alone",
}


def available() -> Available:
    """The corpora that ``load_corpus`` knows by name, a row a split: name, split, size and what it is.

    Text of one's own (lists, frames, files, folders) is loaded by the same call: see ``help(sk.load_corpus)``."""
    rows = [
        {
            "name": name,
            "split": split,
            "size": "endless" if split == "train" else f"{PER_KIND * KINDS[name]:,} documents",
            "what": WHAT.get((name, split), "modules of its own"),
        }
        for name in NAMES
        for split in SPLITS
    ]
    return Available(tuple(rows), 'corpora that ship with saekit: sk.load_corpus(name, split="heldout")')
