"""Notebooks in a real JupyterLab: every chart drawn, the training monitor live and then a picture, nothing fetched.

Screenshots go to SAEKIT_SHOTS (default build/shots).
"""

from __future__ import annotations

import shutil
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parent))
from lab_driver import REPOSITORY, Lab

# A server of its own each, and what a person waits for.
pytestmark = [pytest.mark.slow, pytest.mark.timing]

SMALL = [
    "# Charts, a training run, and tokens",
    """
import time
from types import SimpleNamespace
from saekit_widgets import TrainingMonitor

monitor = TrainingMonitor()
steps = 150
for step in range(1, steps + 1):
    time.sleep(0.02)
    metrics = {"loss": 0.1 + 1 / step, "explained_variance": 1 - 1 / step, "l0": 16.0, "dead": 3}
    monitor(SimpleNamespace(tokens=2048 * step, total_tokens=2048 * steps, seconds=0.02 * step,
                            metrics=metrics, finished=step == steps))
assert monitor.error == "", monitor.error
""",
    """
import pandas as pd
from saekit import plots

tokens = [2048 * step for step in range(1, 101)]
loss = [1 / t for t in tokens]
plots.training_curve(pd.DataFrame({"tokens": tokens, "loss": loss, "explained_variance": [1 - l for l in loss]}))
""",
    "plots.density_histogram([0.0, 0.001, 0.01, 0.012, 0.2])",
    """
row = {"latent": 7, "precision": 0.9, "recall": 0.8}
scores = pd.DataFrame([{"concept": "entity.person", "f1": 0.85, "token_f1": 0.4, **row},
                       {"concept": "<script>alert(1)</script>", "f1": 0.5, "token_f1": 0.6, **row}])
plots.concept_scores(scores)
""",
    """
change = {"token": [" Mary", " John", "\\n"], "before": [0.6, 0.2, 0.01], "after": [0.1, 0.5, 0.02]}
plots.next_token_change(pd.DataFrame(change))
""",
    """
text, values = ["Once", " there", " was", " Zig", "zag", "<script>alert(1)</script>"], [0, 0, 0.5, 4.0, 2.0, 1.0]
plots.tokens_view(text, values, peak=3)
""",
    "plots.concordance([(text, values, 3), (text[2:], values[2:], 1)])",
]


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_everything_draws_in_a_real_jupyterlab(run, browser, write_notebook, theme) -> None:
    path = write_notebook(*SMALL)
    with Lab(run, path.parent) as lab, lab.page(browser, path.name, theme=theme) as notebook:
        notebook.start_all()
        live = notebook.page.locator(".jp-OutputArea section.sk")
        live.wait_for(timeout=60_000)
        live.locator(".loss path.line").wait_for(timeout=60_000)  # drawn while the cell still runs
        assert "tokens/s" in live.locator(".facts").inner_text()
        notebook.wait(seconds=120)
        assert notebook.errors() == []
        assert notebook.charts() == (4, 4)
        page = notebook.page
        page.locator(".jp-RenderedVegaCommon5 .mark-rect path[aria-label*='script']").first.hover()
        page.locator("#vg-tooltip-element.visible").wait_for()
        assert "<script>alert(1)</script>" in page.locator("#vg-tooltip-element").inner_text()
        assert notebook.external == [] and notebook.console == []
        finished = [set(output["data"]) for output in notebook.outputs()[1]]
        assert finished == [{"application/vnd.jupyter.widget-view+json", "text/plain"}, {"text/html"}]
        assert page.locator(".saekit-monitor svg").count() == 2
        assert page.locator(".saekit-tokens .k", has_text="<script>").count() == 3
        dark = page.evaluate("getComputedStyle(document.querySelector('.saekit-tokens')).getPropertyValue('--act')")
        assert dark == ("#8a5800" if theme == "dark" else "#f5a524")
        assert notebook.screenshots(f"small_{theme}")


def test_start_here_in_a_real_jupyterlab(run, browser, tmp_path) -> None:
    source = REPOSITORY / "notebooks" / "00_start_here.ipynb"
    if not source.is_file():
        pytest.skip("notebooks/00_start_here.ipynb is not there yet")
    shutil.copy(source, tmp_path)
    with Lab(run, tmp_path) as lab, lab.page(browser, source.name) as notebook:
        budget = run.BUDGETS[source.name]
        seconds = notebook.run_all(seconds=run.SLACK * budget)
        shots = notebook.screenshots("00_start_here")
        print(f"Run All took {seconds:.0f} s (budget {budget:.0f}); screenshots: {shots[0].parent}")
        assert notebook.errors() == []
        held, drawn = notebook.charts()
        assert held == drawn >= 3
        assert notebook.external == [] and notebook.console == []
        assert notebook.page.locator(".saekit-monitor svg").count() >= 1
        assert seconds <= run.SLACK * budget


def test_start_here_on_a_narrow_dark_screen(run, browser, tmp_path) -> None:
    """Not Run All again: the executed notebook of the demo, where it is there, opened at 600 px in dark."""
    executed = REPOSITORY / "build" / "notebooks" / "00_start_here.ipynb"
    if not executed.is_file():
        pytest.skip("build/notebooks/00_start_here.ipynb is not there: run `make demo` first")
    shutil.copy(executed, tmp_path)
    with Lab(run, tmp_path) as lab, lab.page(browser, executed.name, theme="dark", width=600) as notebook:
        held, drawn = notebook.charts()
        assert held == drawn >= 3 and notebook.external == []
        notebook.screenshots("00_start_here_dark_600")
