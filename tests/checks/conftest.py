"""What the tests of checks share."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest


@pytest.fixture
def judged() -> Callable[..., None]:
    """judged(check, answer, diagnosis): the check praises the answer, or where there is a diagnosis raises it."""

    def judged(check: Callable[[Any], str], answer: Any, diagnosis: str | None) -> None:
        if diagnosis is None:
            assert check(answer).startswith("Right")
            return
        with pytest.raises(AssertionError, match=diagnosis):
            check(answer)

    return judged
