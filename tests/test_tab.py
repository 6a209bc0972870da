"""What the tab key offers: the public names, all of them though they load lazily, and no other; and what is listed."""

from __future__ import annotations

import dataclasses
import types
import warnings
from pathlib import Path
from typing import Any

import pytest
import torch

import saekit as sk

PARTS = [name for name in sk.__all__ if isinstance(getattr(sk, name), types.ModuleType)]


@pytest.fixture(scope="module")
def offered(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """offered("sk.models."): what IPython completes it to, by dir() and not by reading sources."""
    shell = pytest.importorskip("IPython.core.interactiveshell").InteractiveShell.instance()
    x = torch.randn(400, 16, generator=torch.Generator().manual_seed(0))
    run = sk.train(x, None, sk.TopK(d_sae=24, k=2), tokens=400, callback=lambda _: None)
    store = sk.FeatureStore.build(x, run, None, tmp_path_factory.mktemp("tab") / "store")
    shell.user_ns |= {"sk": sk, "run": run, "store": store, "report": sk.evaluate(x, run), "sae": run.dictionary}
    before = shell.Completer.use_jedi
    shell.Completer.use_jedi = False

    def complete(text: str) -> set[str]:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", PendingDeprecationWarning)  # of Completer.complete
            return {name.rpartition(".")[2] for name in shell.complete(text)[1]}

    complete.values = shell.user_ns  # type: ignore[attr-defined]
    yield complete
    shell.Completer.use_jedi = before


def test_the_table_of_contents(offered: Any) -> None:
    assert offered("sk.") == set(sk.__all__)
    assert {"train", "evaluate", "FeatureStore", "load_model", "corpora"} <= set(sk.__all__)


@pytest.mark.parametrize("part", PARTS)
def test_a_part_offers_what_it_calls_public(offered: Any, part: str) -> None:
    module = getattr(sk, part)
    assert offered(f"sk.{part}.") == set(module.__all__) == set(dir(module))
    for name in module.__all__:
        assert getattr(module, name) is not None


@pytest.mark.parametrize("name", ["run", "store", "report", "sae"])
def test_a_result_offers_all_that_is_public_of_it(offered: Any, name: str) -> None:
    value, found = offered.values[name], offered(f"{name}.")
    assert not [each for each in found if each.startswith("_")]
    own = {each for kind in type(value).__mro__ if kind is not object for each in vars(kind)} | set(vars(value))
    own |= {field.name for field in dataclasses.fields(value)} if dataclasses.is_dataclass(value) else set()
    assert {each for each in own if not each.startswith("_")} <= found


def test_corpora_that_ship_are_listed_as_they_are() -> None:
    listed = sk.corpora.available()
    assert (
        set(listed) == {"microworld", "python", "pipelines"}
        and "endless" in repr(listed)
        and "<table>" in listed._repr_html_()
    )
    for row in listed.frame().itertuples():
        corpus = sk.load_corpus(row.name, split=row.split)
        assert row.size == ("endless" if corpus.endless else f"{len(corpus):,} documents")


def test_dictionaries_that_ship_are_listed_as_they_are() -> None:
    listed = sk.dictionaries.available()
    for row in listed.rows:
        sae = sk.load_dictionary(row["name"])
        each = " a layer" if sae.wiring.layerwise else ""
        kind = "cross-layer transcoder, " if each else "" if sae.reads == sae.writes else "transcoder, "
        said = f"{kind}{type(sae.method).__name__}, {sae.method.d_sae:,} latents, k {sae.method.k}{each}; "
        assert row["what"].startswith(said)
        assert sae.provenance.corpus["name"] in row["what"] and row["size"].endswith("MB")
    assert len(listed.rows) == 9 and {"micro/blocks.2.hook_resid_post", "micro/cross_layer"} < set(listed)
    root = str(Path(sk.__file__).parent)
    assert root not in repr(listed) + listed._repr_html_(), "no path of this machine"
