"""What notebooks quote holds at their own parameters; at others it is a sentence, and no assertion is without one."""

from __future__ import annotations

import ast
from pathlib import Path

import nbformat
import pytest

from saekit.checks import check_f1, check_here, check_quoted

NOTEBOOKS = sorted((Path(__file__).parents[2] / "notebooks").glob("*.ipynb"))


def test_what_is_quoted_holds_at_the_notebooks_own_parameters_alone():
    assert (
        check_quoted(True, True, "it is so.") == check_quoted(False, True, "it is so.") == "As the text says: it is so."
    )
    assert check_quoted(False, False, "it is so.") == "Not so with these parameters: it is so."
    with pytest.raises(AssertionError, match=r"the text says otherwise: it is so\."):
        check_quoted(True, False, "it is so.")


def test_an_answer_about_other_data_is_told_what_is_wrong_and_stops_nothing():
    with pytest.raises(AssertionError, match="f1 returned None"):
        check_here(True, check_f1, lambda *counts: None)
    assert check_here(False, check_f1, lambda *counts: None).startswith("With these parameters: f1 returned None")
    assert check_here(False, lambda: "Right: it is.") == "Right: it is."


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_a_notebook_knows_its_own_parameters(path):
    cells = [cell for cell in nbformat.read(path, 4).cells if cell.cell_type == "code"]
    own: dict[str, object] = {}
    exec(cells[0].source, own)
    names = [name for name in own if name not in ("__builtins__", "folder")]  # where it writes changes no number
    tree = ast.parse(cells[1].source)
    lines = [ast.unparse(node) for node in tree.body if isinstance(node, ast.Assign)]
    for name in (None, *names):
        given = dict(own) if name is None else own | {name: "another"}
        exec("\n".join(lines), given)
        assert given["as_written"] is (name is None), name


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_every_assertion_of_a_notebook_has_a_sentence(path):
    source = "\n".join(cell.source for cell in nbformat.read(path, 4).cells if cell.cell_type == "code")
    bare = [ast.unparse(node) for node in ast.walk(ast.parse(source)) if isinstance(node, ast.Assert) and not node.msg]
    assert not bare
