"""The numbers of each latent, each once: what it is, how it is made, how it is written.

The list of a browser with its filters and sorting, the header, the "?", the card, the exported page and the frame of
`store.latents()` draw what stands here. One of your own is an entry more:

    from saekit.features import Column, columns
    columns.register(Column("entropy", "Entropy of its firings over documents.", lambda store: entropies))
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any, Literal, Protocol, get_args

import numpy as np
from jaxtyping import Float
from saekit_widgets.protocols import ColumnWords, Fact

from saekit.features import schema
from saekit.metrics.attention import FAMILIES
from saekit.metrics.labelled import MINIMUM
from saekit.metrics.shared import shared_latents
from saekit.models import Site

if TYPE_CHECKING:
    from saekit.dictionaries import Dictionary
    from saekit.features.asking.database import Database
    from saekit.features.labels.labels import Labels

Scale = Literal["linear", "log"]
Format = Literal["fixed", "percent", "share", "signed", "whole"]


class Opened(Protocol):
    """What of an opened store a column may be made from."""

    manifest: dict[str, Any]
    d_sae: int
    tokens: int
    labels: Labels
    database: Database

    @property
    def dictionary(self) -> Dictionary:
        """That it was made from."""

    def measurable(self, row: dict[str, Any]) -> bool:
        """Whether the loss effect of a latent, given as its row, waits for the model."""

    def was_measured(self, latent: int) -> bool:
        """Whether its loss effect was measured after the store was built, whatever came out."""


Manifest = dict[str, Any]
Numbers = Float[np.ndarray, " d_sae"]


@dataclass(frozen=True)
class Column:
    """One number of each latent.

    name:       in frames, filters and sorting: a Python name.
    definition: what it is, in sentences, behind the "?"; `{over}` becomes the tokens that the store counted. Or a
                function of the store's manifest that says it.
    values:     an expression of DuckDB's SQL over the table latents, or a function of the opened store that gives an
                entry a latent, NaN where it was not measured.
    title:      what it is called; by default its name. `head` where room is short.
    of:         what of the latent it judges; the best matched "concept" is named beside it.
    scale:      of the filter's axis.
    format:     "fixed" 3.14, "percent" 3.1 (of a share .031), "share" .83, "signed" +0.117, "whole" 3.
    names:      what a whole number 0, 1 … stands for, where it is no quantity.
    unit:       said after it.
    code:       the Python call that gives it; "{latent}" is the feature shown.
    filterable: whether the list has a filter for it. in_header: whether it stands over a feature, and on its card.
    of_text:    whether a store over arrays of one's own, which have no text, goes without it.
    only:       whether a store of this manifest has it; None: every store.
    changes:    whether a function's values may be others while the store is open: else it is called once.
    fact:       (store, row of the table latents) → its number of one latent, with what else is to be said; by default
                the value alone.
    """

    name: str
    definition: str | Callable[[Manifest], str]
    values: str | Callable[[Opened], Numbers]
    title: str = ""
    head: str = ""
    of: Literal["", "concept"] = ""
    scale: Scale = "linear"
    format: Format = "fixed"
    names: tuple[str, ...] = ()
    unit: str = ""
    code: str = ""
    filterable: bool = True
    in_header: bool = True
    of_text: bool = False
    only: Callable[[Manifest], bool] | None = None
    changes: bool = False
    fact: Callable[[Opened, dict[str, Any]], Fact] | None = None

    def __post_init__(self) -> None:
        if not self.name.isidentifier():
            raise ValueError(f"the name of a column is a Python name such as 'entropy', found {self.name!r}.")
        for field, known in (("scale", get_args(Scale)), ("format", get_args(Format))):
            if getattr(self, field) not in known:
                raise ValueError(f"{field} of a column is one of {', '.join(known)}, found {getattr(self, field)!r}.")

    @property
    def words(self) -> ColumnWords:
        """As a browser gets it."""
        title = self.title or self.name.replace("_", " ")
        return ColumnWords(
            name=self.name,
            title=title,
            head=self.head or title,
            of=self.of,
            scale=self.scale,
            format=self.format,
            names=list(self.names),
            unit=self.unit,
            filterable=self.filterable,
            in_header=self.in_header,
        )


def rows_or_tokens(manifest: Manifest) -> str:
    """What is counted."""
    return "rows" if schema.over_arrays(manifest) else "counted tokens"


def _density(store: Opened, row: dict[str, Any]) -> Fact:
    return Fact(
        value=row["density"],
        more=f"It fired on {row['firings']:,} {'rows' if schema.over_arrays(store.manifest) else 'tokens'}.",
    )


def _max(store: Opened, row: dict[str, Any]) -> Fact:
    value, low = row["max_activation"], row["min_activation"]
    return Fact(value=value, low=low) if low < 0 else Fact(value=value)


def _f1(store: Opened, row: dict[str, Any]) -> Fact:
    """The best concept's; the numbers beside it are of the judging half of the documents."""
    if not row["concept"]:
        return Fact(value=None)
    f1, precision, recall, threshold, share = (
        row[f"concept_{name}"][0] for name in ("f1", "precision", "recall", "threshold", "share")
    )
    more = f"Precision {_share(precision)}, recall {_share(recall)}, threshold {threshold:.2f}. "
    more += f"{_share(share)} of all its firings lie in it."
    return Fact(value=f1, what=row["concept"][0], aside=f"{share:.0%} of its firings", more=more)


def _share(value: float) -> str:
    """A share without its leading zero, as the browser writes it: .83, 1.00."""
    return f"{value:.2f}".removeprefix("0")


def _loss_effect(store: Opened, row: dict[str, Any]) -> Fact:
    value = row["loss_effect"]
    if value is not None:
        return Fact(value=value, more=f"Mean over {row['loss_tokens']:,} firings drawn at random.")
    if not row["firings"]:
        return Fact(value=None, more=f"It never fired in {store.tokens:,} {rows_or_tokens(store.manifest)}.")
    if store.measurable(row):
        how = f"a browser with the model does it when the feature is opened, store.loss_effect({row['latent']}, model) "
        return Fact(value=None, more=f"Not measured yet: {how}now.", later=True)
    return Fact(value=None, more=f"Not measured: {_why_not(store, row)}.")


def _why_not(store: Opened, row: dict[str, Any]) -> str:
    """Why a latent that fires will have no loss effect."""
    if not store.manifest["settings"]["loss_examples"]:
        return "the store was built with loss_examples=0"
    others = store.database.rows("select 1 from latents where loss_effect is not null limit 1")
    if others or store.was_measured(row["latent"]):
        return "no firing drawn at random is followed by a token"
    return f"edits are not offered at {', '.join(store.manifest['dictionary']['writes'])}"


def _loss_effect_definition(manifest: Manifest) -> str:
    later = " It is measured when a feature is opened with the model at hand: list and filter know it of those."
    later = later if manifest["settings"].get("loss_effects") == "opened" else ""
    return (
        "Nats that a firing saves: loss of the next token without the latent minus loss with it, the latent removed "
        f"from every counted token of the row and the model run on. Mean over up to "
        f"{manifest['settings']['loss_examples']} firings drawn at random; the underline of a token is its own. A "
        f"firing at the end of a row has no next token and is left out.{later} {{over}}"
    )


def _of_heads(expression: str, store: Opened) -> Numbers:
    """An expression over the table heads, of every latent."""
    query = f"select ({expression})::float as value from latents left join heads using (latent) order by latent"
    return store.database.columns(query)["value"]


def _whose(store: Opened) -> Numbers:
    return shared_latents(store.dictionary).share[: store.d_sae].numpy()


def _whose_definition(manifest: Manifest) -> str:
    names = models_of(manifest)
    first, second = names if len(names) == 2 else ("the first model", "the second")
    return (
        f"Whose it is: ‖b‖ / (‖a‖ + ‖b‖), a and b its decoder rows in {first} and {second}: near 0 {first} alone has "
        f"it, near 1 {second} alone, near .5 both. Over no token. A share far from .5 is no proof: look at where it "
        "fires (2504.02922)."
    )


def models_of(manifest: Manifest) -> list[str]:
    """The names of the several models that a store's dictionary writes; none where it is one."""
    return [*dict.fromkeys(name for site in manifest["dictionary"]["writes"] if (name := Site(site).model))]


def _over_two_models(manifest: Manifest) -> bool:
    return len(models_of(manifest)) == 2


def _detection(store: Opened) -> Numbers:
    found = np.full(store.d_sae, np.nan)
    for latent, (_, detection) in store.labels.best_explanations().items():
        found[latent] = np.nan if detection is None else detection
    return found


COLUMNS = (
    Column(
        "density",
        "Share of counted tokens with z ≠ 0. {over}",
        "density",
        scale="log",
        format="percent",
        unit="%",
        fact=_density,
    ),
    Column(
        "max",
        "Its strongest activation, max |z|; of codes with a sign its range, from lowest to highest z. List, filter and "
        "colours go by max |z|. {over}",
        "greatest(abs(max_activation), abs(min_activation))",
        code='store.latents(all=True)[["min_activation", "max_activation"]]',
        fact=_max,
    ),
    Column(
        "f1",
        "The labelled concept that it finds best, at token level: predicted where z > t. The concept and t (tenths of "
        "its maximum) were chosen on every second document, F1, precision and recall are of the others; the share is "
        f"of all its firings there, whatever t. Concepts of fewer than {MINIMUM} tokens are left out. {{over}}",
        "concept_f1[1]",
        title="concept F1",
        head="F1",
        of_text=True,
        of="concept",
        format="share",
        code="store.concepts({latent})",
        fact=_f1,
    ),
    Column(
        "loss_effect",
        _loss_effect_definition,
        "loss_effect",
        head="effect",
        of_text=True,
        format="signed",
        unit="nats",
        code="store.loss_effect({latent})",
        fact=_loss_effect,
    ),
    Column(
        "detection",
        "The best detection of its explanations: balanced accuracy of telling windows in which it fires from windows "
        "in which it does not. Over held-out windows of counted tokens; left out: documents that an example here shows "
        "(2410.13928).",
        _detection,
        format="share",
        in_header=False,
        changes=True,
    ),
    Column(
        "head",
        "The head of the attention layer that most of its decoder row lies in: of all heads k that of the largest "
        "‖d_i,[k]‖. Over no token (2406.17759).",
        partial(_of_heads, "list_position(decoder_share, list_max(decoder_share)) - 1"),
        format="whole",
        code="store.sources({latent})",
        only=schema.by_heads,
    ),
    Column(
        "head_share",
        "How much of its decoder row lies in that head: ‖d_i,[k]‖ / Σ_j ‖d_i,[j]‖. Over no token (2406.17759).",
        partial(_of_heads, "list_max(decoder_share)"),
        title="head share",
        format="share",
        code="store.sources({latent})",
        only=schema.by_heads,
    ),
    Column(
        "family",
        "Where most of what its heads bring together, by |contribution|, comes from at the peaks of its top examples: "
        "induction, half of it from tokens right behind an earlier copy of the peak's token; local, half from at most "
        "five tokens back; else long-range. The boundaries are saekit's own.",
        partial(_of_heads, f"list_position({list(FAMILIES)}, family) - 1"),
        format="whole",
        names=FAMILIES,
        code="store.sources({latent})",
        only=schema.by_heads,
    ),
    Column("share", _whose_definition, _whose, format="share", only=_over_two_models),
)
"""The first two stand in every row of the list."""

_TAKEN = {
    *schema.HEADS.names,
    *schema.LATENTS.names,
    "label",
    "star",
    "note",
    "saved",
    "hint",
    "search",
    "starred",
    "dead",
    "usual",
}
_own: dict[str, Column] = {}


def register(column: Column) -> None:
    """Every store shows this column from now on, in browsers that are opened later. One of the same name that was
    registered before goes. Raises ValueError for a name that stores already use."""
    if column.name in _TAKEN | {known.name for known in COLUMNS}:
        raise ValueError(
            f"a store has {column.name!r} already: give the column another name, such as own_{column.name}."
        )
    _own[column.name] = column


def columns_of(manifest: Manifest) -> tuple[Column, ...]:
    """Those that a store has."""
    arrays = schema.over_arrays(manifest)
    return tuple(
        column
        for column in all_columns()
        if not (arrays and column.of_text) and (column.only is None or column.only(manifest))
    )


def all_columns() -> tuple[Column, ...]:
    """Those of every store, and after them those registered."""
    return (*COLUMNS, *_own.values())
