"""The protocol of metrics: what evaluate asks of one, and what a metric says of its numbers."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable

from jaxtyping import Bool
from torch import Tensor

from saekit.activations import TokenRows
from saekit.dictionaries import Dictionary
from saekit.dictionaries.coded import Coded
from saekit.models import Passed


@dataclass(frozen=True)
class Number:
    """A number and how it is defined. digits: decimal places that are shown. beside: what it is read beside, in a few
    words, such as "1 is all"; a report that is printed says it in place of the definition.

    name, value: of the number."""

    name: str
    value: float
    definition: str
    digits: int = 4
    beside: str = ""


@runtime_checkable
class Result(Protocol):
    """A named result of a metric that has several numbers, or more than numbers."""

    @property
    def numbers(self) -> Sequence[Number]:
        """What a report shows of it."""


class Metric(ABC):
    """Something measured of a dictionary on a corpus: ``begin``, then ``update`` for each batch, then ``result``."""

    def begin(self, model: Any, dictionary: Dictionary, concepts: Sequence[str]) -> None:
        """Before the first batch: what is measured, and the names of the labels. Begins anew where it was used before.
        model: None where there are activations alone; several by their names where the dictionary is over these.
        concepts: the names of the labels.
        Raises ValueError where the metric cannot be measured here."""
        return None

    @abstractmethod
    def update(self, batch: Coded) -> None:
        """Look at the next tokens, in the order of the text.

        batch.x, batch.codes, batch.target, batch.x_hat: activations by site, codes, and reconstruction of n tokens.
        batch.beside: "tokens" [n], ids; "chooses" [n], True where the document lies in the half that chooses (every
        second one of a kind) and False where it lies in the half that judges; "documents" [n], the number of its
        document; "labels" [n, concepts], True inside a span of the concept.
        """

    @abstractmethod
    def result(self) -> Number | Result | None:
        """The number, or a named result that has ``numbers``; None where there was nothing to measure."""

    def close(self) -> None:
        """After everything, an interruption too: let go of what is held outside memory."""
        return None


class RowMetric(Metric):
    """A metric of the model's predictions: it looks at whole rows of text, and may run the model on them again.

    of: of several models, the name of the one whose logits it wants; None: the first."""

    of: str | None = None

    @abstractmethod
    def wanted(self, rows: TokenRows) -> Bool[Tensor, "row position"]:
        """Where in the rows that come next it wants the clean logits."""

    @abstractmethod
    def read(self, rows: TokenRows, clean: Passed) -> None:
        """The clean pass over rows: activations at the sites read and written, and the logits [n, d_vocab] where they
        were wanted. Not called for rows where none were."""

    def update(self, batch: Coded) -> None:
        """Rows are all it needs."""
