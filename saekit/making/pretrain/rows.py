"""Rows of training text: microworld documents, code, and repeats; every batch a function of the seed and the step."""

from __future__ import annotations

from itertools import islice
from typing import Any

import numpy as np
import torch
from tokenizers import Tokenizer

from saekit.corpora.microworld import KINDS, stream, words
from saekit.corpora.python_library.sources import cut, library, modules
from saekit.making.pretrain.settings import BOS, SPECIAL, Settings


class Text:
    """Encoded training text, and the rows drawn from it."""

    def __init__(self, tokenizer: Tokenizer, tokens: int, seed: int):
        self.names = np.array([tokenizer.encode(" " + name).ids[0] for name in words.NAMES])
        self.vocabulary = tokenizer.get_vocab_size()
        self.micro, self.micro_starts = self._encode(tokenizer, (d.text for d in stream(tuple(KINDS), seed)), tokens)
        pieces = (library()[m][start:stop] for m in modules("train") for start, stop in cut(library()[m]))
        self.python, self.python_starts = self._encode(tokenizer, pieces, None)

    @staticmethod
    def _encode(tokenizer: Tokenizer, texts: Any, tokens: int | None) -> tuple[np.ndarray, np.ndarray]:
        """All documents in one array, each after a BOS, and where each begins."""
        flat: list[np.ndarray] = []
        starts, total, texts = [], 0, iter(texts)
        while (tokens is None or total < tokens) and (chunk := list(islice(texts, 2000))):
            for encoding in tokenizer.encode_batch(chunk):
                starts.append(total)
                flat.append(np.array([BOS, *encoding.ids], dtype=np.uint16))
                total += len(flat[-1])
        return np.concatenate(flat), np.array(starts)

    def micro_row(self, random: np.random.Generator, length: int) -> np.ndarray:
        """Microworld documents one after the other, each from its BOS."""
        parts: list[np.ndarray] = []
        filled = 0
        while filled < length:
            which = int(random.integers(len(self.micro_starts) - 1))
            part = self.micro[self.micro_starts[which] : self.micro_starts[which + 1]]
            parts.append(part)
            filled += len(part)
        return np.concatenate(parts)[:length].astype(np.int64)

    def python_row(self, random: np.random.Generator, length: int) -> np.ndarray:
        """Code from the start of a document, or from within one (as long documents are read on in a further row)."""
        start = (
            int(random.choice(self.python_starts)) if random.random() < 0.5 else int(random.integers(len(self.python)))
        )
        start = min(start, len(self.python) - length)
        return np.concatenate([[BOS], self.python[start : start + length]]).astype(np.int64)[:length]

    def repeat_row(self, random: np.random.Generator, length: int) -> tuple[np.ndarray, np.ndarray]:
        """Random tokens again and again (no loss on their first pass, which nothing explains), or a passage again and
        again."""
        row, counted = np.full(length, BOS, dtype=np.int64), np.ones(length, dtype=bool)
        if random.random() < 0.6:
            period = int(random.integers(5, length // 2 - 2))
            pool = self.names if random.random() < 0.3 else np.arange(len(SPECIAL) + 256, self.vocabulary)
            unit = random.choice(pool, period)
            counted[: 1 + period] = False
        else:
            period = int(random.integers(12, length // 2 - 2))
            source = self.python_row if random.random() < 0.4 else self.micro_row
            unit = source(random, period + 1)[1:]
        row[1:] = np.tile(unit, length // period + 1)[: length - 1]
        return row, counted

    def batch(self, settings: Settings, step: int, progress: float, rows: int, length: int) -> tuple[torch.Tensor, ...]:
        """Tokens [rows, length + 1], which targets count [rows, length], and each row's source [rows]: 0 microworld,
        1 python, 2 repeats."""
        random = np.random.default_rng([settings.seed, step])
        first, last = settings.repeats
        repeats = first + (last - first) * min(1.0, max(0.0, (progress - 0.35) / 0.3))
        tokens = np.zeros((rows, length + 1), dtype=np.int64)
        counted = np.ones((rows, length + 1), dtype=bool)
        source = np.zeros(rows, dtype=np.int64)
        for row in range(rows):
            if random.random() < repeats:
                source[row] = 2
                tokens[row], counted[row] = self.repeat_row(random, length + 1)
            elif random.random() < settings.python:
                source[row] = 1
                tokens[row] = self.python_row(random, length + 1)
            else:
                tokens[row] = self.micro_row(random, length + 1)
        counted[:, 1:] &= tokens[:, 1:] != BOS
        return torch.from_numpy(tokens), torch.from_numpy(counted[:, 1:].copy()), torch.from_numpy(source)
