"""Which heads do a task: `python -m saekit.models.heads [FOLDER] [--n 300]` writes FOLDER/heads.csv.

Every head of every layer is ablated alone, on every held-out pair: what it writes is replaced by its mean over the
corrupt prompts of equal length at the same position. The effect is the fall of the logit difference, mean logit of the
answers − mean logit of the wrong ones at the last position, as a share of the whole model's. A head whose effect is
large does the task in this sense; circuit methods can be judged against the table, whose rows no method chose.

Mean ablation: Wang et al. 2022, arXiv:2211.00593.
"""

from __future__ import annotations

import argparse
import csv
from collections import defaultdict
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from saekit.corpora import load_pairs
from saekit.models.card import MICRO

TASKS = ("ioi", "induction", "greater_than")


def head_effects(model: Any, tokenizer: Any, task: str, n: int = 300) -> Tensor:
    """The effect of each head, [layer, head], on n held-out pairs of a task; a Llama-type Hugging Face model."""
    layers, heads = model.config.num_hidden_layers, model.config.num_attention_heads
    fallen, whole = torch.zeros(layers, heads), 0.0
    for clean, corrupt, right, wrong in same_length(tokenizer, task, n):
        means = head_means(model, corrupt)
        base = difference(model(clean).logits[:, -1], right, wrong)
        whole += float(base.sum())
        for layer in range(layers):
            for head in range(heads):
                with replaced(model, layer, head, means[layer]):
                    after = difference(model(clean).logits[:, -1], right, wrong)
                fallen[layer, head] += (base - after).sum()
    return fallen / whole


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


def difference(logits: Tensor, right: Sequence[list[int]], wrong: Sequence[list[int]]) -> Tensor:
    """Mean logit of the answers − mean logit of the wrong ones, a number a pair."""
    rows = [row[a].mean() - row[b].mean() for row, a, b in zip(logits, right, wrong, strict=True)]
    return torch.stack(rows)


def head_means(model: Any, tokens: Tensor) -> list[Tensor]:
    """What goes into each layer's output projection, [position, heads · d_head], the mean over these prompts."""
    seen: list[Tensor] = []
    handles = [
        layer.self_attn.o_proj.register_forward_pre_hook(lambda module, given: seen.append(given[0].mean(0)))
        for layer in model.model.layers
    ]
    try:
        model(tokens)
    finally:
        for handle in handles:
            handle.remove()
    return seen


@contextmanager
def replaced(model: Any, layer: int, head: int, means: Tensor) -> Iterator[None]:
    """One head writes its mean."""
    width = model.config.hidden_size // model.config.num_attention_heads
    columns = slice(head * width, (head + 1) * width)

    def put(module: Any, given: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        changed = given[0].clone()
        changed[..., columns] = means[:, columns]
        return (changed, *given[1:])

    handle = model.model.layers[layer].self_attn.o_proj.register_forward_pre_hook(put)
    try:
        yield
    finally:
        handle.remove()


@torch.no_grad()
def main(arguments: list[str] | None = None) -> None:
    from transformers import AutoModelForCausalLM, AutoTokenizer

    parser = argparse.ArgumentParser(prog="python -m saekit.models.heads", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("folder", type=Path, nargs="?", default=MICRO)
    parser.add_argument("--n", type=int, default=300, help="pairs a task")
    given = parser.parse_args(arguments)
    tokenizer = AutoTokenizer.from_pretrained(given.folder, local_files_only=True)
    model = AutoModelForCausalLM.from_pretrained(given.folder, local_files_only=True, dtype=torch.float32).eval()
    with open(given.folder / "heads.csv", "w", newline="", encoding="utf-8") as file:
        rows = csv.writer(file)
        rows.writerow(["task", "layer", "head", "effect"])
        for task in TASKS:
            effects = head_effects(model, tokenizer, task, given.n)
            for layer, row in enumerate(effects.tolist()):
                rows.writerows([task, layer, head, round(effect, 4)] for head, effect in enumerate(row))
            best = effects.flatten().argsort(descending=True)[:3].tolist()
            heads = effects.shape[1]
            print(task, ", ".join(f"{b // heads}.{b % heads} {effects.flatten()[b]:.2f}" for b in best))


if __name__ == "__main__":
    main()
