"""FeatureStore: what a dictionary's latents do on a corpus, in a folder of Parquet files that opens alone.

`FeatureStore.build` reads the corpus; `FeatureStore.open` needs neither model nor corpus. Tables are asked through
DuckDB (`store.sql`); their columns are described in saekit.features.schema. Labels, stars and notes are kept in SQLite,
so that two notebooks can write at once.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from saekit.activations.source import Readable
from saekit.dictionaries import Dictionary
from saekit.features import schema
from saekit.features.asking import held_out, numbers
from saekit.features.asking.answers import Answer, Examples, Histogram
from saekit.features.asking.definitions import KINDS, definitions
from saekit.features.asking.heads import Sources, sources
from saekit.features.asking.hints import names
from saekit.features.asking.listing import facts, listing
from saekit.features.asking.on_token import firing_on, on_token
from saekit.features.asking.opened import OpenedStore
from saekit.features.asking.view import bin_edges, concepts, examples, feature_view, neighbours
from saekit.features.asking.windows import Windows
from saekit.features.explanations import (
    Explanation,
    ExplanationScore,
    Judge,
    Proposals,
    parse,
    propose,
    score,
)
from saekit.features.explanations.every import AUTHOR, CANDIDATES, Row, as_row, explain_each, simplest
from saekit.features.explanations.scoring import FEWEST
from saekit.features.labels.exchange import Imported, export_labels, import_labels
from saekit.features.showing.card import Card
from saekit.features.showing.neuronpedia import write_neuronpedia
from saekit.features.showing.prompt import features_on
from saekit.files.choices import checked
from saekit.files.paths import shown
from saekit.files.stopping import stopped_with

if TYPE_CHECKING:
    import pandas
    from saekit_widgets.protocols import FeatureView, Listing, PromptView
    from transformer_lens.model_bridge import TransformerBridge


Kind = Literal["top", "interval", "quantile", "random", "near"]


class FeatureStore(OpenedStore):
    """A store of features: build one, open one, ask it. In a browser: `sk.FeatureBrowser(store, model=model)`.

    `FeatureStore(folder)` opens one, as `FeatureStore.open(folder)` does."""

    @classmethod
    def build(
        cls,
        model: TransformerBridge | Any,
        dictionary: Dictionary,
        source: Readable,
        folder: str | Path,
        tokens: int | None = None,
        *,
        top: int = 20,
        per_band: int = 4,
        random: int = 10,
        loss_examples: int = 4,
        loss_effects: Literal["opened", "all"] = "opened",
        most_firings: int = 10_000,
        exclude: Sequence[str] | str = (),
        context: int | None = None,
        seed: int = 0,
        engine: Literal["local", "ray"] = "local",
        workers: int = 2,
    ) -> FeatureStore:
        """Read a corpus and keep what every latent does on it; the same call on an unfinished store goes on with it.

        Stopped (Ctrl-C, ■), it returns what there is: the features of the tokens read by then, with ``finished`` False.
        Such a store is for looking at; its labels are kept when the same call goes on.

        Over activations of one's own, build(x, dictionary, strings, folder): x is an array [n, d] (a tensor, NumPy's, a
        frame, the path of a .npy file) or a mapping from sites to such; its rows stand in place of tokens, each shown
        as its string or, with None, as its number. There is no text around them, so there are no logits, loss effects
        and concepts.

        model, dictionary: a dictionary of this model, or the run that trained it. source: a corpus, a list of strings,
                       or token ids. folder: of the store.
        tokens:        counted tokens to read; None reads a finite corpus once.
        top, random:   how many examples of these kinds a latent gets; per_band of each of five intervals and quantiles.
        loss_effects:  "opened": they are measured when a feature is opened with the model at hand, and kept; "all":
                       now, of every latent, which doubles the time a store takes and more.
        loss_examples: so many of the top and of the random examples are run again without the latent; 0: none.
        most_firings:  a latent that fires more often keeps a random sample of so many firings, and those that its
                       examples show; its numbers are of all.
        exclude:       special tokens that are not counted, by their text; "special": all that the tokenizer has.
        context:       tokens in a row at most, BOS included; default what the model can.
        seed:          of everything drawn at random.
        engine:        "local", or "ray": the model is read on `workers` processes of a Ray cluster; the same store.
        Returns the store, opened. For example
        `store = sk.FeatureStore.build(model, sae, corpus, "stores/first", tokens=200_000)`.
        Raises ValueError for a folder that holds another store (naming the fields: the text, the dictionary, the model
        as it is now and every setting are held against it), a dictionary of another model, an endless corpus without
        `tokens`, NaN or infinite activations.
        """
        from saekit.features.building.build import Build  # the builder, SciPy with it: nobody who reads needs them
        from saekit.features.building.settings import Settings

        settings = Settings(
            tokens=tokens,
            top=top,
            per_band=per_band,
            random=random,
            loss_examples=loss_examples,
            loss_effects=loss_effects,
            most_firings=most_firings,
            exclude=exclude,
            context=context,
            seed=seed,
        )
        build = Build(model, dictionary, source, folder, settings, engine, workers)
        build.run()
        return cls.open(build.folder)

    @classmethod
    def open(cls, folder: str | Path) -> FeatureStore:
        """Open a store, without model or corpus; one that was stopped half built opens with what there is, ``finished``
        False. Returns it: `store = sk.FeatureStore.open("stores/first")`.

        folder: that it was built in.
        Raises ValueError for a folder that is none, has nothing to open yet, is being built, or is of another
        version."""
        return cls(folder)

    # -- about all latents -------------------------------------------------------------------------------------------

    def latents(
        self, filter: Mapping[str, Any] | None = None, sort: Sequence[Any] | None = None, *, all: bool = False
    ) -> pandas.DataFrame:
        """A row a latent, by number: latent, label ("" where it has none), density, firings, detection, concept (the
        best matches), top_tokens, top_logits, loss_effect, f1, max_activation, star, and columns of one's own.

        filter, sort: as a FeatureBrowser's: those alone that its list shows, in its order; {} leaves out those that
        never fire. all: the whole table latents (saekit.features.schema), every column and the note.
        For example `store.latents({"f1": [0.8, None]}, ["density", True])`.
        Raises ValueError for what filter and sort cannot be, naming the nearest."""
        return numbers.frame(self, filter, sort, all)

    def on_token(self, token: str) -> pandas.DataFrame:
        """The latents that fire on a token, given as its text to the letter, such as " Lily": the most frequent first.

        A row a latent: latent, name, firings on it, max_activation on it, share_of_token (of its counted occurrences),
        share_of_latent (of all firings of the latent). Of latents of which the store keeps a sample of the firings they
        are estimated from it. Raises ValueError for a token that was never counted, naming the nearest that was."""
        return on_token(self, token)

    # -- about one latent --------------------------------------------------------------------------------------------

    def feature(self, latent: int, model: TransformerBridge | None = None) -> Card:
        """A card of one latent, drawn without script or kernel. With the model its loss effect is measured where it
        was not yet and can be."""
        if model is not None and self.measurable(self.row(latent)):
            self.measure_loss_effects(model, [latent])
        view = feature_view(self, latent)
        called = names(self, [row["latent"] for row in view["neighbours"]])
        label = self.labels.get(latent)["label"]
        return Card(view, shown(self.folder), facts(self.manifest), label, called)

    def examples(self, latent: int, kind: Kind = "top") -> Examples:
        """Examples: "top", "interval", "quantile", "random" or "near"; each states its definition.

        latent: its number. kind: which of them, in the words of `.definition`."""
        checked("kind", kind, schema.KINDS)
        row = self.row(latent)
        found = examples(self, row["latent"], (kind,))
        strongest = max(abs(row["max_activation"]), abs(row["min_activation"]))
        shown, bands = [example for example, _, _ in found], [band for _, _, band in found]
        return Examples(row["latent"], kind, shown, bands, strongest, KINDS[kind])

    def histogram(self, latent: int) -> Histogram:
        """Non-zero activations in 40 equal bins: low, high, count.

        latent: its number."""
        row = self.row(latent)
        counts = row["histogram"] or []
        edges = bin_edges(row["min_activation"], row["max_activation"], counts)
        bins = zip(edges[:-1], edges[1:], counts, strict=True)
        rows = [{"low": low, "high": high, "count": count} for low, high, count in bins]
        return Histogram(row["latent"], rows, self._definition("histogram"))

    def logits(self, latent: int) -> Answer:
        """The tokens it promotes and suppresses most at its maximum: side, token, id, effect.

        latent: its number."""
        row = self.row(latent)
        rows = [
            {"side": side, "token": self.text_of(token), "id": token, "effect": effect}
            for side in ("top", "bottom")
            for token, effect in zip(row[f"{side}_tokens"] or [], row[f"{side}_logits"] or [], strict=True)
        ]
        return Answer(row["latent"], rows, self._definition("logits"))

    def neighbours(self, latent: int) -> Answer:
        """The nearest by decoder cosine and by co-activation: latent, cosine, phi, label."""
        known = self.labels.all()
        rows = neighbours(self.row(latent))
        rows = [
            {"latent": row["latent"], "label": known.get(row["latent"], {}).get("label", ""), **row} for row in rows
        ]
        return Answer(self.number(latent), rows, self._definition("neighbours"))

    def concepts(self, latent: int) -> Answer:
        """The labelled concepts that it finds best: concept, f1, precision, recall, threshold, share. They are chosen
        and ordered on one half of the documents; the numbers are of the other.

        latent: its number."""
        return Answer(self.number(latent), concepts(self.row(latent)), self._definition("f1"))

    def sources(self, latent: int) -> Sources:
        """Of a dictionary at ``attn.hook_z``: which source tokens and which heads the strongest examples of a latent
        come from, and how much of it lies in each head; frozen, drawn, with ``.frame()`` and ``.by_head()``.

        latent: its number. For example `store.sources(12).frame()`.
        Raises ValueError for a store that does not know them, saying why."""
        latent = self.number(latent)
        return sources(self, latent, self._definition("sources") if schema.by_heads(self.manifest) else "")

    def loss_effect(self, latent: int, model: TransformerBridge | None = None) -> Answer:
        """Nats that a firing saves, the mean over firings drawn at random; and how many these were. With the model it
        is measured where it was not yet.

        latent: its number."""
        if model is not None:
            self.measure_loss_effects(model, [latent])
        row = self.row(latent)
        rows = [{"loss_effect": row["loss_effect"], "firings": row["loss_tokens"]}]
        return Answer(row["latent"], rows, self._definition("loss_effect"))

    def measure_loss_effects(self, model: TransformerBridge, latents: Sequence[int] | None = None) -> int:
        """Measure what building with loss_effects="opened" left: of these latents, or of all that fire. What was
        measured is kept in the store; returns how many latents were new.

        Raises ValueError for another model, and where edits are not offered at the site."""
        from saekit.features.asking.measuring import keep_measured

        return keep_measured(self, model, latents)

    def _definition(self, panel: str) -> str:
        return definitions(self.manifest)[panel]["text"]

    # -- explanations ------------------------------------------------------------------------------------------------

    def windows(self, latent: int) -> Windows:
        """The windows of its examples, with the labelled concepts of each token: explanations are written from them.

        latent: its number."""
        return held_out.seen(self, self.number(latent))

    def held_out(self, latent: int, n: int = 50, seed: int = 0) -> tuple[Windows, Windows]:
        """n windows in which it fires and n in which it does not, of documents that no example of it shows; fewer where
        there are not so many.

        latent: its number. seed: of the draw."""
        return held_out.held_out(self, self.number(latent), n, seed)

    def propose(self, latent: int, most: int = 8) -> Proposals:
        """Explanations that suit its examples, from labels and token statistics, the best first.

        latent: its number. most: so many at most."""
        return propose(self.windows(latent), most=most)

    @stopped_with("stopped; no score is kept.")
    def explain(
        self,
        latent: int,
        explanation: Explanation,
        judge: Judge | None = None,
        *,
        author: str = "you",
        n: int = 50,
        seed: int = 0,
    ) -> ExplanationScore:
        """Score an explanation on held-out windows and keep it: a browser shows it, and sorts and filters by its score.

        explanation: a predicate, its text such as "concept(entity.person) & ~tokens(' I')", or free text with a `judge`
        that reads it (ChatJudge, LocalJudge). Without a judge, raises ValueError for a concept that the corpus has not.
        latent: its number. author: stored beside it. n: windows of a kind. seed: of their draw.
        """
        if judge is None:
            try:
                predicate = parse(explanation) if isinstance(explanation, str) else explanation
            except ValueError as error:
                needed = "free text needs a chat model: judge=sk.features.ChatJudge(url, model) or LocalJudge(model)"
                raise ValueError(f"{str(error).removesuffix('.')}; {needed}.") from None
            # A concept that the corpus does not have holds nowhere: its score of .50 would pass for a measured one.
            explanation = parse(str(predicate), self.manifest["concepts"] or ())
        result = score(explanation, *self.held_out(latent, n, seed), judge=judge, seed=seed)
        self.labels.add_explanation(*as_row(latent, explanation, author, result.detection, result.fuzzing))
        return result

    def explain_all(
        self, filter: Mapping[str, Any] | None = None, judge: Judge | None = None, *, n: int = 50, seed: int = 0
    ) -> pandas.DataFrame:
        """An explanation for every latent that fires and has none yet, in the order of a browser's list, so that this
        list has names.

        Each is one of those that `propose` makes, the best for its length: a name is short. It is scored on held-out
        windows as `explain` does and kept, with the author "propose"; unscored where there are fewer than two windows
        of a kind, or only a sample of the firings. It takes about a tenth of a second a latent. Ctrl-C keeps what is
        done, and the same call goes on with the rest.

        filter: as of `latents`: only those that it lets pass.
        judge:  scores them, such as a ChatJudge; by default each predicate judges by itself.
        n:      windows of a kind. seed: of their draw.
        Returns a row an explanation of these latents, those of before too: latent, explanation, detection, fuzzing,
        author. Raises ValueError for a filter that cannot be, and what the judge raises.
        """
        most_firings = self.manifest["settings"]["most_firings"]
        firings = self.database.columns("select firings from latents order by latent")["firings"]

        def explain(latent: int) -> Row | None:
            proposals = self.propose(latent, CANDIDATES)
            if not proposals:
                return None
            explanation = simplest(proposals)
            windows = self.held_out(latent, n, seed) if firings[latent] <= most_firings else ([], [])
            if min(map(len, windows)) < FEWEST:
                return as_row(latent, explanation, AUTHOR)
            result = score(explanation, *windows, judge=judge, seed=seed)
            return as_row(latent, explanation, AUTHOR, result.detection, result.fuzzing)

        return explain_each(self.labels, [i for i in self.matching(filter or {}) if firings[i]], explain)

    # -- labels ------------------------------------------------------------------------------------------------------

    def set_label(
        self, latent: int, label: str | None = None, *, star: bool | None = None, note: str | None = None
    ) -> dict[str, Any]:
        """Name a latent, star it, write a note: what is given changes, the rest stays. Returns what is now stored.

        latent: its number. label: "" takes it away."""
        return self.labels.set(latent, label=label, star=star, note=note)

    def labels_since(self, version: int) -> tuple[int, dict[int, dict[str, Any]]]:
        """The labels' version now, and those that anybody changed after `version`."""
        return self.labels.since(version)

    def export_labels(self, path: str | Path) -> Path:
        """Labels, stars, notes and explanations as one JSON file.

        path: of the file. Returns it."""
        return export_labels(self.labels, path)

    def import_labels(self, path: str | Path, replace: bool = False) -> Imported:
        """Take in what export_labels wrote; what is here already stays, and the file fills what is empty. `replace`
        makes everything as the file says. Returns how many were added, and how many stayed as they were here.

        path: of the file.
        Raises ValueError for a file that is none, of another dictionary or with latents that are not there; nothing is
        changed then."""
        return import_labels(self.labels, path, replace)

    def export_neuronpedia(self, folder: str | Path, latents: Sequence[int] | None = None) -> Path:
        """Write a Neuronpedia feature JSON for each latent (default: those that fire), the same numbers as here.

        folder: made where it is not there; returned. latents: their numbers."""
        return write_neuronpedia(self, folder, latents)

    # -- for a browser (saekit_widgets.protocols.FeatureSource) ------------------------------------------------------

    def listing(self) -> Listing:
        """What a browser needs of all latents at once."""
        return listing(self)

    def matching(self, filter: Mapping[str, Any], sort: Sequence[Any] | None = None) -> list[int]:
        """The numbers of the latents that a browser's list shows, in its order.

        filter, sort: as a FeatureBrowser's."""
        return numbers.matching(self, filter, sort)

    def firing_on(self, search: str) -> list[int]:
        """The latents that clearly fire on the token that a search names, with or without a space before it: on a tenth
        of its occurrences or more, or with a tenth of their firings. None where it is no token."""
        return firing_on(self, search)

    def view(self, latent: int) -> FeatureView:
        """Everything that a browser shows of one latent. Raises NoSuchLatent where there is none."""
        return feature_view(self, latent)

    def measured(self, model: TransformerBridge, latent: int) -> dict[str, float | None]:
        """The loss effect of a latent, measured now and kept where it waited for the model."""
        return {"loss_effect": self.loss_effect(latent, model).rows[0]["loss_effect"]}

    def on_prompt(self, model: TransformerBridge, text: str) -> PromptView:
        """Which latents fire on a prompt; strengths are relative to the store's maxima.

        model: the store's. text: the prompt."""
        self.check_model(model)
        exclude = self.manifest["settings"].get("exclude", ())
        return features_on(model, self.dictionary, text, exclude=exclude).view(self.strongest)

    def card(self, latent: int) -> str:
        """The card of one latent as HTML."""
        return self.feature(latent).html
