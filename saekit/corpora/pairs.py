"""load_pairs: clean and corrupt prompts for circuits, checked against the tokenizer that will read them."""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from importlib.resources import files
from typing import Any, Literal, Protocol, overload

from saekit.corpora.draw import pairs_html
from saekit.corpora.microworld import (
    agreement,
    biographies,
    capitals,
    entities,
    functions,
    introductions,
    repeats,
    requests,
    reviews,
    years,
)
from saekit.corpora.microworld.chance import Draw
from saekit.corpora.microworld.grammar import SPLITS
from saekit.corpora.microworld.prompts import Prompts
from saekit.corpora.roles import Layout, Roles, layout_of, roles_of, spoken
from saekit.files.arguments import whole
from saekit.files.choices import unknown

TASKS = {
    "ioi": introductions,
    "greater_than": years,
    "agreement": agreement,
    "docstring": functions,
    "induction": repeats,
    "pronouns": biographies,
    "capitals": capitals,
    "sentiment": reviews,
    "refusal": requests,
    "entities": entities,
}
DRAWS = 50  # for each pair asked for, before giving up
MOST_DRAWN = 40_000  # before giving up on one layout
LAYOUTS = ("any", "one")


class Encodes(Protocol):
    """A Hugging Face tokenizer, as far as it is needed here."""

    def encode(self, text: str, *, add_special_tokens: bool = ...) -> Any:
        """The token ids of a text, a list or something that has them as ``ids``."""


@dataclass(frozen=True, slots=True)
class Pair:
    """Two prompts of equal token length, without BOS. After `clean` one of `answers` is right and each of `wrong` is
    not; `corrupt` differs in the one thing that decides it. Answers are single tokens as they follow the prompt, a
    leading space kept.

    roles: which tokens of `clean` decide what, such as {"indirect_object": (3, 4), …, "end": (19, 20)}: [start, stop),
        counted without BOS. In `corrupt` the same places hold what stands in their stead."""

    clean: str
    corrupt: str
    answers: tuple[str, ...]
    wrong: tuple[str, ...]
    roles: Roles = field(default_factory=dict, compare=False)

    @property
    def layout(self) -> Layout:
        """Its roles and their places: pairs of one layout are equally long, and the same place has the same role."""
        return layout_of(self.roles)


class Pairs(Sequence[Pair]):
    """The pairs of a task: a sequence that knows its `.task` and `.split` and draws itself."""

    def __init__(self, pairs: Sequence[Pair], task: str, split: str):
        self.task = task
        self.split = split
        self._pairs = tuple(pairs)

    @overload
    def __getitem__(self, index: int) -> Pair: ...
    @overload
    def __getitem__(self, index: slice) -> Pairs: ...
    def __getitem__(self, index: int | slice) -> Pair | Pairs:
        if isinstance(index, slice):
            return Pairs(self._pairs[index], self.task, self.split)
        return self._pairs[index]

    def __len__(self) -> int:
        return len(self._pairs)

    def __iter__(self) -> Iterator[Pair]:
        return iter(self._pairs)

    @property
    def layouts(self) -> dict[Layout, int]:
        """Their layouts, the most frequent first, and how many pairs are of each."""
        return dict(Counter(pair.layout for pair in self).most_common())

    def __repr__(self) -> str:
        alike = f", {spoken(self[0].roles)}" if len(self) and len(self.layouts) == 1 else ""
        return f"Pairs({self.task!r}, split={self.split!r}, {len(self):,} pairs{alike})"

    def _repr_html_(self) -> str:
        rows = [(pair.clean, pair.corrupt, pair.answers, pair.wrong) for pair in self]
        return pairs_html(rows, f"{self.task} · {self.split}")


def load_pairs(
    task: str,
    n: int = 200,
    seed: int = 0,
    split: str = "heldout",
    tokenizer: Encodes | None = None,
    layout: Literal["any", "one"] | Layout = "any",
) -> Pairs:
    """n different pairs of a task.

    task: "ioi" (indirect object), "greater_than" (answers: every valid two-digit ending), "agreement" (all attractors
        of the other number outside train), "docstring" (the next argument), "induction" (what followed before),
        "pronouns" (against the stereotype outside train), "capitals", "sentiment" (the verdict), "refusal" ("I" or
        "Sure"), "entities" (what is known of somebody invented, or "I" for "I do not know").
    seed: of the draws.
    split: "train", "heldout", "unseen_dev" or "unseen", as in `load_corpus`.
    tokenizer: of the model that will read the pairs (a Hugging Face tokenizer); None: that of "micro".
    layout: "any"; "one": all are equally long, and each role (``pair.roles``) stands at the same place in all, so that
        effects can be averaged by position; or the ``pair.layout`` that they must have.

    Returns Pairs: each has clean, corrupt, answers, wrong and roles. For example ``sk.load_pairs("ioi", n=200)``.
    A draw whose prompts differ in length or whose answers are not single tokens for this tokenizer is replaced by
    another. Raises ValueError for an unknown task or split, and where the tokenizer leaves too few pairs (names the
    words that it splits), or too few are of one layout."""
    if task not in TASKS:
        raise ValueError(unknown("there is no task", task, TASKS))
    if split not in SPLITS:
        raise ValueError(unknown("there is no split", split, SPLITS))
    n, seed = whole("n", n), whole("seed", seed, least=0)
    if isinstance(layout, str) and layout not in LAYOUTS:
        raise ValueError(unknown("there is no layout", layout, LAYOUTS))
    make, tokenizer = TASKS[task].prompts, tokenizer or micro_tokenizer()
    if layout == "any":
        return draw_pairs(task, make, n, seed, split, tokenizer)
    return _alike(_drawn(task, make, seed, split, tokenizer), n, task, split, layout)


def _drawn(
    task: str, make: Callable[[Draw, str], Prompts], seed: int, split: str, tokenizer: Encodes | None
) -> Iterator[Pair | str]:
    """Different pairs of the prompts that `make` draws, for ever; with a tokenizer those that it allows, with their
    roles, and in place of the others the word that it splits, or nothing for what came before."""
    tokens, seen = None if tokenizer is None else Tokens(tokenizer), set[str]()
    for number in itertools.count():
        prompts = make(Draw("pairs", task, split, seed, number), split)
        if prompts.clean in seen:
            yield ""
            continue
        seen.add(prompts.clean)
        split_word = None if tokens is None else tokens.first_split(prompts)
        roles = {} if tokens is None or split_word else roles_of(task, prompts, tokens.encode)
        yield split_word or Pair(*prompts[:4], roles=roles)


def draw_pairs(
    task: str, make: Callable[[Draw, str], Prompts], n: int, seed: int, split: str, tokenizer: Encodes | None
) -> Pairs:
    """n different pairs of the prompts that `make` draws; with a tokenizer those that it allows (see load_pairs)."""
    pairs: list[Pair] = []
    splits_words: Counter[str] = Counter()
    for drawn in itertools.islice(_drawn(task, make, seed, split, tokenizer), n * DRAWS):
        if isinstance(drawn, Pair):
            pairs.append(drawn)
            if len(pairs) == n:
                return Pairs(pairs, task, split)
        elif drawn:
            splits_words[drawn] += 1
    if splits_words:
        worst = [word for word, _ in splits_words.most_common(5)]
        raise ValueError(
            f"only {len(pairs)} of {n} pairs of {task!r} can be had with this tokenizer, since it splits "
            f"{', '.join(map(repr, worst))}"
            f"{' and others' if len(splits_words) > 5 else ''}: each must be one token."
        )
    raise ValueError(f"split {split!r} of {task!r} holds only about {len(pairs)} different pairs, {n} are asked for.")


def _alike(draws: Iterator[Pair | str], n: int, task: str, split: str, layout: str | Layout) -> Pairs:
    """n pairs of one layout: the one asked for, or the one of which n are there first."""
    from saekit.files.progress import Bar

    found: dict[Layout, list[Pair]] = {}
    with Bar(total=n, desc=f"pairs of one layout ({task})", unit=" pair", leave=False) as bar:
        for drawn in itertools.islice(draws, MOST_DRAWN):
            if isinstance(drawn, Pair) and layout in ("one", drawn.layout):
                same = found.setdefault(drawn.layout, [])
                same.append(drawn)
                bar.update(len(same) - bar.n if len(same) > bar.n else 0)
                if len(same) == n:
                    return Pairs(same, task, split)
    most = max(map(len, found.values()), default=0)
    raise ValueError(
        f"only {most} pairs of {task!r} were found of one layout, {n} are asked for: ask for fewer, or layout='any'."
    )


class Tokens:
    """What a tokenizer makes of prompts and answers."""

    def __init__(self, tokenizer: Encodes):
        def encode(text: str) -> list[int]:
            found = tokenizer.encode(text, add_special_tokens=False)
            return list(getattr(found, "ids", found))  # of the tokenizers library, or of transformers

        self.encode = encode
        self._single: dict[str, bool] = {}

    def first_split(self, prompts: Prompts) -> str | None:
        """The first word that is not one token where it must be, or None. Answers are judged as they follow the
        prompt."""
        clean, corrupt = self.encode(prompts.clean), self.encode(prompts.corrupt)
        if len(clean) != len(corrupt):
            words = zip(prompts.clean.split(), prompts.corrupt.split(), strict=False)
            return next(b for a, b in words if a != b)
        for answer in (*prompts.answers, *prompts.wrong):
            # How an answer is cut depends on the character before it alone, so it is asked once for each.
            key = prompts.clean[-1] + answer
            if key not in self._single:
                self._single[key] = self.encode(prompts.clean + answer)[:-1] == clean
            if not self._single[key]:
                return answer
        return None


@lru_cache(maxsize=1)
def micro_tokenizer() -> Any:
    """The tokenizer of the embedded model, as a data file: nothing of saekit.models is imported."""
    from tokenizers import Tokenizer

    return Tokenizer.from_str((files("saekit") / "models" / "micro" / "tokenizer.json").read_text(encoding="utf-8"))
