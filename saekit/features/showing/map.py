"""All latents of a store at once: points in a plane, near where their decoder rows point the same way."""

from __future__ import annotations

import html
import importlib
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Protocol

import numpy as np
from saekit_widgets.base import LIVE, Displayed, new_name, plain_bundle

from saekit.features.asking.listing import listing
from saekit.features.showing.map_worth import Worth, worth
from saekit.features.store import FeatureStore
from saekit.files.choices import checked
from saekit.files.stopping import stopped_with
from saekit.plots.renderer import picture_html
from saekit.plots.scatter import RAMP, colours, points

if TYPE_CHECKING:
    from collections.abc import Callable

    import altair
    import ipywidgets
    import pandas

METHODS = ("auto", "umap", "pca")
COLOURS = ("density", "concept", "max")
CLEAR = 0.3  # F1 from which on a latent counts as one of its concept
MARKED = "#12a35c"  # the point chosen, on any of the other colours and on any page
FAMILIES = 7  # of concepts with a colour of their own
BACK = OTHER, NONE = "other concepts", "no concept"  # drawn in grey


class Browser(Protocol):
    """What is used of a FeatureBrowser."""

    feature: int

    def on_select(self, callback: Callable[[int], Any]) -> Callable[[], None]:
        """Call it whenever another feature is chosen; returns a function that ends it."""


@stopped_with("stopped; no map was made.")
def feature_map(
    store: FeatureStore | str | Path,
    browser: Browser | None = None,
    method: Literal["auto", "umap", "pca"] = "auto",
    *,
    colour: Literal["density", "concept", "max"] = "density",
    seed: int = 0,
    height: int = 420,
) -> FeatureMap:
    """Every latent that fires as a point; dead ones are left out, and their number is said.

    store:   opened, or its folder.
    browser: a FeatureBrowser of the store: choosing a point opens it there, and what is opened there is marked here.
    method:  "pca": the two directions along which the unit decoder rows differ most. "umap" keeps near what is near,
             and makes up the distances between; it needs the package umap-learn. "auto": UMAP where that is installed.
    colour:  "density" (in powers), "max", or "concept": the family (entity, code …) of the labelled concept that the
             latent finds best, where it finds it with an F1 of .3 or more.
    seed:    of UMAP; PCA draws nothing at random. height: of the drawing, in pixels.
    Returns a FeatureMap, which draws itself. For example ``sk.feature_map(store, browser, colour="concept")``.
    Raises ModuleNotFoundError naming what is not installed, ValueError for anything else that cannot be.
    """
    store = _opened(store)
    checked("method", method, METHODS)
    checked("colour", colour, COLOURS)
    frame, dead = _latents(store)
    if colour == "concept" and not store.manifest["concepts"]:
        raise ValueError(
            'colour="concept" needs a labelled corpus, and that of the store has no labels: take "density".'
        )
    if not len(frame):
        raise ValueError(f"No latent of {store.folder} fires, so there is nothing to map.")
    jscatter = _needs("jscatter", "feature_map needs jupyter-scatter: pip install 'saekit[map]'.")
    rows = store.dictionary.decoder_rows(slice(None)).detach().float().cpu().numpy()[frame["latent"]]
    unit = rows / np.maximum(np.linalg.norm(rows, axis=1, keepdims=True), 1e-12)
    if method == "auto":
        method = "umap" if _is_there("umap") else "pca"
    place, how = _pca(unit) if method == "pca" else _umap(unit, seed)
    frame.insert(1, "x", place[:, 0])
    frame.insert(2, "y", place[:, 1])
    found = worth(unit, place, seed)
    return FeatureMap(jscatter, store, frame, browser, method=how, worth=found, colour=colour, dead=dead, height=height)


def _opened(store: Any) -> FeatureStore:
    if isinstance(store, str | os.PathLike):
        return FeatureStore(Path(store))
    if not isinstance(store, FeatureStore):
        raise TypeError(
            f"store is a feature store, as sk.FeatureStore.open(folder) gives it, or its folder; found a "
            f"{type(store).__name__}."
        )
    return store


class FeatureMap(Displayed):
    """A map of latents; made by `feature_map`, drawn by a notebook.

    positions: a row a latent: latent, x, y, density, max, label, hint (its best explanation, or else the words that it
    fires on most), concept, f1. selected: the latents chosen, by a
    click (one) or the lasso (many); can be set. browser: the one it is linked with. widget: what is drawn. method: how
    it was made. worth: how far what lies near is alike, beside chance (saekit.features.showing.map_worth).
    chart(): the picture that a saved notebook keeps. The live view is saved with a notebook only where JupyterLab's
    setting "Save Widget State Automatically" is on (it is off by default), and then takes 2 MB.
    jscatter, store, method, colour, dead, height: as `feature_map` gives them.
    """

    def __init__(
        self,
        jscatter: Any,
        store: FeatureStore,
        positions: pandas.DataFrame,
        browser: Browser | None,
        *,
        method: str,
        worth: Worth | None,
        colour: str,
        dead: int,
        height: int,
    ) -> None:
        self.positions, self.browser, self.dead, self.method, self.colour = positions, browser, dead, method, colour
        self.worth = worth
        self._store, self._version = store, store.labels_since(0)[0]
        self._row = {int(latent): row for row, latent in enumerate(positions["latent"])}
        self._families = _families(positions)
        self._scatter = self._drawn(jscatter, height)
        self._live = new_name()
        self.widget = self._framed()
        self._scatter.widget.observe(self._chosen, names="selection")
        if browser is not None:
            browser.on_select(self._opened)
            self._opened(browser.feature)

    # -- choosing -----------------------------------------------------------------------------------------------------

    @property
    def selected(self) -> list[int]:
        """The latents chosen; can be set."""
        rows = self._scatter.widget.selection
        return [] if rows is None else [int(self.positions["latent"].iloc[int(row)]) for row in rows]

    @selected.setter
    def selected(self, latents: list[int]) -> None:
        unknown = [latent for latent in latents if latent not in self._row]
        if unknown:
            raise ValueError(f"Latent {unknown[0]} is not on the map: it is dead, or not in the store.")
        self._scatter.widget.selection = np.array([self._row[latent] for latent in latents], np.uint32)

    def _chosen(self, _: Any) -> None:
        """A point was clicked: the browser follows. With several, from the lasso, it stays."""
        selected = self.selected
        if self.browser is not None and len(selected) == 1:
            self.browser.feature = selected[0]

    def _opened(self, latent: int) -> None:
        """The browser shows another feature: mark its point, if it has one and is not among those chosen."""
        self._take_labels()
        if latent not in self.selected:
            self.selected = [latent] if latent in self._row else []

    def _take_labels(self) -> None:
        """Labels written since: points at which nobody points need not be told."""
        self._version, changed = self._store.labels_since(self._version)
        for latent, entry in changed.items():
            if latent in self._row:
                self.positions.loc[self._row[latent], "label"] = entry["label"]
                if "explanation" in entry:
                    self.positions.loc[self._row[latent], "hint"] = entry["explanation"]
                row = self.positions.iloc[self._row[latent]]
                self._scatter.widget.data.loc[self._row[latent], "label"] = row["label"] or row["hint"]

    # -- drawing ------------------------------------------------------------------------------------------------------

    def _drawn(self, jscatter: Any, height: int) -> Any:
        """The live view. Its background is the page's own, so that it reads in light and dark; legend and title are
        outside it for the same reason."""
        import pandas
        from matplotlib.colors import to_rgba

        frame = self.positions
        tips = pandas.DataFrame(
            {
                "x": frame["x"],
                "y": frame["y"],
                "feature": frame["latent"].astype(str),
                "label": np.where(frame["label"] != "", frame["label"], frame["hint"]),
                "density": [f"{100 * density:.3g} %" for density in frame["density"]],
                "max": [f"{value:.2f}" for value in frame["max"]],
            }
        )
        common = {"axes": False, "background_color": (1, 1, 1, 0), "camera_distance": 1.08, "height": height}
        plot = jscatter.Scatter("x", "y", tips, opacity=0.85, opacity_unselected=0.6, **common)
        if self.colour == "concept":
            order = self._order()
            tips["shade"] = pandas.Categorical(self._families, order)
            tips["size"] = self._families.isin(BACK).map({True: "small", False: "large"})
            plot.color(by="shade", map=colours(order, BACK)).size(by="size", map={"small": 4, "large": 7})
            plot.order(by="shade", direction="desc")  # what has a colour lies above what has none
        else:
            numbers = self._numbers()
            tips["shade"] = np.log10(numbers) if self.colour == "density" else numbers
            plot.color(by="shade", map=RAMP).size(by="shade", map=[3, 4, 5, 6, 7, 8])
        plot.tooltip(True, properties=["feature", "label", "density", "max"], histograms=False)
        plot.options(regl_scatterplot_options={"pointSizeSelected": 5, "pointOutlineWidth": 2})
        marked = [to_rgba(MARKED)] * len(plot.widget.color)  # as many as there are colours, else each keeps its own
        plot.widget.color_selected = plot.widget.color_hover = marked
        return plot

    def _framed(self) -> ipywidgets.Widget:
        import ipywidgets

        about = f"<b>{html.escape(self._title())}</b> · {html.escape(self._subtitle())}"
        if self.worth is not None:
            about += f"<br>{html.escape(str(self.worth))}"
        caption = ipywidgets.HTML(
            f"<div {LIVE}='{self._live}' style='line-height:1.4'>{about}<br>{self._legend()}</div>"
        )
        return ipywidgets.VBox([caption, self._scatter.show(["pan_zoom", "lasso", "full_screen", "reset"])])

    def _legend(self) -> str:
        if self.colour == "concept":
            order = self._order()
            dot = "<span style='display:inline-block;width:9px;height:9px;border-radius:5px;background:{}'></span> {}"
            shades = zip(colours(order, BACK), order, strict=True)
            return " &ensp; ".join(dot.format(shade, html.escape(name)) for shade, name in shades)
        numbers, ramp = self._numbers(), ",".join(RAMP)
        low, high = (f"{value:.2g}" for value in (numbers.min(), numbers.max()))
        bar = f"display:inline-block;width:120px;height:8px;background:linear-gradient(to right,{ramp})"
        return f"{self.colour} {low} <span style='{bar}'></span> {high}{', in powers' * (self.colour == 'density')}"

    def _numbers(self) -> pandas.Series:
        return self.positions[self.colour].abs()

    def _title(self) -> str:
        return f"{len(self.positions):,} latents"

    def _subtitle(self) -> str:
        size = self.dead + len(self.positions)
        return f"dead {self.dead:,} of {size:,} ({100 * self.dead / size:.1f} %) left out · {self.method}"

    def _order(self) -> list[str]:
        found = set(self._families)
        named = [name for name in dict.fromkeys(self._families.value_counts().index) if name not in BACK]
        return [*named, *(name for name in BACK if name in found)]

    def chart(self) -> altair.Chart:
        """The map as a chart that needs no kernel: `.save("map.svg")`."""
        frame = self.positions.assign(concept=self._families, max=self.positions["max"].abs())
        order = self._order() if self.colour == "concept" else ()
        lines = [self._subtitle(), *str(self.worth or "").replace(". ", ".\n").splitlines()]
        words = {"title": self._title(), "subtitle": "\n".join(lines)}
        return points(frame, "x", "y", self.colour, log=self.colour == "density", order=order, grey=BACK, **words)

    def _live_view(self) -> tuple[dict[str, Any], dict[str, Any]]:
        return plain_bundle(self.widget._repr_mimebundle_())

    def _saved(self) -> str:
        """A picture for whatever shows the notebook without a kernel."""
        return picture_html(self.chart(), self._title())

    def __repr__(self) -> str:
        return f"<FeatureMap: {self._title()}, {self._subtitle()}>"


def _latents(store: FeatureStore) -> tuple[pandas.DataFrame, int]:
    """A row a latent that fires, and how many do not."""
    import pandas

    shown = listing(store)
    columns, names = shown["columns"], [*shown["concepts"], ""]
    said = {latent: text for latent, (text, _) in store.labels.best_explanations().items()}
    labels = [shown["labels"].get(latent, {}).get("label") or "" for latent in range(store.d_sae)]
    frame = pandas.DataFrame(
        {
            "latent": np.arange(store.d_sae),
            "density": columns["density"].astype(float),
            "max": columns["max"].astype(float),
            "label": pandas.Series(labels, dtype=object),
            "hint": pandas.Series([said.get(i, hint) for i, hint in enumerate(shown["hints"])], dtype=object),
            "concept": pandas.Series([names[number] for number in shown["concept"]], dtype=object),
            "f1": columns.get("f1", np.full(store.d_sae, np.nan)).astype(float),  # over arrays there are no concepts
        }
    )
    alive = frame["density"] > 0
    return frame[alive].reset_index(drop=True), int((~alive).sum())


def _families(frame: pandas.DataFrame) -> pandas.Series:
    """The first part of each latent's concept where that is found clearly, the commonest by name."""
    family = frame["concept"].str.split(".").str[0].where(frame["f1"] >= CLEAR, NONE)
    common = family[family != NONE].value_counts().sort_index().sort_values(ascending=False, kind="stable")
    return family.where(family.isin([*common.index[:FAMILIES], NONE]), OTHER)


def _pca(unit: np.ndarray) -> tuple[np.ndarray, str]:
    from sklearn.decomposition import PCA

    found = PCA(min(2, *unit.shape), svd_solver="covariance_eigh")
    place = found.fit_transform(unit)
    largest = np.abs(found.components_).argmax(
        axis=1
    )  # an axis and its opposite are the same: its largest entry is > 0
    place = place * np.sign(found.components_[np.arange(len(largest)), largest])
    place = np.pad(place, [(0, 0), (0, 2 - place.shape[1])])
    share = float(np.nansum(found.explained_variance_ratio_))
    return place, f"PCA of the unit decoder rows: these two directions hold {100 * share:.1f} % of their variance"


def _umap(unit: np.ndarray, seed: int) -> tuple[np.ndarray, str]:
    umap = _needs(
        "umap", 'method="umap" needs umap-learn: pip install umap-learn; method="pca" needs nothing that is not here.'
    )
    place = umap.UMAP(n_components=2, metric="cosine", random_state=seed).fit_transform(unit)
    return np.asarray(place, float), "UMAP of the decoder rows by cosine: near is alike, far says little"


def _is_there(module: str) -> bool:
    try:
        importlib.import_module(module)
    except ImportError:
        return False
    return True


def _needs(module: str, sentence: str) -> Any:
    try:
        return importlib.import_module(module)
    except ImportError as error:
        raise ModuleNotFoundError(sentence) from error
