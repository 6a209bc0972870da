"""FeatureBrowser: every feature of a store, one at a time, with its evidence, in a notebook or as one HTML file."""

from __future__ import annotations

import math
import pathlib
import traceback
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import traitlets
from tqdm.std import tqdm

from saekit_widgets.base import Widget, progress_stream
from saekit_widgets.exporting import all_kept, feature_of, part_of, short, short_floats, without_paths
from saekit_widgets.filtering import checked_filter, checked_sort, no_argument, unknown, whole
from saekit_widgets.packing import packed_view, plain
from saekit_widgets.page import Answer, offline_page
from saekit_widgets.protocols import FeatureSource

TABS = ("top", "interval", "quantile", "random", "near")
HEIGHT, LEAST, MOST = 680, 320, 4000  # px: of a new browser, and between which it may be; in height.js too
EXPORTED = 50  # of the features that pass the filter, in the order of the list

_TOLD = ("store", "title", "model", "site", "facts", "d_sae", "order", "concepts", "definitions")  # of a listing
_NO_PROMPT = "A prompt needs the model: {way}."
_SAVED = "This is a saved file: it has no kernel."
_STATIC = pathlib.Path(__file__).parent / "static"


class _Checked(traitlets.Any):
    """What it may be is checked by the browser, in one sentence; a trait of a type would say its own first."""

    allow_none = False


class FeatureBrowser(Widget):
    """Browse the features of a store: `sk.FeatureBrowser(store, model=model)`.

    With a model, the reader can type a prompt and see which features fire on it. State can be read and set from Python:
    `feature` (the latent shown), `filter`, `sort`, `tab`, `height` (pixels; the edge along the bottom drags it too),
    `starred` (kept in the store). `filter` is a dict with any of the store's columns by name (density, max …): [low,
    high], where None leaves a side open, or a name where its numbers have names; search, concept: text; starred, dead:
    True or False. Dead features are listed only where something asks for them. `sort` is [column, descending]; None,
    the usual order, has on top what is worth reading first: those that find a labelled concept best,
    special tokens last; without labels those of middling density, the strongest first. It opens with the first of its
    list. `latents()` is the list that was filtered. `error` says what went wrong in the browser. Raises ValueError for
    a model that is not the store's, naming both.
    """

    _esm = _STATIC / "feature_browser.js"

    feature = _Checked(0).tag(sync=True)
    filter = _Checked({}).tag(sync=True)
    starred = _Checked([]).tag(sync=True)
    sort: Any = _Checked(None).tag(sync=True)
    tab = _Checked("top").tag(sync=True)
    height = _Checked(HEIGHT).tag(sync=True)
    error = traitlets.Unicode("").tag(sync=True)

    def __init__(
        self,
        store: FeatureSource,
        model: Any = None,
        *,
        feature: int | None = None,
        filter: Mapping[str, Any] | None = None,
        sort: Iterable[Any] | None = None,
        tab: str = "top",
        height: int = HEIGHT,
        **others: Any,
    ) -> None:
        if others:
            raise TypeError(no_argument(next(iter(others))))
        store = self._source(store)
        # The checks of the traits below need these.
        if model is not None:
            store.check_model(model)
        self._store, self._model = store, model
        self._listing = store.listing()
        self._labels = {int(latent): entry for latent, entry in self._listing["labels"].items()}
        self._take_labels(0)
        given = {"feature": 0 if feature is None else feature, "filter": {} if filter is None else filter}
        super().__init__(**given, sort=sort, tab=tab, height=height, starred=self._stars(), error="")
        if feature is None:
            self.feature = next(iter(self._store.matching(self.filter, self.sort)), 0)
        self.on_msg(self._answer)

    @staticmethod
    def _source(store: Any) -> FeatureSource:
        """What was given as the store. Raises TypeError for what is none."""
        if not callable(getattr(store, "listing", None)):
            raise TypeError(
                f"store is a feature store, as sk.FeatureStore.build(model, sae, corpus, folder) or "
                f"sk.FeatureStore.open(folder) give it, found a {type(store).__name__}: "
                "sk.FeatureBrowser(store, model=model)."
            )
        return store

    # -- state --------------------------------------------------------------------------------------------------------

    @traitlets.validate("feature")
    def _check_feature(self, proposal: Any) -> int:
        return self._latent(proposal["value"], "feature")

    @traitlets.validate("starred")
    def _check_starred(self, proposal: Any) -> list[int]:
        return sorted(set(self._latents(proposal["value"], "starred")))

    @traitlets.validate("filter")
    def _check_filter(self, proposal: Any) -> dict[str, Any]:
        ranges = {one["name"]: one.get("names", ()) for one in self._listing["about"] if one["filterable"]}
        return checked_filter(proposal["value"], ranges, self._listing["concepts"])

    @traitlets.validate("sort")
    def _check_sort(self, proposal: Any) -> list[Any] | None:
        return checked_sort(proposal["value"], list(self._listing["columns"]))

    @traitlets.validate("tab")
    def _check_tab(self, proposal: Any) -> str:
        if not isinstance(proposal["value"], str) or proposal["value"] not in TABS:
            raise ValueError(unknown("tab", proposal["value"], TABS))
        return str(proposal["value"])

    @traitlets.validate("height")
    def _check_height(self, proposal: Any) -> int:
        height = whole(proposal["value"])
        if height is None or not LEAST <= height <= MOST:
            near = HEIGHT if height is None else min(max(height, LEAST), MOST)
            raise ValueError(
                f"height is a whole number of pixels from {LEAST} to {MOST}, not {proposal['value']!r}; "
                f"{'usual' if height is None else 'the closest'} is {near}."
            )
        return height

    @traitlets.observe("starred")
    def _keep_stars(self, change: Any) -> None:
        """Stars set from Python go into the store, and every view is told; what it does not take is not starred."""
        now, kept = set(change["new"]), []
        try:
            for latent in sorted(now ^ set(self._stars())):
                self._labels[latent] = self._store.set_label(latent, star=latent in now)
                kept.append(latent)
        finally:
            self._show_stars()
            if kept:
                self.send({"kind": "labels", "labels": self._listed(kept)})

    def on_select(self, callback: Callable[[int], Any]) -> Callable[[], None]:
        """Call `callback(latent)` whenever another feature is chosen; returns a function that ends it."""

        def chosen(change: Any) -> None:
            callback(int(change["new"]))

        self.observe(chosen, names="feature")
        return lambda: self.unobserve(chosen, names="feature")

    def latents(self, *, all: bool = False) -> Any:
        """The list as it is filtered and sorted: a frame, a row a latent, its columns those of `store.latents`.

        all: every column that the store has."""
        return self._store.latents(self.filter, self.sort, all=all)

    # -- messages -----------------------------------------------------------------------------------------------------

    def _answer(self, _: Any, content: dict[str, Any], buffers: list[Any]) -> None:
        """A view asks; it always gets an answer with its id."""
        reply, out = self._reply(content)
        self.send({**reply, "id": content.get("id")}, buffers=list(out))

    def _reply(self, content: Mapping[str, Any]) -> Answer:
        kind = content.get("kind")
        work = {
            "listing": self._send_listing,
            "feature": self._send_feature,
            "measure": self._send_measured,
            "token": self._send_token,
            "prompt": self._send_prompt,
            "label": self._send_label,
            "labels": self._send_labels,
            "export": self._send_export,
        }
        if kind not in work:
            message = f"FeatureBrowser does not know the message {kind!r}; it knows {', '.join(work)}."
            return {"kind": "error", "message": message}, ()
        try:
            reply, out = work[kind](content)
        except Exception as error:  # whatever it is, the view hears of it and lives on
            message = str(error).strip() or type(error).__name__
            if not isinstance(error, ValueError):
                message = f"{type(error).__name__}: {message}"
            return {"kind": "error", "message": message, "details": traceback.format_exc()}, ()
        return {"kind": kind, **plain(reply)}, out

    def _send_listing(self, content: Mapping[str, Any]) -> Answer:
        self._take_labels(self._version)  # a label may be newer than what any view has asked for
        self._show_stars()
        off = {}
        if self._model is None:
            off["prompt"] = self._listing.get("no_prompt") or _NO_PROMPT.format(way="pass model=… to FeatureBrowser")
        return self._said({**self._listing, "labels": self._labels}, off=off, version=self._version)

    def _said(self, listing: Mapping[str, Any], **more: Any) -> Answer:
        """A listing as a message."""
        labels = [{"latent": int(latent), **plain(entry)} for latent, entry in listing["labels"].items()]
        head = {key: listing[key] for key in _TOLD}  # type: ignore[literal-required]
        reply = {"columns": listing["about"], "labels": labels, "has_model": self._model is not None, **head, **more}
        columns = [np.ascontiguousarray(column, "<f4").tobytes() for column in listing["columns"].values()]
        hints = "\0".join(hint.replace("\0", "␀") for hint in listing["hints"])
        concept = np.ascontiguousarray(listing["concept"], "<i2").tobytes()
        dead = np.ascontiguousarray(listing["dead"], "u1").tobytes()
        usual = np.ascontiguousarray(listing["usual"], "<f4").tobytes()  # whole numbers below 2²⁴
        return reply, (*columns, usual, concept, dead, hints.encode("utf-8", "replace"))

    def _send_feature(self, content: Mapping[str, Any]) -> Answer:
        latent = self._latent(content.get("latent"), "feature")
        view, numbers = packed_view(self._store.view(latent))
        return {"latent": latent, "view": view}, (numbers,)

    def _send_measured(self, content: Mapping[str, Any]) -> Answer:
        """Measure what waits for the model; every view hears of the numbers, and takes the feature anew."""
        if self._model is None:
            raise ValueError("Measuring needs the model: pass model=… to FeatureBrowser.")
        latent = self._latent(content.get("latent"), "feature")
        measured = self._store.measured(self._model, latent)
        for name, value in measured.items():
            self._listing["columns"][name][latent] = math.nan if value is None else value
        self.send({"kind": "labels", "labels": [{"latent": latent, **plain(self._labels.get(latent, {})), **measured}]})
        return {"latent": latent}, ()

    def _send_token(self, content: Mapping[str, Any]) -> Answer:
        """What of a search is no text of the list: the latents that fire on the token that it names."""
        latents = self._store.firing_on(str(content.get("text", "")))
        return {}, (np.asarray(latents, "<f4").tobytes(),)

    def _send_prompt(self, content: Mapping[str, Any]) -> Answer:
        if self._model is None:
            raise ValueError("A prompt needs the model: pass model=… to FeatureBrowser.")
        reply: dict[str, Any] = dict(self._store.on_prompt(self._model, str(content.get("text", ""))))
        values = np.ascontiguousarray(reply.pop("values"), "<f4")
        return reply, (values.tobytes(),)

    def _send_label(self, content: Mapping[str, Any]) -> Answer:
        latent = self._latent(content.get("latent"), "label")
        changes = {key: content[key] for key in ("label", "star", "note") if content.get(key) is not None}
        self._labels[latent] = self._store.set_label(latent, **changes)
        self._show_stars()
        self.send({"kind": "labels", "labels": self._listed([latent])})  # to the other views of this browser
        return {"latent": latent, "stored": self._labels[latent]}, ()

    def _send_labels(self, content: Mapping[str, Any]) -> Answer:
        changed = self._take_labels(int(content.get("since", 0)))
        self._show_stars()
        return {"version": self._version, "labels": self._listed(changed)}, ()

    def _take_labels(self, since: int) -> Iterable[int]:
        """Take in what anybody stored after the version `since`; the latents of which there is news."""
        self._version, changed = self._store.labels_since(since)
        self._labels.update(changed)
        for name, column in self._listing["columns"].items():
            for latent, entry in changed.items():
                if name in entry:
                    column[latent] = math.nan if entry[name] is None else entry[name]
        return changed

    def _send_export(self, content: Mapping[str, Any]) -> Answer:
        name = f"{self._folder or 'features'}_{self.feature}.html"
        return {"name": name}, (self._page(None, quiet=True).encode("utf-8"),)

    # -- a file -------------------------------------------------------------------------------------------------------

    def export_html(
        self,
        path: str | pathlib.Path,
        features: Iterable[int] | int | None = None,
        *,
        effects: bool = False,
    ) -> pathlib.Path:
        """Write one self-contained HTML file that opens without a network or a kernel, and return its path; folders on
        the way are made. Stopped, it leaves no file.

        features: what it holds and lists; by default the one shown, those starred, and the first 50 that pass the
                  filter, in the order of the list.
        effects:  measure first what of their loss effects is not in the store, which needs the model; else the file
                  says of how many it has them.
        """
        path = pathlib.Path(path).expanduser().resolve()
        if path.is_dir():
            raise ValueError(f"path is a file to write, as {str(path / 'features.html')!r}; {str(path)!r} is a folder.")
        page = self._page(features, effects=effects)
        path.parent.mkdir(parents=True, exist_ok=True)
        unfinished = path.with_name(f".{path.name}.unfinished")
        try:
            unfinished.write_text(page, encoding="utf-8")
            unfinished.replace(path)
        finally:
            unfinished.unlink(missing_ok=True)
        return path

    def _page(self, features: Iterable[int] | int | None, *, effects: bool = False, quiet: bool = False) -> str:
        chosen = self._exported(features)
        if effects:
            self._measure(chosen)
        self._take_labels(self._version)
        self._show_stars()
        paths = [self._listing["title"], self._listing["model"]]
        with all_kept():
            answers, near, waiting = self._kept(chosen, paths, quiet)
        part = part_of({**self._listing, "labels": self._labels}, chosen, near, waiting)
        off = dict.fromkeys(("edit", "save", "token"), _SAVED)
        off["prompt"] = part.get("no_prompt") or _NO_PROMPT.format(way="open the browser in a notebook")
        head, buffers = self._said(part, off=off, version=0, has_model=False, inside=chosen)
        answers["listing"] = (plain({"kind": "listing", **head}), buffers)
        answers["labels"] = ({"kind": "labels", "version": 0, "labels": []}, ())
        shown = self.feature if self.feature in chosen or not chosen else chosen[0]
        state = {name: getattr(self, name) for name in ("filter", "sort", "tab")}
        state |= {"starred": [latent for latent in self.starred if latent in chosen], "feature": shown, "error": ""}
        count = "one feature" if len(chosen) == 1 else f"{len(chosen):,} features"
        return offline_page(
            title=f"{part['title']} · {shown}",
            module=(_STATIC / "feature_browser.js").read_bytes(),
            state={**state, "fill": True},
            answers=answers,
            refusals={"feature": f"Not in this file: it holds {count} of {self._listing['d_sae']:,}."},
        )

    def _exported(self, features: Iterable[int] | int | None) -> list[int]:
        """What a file holds, in the order of the list."""
        if features is not None:
            return list(dict.fromkeys(self._latents(features, "features")))
        first = self._store.matching(self.filter, self.sort)[:EXPORTED]
        return list(dict.fromkeys([self.feature, *self.starred, *first]))

    def _measure(self, latents: Sequence[int]) -> None:
        if self._model is None:
            raise ValueError("effects=True needs the model: pass model=… to FeatureBrowser.")
        if self._store.measure_loss_effects(self._model, latents):
            self._listing = self._store.listing()

    def _kept(
        self, latents: Sequence[int], paths: Sequence[str], quiet: bool
    ) -> tuple[dict[str, Answer], set[int], Counter[str]]:
        """The answers that a file has on its features, their neighbours, and how many lack a number, by column."""
        answers: dict[str, Answer] = {}
        near: set[int] = set()
        waiting: Counter[str] = Counter()
        inside = set(latents)
        for latent in tqdm(
            latents, "features", unit=" feature", delay=2, leave=False, disable=quiet, file=progress_stream()
        ):
            reply, out = self._reply({"kind": "feature", "latent": latent})
            reply.pop("details", None)  # names folders of the machine it was made on, as may the sentence
            if "message" in reply:
                reply["message"] = without_paths(reply["message"], paths)
            else:
                view = reply["view"]
                near |= {row["latent"] for row in view["neighbours"]}
                waiting.update(name for name, fact in view["numbers"].items() if fact.get("later"))
                reply = {**reply, "view": short(feature_of(view, inside, paths))}
                out = [short_floats(buffer) for buffer in out]
            answers[f"feature:{latent}"] = (reply, out)
        return answers, near, waiting

    # -- helpers ------------------------------------------------------------------------------------------------------

    def _latent(self, value: Any, name: str) -> int:
        size, number = self._listing["d_sae"], whole(value)
        if number is None or not 0 <= number < size:
            near = "" if number is None else f"; the closest is {0 if number < 0 else size - 1}"
            raise ValueError(f"{name} names latents from 0 to {size - 1}, not {value!r}{near}.")
        return number

    def _latents(self, values: Any, name: str) -> list[int]:
        """Several, or one alone."""
        several: Any = isinstance(values, Iterable) and not isinstance(values, str) and getattr(values, "ndim", 1)
        return [self._latent(value, name) for value in values] if several else [self._latent(values, name)]

    @property
    def _folder(self) -> str:
        """The name of the store's folder, without the way there."""
        return pathlib.PurePath(self._listing["title"]).name

    def _stars(self) -> list[int]:
        return sorted(latent for latent, entry in self._labels.items() if entry.get("star"))

    def _show_stars(self) -> None:
        self.starred = self._stars()

    def _listed(self, latents: Iterable[int]) -> list[dict[str, Any]]:
        return [{"latent": int(latent), **plain(self._labels[latent])} for latent in latents]

    def _saved(self) -> str:
        """The feature as static HTML, for whatever shows the notebook without a kernel."""
        return self._store.card(self.feature)

    def __repr__(self) -> str:
        listing = self._listing
        end = "/".join(pathlib.PurePath(listing["title"]).parts[-2:])  # of a long path, as in the page
        return f"<FeatureBrowser: {end}, feature {self.feature} of {listing['d_sae']:,}>"
