"""What CONTRIBUTING.md promises: a metric, a number of each latent, a format and a notebook with its checks are added
from outside the package, each in one place, and everything that shows such things shows them."""

from __future__ import annotations

import importlib
import runpy
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import nbformat
import numpy as np
import pytest
import torch
from exported import unpacked
from safetensors.torch import load_file, save_file

import saekit as sk
from saekit import checks
from saekit.features import Column, columns
from saekit.formats import REGISTRY, Format, register
from saekit.metrics import Metric, Number

SITE = "blocks.0.hook_resid_post"
TEXTS = [f"the {noun} {verb} on a {place} and he is in it" for noun in ("cat", "dog", "man")
         for verb in ("sat", "is") for place in ("mat", "bed", "the dog")]  # fmt: skip


@pytest.fixture(scope="module")
def sae() -> sk.Dictionary:
    torch.manual_seed(0)
    return sk.TopK(d_sae=12, k=3).build(sk.Wiring(SITE), {SITE: 16}).eval().requires_grad_(False)


class LongestReconstruction(Metric):
    """max ‖x̂‖."""

    def begin(self, *_: object) -> None:
        self.longest = 0.0

    def update(self, batch: Any) -> None:
        self.longest = max(self.longest, float(batch.x_hat.norm(dim=1).max()))

    def result(self) -> Number:
        return Number("longest", self.longest, "max ‖x̂‖ over counted tokens")


def test_a_metric(tiny_gpt2, sae) -> None:
    report = sk.evaluate(tiny_gpt2, sae, TEXTS, metrics=[LongestReconstruction])
    x = sk.activations.harvest(tiny_gpt2, TEXTS, SITE).flat(SITE)
    assert report["longest"] == pytest.approx(float(sae(x).norm(dim=1).max()), rel=1e-5)
    for drawn in (report.text(), report._repr_html_(), report.frame().to_string()):
        assert "longest" in drawn and "max ‖x̂‖ over counted tokens" in drawn


@pytest.fixture
def spread(monkeypatch: pytest.MonkeyPatch) -> Column:
    monkeypatch.setattr(columns, "_own", {})
    column = Column("spread", "Share of the documents in which it fires.", _spread, scale="log", format="share")
    columns.register(column)
    return column


def _spread(store: Any) -> np.ndarray:
    counts = store.database.columns(
        "select latent, count(distinct document) as n from activations join tokens using (place) group by latent"
    )
    found = np.zeros(store.d_sae)
    found[counts["latent"]] = counts["n"] / len(TEXTS)
    return found


def test_a_number_of_each_latent(tiny_gpt2, sae, spread, tmp_path: Path) -> None:
    store = sk.FeatureStore.build(tiny_gpt2, sae, TEXTS, tmp_path / "store", top=3, random=3, per_band=1)
    x = sk.activations.harvest(tiny_gpt2, TEXTS, SITE)
    fires = sae.encode_dense(x.flat(SITE)) != 0
    document = x.rows.documents[:, None].expand_as(x.mask)[x.mask]
    truth = np.mean([fires[document == d].any(0).numpy() for d in range(len(TEXTS))], axis=0)
    frame = store.latents()
    assert frame["spread"].to_numpy() == pytest.approx(truth, abs=1e-6) and 0 < truth.mean() < 1
    latent, half = int(truth.argmax()), float(np.median(truth[truth > 0]))
    browser = sk.FeatureBrowser(store, filter={"spread": [half, None]}, sort=["spread", True])
    listed = browser.latents()
    assert set(listed.latent) == set(np.flatnonzero((truth >= np.float32(half)) & (frame.firings > 0)))
    assert listed["spread"].is_monotonic_decreasing
    assert store.listing()["definitions"]["spread"]["text"].startswith("Share of the documents")
    assert store.view(latent)["numbers"]["spread"]["value"] == pytest.approx(truth[latent], abs=1e-6)
    assert "spread" in store.feature(latent).html
    page = unpacked(browser.export_html(tmp_path / "page.html").read_text(encoding="utf-8"))
    definitions = page["answers"]["listing"][0]["definitions"]
    assert definitions["spread"]["text"].startswith("Share of the documents")


@pytest.fixture
def own_format() -> Iterator[str]:
    def write(dictionary: sk.Dictionary, folder: Path) -> Path:
        folder.mkdir(parents=True, exist_ok=True)
        state = {name: tensor.clone() for name, tensor in dictionary.state_dict().items()}
        save_file(state, folder / "own.safetensors", {"k": str(dictionary.method.k), "site": dictionary.site})
        return folder

    def read(folder: Path, dtype: torch.dtype) -> sk.Dictionary:
        state = load_file(folder / "own.safetensors")
        d_sae, d_in = state["decoder.directions"].shape
        built = sk.TopK(d_sae=d_sae, k=3).build(sk.Wiring(SITE), {SITE: d_in}).to(dtype)
        built.load_state_dict(state)
        return built.eval()

    yield register(Format("own", lambda path: (path / "own.safetensors").is_file(), read, write)).name
    del REGISTRY["own"]


def test_a_format(sae, own_format, tmp_path: Path) -> None:
    sk.export(sae, tmp_path / "out", format=own_format)
    again = sk.load_dictionary(tmp_path / "out")
    x = torch.randn(20, 16, generator=torch.Generator().manual_seed(0))
    assert torch.equal(again(x), sae(x))


CHECKS = '''
"""The checks of 99_own."""

import numpy as np


def check_doubled(answer: int) -> None:
    print("Right." if answer == 42 else f"{answer} is not twice 21.")
'''


def test_a_notebook_and_its_checks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys) -> None:
    """The checks of one more file are found, and the runner runs one more notebook that uses them."""
    shutil.copytree(Path(checks.__file__).parent, tmp_path / "own_checks", ignore=shutil.ignore_patterns("__pycache__"))
    (tmp_path / "own_checks" / "own.py").write_text(CHECKS, encoding="utf-8")
    monkeypatch.syspath_prepend(tmp_path)
    found = importlib.import_module("own_checks")
    assert {"check_doubled", *checks.__all__} == set(found.__all__)
    found.check_doubled(41)
    assert capsys.readouterr().out == "41 is not twice 21.\n"
    with pytest.raises(AttributeError, match="has no 'check_tripled'; it has check_better"):
        getattr(checks, "check_tripled")  # noqa: B009

    (tmp_path / "notebooks").mkdir()
    cells = [
        nbformat.v4.new_code_cell("number = 21", metadata={"tags": ["parameters"]}),
        nbformat.v4.new_code_cell(f"import sys; sys.path.insert(0, {str(tmp_path)!r})\nimport own_checks"),
        nbformat.v4.new_code_cell("own_checks.check_doubled(2 * number)"),
    ]
    kernel = {"kernelspec": {"name": "python3", "display_name": "Python 3", "language": "python"}}
    nbformat.write(nbformat.v4.new_notebook(cells=cells, metadata=kernel), tmp_path / "notebooks" / "99_own.ipynb")
    runner = runpy.run_path(str(Path(__file__).parents[2] / "notebooks" / "run.py"))
    main = runner["main"]
    main.__globals__.update(HERE=tmp_path / "notebooks", BUILD=tmp_path / "build")
    assert main(["curriculum"]) == 0
    assert "1 of 1 notebooks ran" in capsys.readouterr().out
    assert "Right." in (tmp_path / "build" / "99_own.html").read_text(encoding="utf-8")
