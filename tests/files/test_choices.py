"""The closest of what is known, in one wording; and nobody else looks for it by a way of its own."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

import saekit
from saekit.files.choices import checked, offered, unknown

SPLITS = ("train", "heldout", "unseen")


@pytest.mark.parametrize(
    ("given", "known", "sentence"),
    [
        ("held_out", SPLITS, "there is no split 'held_out'; the closest is 'heldout' (of train, heldout, unseen)."),
        ("zzz", SPLITS, "there is no split 'zzz'; the closest is 'unseen' (of train, heldout, unseen)."),
        (None, ("one",), "there is no split None; the only one is 'one'."),
        ("x", {}, "there is no split 'x'; there is none."),
        ("s25x", [f"s{i}" for i in range(10, 40)], "there is no split 's25x'; the closest is 's25'."),
    ],
)
def test_one_wording(given, known, sentence) -> None:
    assert unknown("there is no split", given, known) == sentence
    assert offered(given, known) in sentence


def test_what_is_known_passes_and_the_rest_is_refused() -> None:
    assert checked("split", "train", SPLITS) == "train"
    for given in ("trian", 3, None, ["train"]):
        with pytest.raises(
            ValueError, match=r"^split cannot be .*; the closest is '\w+' \(of train, heldout, unseen\)"
        ):
            checked("split", given, SPLITS)


def test_the_closest_is_looked_for_here_alone() -> None:
    """In saekit difflib has one home; judge.py compares words with parts of concepts, which is no choice."""
    package = Path(saekit.__file__).parent
    using = {
        str(path.relative_to(package).as_posix())
        for path in package.rglob("*.py")
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.Import) and any(alias.name == "difflib" for alias in node.names)
    }
    assert using == {"files/choices.py", "features/explanations/judge.py"}
