"""What the widgets need from the library, as types; anything of this shape will do."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NotRequired, Protocol, TypedDict

import numpy as np


class TrainingProgress(Protocol):
    """Where a training run stands, handed to its callback. It may have `seconds_left`, a number or None, `stopped`, the
    sentence of the last call of a run that was stopped, else "", and `waited`, the share of the time since the last
    call (0 to 1) for which training waited for activations."""

    @property
    def tokens(self) -> int:
        """Tokens trained on so far."""

    @property
    def total_tokens(self) -> int:
        """Tokens of the whole run."""

    @property
    def seconds(self) -> float:
        """Seconds of training so far, earlier sessions of a resumed run included."""

    @property
    def metrics(self) -> Mapping[str, float]:
        """The latest numbers by name: `loss`, `explained_variance`, `l0`, `dead` …; nan where not measured."""

    @property
    def finished(self) -> bool:
        """True in the last call of a run at its end."""


Number = float | None
"""a measured number; None where it was not measured or does not exist"""


class Example(TypedDict):
    """A stretch of text around one token, the peak. Pieces are what a reader sees: the tokens of one character that
    takes several (byte fallback) are one piece. Lists have an entry a piece."""

    value: float  # activation at the peak; for a near miss how far it is below the weakest firing (negative)
    document: int
    position: int  # of the peak in its document, in tokens
    peak: int  # index of the peak's piece
    pieces: list[str]
    tokens: list[list[int]]  # token ids of each piece
    values: list[float]  # activation, 0 where silent
    logit_effect: list[Number]  # on the token that really follows
    loss_effect: list[Number]  # nats
    copies: int  # further examples with the same text, which are not shown
    sources: NotRequired[list[Source]]  # where its peak comes from, in a store that knows it; the strongest first


class Source(TypedDict):
    """What one head of an attention layer brings to the peak of an example from one token."""

    piece: int | None  # index of its piece; None outside of the stretch that is shown
    text: str  # of the token
    back: int  # tokens from the peak back to it
    head: int
    contribution: float  # to the pre-activation


class Band(TypedDict):
    """One of the equal-width (intervals) or equal-count (quantiles) parts of a feature's firings, by |z|."""

    low: float
    high: float
    count: int
    examples: list[Example]


class ColumnWords(TypedDict):
    """A number of each latent, as a list draws it."""

    name: str  # in filters and sorting
    title: str
    head: str  # the title where room is short
    of: str  # "concept" where it judges the matched concept, which is named beside it; else ""
    scale: str  # of its filter: linear, log
    format: str  # fixed, percent (of a share), share, signed, whole
    names: NotRequired[list[str]]  # what its whole numbers 0, 1 … stand for, where they are no quantities
    unit: str
    filterable: bool
    in_header: bool


class Fact(TypedDict):
    """A column's number of one latent."""

    value: Number
    low: NotRequired[float]  # where it is the upper end of a range: the lower one
    what: NotRequired[str]  # what it judges
    aside: NotRequired[str]  # said after it where there is room
    more: NotRequired[str]  # a sentence for after the definition; where it was not measured, why
    later: NotRequired[bool]  # True: not measured yet, and it will be where a model is at hand


class FeatureView(TypedDict):
    """Everything that a browser shows of one feature; None where the store has no such thing, with `absent` saying why
    by the name of the panel."""

    latent: int
    firings: int
    density: float
    maximum: float
    minimum: float  # below 0 only for signed codes
    mean: Number  # of the firings, as are the moments below
    std: Number
    skewness: Number
    kurtosis: Number
    decoder_norm: float
    numbers: dict[str, Fact]  # by column, those of a feature's header
    concepts: list[dict[str, Any]]  # concept, f1, precision, recall, threshold, share; best first
    histogram: dict[str, Any] | None  # edges (bins + 1), counts (bins): of non-zero activations
    logits: dict[str, Any] | None  # top, bottom: [piece, value] pairs; edges, counts: over the vocabulary
    neighbours: list[dict[str, Any]]  # latent, cosine, phi (None: not measured); the union of the nearest by either
    examples: dict[str, Any]  # top, random, near: list[Example]; interval, quantile: list[Band], strongest first
    explanations: list[dict[str, Any]]  # text, author, detection, fuzzing
    heads: NotRequired[Heads | None]  # where the store knows them
    next_alive: int | None  # the next latent that fires, for a dead one
    absent: dict[str, str]  # histogram, logits, neighbours, examples, sources, … → one sentence; logits: or no panel


class Heads(TypedDict):
    """The heads of an attention layer that a feature comes from: an entry a head, each list adding up to 1."""

    decoder: list[float]  # ‖d_i,[k]‖ / Σ_j ‖d_i,[j]‖
    activation: list[float] | None  # share of what they bring to its top examples; None where it never fires
    family: str | None  # induction, local, long-range
    induction: Number  # share of it from behind earlier copies of the token
    local: Number  # from at most five tokens back
    constant: float  # of the pre-activation, beside what the heads bring


class UsualOrder(TypedDict):
    """The order in which latents are listed until somebody sorts them."""

    by: str  # the column that it mostly goes by, which the list shows
    words: str  # all that it goes by


class Listing(TypedDict):
    """What a browser needs of all features at once. Arrays are little-endian, one entry a latent."""

    store: str  # what tells it from every other: edits that wait for a kernel go to it alone
    title: str  # the store's folder, the whole path
    model: str
    site: str
    facts: str  # "TopK k = 32 · 500,000 tokens of microworld/train"
    d_sae: int
    about: list[ColumnWords]  # two at least, which stand in every row
    columns: dict[str, np.ndarray]  # float32, in the order of `about`; nan: not measured
    usual: np.ndarray  # int32: each latent's place in the usual order
    order: UsualOrder
    dead: np.ndarray  # bool: never fires
    concept: np.ndarray  # int16, index into `concepts` of the best match, −1 for none
    concepts: list[str]
    hints: list[str]  # for each latent the words that it fires on most: shown where there is no label
    labels: dict[
        int, dict[str, Any]
    ]  # latent → label, star, note, saved (ISO 8601, local time), explanation (the best)
    # What a "?" opens: list, examples, histogram, logits, neighbours, prompt, explanations, each column by its name
    # → title, text, code; "{latent}" in the code is the feature shown. What is missing has no "?".
    definitions: dict[str, dict[str, str]]
    no_prompt: NotRequired[str]  # why no prompt can be read, whatever model there is


class PromptView(TypedDict):
    """Features on a prompt of the reader's own."""

    pieces: list[str]  # BOS first, where the model has one
    counted: list[bool]
    latents: list[int]  # that fire anywhere, the strongest relative to their maximum first
    values: np.ndarray  # float32 [latent, piece]
    maxima: list[float]  # of each latent in the store
    cut: int  # tokens that did not fit the context
    seconds: float


class FeatureSource(Protocol):
    """What the feature browser shows: a feature store, or anything of this shape."""

    def check_model(self, model: Any) -> None:
        """Raises ValueError naming both when it was made on another model."""

    def listing(self) -> Listing:
        """All features at once."""

    def matching(self, filter: Mapping[str, Any], sort: Sequence[Any] | None) -> Sequence[int]:
        """The latents that the list shows, in its order. filter and sort are checked ones; None: the usual order."""

    def latents(self, filter: Mapping[str, Any], sort: Sequence[Any] | None, *, all: bool = False) -> Any:
        """The same as a frame, with what one looks at first, or all that is known of them."""

    def firing_on(self, search: str) -> Sequence[int]:
        """The latents that clearly fire on the token that a search names; none where it names none. A list that is
        searched shows them beside those in whose texts the search is found."""

    def view(self, latent: int) -> FeatureView:
        """Raises ValueError with a sentence to show when it cannot be read."""

    def measured(self, model: Any, latent: int) -> Mapping[str, Number]:
        """Measure what of a feature waits for the model, and keep it: its numbers, by the names of their columns.
        Raises ValueError with a sentence to show."""

    def measure_loss_effects(self, model: Any, latents: Sequence[int]) -> int:
        """The same of several, with progress; how many were new."""

    def on_prompt(self, model: Any, text: str) -> PromptView:
        """Which features fire on a text. Raises ValueError with a sentence to show when it cannot be read."""

    def set_label(
        self, latent: int, *, label: str | None = None, star: bool | None = None, note: str | None = None
    ) -> dict[str, Any]:
        """Change what is given, keep the rest; returns what is now stored: label, star, note, saved."""

    def labels_since(self, version: int) -> tuple[int, dict[int, dict[str, Any]]]:
        """The labels' version now, and those changed after `version` (by anybody who has the store open). An entry may
        have an explanation as well, and a number by the name of its column, which is new; None: no longer measured."""

    def card(self, latent: int) -> str:
        """One feature as static HTML, for a notebook without a kernel."""
