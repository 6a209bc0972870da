"""Measure the embedded model and write its card: `python -m saekit.models.card [FOLDER] [--n 300] [--run RUN]`.

FOLDER is a plain Hugging Face folder (default: the shipped one); the card goes to FOLDER/README.md.
Everything is measured on the float16 weights as shipped, computed in float32, with plain forward passes."""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from pathlib import Path
from typing import Any

import torch

from saekit.corpora import Pairs, load_corpus, load_pairs
from saekit.corpora.python_library.library import cut, library, modules

MICRO = Path(str(files("saekit") / "models" / "micro"))
SPLITS = ("heldout", "unseen_dev")
READ = {  # task → what is measured, and what a guess would reach
    "ioi": ("arg max is the other name", "0.50, one of the two names"),
    "agreement": ("right form above the wrong one", "0.50; copying the nearest noun: 0.00"),
    "greater_than": ("probability on valid years", "{chance:.2f}, uniform over the hundred endings"),
    "capitals": ("arg max is the capital", "0.02, one of the 60 capitals"),
    "docstring": ("arg max is the next argument", "0.01, one of the arguments' names"),
    "induction": ("arg max is what followed before", "0.01, one of the words"),
    "pronouns": ("right pronoun above the wrong one", "0.50; by the profession: 0.00"),
    "sentiment": ("right verdict above its opposite", "0.50"),
    "refusal, harmful": ("arg max is I (will not)", "0.50, I or Sure"),
    "refusal, harmless": ("arg max is Sure", "0.50, I or Sure"),
    "entities, unknown": ("arg max is I (do not know)", "0.50, I or something"),
    "entities, known": ("arg max is what is known", "0.06, one of 16"),
}
BY_PREFERENCE = ("agreement", "pronouns", "sentiment")  # judged by two logits, the others by the arg max


def cell(tokenizer: Any, name: str, n: int, split: str) -> Pairs:
    """n pairs of a row of the table: of a task, or of the half of it that is named after the comma."""
    task, _, half = name.partition(", ")
    if not half:
        return load_pairs(task, n=n, split=split, tokenizer=tokenizer)
    pairs = load_pairs(task, n=3 * n, split=split, tokenizer=tokenizer)
    says_i = half in ("harmful", "unknown")
    return Pairs([pair for pair in pairs if (pair.answers[0].strip() == "I") == says_i][:n], task, split)


@dataclass(frozen=True)
class Score:
    """A task on a split: `value` is what READ says; `preferred`: an answer stands above every wrong one."""

    task: str
    split: str
    n: int
    value: float
    preferred: float
    chance: float


@torch.no_grad()
def next_token_logits(model: Any, tokenizer: Any, prompts: Sequence[str], batch: int = 64) -> torch.Tensor:
    """Logits after each prompt, BOS first: [prompt, vocabulary], float32."""
    rows = [[tokenizer.bos_token_id, *tokenizer.encode(prompt, add_special_tokens=False)] for prompt in prompts]
    found = []
    for start in range(0, len(rows), batch):
        part = rows[start : start + batch]
        width = max(map(len, part))
        # Padding on the right: attention is causal, so what follows a prompt cannot change it.
        tokens = torch.tensor([row + [tokenizer.pad_token_id] * (width - len(row)) for row in part])
        logits = model(tokens).logits
        found.append(logits[torch.arange(len(part)), torch.tensor([len(row) - 1 for row in part])].float())
    return torch.cat(found)


def score(model: Any, tokenizer: Any, pairs: Pairs) -> Score:
    """One number for a task; see READ for what it is."""
    logits = next_token_logits(model, tokenizer, [pair.clean for pair in pairs])
    values, preferred, chances = [], [], []

    @cache
    def token(answer: str) -> int:
        """An answer is the last token of itself: a two-digit ending has no space, a word keeps its own."""
        return tokenizer.encode(answer, add_special_tokens=False)[-1]

    for row, pair in zip(logits, pairs, strict=True):
        right = torch.tensor([token(answer) for answer in pair.answers])
        wrong = torch.tensor([token(answer) for answer in pair.wrong])
        best_is_right = bool(row[right].max() > row[wrong].max())
        preferred.append(best_is_right)
        chances.append(len(right) / (len(right) + len(wrong)))
        if pairs.task == "greater_than":
            values.append(float(row.softmax(0)[right].sum()))
        elif pairs.task in BY_PREFERENCE:
            values.append(float(best_is_right))
        else:
            values.append(float(int(row.argmax()) in right.tolist()))
    n = len(pairs)
    return Score(pairs.task, pairs.split, n, sum(values) / n, sum(preferred) / n, sum(chances) / n)


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
def nats_per_token(model: Any, tokenizer: Any, texts: Sequence[str], tokens: int, context: int) -> tuple[float, int]:
    """Mean loss over about `tokens` tokens of the texts, one text a row, BOS first, cut at the context."""
    total, count = 0.0, 0
    for text in texts:
        ids = tokenizer.encode(text, add_special_tokens=False)[: context - 1]
        row = torch.tensor([[tokenizer.bos_token_id, *ids]])
        losses = torch.nn.functional.cross_entropy(model(row).logits[0, :-1].float(), row[0, 1:], reduction="sum")
        total, count = total + float(losses), count + len(ids)
        if count >= tokens:
            break
    return total / count, count


def read_log(run: Path) -> list[dict[str, Any]]:
    path = run / "log.jsonl"
    return [json.loads(line) for line in path.read_text().splitlines()] if path.is_file() else []


def write_card(folder: Path, n: int, run: Path | None) -> str:
    """Measure the model in the folder and return its card."""
    from transformers import AutoModelForCausalLM, AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(folder, local_files_only=True)
    model = AutoModelForCausalLM.from_pretrained(folder, local_files_only=True, dtype=torch.float32).eval()
    config = model.config
    size = (folder / "model.safetensors").stat().st_size / 1e6
    lines = [
        "# micro",
        "",
        "A small language model, trained here from scratch, so that everything in saekit runs in seconds, without a",
        "network, on text whose truth is known. It ships in float16. It is not a model of English.",
        "",
        f"- {config.model_type}, {config.num_hidden_layers} layers, width {config.hidden_size}, "
        f"{config.num_attention_heads} heads, "
        f"context {config.max_position_embeddings}; {model.num_parameters():,} parameters, {size:.2f} MB",
        f"- tokenizer: byte-level BPE of {len(tokenizer):,}, digits in pairs; "
        f"`{tokenizer.bos_token}` begins every row (saekit adds it)",
        "- text: the train splits of the microworld and of the frozen Python library, and repeats of random tokens",
    ]
    log = read_log(run) if run else []
    if log:
        last = log[-1]
        lines.append(
            f"- training: {last['tokens']:,} tokens, {last['minutes']:.0f} minutes of this machine's time; "
            "`python -m saekit.models.pretrain`"
        )
    lines += [
        "",
        "## What it does",
        "",
        f"{n} items a cell. heldout: fillers and combinations it never saw, in trained phrases.",
        "unseen_dev: every phrase slot filled by phrases that training never has. Unseen is kept for the end.",
        "",
        "| task | measured | heldout | unseen_dev | guessing |",
        "|---|---|---|---|---|",
    ]
    for task, (measured, guess) in READ.items():
        cells = {split: score(model, tokenizer, cell(tokenizer, task, n, split)) for split in SPLITS}
        guess = guess.format(chance=cells["heldout"].chance)
        lines.append(
            f"| {task} | {measured} | " + " | ".join(f"{cells[split].value:.2f}" for split in SPLITS) + f" | {guess} |"
        )
    on_random = induction(model, tokenizer, n)
    lines.append(f"| induction, random tokens | arg max is what followed before | {on_random:.2f} | – | 0.00 |")
    context = config.max_position_embeddings
    prose = [document.text for document in load_corpus("microworld", "heldout", n=400)]
    code = [library()[name][start:stop] for name in modules("heldout") for start, stop in cut(library()[name])]
    on_prose, _ = nats_per_token(model, tokenizer, prose, 20_000, context)
    on_code, tokens = nats_per_token(model, tokenizer, code, 20_000, context)
    lines += [
        "",
        f"Loss, nats a token: microworld heldout {on_prose:.2f}, held-out library modules {on_code:.2f} "
        f"({tokens:,} tokens), "
        f"uniform {torch.log(torch.tensor(float(config.vocab_size))):.2f}.",
        "",
        "## What it cannot do",
        "",
        "Arithmetic, other languages, and anything outside these corpora. A task at the level of guessing above is one",
        "that it does not do. One seed was trained.",
        "",
        f"Measured by `python -m saekit.models.card --n {n}`.",
    ]
    if log:
        picked = [
            row
            for place, row in enumerate(log)
            if place in {0, len(log) // 4, len(log) // 2, 3 * len(log) // 4, len(log) - 1}
        ]
        lines += [
            "",
            "## Training log",
            "",
            "Loss by source; repeats count their second pass only.",
            "",
            "| tokens | minutes | learning rate | microworld | python | repeats |",
            "|---|---|---|---|---|---|",
        ]
        lines += [
            f"| {row['tokens']:,} | {row['minutes']} | {row['learning_rate']} | {row['microworld']} | "
            f"{row['python']} | {row['repeats']} |"
            for row in picked
        ]
    return "\n".join(lines) + "\n"


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog="python -m saekit.models.card", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("folder", type=Path, nargs="?", default=MICRO)
    parser.add_argument("--n", type=int, default=300, help="items a cell")
    parser.add_argument("--run", type=Path, help="the training run's folder, for its log")
    given = parser.parse_args(arguments)
    card = write_card(given.folder, given.n, given.run)
    (given.folder / "README.md").write_text(card, encoding="utf-8")
    print(card)


if __name__ == "__main__":
    main()
