"""What decides a pretraining run, and the folder that remembers it."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path

from saekit.files import write_atomically
from saekit.files.manifests import check_same, write_json

SPECIAL = ["<|endoftext|>", "<|user|>", "<|assistant|>", "<|end|>"]  # the first begins every row, ends text and pads
BOS = 0


@dataclass
class Settings:
    """Everything that decides the result."""

    tokens: int
    seed: int = 0
    vocabulary: int = 4096
    width: int = 128
    layers: int = 4
    heads: int = 4
    context: int = 256
    batch_tokens: int = 3072
    learning_rate: float = 3.5e-3
    constant: float = 0.5  # share of the run before the learning rate falls
    long_rows: float = 0.2  # share of the run, its last, in rows of the whole context; before, of half of it
    repeats: tuple[float, float] = (0.28, 0.12)  # share of the rows, at first and in the last third
    python: float = 0.35  # share of the other rows


def open_run(out: Path, settings: Settings) -> None:
    """Make OUT, or check that it holds this very run."""
    out.mkdir(parents=True, exist_ok=True)
    run = out / "run.json"
    if run.exists():
        check_same(
            out, "run", json.loads(run.read_text()), asdict(settings), "another folder, or give the same settings"
        )
    else:
        write_json(run, asdict(settings))


def forget_log_after(path: Path, step: int) -> None:
    """Drop the rows that a killed run wrote after its last checkpoint: they are written again."""
    if path.exists():
        kept = [line for line in path.read_text().splitlines() if json.loads(line)["step"] <= step]
        write_atomically(path, lambda file: file.write_text("".join(line + "\n" for line in kept)))
