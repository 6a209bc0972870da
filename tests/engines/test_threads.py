"""How many threads work gets: one for small products, and the user's number back whatever happens."""

from __future__ import annotations

import json

import pytest
import torch

import saekit as sk
from saekit.engines import threads
from saekit.engines.threads import SMALL, products_of, threads_for, working_with
from saekit.features.schema import TABLES
from saekit.training.run import TIMES

SITE = "blocks.2.hook_resid_post"


@pytest.fixture(autouse=True)
def two_threads():
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module")
def micro():
    return sk.load_model("micro")


def quiet(progress) -> None: ...


def at(number: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """So many threads, whatever the shapes."""
    monkeypatch.setattr(threads, "SMALL", 0)
    torch.set_num_threads(number)


def array(n: int, d: int) -> torch.Tensor:
    return torch.randn(n, d, generator=torch.Generator().manual_seed(0))


def test_one_for_small_products_and_the_users_number_for_others(micro) -> None:
    assert threads_for(SMALL) == 1 and threads_for(SMALL + 1) == 2 and threads_for(SMALL, "cuda") == 2
    assert threads_for(products_of(micro)) == 1
    assert threads_for(products_of(micro, sk.load_dictionary(f"micro/{SITE}"))) == 1
    torch.set_num_threads(1)
    assert threads_for(2 * SMALL) == 1


@pytest.mark.parametrize("error", [RuntimeError, KeyboardInterrupt])
def test_the_users_number_comes_back(error: type[BaseException]) -> None:
    with pytest.raises(error), working_with(1):
        assert torch.get_num_threads() == 1
        raise error
    assert torch.get_num_threads() == 2


@pytest.mark.parametrize(("d_sae", "expected"), [(1024, 1), (2048, 2)])
def test_a_run_chooses_by_its_shapes_and_writes_it_down(tmp_path, d_sae: int, expected: int) -> None:
    """1,024 tokens of width 128 with 1,024 latents, as on micro, are small; twice as many latents are not."""
    seen = []

    def interrupted(progress) -> None:
        seen.append(torch.get_num_threads())
        if progress.tokens == 2048:
            raise KeyboardInterrupt

    x, method = array(4096, 128), sk.TopK(d_sae=d_sae, k=16)
    assert not sk.train(x, None, method, tokens=4096, out=tmp_path, callback=interrupted).finished
    assert set(seen) == {expected} and torch.get_num_threads() == 2
    assert json.loads((tmp_path / "config.json").read_text())["threads"] == expected
    torch.set_num_threads(1)  # another machine goes on with it
    assert sk.train(x, None, method, tokens=4096, out=tmp_path, callback=quiet).finished
    with pytest.raises(ValueError, match="NaN"):
        sk.train(x * torch.nan, None, method, tokens=4096, callback=quiet)
    assert torch.get_num_threads() == 1


# Two threads beside other tests wait for each other most of the time, so these run alone.
alone = pytest.mark.timing
SHAPES = [(1024, 128, 1024, 16), (1024, 128, 2048, 16), (1024, 256, 4096, 32), (2048, 512, 8192, 32)]
METHODS = [sk.BatchTopK(d_sae=512, k=16), sk.ReLU(d_sae=512), sk.JumpReLU(d_sae=512, l0=40), sk.Gated(d_sae=512, l0=16)]


@alone
@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize("dtype", [None, torch.float32], ids=str)
def test_one_thread_and_two_train_the_same_bits(monkeypatch, shape, dtype) -> None:
    n, d, d_sae, k = shape
    assert_the_same(monkeypatch, array(4 * n, d), sk.TopK(d_sae=d_sae, k=k), tokens=6 * n, batch_size=n, dtype=dtype)


@alone
@pytest.mark.parametrize("method", METHODS, ids=lambda method: type(method).__name__)
def test_so_do_other_methods(monkeypatch, method) -> None:
    assert_the_same(monkeypatch, array(8192, 128), method, tokens=8192)


def assert_the_same(monkeypatch, x: torch.Tensor, method: sk.Method, **settings) -> None:
    runs = []
    for number in (1, 2):
        at(number, monkeypatch)
        runs.append(sk.train(x, None, method, callback=quiet, **settings))
    one, two = runs
    for name, tensor in one.dictionary.state_dict().items():
        assert torch.equal(tensor, two.dictionary.state_dict()[name]), name
    assert one.metrics.drop(columns=TIMES).equals(two.metrics.drop(columns=TIMES))


@alone
def test_one_thread_and_two_train_and_build_the_same_on_a_model(micro, monkeypatch, tmp_path) -> None:
    made = []
    for number in (1, 2):
        at(number, monkeypatch)
        corpus = sk.load_corpus("microworld", n=200, split="heldout")
        run = sk.train(micro, SITE, sk.TopK(d_sae=1024, k=16), corpus, tokens=6144, callback=quiet)
        store = sk.FeatureStore.build(micro, run.dictionary, corpus, tmp_path / str(number), tokens=3000)
        assert store.manifest["threads"] == number
        tables = {name: store.sql(f"select * from {name}") for name in TABLES}
        made.append((run.dictionary.state_dict(), tables))
    (weights, tables), (others, other_tables) = made
    assert all(torch.equal(tensor, others[name]) for name, tensor in weights.items())
    for name, frame in tables.items():
        assert frame.astype(str).equals(other_tables[name].astype(str)), name
