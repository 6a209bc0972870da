"""Measure the embedded model and write its card: `python -m saekit.making.card [FOLDER] [--n 500] [--run RUN]
[--final]`.

FOLDER is a plain Hugging Face folder (default: the shipped one); the card goes to FOLDER/README.md, with what
FOLDER/NOTES.md says in it. RUN is the folder of the training run, whose log is copied beside it. --final also measures
the split "unseen", which nobody should look at while a model can still be changed."""

from __future__ import annotations

import argparse
import csv
import json
import shutil
from collections import Counter
from importlib.resources import files
from itertools import islice
from pathlib import Path
from typing import Any

import torch

from saekit.corpora import load_corpus
from saekit.corpora.microworld import KINDS
from saekit.making.measure import ROWS, code_loss, induction, row_pairs, score
from saekit.metrics.prefixes import prefix_needed

MICRO = Path(str(files("saekit") / "models" / "micro"))
STEPS_SHOWN = 8  # rows of the training log
LARGE = 0.1  # a head with more of a task's logit difference is named


def table(model: Any, tokenizer: Any, n: int, splits: tuple[str, ...]) -> list[str]:
    """A line a row, a number a split."""
    lines = [
        f"| task | measured | {' | '.join(splits)} | without the idea |",
        f"|---|---|{'---|' * len(splits)}---|",
    ]
    for row in ROWS:
        values = []
        chance = 0.0
        for split in splits:
            pairs = row_pairs(tokenizer, row, n, split)
            value, chance = score(model, tokenizer, pairs, row.kind)
            values.append(f"{value:.3f}".lstrip("0"))
        trivial = row.trivial.format(chance=f"{chance:.2f}".lstrip("0"))
        name = row.name if n <= row.most else f"{row.name} ({row.most} items)"
        lines.append(f"| {name} | {row.measured} | {' | '.join(values)} | {trivial} |")
        print(lines[-1], flush=True)
    on_random = f"{induction(model, tokenizer, n):.3f}".lstrip("0")
    lines.append(
        f"| induction, random tokens | arg max is what followed before | {on_random} "
        f"|{' – |' * (len(splits) - 1)} .00 |"
    )
    return lines


def shares(tokenizer: Any) -> str:
    """How much of the microworld's training tokens each kind makes."""
    count: Counter[str] = Counter()
    for document in islice(iter(load_corpus("microworld")), 10_000):
        count[document.kind] += len(tokenizer.encode(document.text, add_special_tokens=False))
    total = sum(count.values())
    return ", ".join(f"{kind} {100 * tokens / total:.1f}" for kind, tokens in count.most_common())


def heads_found(folder: Path) -> list[str]:
    """The heads that do the tasks, from heads.csv (`python -m saekit.making.heads`)."""
    path = folder / "heads.csv"
    if not path.is_file():
        return []
    found: dict[str, list[tuple[float, str]]] = {}
    with open(path, encoding="utf-8", newline="") as file:
        for row in csv.DictReader(file):
            found.setdefault(row["task"], []).append((float(row["effect"]), f"{row['layer']}.{row['head']}"))
    lines = [
        "## Which heads do it",
        "",
        "Each head alone ablated (its output replaced by its mean over the corrupt prompts, same position), on",
        "held-out pairs: the share of the logit difference that is lost. All of them stand in heads.csv; these are",
        "the large ones (layer.head).",
        "",
    ]
    prefixes = {task: effects for task, effects in found.items() if task.startswith("prefix_")}
    for task, effects in found.items():
        if task not in prefixes:
            large = [f"{name} ({effect:.2f})" for effect, name in sorted(effects, reverse=True) if effect >= LARGE]
            lines.append(f"- {task}: {', '.join(large) or 'none alone'}")
    return [*lines, "", *prefix_lines(prefixes)]


def prefix_lines(found: dict[str, list[tuple[float, str]]]) -> list[str]:
    """The heads that matter after a repeated prefix, by its length: found has the effects of prefix_1, prefix_2 …"""
    if not found:
        return []
    lines = [
        f"Of random tokens whose end repeats a prefix of 1 … {len(found)} tokens: the fall of log p of the token that",
        f"is due, in nats, for each length; heads with {LARGE:g} and more somewhere. long: less than a quarter of the",
        "largest at 1; short: half or more.",
        "",
    ]
    for places in zip(*found.values(), strict=True):
        effects, name = [effect for effect, _ in places], places[0][1]
        if max(effects) >= LARGE:
            said = ", ".join(f"{effect:.2f}" for effect in effects)
            lines.append(f"- {name}: {said} ({prefix_needed(effects, 0)})")
    return [*lines, ""]


def training(folder: Path) -> list[str]:
    """The lines on how the model was trained: eight rows of log.jsonl; none where there is no log."""
    path = folder / "log.jsonl"
    if not path.is_file():
        return []
    log = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
    shown = sorted({round(place * (len(log) - 1) / (STEPS_SHOWN - 1)) for place in range(STEPS_SHOWN)})
    lines = [
        "## Training",
        "",
        f"{log[-1]['tokens']:,} tokens in {log[-1]['minutes']:.0f} minutes of two cores, seed 0; a second seed: "
        "not yet. The whole log: log.jsonl.",
        "Loss in nats a token, by source; of repeats only what can be known counts.",
        "",
        "| tokens | minutes | learning rate | microworld | python | repeats |",
        "|---|---|---|---|---|---|",
    ]
    for place in shown:
        row = log[place]
        lines.append(
            f"| {row['tokens']:,} | {row['minutes']} | {row['learning_rate']} | {row['microworld']} | "
            f"{row['python']} | {row['repeats']} |"
        )
    return [*lines, ""]


def write_card(folder: Path, n: int, final: bool, notes: str) -> str:
    """Measure the model in the folder and return its card."""
    from transformers import AutoModelForCausalLM, AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(folder, local_files_only=True)
    model = AutoModelForCausalLM.from_pretrained(folder, local_files_only=True, dtype=torch.float32).eval()
    config = model.config
    size = (folder / "model.safetensors").stat().st_size / 1e6
    splits = ("heldout", "unseen_dev", "unseen") if final else ("heldout", "unseen_dev")
    rows = table(model, tokenizer, n, splits)
    ours, counted, tokens = code_loss(model, tokenizer)
    lines = [
        "# micro",
        "",
        "A small language model, trained here from scratch, so that everything in saekit runs in seconds, without a",
        "network, on text whose truth is known. It ships in float16. It is not a model of English.",
        "",
        f"- {config.model_type}, {config.num_hidden_layers} layers, width {config.hidden_size}, "
        f"{config.num_attention_heads} heads, context {config.max_position_embeddings}; "
        f"{model.num_parameters():,} parameters, {size:.2f} MB",
        f"- tokenizer: byte-level BPE of {len(tokenizer):,}, digits in pairs; "
        f"`{tokenizer.bos_token}` begins every row (saekit adds it)",
        f"- text: the train splits of the microworld ({len(KINDS)} kinds) and of the frozen Python library, and "
        "repeats of random tokens",
        f"- the microworld's kinds, % of its tokens: {shares(tokenizer)}",
        "",
        "## What it does",
        "",
        f"{n} items a cell (two standard errors: ±.04 at .5, ±.03 at .9). heldout: fillers and combinations that",
        "training never had, in trained phrases. unseen_dev and unseen: every phrase slot filled by phrases that no",
        "training document of the kind has; the model was developed looking at unseen_dev, and unseen was looked at",
        "for this table alone." if final else "unseen is kept for the final card.",
        "",
        *rows,
        "",
        f"Held-out library modules, {tokens:,} tokens, each with 64–127 before it: {ours:.2f} nats a token; a",
        f"Witten-Bell 5-gram of the same training modules {counted:.2f}, {counted - ours:.2f} more; uniform "
        f"{torch.log(torch.tensor(float(config.vocab_size))):.2f}.",
        "",
        *heads_found(folder),
        *([notes, ""] if notes else []),
        *training(folder),
        f"Measured by `python -m saekit.making.card --n {n}{' --final' if final else ''}`.",
    ]
    return "\n".join(lines) + "\n"


def main(arguments: list[str] | None = None) -> None:
    """The command line."""
    parser = argparse.ArgumentParser(prog="python -m saekit.making.card", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("folder", type=Path, nargs="?", default=MICRO)
    parser.add_argument("--n", type=int, default=500, help="items a cell")
    parser.add_argument("--run", type=Path, help="the training run's folder: copy its log")
    parser.add_argument("--final", action="store_true", help="also measure the split unseen")
    given = parser.parse_args(arguments)
    if given.run is not None:
        shutil.copyfile(given.run / "log.jsonl", given.folder / "log.jsonl")
    notes = given.folder / "NOTES.md"
    text = notes.read_text(encoding="utf-8").strip() if notes.is_file() else ""
    card = write_card(given.folder, given.n, given.final, text)
    (given.folder / "README.md").write_text(card, encoding="utf-8")
    print(card)


if __name__ == "__main__":
    main()
