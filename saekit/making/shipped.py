"""Train the dictionaries that ship with the embedded model: `python -m saekit.making.shipped [--sites …]`.

TopK with 2,048 latents, 16 a token, on both of micro's corpora, a document of each in turn; written in float16 to
saekit/dictionaries/shipped/micro/SITE. Prints the reports on held-out text.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from itertools import chain
from pathlib import Path

import torch

from saekit.corpora import Corpus, Document, load_corpus
from saekit.dictionaries import TopK
from saekit.formats import load_dictionary
from saekit.metrics import evaluate
from saekit.models import load_model
from saekit.training.loop import train

FOLDER = Path(__file__).parents[1] / "dictionaries" / "shipped" / "micro"
SITES = tuple(f"blocks.{layer}.hook_resid_post" for layer in range(4))
CONFIGURATION = TopK(d_sae=2048, k=16)
LEARNING_RATE, BATCH_SIZE = 6e-3, 1024  # more concepts with F1 ≥ .8 than with batches of 2,048 at 2.1e-3


def both_corpora(seed: int = 0) -> Corpus:
    """The microworld's and the Python library's training streams, a document of each in turn."""
    parts = [load_corpus(name, split="train", seed=seed) for name in ("microworld", "python")]

    def stream() -> Iterator[Document]:
        return chain.from_iterable(zip(*parts, strict=False))

    return Corpus(stream, name="microworld+python", seed=seed, kinds=[kind for part in parts for kind in part.kinds])


def main(arguments: list[str] | None = None) -> None:
    """The command line."""
    parser = argparse.ArgumentParser(
        prog="python -m saekit.making.shipped", description=(__doc__ or "").splitlines()[0]
    )
    parser.add_argument("--sites", nargs="+", default=SITES)
    parser.add_argument("--tokens", type=int, default=2_500_000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, default=FOLDER, help="where the dictionaries go")
    given = parser.parse_args(arguments)
    torch.set_num_threads(2)
    model = load_model("micro")
    for site in given.sites:
        corpus = both_corpora(given.seed)
        run = train(
            model,
            site,
            CONFIGURATION,
            corpus,
            tokens=given.tokens,
            lr=LEARNING_RATE,
            batch_size=BATCH_SIZE,
            seed=given.seed,
        )
        if not run.finished:
            return
        folder = run.dictionary.half().save(given.out / site)
        shipped = load_dictionary(folder)
        for name, tokens in {"microworld": 100_000, "python": 50_000}.items():
            report = evaluate(model, shipped, load_corpus(name, split="heldout"), tokens=tokens)
            print(f"{site} on {name}: explained variance {report.explained_variance:.3f}, dead {report.dead:.3f}")
            if report.concepts is not None:
                frame = report.concepts.frame()
                print(frame.to_string(max_rows=60))
                strong = frame[frame["f1"] >= 0.8]
                print(f"F1 ≥ .8: {len(strong)} concepts, {(strong['token_f1'] < 0.5).sum()} of them no single token")


if __name__ == "__main__":
    main()
