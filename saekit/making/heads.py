"""Which heads do a task: `python -m saekit.making.heads [FOLDER] [--n 500]` writes FOLDER/heads.csv.

Every head of every layer is ablated alone, on every held-out pair: what it writes is replaced by its mean over the
corrupt prompts of equal length at the same position. The effect is the fall of the logit difference, mean logit of the
answers − mean logit of the wrong ones at the last position, as a share of the whole model's. A head whose effect is
large does the task in this sense; circuit methods can be judged against the table, whose rows no method chose.

Rows prefix_1 … prefix_8 are of random tokens whose end repeats an earlier prefix of so many (saekit.metrics.prefixes);
the mean is over the rows without repetition, and the effect is the fall of log p of the token that is due, in nats.

Mean ablation: Wang et al. 2022, arXiv:2211.00593. Prefixes: Kissane et al. 2024, arXiv:2406.17759.
"""

from __future__ import annotations

import argparse
import csv
from collections import defaultdict
from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor

from saekit.corpora import load_pairs
from saekit.making.card import MICRO
from saekit.metrics.prefixes import LONGEST, prefix_prompts
from saekit.models.bridge import Passed
from saekit.models.load import load_model
from saekit.models.one_pass import forward

TASKS = ("ioi", "induction", "greater_than")


@torch.no_grad()
def head_effects(model: Any, tokenizer: Any, task: str, n: int = 300) -> Float[Tensor, "layer head"]:
    """The effect of each head on n held-out pairs of a task."""
    layers, heads = model.cfg.n_layers, model.cfg.n_heads
    sites = [f"blocks.{layer}.attn.hook_z" for layer in range(layers)]
    fallen, whole = torch.zeros(layers, heads), 0.0
    for clean, corrupt, right, wrong in same_length(tokenizer, task, n):
        last = torch.zeros_like(clean, dtype=torch.bool)
        last[:, -1] = True
        means = {site: z.mean(0) for site, z in forward(model, corrupt, sites).kept.items()}
        base = difference(forward(model, clean, logits=last), right, wrong)
        whole += float(base.sum())
        for layer, site in enumerate(sites):
            for head in range(heads):
                replace = {site: partial(ablated, head=head, mean=means[site])}
                after = difference(forward(model, clean, replace=replace, logits=last), right, wrong)
                fallen[layer, head] += (base - after).sum()
    return fallen / whole


@torch.no_grad()
def prefix_effects(model: Any, n: int = 300, seed: int = 0) -> Float[Tensor, "length layer head"]:
    """The effect of each head on the token that is due after a repeated prefix of 1 … 8 tokens, in nats."""
    layers, heads = model.cfg.n_layers, model.cfg.n_heads
    sites = [f"blocks.{layer}.attn.hook_z" for layer in range(layers)]
    tokens, due = prefix_prompts(model, n, seed)
    last = torch.zeros_like(tokens[0], dtype=torch.bool)
    last[:, -1] = True
    means = {site: z.mean(0) for site, z in forward(model, tokens[0], sites).kept.items()}
    effects = torch.zeros(LONGEST, layers, heads)
    for length, rows in enumerate(tokens[1:]):
        base = log_probability(forward(model, rows, logits=last), due)
        for layer, site in enumerate(sites):
            for head in range(heads):
                replace = {site: partial(ablated, head=head, mean=means[site])}
                after = log_probability(forward(model, rows, replace=replace, logits=last), due)
                effects[length, layer, head] = (base - after).mean()
    return effects


def log_probability(passed: Passed, tokens: Int[Tensor, " row"]) -> Float[Tensor, " row"]:
    """Of a token a row, of logits [row, d_vocab]."""
    assert passed.logits is not None  # they were asked for
    return passed.logits.log_softmax(-1)[torch.arange(len(tokens)), tokens]


def ablated(
    z: Float[Tensor, "pair position head d_head"], kept: Any, head: int, mean: Float[Tensor, "position head d_head"]
) -> Float[Tensor, "pair position head d_head"]:
    """One head gives its mean."""
    changed = z.clone()
    changed[:, :, head] = mean[:, head]
    return changed


def same_length(tokenizer: Any, task: str, n: int) -> Iterator[tuple[Tensor, Tensor, list[list[int]], list[list[int]]]]:
    """The pairs in groups of one token length: clean and corrupt tokens [pair, position], answers, wrong ones."""
    groups: dict[int, list[tuple[list[int], list[int], list[int], list[int]]]] = defaultdict(list)
    for pair in load_pairs(task, n=n, split="heldout", tokenizer=tokenizer):
        clean, corrupt = (
            [tokenizer.bos_token_id, *tokenizer.encode(text, add_special_tokens=False)]
            for text in (pair.clean, pair.corrupt)
        )
        answers, wrong = (
            [tokenizer.encode(word, add_special_tokens=False)[-1] for word in words]
            for words in (pair.answers, pair.wrong)
        )
        groups[len(clean)].append((clean, corrupt, answers, wrong))
    for group in groups.values():
        cleans, corrupts, rights, wrongs = zip(*group, strict=True)
        yield torch.tensor(cleans), torch.tensor(corrupts), list(rights), list(wrongs)


def difference(passed: Passed, right: Sequence[list[int]], wrong: Sequence[list[int]]) -> Float[Tensor, " pair"]:
    """Mean logit of the answers − mean logit of the wrong ones, a number a pair, of logits [pair, d_vocab]."""
    assert passed.logits is not None  # they were asked for
    rows = [row[a].mean() - row[b].mean() for row, a, b in zip(passed.logits, right, wrong, strict=True)]
    return torch.stack(rows)


def main(arguments: list[str] | None = None) -> None:
    """The command line."""
    from transformers import AutoTokenizer

    parser = argparse.ArgumentParser(prog="python -m saekit.making.heads", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("folder", type=Path, nargs="?", default=MICRO)
    parser.add_argument("--n", type=int, default=500, help="pairs a task, and rows a prefix")
    given = parser.parse_args(arguments)
    tokenizer = AutoTokenizer.from_pretrained(given.folder, local_files_only=True)
    model = load_model(given.folder, device="cpu")
    with open(given.folder / "heads.csv", "w", newline="", encoding="utf-8") as file:
        rows = csv.writer(file)
        rows.writerow(["task", "layer", "head", "effect"])
        for task in TASKS:
            write(rows, task, head_effects(model, tokenizer, task, given.n))
        for length, effects in enumerate(prefix_effects(model, given.n), 1):
            write(rows, f"prefix_{length}", effects)


def write(rows: Any, task: str, effects: Float[Tensor, "layer head"]) -> None:
    """A row a head into the table; the three largest are said."""
    for layer, row in enumerate(effects.tolist()):
        rows.writerows([task, layer, head, round(effect, 4)] for head, effect in enumerate(row))
    best = effects.flatten().argsort(descending=True)[:3].tolist()
    heads = effects.shape[1]
    print(task, ", ".join(f"{b // heads}.{b % heads} {effects.flatten()[b]:.2f}" for b in best))


if __name__ == "__main__":
    main()
