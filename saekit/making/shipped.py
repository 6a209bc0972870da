"""Train the dictionaries that ship with the embedded model: `python -m saekit.making.shipped [--names …]`.

For each layer TopK with 2,048 latents on the residual stream after it, 16 a token, and as a transcoder of its MLP, 32
a token; and a cross-layer transcoder of all four MLPs, 384 latents a layer, 32 of them a token. All on both of micro's
corpora, a document of each in turn; written in float16 to saekit/dictionaries/shipped/micro/NAME. Prints the reports on
held-out text.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from itertools import chain
from pathlib import Path
from typing import NamedTuple

import torch

from saekit.corpora import Corpus, Document, load_corpus
from saekit.dictionaries import TopK, Wiring
from saekit.formats import load_dictionary
from saekit.metrics import evaluate
from saekit.models import load_model
from saekit.training.loop import train

FOLDER = Path(__file__).parents[1] / "dictionaries" / "shipped" / "micro"


class Recipe(NamedTuple):
    """Where a dictionary stands, how it is trained, and on how many tokens."""

    wiring: Wiring
    method: TopK
    tokens: int


LAYERS = range(4)
RECIPES = {
    **{
        f"blocks.{layer}.hook_resid_post": Recipe(
            Wiring(f"blocks.{layer}.hook_resid_post"), TopK(d_sae=2048, k=16), 2_500_000
        )
        for layer in LAYERS
    },
    **{f"blocks.{layer}.mlp": Recipe(Wiring.transcoder(layer), TopK(d_sae=2048, k=32), 1_500_000) for layer in LAYERS},
    "cross_layer": Recipe(Wiring.cross_layer(LAYERS), TopK(d_sae=384, k=32), 1_500_000),
}
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
    parser.add_argument("--names", nargs="+", default=list(RECIPES), choices=list(RECIPES))
    parser.add_argument("--tokens", type=int, help="in place of a recipe's own")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, default=FOLDER, help="where the dictionaries go")
    given = parser.parse_args(arguments)
    torch.set_num_threads(2)
    model = load_model("micro")
    for name in given.names:
        recipe, corpus = RECIPES[name], both_corpora(given.seed)
        run = train(
            model,
            recipe.wiring,
            recipe.method,
            corpus,
            tokens=given.tokens or recipe.tokens,
            lr=LEARNING_RATE,
            batch_size=BATCH_SIZE,
            seed=given.seed,
        )
        if not run.finished:
            return
        folder = run.dictionary.half().save(given.out / name)
        shipped = load_dictionary(folder)
        for text, tokens in {"microworld": 100_000, "python": 50_000}.items():
            report = evaluate(model, shipped, load_corpus(text, split="heldout"), tokens=tokens)
            print(
                f"{name} on {text}: explained variance {report.explained_variance:.3f}, "
                f"CE recovered {report['CE recovered']:.3f}, dead {report.dead:.3f}"
            )
            if report.concepts is not None:
                frame = report.concepts.frame()
                print(frame.to_string(max_rows=60))
                strong = frame[frame["f1"] >= 0.8]
                print(f"F1 ≥ .8: {len(strong)} concepts, {(strong['token_f1'] < 0.5).sum()} of them no single token")


if __name__ == "__main__":
    main()
