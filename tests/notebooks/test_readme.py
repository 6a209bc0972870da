"""The README's blocks, pasted one a cell: they run, and each ends in something to look at."""

from __future__ import annotations

import re
import time
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
BUDGET, SLACK = 120.0, 3.0  # seconds on two quiet cores
LOOKED_AT = {  # what a cell begins with → what stands in what it draws
    "import saekit": ("explained variance", "best concept, "),
    "prompt =": ("saekit-sheet",),
    "latents =": ("saekit-edit", "<svg", "nats at the end"),
    "store =": ("saekit-feature",),
    "store.feature": ("saekit-feature",),
    "browser.export_html": ("max_activation",),
    "sk.methods": ("BatchTopK", "equation"),
}


def blocks() -> list[str]:
    return re.findall(r"```python\n(.*?)```", (ROOT / "README.md").read_text(encoding="utf-8"), flags=re.DOTALL)


@pytest.fixture(scope="module", params=[10, pytest.param(1, marks=[pytest.mark.slow, pytest.mark.timing])])
def executed(request, run, write_notebook_to, tmp_path_factory):
    """The cells, run; with a tenth of the tokens, or (alone, since seconds are asserted) with all of them."""
    cells = [re.sub(r"\b\d+_000\b", lambda n: f"{int(n[0]) // request.param:_}", block) for block in blocks()]
    assert sum(cell != block for cell, block in zip(cells, blocks(), strict=True)) == (2 if request.param > 1 else 0)
    began = time.perf_counter()
    folder = tmp_path_factory.mktemp("readme")
    notebook = run.run_notebook(write_notebook_to(folder, *cells), output=folder / "out" / "readme.ipynb")
    seconds = time.perf_counter() - began
    print(f"the README's cells took {seconds:.0f} s (budget {BUDGET:.0f} s, with 1/{request.param} of the tokens)")
    if request.param == 1:
        assert seconds <= SLACK * BUDGET
    return notebook, folder


def drawn(cell) -> str:
    """The HTML of what a cell gave."""
    shown = [output["data"] for output in cell.outputs if "data" in output]
    return "\n".join("".join(data["text/html"]) for data in shown if "text/html" in data)


def test_each_cell_ends_in_something_to_look_at(executed):
    notebook, folder = executed
    cells = [cell for cell in notebook.cells if cell.cell_type == "code"]
    assert len(cells) == len(LOOKED_AT)
    for cell in cells:
        (wanted,) = [words for begins, words in LOOKED_AT.items() if cell.source.startswith(begins)]
        html = drawn(cell)
        for words in wanted:
            assert words in html, (cell.source, words)
    assert (folder / "features.html").stat().st_size > 50_000


def test_the_edit_of_the_readme_changes_what_the_model_says(executed):
    """The finale had no effect once, and looked as if it had."""
    notebook, _ = executed
    (cell,) = [cell for cell in notebook.cells if cell.source.startswith("latents =")]
    html = drawn(cell)
    end = float(re.search(r"([\d.e+-]+) nats at the end", html)[1])
    assert end > 0.1 and "No prediction changed" not in html
    without, with_edits = re.findall(r"<tr><th>with(?:out)?</th><td>(.*?)</td></tr>", html)
    assert without != with_edits, "the texts are greedy: they differ by the edit alone"
