"""A run whose activations are read beside the training is the run that reads them in turn; and its speed is told."""

from __future__ import annotations

import functools
import json
import threading
import time

import pytest
import torch

import saekit as sk
from saekit.activations import ActivationStream
from saekit.corpora import Corpus, Document
from saekit.engines.threads import some_left
from saekit.training import estimate, session
from saekit.training.run import TIMES

SITE = "blocks.1.hook_resid_post"
BATCH, STEPS = 64, 24
TEXTS = [f"the cat {'sat and ' * (n % 7)}ran to the {n} mats in the garden of number {n * n}" for n in range(40)]
METHODS = [sk.TopK(d_sae=40, k=3), sk.ReLU(d_sae=24)]


@pytest.fixture(autouse=True)
def small_chunks(monkeypatch):
    monkeypatch.setattr("saekit.activations.shuffled.CHUNK_TOKENS", 300)


@pytest.fixture
def beside(monkeypatch):
    """beside(True) reads beside the training, whatever torch's threads."""

    def choose(yes: bool) -> None:
        monkeypatch.setattr(session, "some_left", lambda threads, device: yes)

    choose(True)
    return choose


@pytest.fixture
def train(tiny_gpt2):
    keywords = {"tokens": BATCH * STEPS, "batch_size": BATCH, "lr": 1e-2, "callback": lambda progress: None}
    return functools.partial(sk.train, tiny_gpt2, SITE, METHODS, TEXTS, **keywords)


def same(one: sk.Run, other: sk.Run) -> None:
    for mine, theirs in zip(one.dictionaries, other.dictionaries, strict=True):
        assert all(torch.equal(t, theirs.state_dict()[name]) for name, t in mine.state_dict().items())
    without = [[{k: v for k, v in record.items() if k not in TIMES} for record in run.records] for run in (one, other)]
    assert without[0] == without[1] and one.finished


def no_thread_is_left() -> bool:
    return not any(thread.name.startswith("saekit-reads-ahead") for thread in threading.enumerate())


def threads_that_read(monkeypatch) -> set[str]:
    """The threads that run the model from now on."""
    names: set[str] = set()
    right = ActivationStream._run

    def noted(self, *arguments):
        names.add(threading.current_thread().name.rstrip("_0"))
        return right(self, *arguments)

    monkeypatch.setattr(ActivationStream, "_run", noted)
    return names


@pytest.mark.parametrize("steps", [(1,), (2, 9, 23)], ids=str)
def test_the_same_bits_stopped_and_gone_on_with_either_way(train, beside, tmp_path, monkeypatch, steps):
    beside(False)
    whole = train()
    beside(True)
    names = threads_that_read(monkeypatch)
    same(train(), whole)
    assert names == {"MainThread", "saekit-reads-ahead"} and no_thread_is_left()

    def stop_at(step):
        def callback(progress):
            if progress.tokens == step * BATCH:
                raise KeyboardInterrupt

        return callback

    for number, step in enumerate(steps):
        beside(number % 2 == 0)
        assert not train(out=tmp_path, callback=stop_at(step)).finished and no_thread_is_left()
    same(train(out=tmp_path), whole)


def test_the_stop_button_while_a_chunk_is_waited_for(train, beside, tmp_path, monkeypatch):
    import _thread

    whole, right = train(), ActivationStream._run

    def interrupting(self, *arguments):
        if threading.current_thread() is not threading.main_thread():
            time.sleep(0.5)  # training waits by now
            _thread.interrupt_main()
            time.sleep(0.2)
        return right(self, *arguments)

    with monkeypatch.context() as patch:
        patch.setattr(ActivationStream, "_run", interrupting)
        stopped = train(out=tmp_path)
    assert not stopped.finished and stopped.records and no_thread_is_left()
    same(train(out=tmp_path), whole)


def test_an_error_of_the_reading_says_what_it_says_in_turn(train, beside, tmp_path, monkeypatch):
    broken = Corpus(lambda: (Document(text) for text in TEXTS[:40]), name="broken")
    said = []
    for yes in (False, True):
        beside(yes)
        with pytest.raises(ValueError, match="ended after 40 documents") as error:
            sk.train(*train.args[:3], broken, **train.keywords | {"out": tmp_path / str(yes)})
        said.append(str(error.value).replace(str(tmp_path / str(yes)), "…"))
        assert no_thread_is_left()
    assert said[0] == said[1] and "The last good state" in said[0]


def test_a_callback_may_edit_the_model(train, beside, tiny_gpt2):
    """What it does with the model while it is called reaches no activation that is trained on."""
    whole = train()

    def callback(progress):
        vector = 1e3 * torch.ones(tiny_gpt2.cfg.d_model)
        with sk.edited(tiny_gpt2, [sk.Edit(vector, site="blocks.0.hook_resid_post", mode="add")]):
            time.sleep(0.05)
            tiny_gpt2(torch.tensor([[5, 6, 7]]))

    same(train(callback=callback), whole)


def test_in_turn_where_training_runs_the_model_or_no_thread_is_left(train, beside, tiny_gpt2, monkeypatch):
    class Running(sk.TopK):
        needs = frozenset({"models"})

    names = threads_that_read(monkeypatch)
    try:
        sk.train(tiny_gpt2, SITE, Running(d_sae=40, k=3), TEXTS, **train.keywords)
    finally:
        sk.Method.known.pop("Running")
    assert names == {"MainThread"}
    torch_has = torch.get_num_threads()
    try:
        torch.set_num_threads(2)
        assert some_left(1) and not some_left(2) and some_left(2, "cuda")
        torch.set_num_threads(1)
        assert not some_left(1)
    finally:
        torch.set_num_threads(torch_has)


def test_a_method_that_wants_a_sample_reads_it_while_the_next_chunk_is_read(train, tiny_gpt2, beside):
    class Sampling(sk.TopK):
        sample = 700

    runs = []
    try:
        for yes in (False, True):
            beside(yes)
            runs.append(sk.train(tiny_gpt2, SITE, Sampling(d_sae=40, k=3), TEXTS, **train.keywords))
    finally:
        sk.Method.known.pop("Sampling")
    same(*runs)


def test_speed_by_hand(monkeypatch):
    """3 s of waiting and 1 s of training for a batch of 10, twice; then nothing is waited for."""
    now = [0.0]
    monkeypatch.setattr(estimate, "clock", lambda: now[0])
    waits = [3.0, 3.0, 0.0]

    def stream():
        for wait in waits:
            now[0] += wait
            yield {}

    speed, told = estimate.Speed(), []
    for number, _ in enumerate(speed.batches(stream())):
        now[0] += 1.0
        speed.learnt(10)
        told += [speed.told()] if number else []
    assert told == [{"tokens_per_second": 2.5, "waited": 0.75}, {"tokens_per_second": 10.0, "waited": 0.0}]


def test_the_bar_says_how_much_was_waited(train, capsys):
    train(callback=None)
    assert ", waiting " in capsys.readouterr().err


def test_records_and_progress_say_how_fast_and_how_much_was_waited(train, beside, tmp_path):
    seen = []
    run = train(out=tmp_path, callback=seen.append)
    of_first = [record for record in run.records if record["dictionary"] == 0]
    assert [(p.tokens_per_second, p.waited) for p in seen] == [
        (record["tokens_per_second"], record["waited"]) for record in of_first
    ]
    assert all(record["tokens_per_second"] > 0 and 0 <= record["waited"] <= 1 for record in run.records)
    assert of_first[0]["waited"] > 0, "the first batch waits for its chunk"
    written = [json.loads(line) for line in (tmp_path / "metrics.jsonl").read_text().splitlines()]
    assert written == run.records and set(TIMES) < set(run.metrics.columns)
    for one, other in zip(run.records[::2], run.records[1::2], strict=True):
        assert [one[name] for name in TIMES] == [other[name] for name in TIMES], "both learnt in one step"
