"""A check answers with a sentence: no quotes in a notebook, no page of traceback where the answer is wrong."""

from __future__ import annotations

import inspect
from typing import Any

import pytest

from saekit import checks

RIGHT, WRONG = (
    "checks.check_f1(lambda h, f, p: 2 * h / (f + p) if f + p else 0.0)",
    "checks.check_f1(lambda h, f, p: h / f)",
)


@pytest.fixture(scope="module")
def shell() -> Any:
    found = pytest.importorskip("IPython.core.interactiveshell").InteractiveShell.instance()
    found.user_ns["checks"] = checks
    return found


def test_praise_is_read_as_it_stands(shell: Any) -> None:
    praise = eval(RIGHT)
    assert isinstance(praise, str) and repr(praise) == str(praise) == f"{praise}" and praise.startswith("Right")
    assert shell.display_formatter.format(praise)[0] == {"text/plain": str(praise)}
    quoted = checks.check_quoted(True, True, 'it says "so", and it\'s so.')
    assert shell.display_formatter.format(quoted)[0]["text/plain"] == 'As the text says: it says "so", and it\'s so.'


def test_a_diagnosis_in_a_notebook_is_one_line(shell: Any, capsys: pytest.CaptureFixture[str]) -> None:
    result = shell.run_cell(WRONG)
    shown = capsys.readouterr()
    assert isinstance(result.error_in_exec, AssertionError)
    assert (shown.out + shown.err).strip() == f"Not yet: {result.error_in_exec}" and "precision" in shown.out


def test_a_diagnosis_in_a_script_is_an_assertion_that_names_the_mistake_alone() -> None:
    with pytest.raises(AssertionError, match="is the precision alone") as raised:
        eval(WRONG)
    assert raised.value.__cause__ is None and raised.value.__context__ is None
    assert len(raised.traceback) <= 3, "no frame of the check's own"


def test_every_check_answers_so_and_keeps_its_name_and_help() -> None:
    for name in checks.__all__:
        check = getattr(checks, name)
        assert check.__name__ == name and check.__doc__ and "answering" in check.__code__.co_filename
        assert list(inspect.signature(check).parameters) == list(inspect.signature(check.__wrapped__).parameters)
