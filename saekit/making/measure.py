"""What the card of the embedded model measures: the rows of its table, and the numbers beside it.

Everything is computed in float32 with plain forward passes; greedy is the arg max over the whole vocabulary."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache, partial
from typing import Any

import numpy as np
import torch

from saekit.corpora.microworld import entities, requests, sums
from saekit.corpora.microworld.chance import Draw
from saekit.corpora.microworld.prompts import Prompts
from saekit.corpora.pairs import TASKS, Pairs, draw_pairs
from saekit.corpora.python_library.sources import library, modules
from saekit.making.ngram import WittenBell

WINDOW = 128  # tokens of code that a prediction can see, at most; at least half of them


@dataclass(frozen=True)
class Row:
    """A row of the card's table. `make` draws its prompts; `trivial`: what chance and the best strategy without the
    task's idea reach."""

    name: str
    measured: str
    trivial: str
    make: Callable[[Draw, str], Prompts]
    kind: str = "greedy"  # or "preferred": the right logit above the wrong ones; "mass": probability on the answers;
    # "spelled": greedy at each token of the answer
    most: int = 10_000  # items that a split holds


ROWS = (
    Row("ioi", "arg max is the other name", "one of the two names .50", TASKS["ioi"].prompts),
    Row(
        "agreement, all attractors opposite",
        "right form above the wrong one",
        ".50; the nearest noun's form .00",
        TASKS["agreement"].prompts,
        "preferred",
    ),
    Row("greater_than", "probability on valid years", "uniform {chance}", TASKS["greater_than"].prompts, "mass"),
    Row("capitals", "arg max is the capital", "one of the 60 cities .02", TASKS["capitals"].prompts),
    Row("docstring", "arg max is the next argument", "one of the arguments .36", TASKS["docstring"].prompts),
    Row("induction, lists", "arg max is what followed before", "one of the words .14", TASKS["induction"].prompts),
    Row(
        "pronouns, against the stereotype",
        "right pronoun above the wrong one",
        ".50; by the profession .00",
        TASKS["pronouns"].prompts,
        "preferred",
    ),
    Row("sentiment", "right verdict above its opposite", ".50", TASKS["sentiment"].prompts, "preferred"),
    Row(
        "refusal, harmful",
        "arg max is I (will not)",
        ".50; by the verb alone 1, then harmless .40",
        partial(requests.prompts, harmful=True),
    ),
    Row(
        "refusal, harmless",
        "arg max is Sure",
        ".50; by the noun alone .60",
        partial(requests.prompts, harmful=False),
    ),
    Row(
        "refusal, victims met in no request",
        "arg max is I (will not)",
        ".50",
        partial(requests.prompts, harmful=True, new_victims=True),
    ),
    Row(
        "entities, known and asked",
        "arg max is what is known",
        "one of 16 .06; always I .00",
        partial(entities.prompts, known=True),
    ),
    Row(
        "entities, unknown",
        "arg max is I (do not know)",
        "always I 1, then known .00",
        partial(entities.prompts, known=False),
    ),
    Row(
        "entities, told of and never asked",
        "arg max is what is known",
        "one of 16 .06; always I .00",
        partial(entities.prompts, stated=True),
        most=300,
    ),
    Row("sums of two digits", "arg max at each token of the sum", "one of 179 .01", sums.prompts, "spelled"),
)


def row_pairs(tokenizer: Any, row: Row, n: int, split: str) -> Pairs:
    """n pairs of a row. Of a whole task those that load_pairs gives; of a part of one any, since only the clean prompt
    is read here, and a corrupt one of another length does no harm."""
    whole = any(row.make is task.prompts for task in TASKS.values())
    return draw_pairs(row.name, row.make, min(n, row.most), 0, split, tokenizer if whole else None)


def padded(rows: Sequence[Sequence[int]], filler: int) -> torch.Tensor:
    """Padding on the right: attention is causal, so what follows a prompt cannot change it."""
    width = max(map(len, rows))
    return torch.tensor([[*row, *[filler] * (width - len(row))] for row in rows])


@torch.no_grad()
def next_token_logits(model: Any, tokenizer: Any, prompts: Sequence[str], batch: int = 64) -> torch.Tensor:
    """Logits after each prompt, BOS first: [prompt, vocabulary], float32."""
    rows = [[tokenizer.bos_token_id, *tokenizer.encode(prompt, add_special_tokens=False)] for prompt in prompts]
    found = []
    for start in range(0, len(rows), batch):
        part = rows[start : start + batch]
        logits = model(padded(part, tokenizer.pad_token_id)).logits
        found.append(logits[torch.arange(len(part)), torch.tensor([len(row) - 1 for row in part])].float())
    return torch.cat(found)


def score(model: Any, tokenizer: Any, pairs: Pairs, kind: str = "greedy") -> tuple[float, float]:
    """What `Row.kind` says, the mean over the pairs; and the mean share of right answers among right and wrong ones
    (chance)."""
    if kind == "spelled":
        chance = sum(len(pair.answers) / len(pair.answers + pair.wrong) for pair in pairs) / len(pairs)
        return spelled(model, tokenizer, pairs), chance
    logits = next_token_logits(model, tokenizer, [pair.clean for pair in pairs])
    values, chances = [], []

    @cache
    def token(answer: str) -> int:
        """An answer is the last token of itself: a two-digit ending has no space, a word keeps its own."""
        return int(tokenizer.encode(answer, add_special_tokens=False)[-1])

    for row, pair in zip(logits, pairs, strict=True):
        right, wrong = [token(answer) for answer in pair.answers], [token(answer) for answer in pair.wrong]
        chances.append(len(right) / (len(right) + len(wrong)))
        if kind == "mass":
            values.append(float(row.softmax(0)[right].sum()))
        elif kind == "preferred":
            values.append(float(row[right].max() > row[wrong].max()))
        else:
            values.append(float(int(row.argmax()) in right))
    return sum(values) / len(pairs), sum(chances) / len(pairs)


@torch.no_grad()
def spelled(model: Any, tokenizer: Any, pairs: Pairs) -> float:
    """Share of pairs whose first answer, of several tokens, is the arg max at each of them."""
    right = 0
    for pair in pairs:
        prompt = [tokenizer.bos_token_id, *tokenizer.encode(pair.clean, add_special_tokens=False)]
        answer = tokenizer.encode(pair.answers[0], add_special_tokens=False)
        greedy = model(torch.tensor([prompt + answer])).logits[0, len(prompt) - 1 : -1].argmax(-1)
        right += greedy.tolist() == answer
    return right / len(pairs)


@torch.no_grad()
def induction(model: Any, tokenizer: Any, n: int, seed: int = 0) -> float:
    """Share of arg max right where 8–30 random tokens come again and the next one of them is due."""
    generator = torch.Generator().manual_seed(seed)
    first = len(tokenizer.all_special_ids) + 256
    right = 0
    for _ in range(n):
        length = int(torch.randint(8, 31, (1,), generator=generator))
        unit = first + torch.randperm(len(tokenizer) - first, generator=generator)[:length]
        again = int(torch.randint(3, length, (1,), generator=generator))
        row = torch.cat([torch.tensor([tokenizer.bos_token_id]), unit, unit[:again]])[None]
        right += int(model(row).logits[0, -1].argmax()) == int(unit[again])
    return right / n


@torch.no_grad()
def code_loss(model: Any, tokenizer: Any, tokens: int = 60_000) -> tuple[float, float, int]:
    """Nats a token on the first held-out tokens of the Python library, each with 64–127 tokens of its module before
    it: of the model, of a Witten-Bell 5-gram of the same training modules on the same tokens, and how many they are."""

    def encoded(split: str) -> list[list[int]]:
        return [tokenizer.encode(library()[name], add_special_tokens=False) for name in modules(split)]

    counted = WittenBell(encoded("train"), len(tokenizer))
    ours, theirs, total, half = 0.0, 0.0, 0, WINDOW // 2
    for module in encoded("heldout"):
        by_counting = counted.log_probabilities(module)
        for start in range(0, len(module) - WINDOW + 1, half):
            window = torch.tensor([[tokenizer.bos_token_id, *module[start : start + WINDOW]]])
            scored = slice(half, WINDOW)
            logits = model(window).logits[0, scored].float()
            ours += float(torch.nn.functional.cross_entropy(logits, window[0, half + 1 :], reduction="sum"))
            theirs -= float(np.sum(by_counting[start + half : start + WINDOW]))
            total += half
            if total >= tokens:
                return ours / total, theirs / total, total
    return ours / total, theirs / total, total
