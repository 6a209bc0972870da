"""What pytest holds tests to: shapes as annotated, markers that are known, warnings that are errors."""

from __future__ import annotations

import re
import tomllib
import warnings
from pathlib import Path

import pytest
import torch
from jaxtyping import Float, TypeCheckError, jaxtyped
from shapes import checked, has_shape
from torch import Tensor

from saekit import metrics

ROOT = Path(__file__).parents[2]
PYTEST = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["tool"]["pytest"]["ini_options"]


@jaxtyped(typechecker=checked)
def halves(x: Float[Tensor, " n"], other: int = 0) -> tuple[Float[Tensor, " half"], Float[Tensor, " half"]]:
    if len(x) > 10:
        raise ValueError("too many")
    return x[: len(x) // 2], x[len(x) // 2 :]


def test_what_an_annotation_says_of_a_shape_is_checked() -> None:
    assert [len(half) for half in halves(torch.ones(4))] == [2, 2]
    with pytest.raises(TypeCheckError, match="return value"):
        halves(torch.ones(3))
    with pytest.raises(TypeCheckError):
        halves(torch.ones(4, 2))
    with pytest.raises(TypeCheckError):
        halves(torch.ones(4, dtype=torch.int64))


def test_what_a_function_refuses_it_says_itself_and_other_types_are_not_looked_at() -> None:
    with pytest.raises(ValueError, match="too many"):
        halves(torch.ones(12, 3))
    halves(torch.ones(4), other="no number")  # type: ignore[arg-type]
    assert has_shape(Float[Tensor, " n"] | None) and has_shape(dict[str, Float[Tensor, ""]]) and not has_shape(Tensor)


def test_saekits_own_functions_are_checked() -> None:
    assert hasattr(metrics.explained_variance, "__wrapped__")


def test_every_marker_is_known_and_means_something() -> None:
    ours = {line.partition(":")[0] for line in PYTEST["markers"]}
    tests = [path.read_text(encoding="utf-8") for path in (ROOT / "tests").rglob("test_*.py")]
    used = {name for text in tests for name in re.findall(r"pytest\.mark\.(\w+)", text)}
    assert used - {"filterwarnings", "parametrize", "skipif", "timeout", "usefixtures"} == ours
    assert "--strict-markers" in PYTEST["addopts"]


def test_a_warning_is_an_error() -> None:
    with pytest.raises(DeprecationWarning, match="old"):
        warnings.warn("old", DeprecationWarning, stacklevel=1)
