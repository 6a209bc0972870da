"""Tomorrow: the notebook is saved, its kernel restarted, the page reloaded. Whatever widget it showed, its card stands
there, and no view says that its model was not found.

Every widget there is has a line in WIDGETS; one to come fails the first test until it has one too.
"""

from __future__ import annotations

import importlib
import json
import pkgutil
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import nbformat
import pytest

sys.path.insert(0, str(Path(__file__).resolve().parent))
from lab_driver import Lab

VIEW = "application/vnd.jupyter.widget-view+json"
STORE = """
import numpy as np, saekit as sk, torch
from types import SimpleNamespace
from IPython.display import display
torch.manual_seed(0)
torch.set_num_threads(1)
x = torch.randn(600, 16)
sae = sk.TopK(d_sae=64, k=8).build(sk.Wiring("x"), {"x": 16})
sae.latent_max.copy_(torch.ones(64))
store = sk.FeatureStore.build(x, sae, [f"row {n}" for n in range(600)], "stores/rows")
def step(n, **more):
    metrics = {"loss": 1 / n, "explained_variance": 1 - 1 / n}
    made = {"tokens": n, "total_tokens": 9, "seconds": 1.0 * n, "metrics": metrics, "finished": n == 9}
    return SimpleNamespace(**made | more)
def train(monitor, last):
    for n in range(1, last + 1):
        monitor(step(n))
"""
# What makes one, by class; and a word that its card says.
WIDGETS = {
    "FeatureBrowser": ("sk.FeatureBrowser(store, feature=5)", "Strongest examples"),
    "FeatureMap": ("sk.feature_map(store)", ""),
    "TrainingMonitor": ("sk.TrainingMonitor()", "0 of 0 tokens"),
}
CELLS = [
    *(made for made, _ in WIDGETS.values()),
    "print('above')\ndisplay(sk.FeatureBrowser(store, feature=6))\nprint('below')",
    "browser = sk.FeatureBrowser(store, feature=7)\ndisplay(browser, browser)",
    "monitor = sk.TrainingMonitor()\ntrain(monitor, 9)",
    "train(monitor, 4)\nmonitor(step(4, finished=True))  # stopped",
    "train(sk.TrainingMonitor(), 3)  # its kernel goes away",
]
CARDS = [1, 1, 1, 1, 2, 1, 1, 1]  # in each of these cells
LIVE = [(1, 0), (1, 0), (1, 0), (1, 0), (2, 0), (0, 1), (1, 0), (1, 0)]  # views and cards that are seen at first: a
# monitor that watches another run leaves the card of the first


def leaves(kind: type) -> Iterator[type]:
    """The classes under `kind` that have none under them."""
    for one in kind.__subclasses__():
        if one.__subclasses__():
            yield from leaves(one)
        else:
            yield one


def test_every_widget_leaves_a_card_and_is_tried_here() -> None:
    import anywidget
    import saekit_widgets
    from saekit_widgets.base import Displayed, Widget

    for module in pkgutil.iter_modules(saekit_widgets.__path__):
        importlib.import_module(f"saekit_widgets.{module.name}")
    importlib.import_module("saekit.features.showing.map")
    ours = [one for one in leaves(anywidget.AnyWidget) if one.__module__.startswith("saekit")]
    assert [one for one in ours if not issubclass(one, Widget)] == []
    assert {one.__name__ for one in leaves(Displayed) if one.__module__.startswith("saekit")} == set(WIDGETS)


@pytest.mark.slow
@pytest.mark.timing
def test_restarted_and_reloaded_every_card_is_there_and_nothing_else(run, browser, write_notebook) -> None:
    pytest.importorskip("jscatter", reason="jupyter-scatter is not installed: pip install 'saekit[map]'")
    path = write_notebook(STORE.strip(), *CELLS)
    with Lab(run, path.parent) as lab, lab.page(browser, path.name) as notebook:
        notebook.run_all(seconds=240)
        assert notebook.errors() == []
        for index, seen in enumerate(LIVE, start=1):
            assert lively(notebook, index) == seen, CELLS[index - 1]
        notebook.screenshots("tomorrow_before")
        kinds = [[sorted(output["data"]) for output in outputs if "data" in output] for outputs in notebook.outputs()]
        assert kinds[1:] == [[[VIEW, "text/plain"], ["text/html"]] * cards for cards in CARDS]

        notebook.restart_kernel()
        notebook.save()
        notebook.reload()
        for index, cards in enumerate(CARDS, start=1):
            assert lively(notebook, index) == (0, cards), CELLS[index - 1]
        assert notebook.console and all("widget model not found" in line for line in notebook.console)
        notebook.screenshots("tomorrow_after")
        for index, (name, (_, word)) in enumerate(WIDGETS.items(), start=1):
            assert word in said(notebook, index) and "run this cell again" in said(notebook, index), name
        assert "Trained" in said(notebook, 6) and "again" not in said(notebook, 6)
        assert "Stopped" in said(notebook, 7) and "4 of 9 tokens" in said(notebook, 7)
        assert "Training" in said(notebook, 8) and "run this cell again" in said(notebook, 8)
        notebook.run_cell(0, seconds=120)  # tomorrow's work: what is run again lives, the rest stays as it is
        notebook.run_cell(1)
        assert lively(notebook, 1) == (1, 0) and lively(notebook, 2) == (0, 1)

    saved = nbformat.read(path, 4)
    untrusted = path.with_name("stranger.ipynb")
    untrusted.write_text(json.dumps(saved).replace('"row 1', '"row  1'), encoding="utf-8")
    with Lab(run, path.parent) as lab, lab.page(browser, untrusted.name) as notebook:
        for index, (_, word) in enumerate(WIDGETS.values(), start=1):
            assert word in said(notebook, index) and "Error displaying" not in said(notebook, index)
        assert notebook.show(2).locator("img").evaluate("image => image.naturalWidth") > 100
        notebook.screenshots("tomorrow_untrusted")
        assert notebook.external == []


def lively(notebook: Any, index: int) -> tuple[int, int]:
    """How many views and how many cards of a cell are seen, once that is settled; an error of a view is none."""
    drawn = said(notebook, index)
    assert "Error displaying" not in drawn and "Loading widget" not in drawn
    cell = notebook.show(index)
    views = [one for one in cell.locator("[data-saekit-live]").all() if one.is_visible()]
    cards = [one for one in cell.locator("[data-saekit-saved]").all() if one.is_visible()]
    return len(views), len(cards)


def said(notebook: Any, index: int) -> str:
    """The text of a cell that is seen, once that is settled."""
    notebook.show(index)
    notebook.page.wait_for_timeout(1500)
    return str(notebook.show(index).inner_text())
