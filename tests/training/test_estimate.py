"""The line before long work: times from a clock that we move, bytes counted by hand."""

from __future__ import annotations

import functools
import itertools
from types import SimpleNamespace

import pytest
import torch

import saekit as sk
from saekit.activations import ActivationStore, ArrayStream
from saekit.files.durations import TimeLeft, spoken_bytes, spoken_duration
from saekit.files.memory import Room
from saekit.training import estimate, session
from saekit.training.learners import make_learner
from saekit.training.session import Session
from saekit.training.settings import Settings

D, D_SAE, BATCH = 16, 40, 64
TEXTS = [f"the cat {'sat and ' * (n % 7)}ran to the {n} mats in the garden of number {n * n}" for n in range(40)]


class Clock:
    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


def a_session(steps: int = 1000, stream=None) -> Session:
    stream = stream or ArrayStream(torch.randn(700, D, generator=torch.Generator().manual_seed(0)), BATCH)
    wiring = sk.Wiring(list(stream.widths))
    learner = make_learner(sk.TopK(d_sae=D_SAE, k=3), wiring, stream.widths, Settings(steps, BATCH, 1e-2))
    return Session(stream, [learner], BATCH * steps, BATCH, 0)


def sizes(of: Session):
    return of.learners, of.stream, of.batch_size


def test_bytes_by_hand(tmp_path):
    ours = a_session()
    learned = 4 * (D_SAE * D + D_SAE * D + D_SAE + D)  # encoder, decoder, their biases
    latent_max, since_fired, density = 4 * D_SAE, 8 * D_SAE, 4 * D_SAE
    state = 3 * learned + latent_max + since_fired + density  # weights and two moments
    assert estimate.learned_bytes(ours.learners[0]) == learned
    assert estimate.state_bytes(ours.learners[0]) == state
    needed = estimate.needed_by(ours.learners, ours.stream)
    step = 2 * 4 * BATCH * D_SAE + 8 * 4 * BATCH * D  # twice the pre-activations, eight copies of the batch
    assert needed.states == state + learned and needed.step == step and needed.stream == 0
    assert needed.total == state + learned + step
    assert estimate.disk_bytes(*sizes(ours)) == 2 * (state + 4 * BATCH * D)
    for batch, _ in zip(ours.stream, range(3), strict=False):
        ours.update(batch, False)
    ours.save(tmp_path)
    written = (tmp_path / "checkpoint.safetensors").stat().st_size
    assert state <= written <= state + 4_000, "the names and numbers at the head of the file come on top"


def test_a_chunk_of_activations_counts_and_the_next_one_where_it_is_read_beside(tiny_gpt2):
    stream = sk.activations.ActivationStream(tiny_gpt2, ["blocks.1.hook_resid_post"], TEXTS, BATCH)
    array, text = a_session(), a_session(stream=stream)
    waiting = [estimate.needed_by(ours.learners, ours.stream).stream for ours in (array, text)]
    stream.ahead = 9
    waiting.append(estimate.needed_by(text.learners, stream).stream)
    kept = BATCH * 1000 * D * 4  # for latent_max, here all tokens
    assert waiting == [0, 2**15 * D * 4 + kept, 2 * 2**15 * D * 4 + kept]


@pytest.mark.parametrize(
    ("chunk_tokens", "ahead", "seconds"),
    [
        (None, 0, 995 * 0.5),
        (BATCH * 100, 0, 995 * 0.5 + 8.95 * 20),
        (BATCH * 100, 1000, 995 * 0.5),  # a chunk of 20 s is read within the 50 s of the one before
        (BATCH * 30, 1000, 995 * 0.5 + (995 / 30 - 1) * 5),  # and of 15 s not quite
    ],
)
def test_time_by_hand(monkeypatch, chunk_tokens, ahead, seconds):
    """The first batch waits 20 s for its chunk and its step takes 5 s; every other step takes 0.5 s with its batch.
    Four of these make two seconds; 995 are left then, which need 9.95 chunks, one of which is there."""
    clock = Clock()
    monkeypatch.setattr(estimate, "clock", clock)
    monkeypatch.setattr(estimate, "spoken_duration", lambda seconds: f"{seconds:.2f} s")
    monkeypatch.setattr(estimate, "room_on", lambda device: Room(10**9, 10**10))
    ours = a_session()
    if chunk_tokens:
        ours.stream.chunk_tokens, ours.stream.ahead = chunk_tokens, ahead
    pace, lines = estimate.Pace(*sizes(ours)), []
    for reading, learning in [(20, 5)] + [(0.125, 0.375)] * 4:
        clock.now += reading
        pace.read()
        clock.now += learning
        ours.step += 1
        lines.append(pace.learnt(ours.steps - ours.step, on_disk=True))
    assert lines[:4] == [None] * 4 and pace.said
    needed = estimate.needed_by(ours.learners, ours.stream)
    memory, disk = spoken_bytes(needed.total), spoken_bytes(estimate.disk_bytes(*sizes(ours)))
    fits = needed.largest_d_sae(0.9 * (10**9 + needed.total))
    assert (
        lines[4]
        == f"{seconds:.2f} s; {memory} of memory beside the model, {disk} on disk; up to d_sae={fits:,} would fit"
    )


@pytest.mark.parametrize("callback", [None, lambda progress: None])
def test_long_runs_say_it_once_and_short_ones_do_not(monkeypatch, capsys, tmp_path, callback):
    x = torch.randn(700, D, generator=torch.Generator().manual_seed(0))
    train = functools.partial(
        sk.train, x, None, sk.TopK(d_sae=D_SAE, k=3), tokens=BATCH * 100, batch_size=BATCH, callback=callback
    )
    train()
    assert "of memory beside the model" not in capsys.readouterr().err
    clock = Clock()
    monkeypatch.setattr(estimate, "clock", clock)
    update = session.Session.update

    def slow(self, *arguments):
        clock.now += 3.0
        return update(self, *arguments)

    monkeypatch.setattr(session.Session, "update", slow)
    train(out=tmp_path)
    said = capsys.readouterr().err
    assert said.count("of memory beside the model") == 1
    assert "about 5 minutes; 66 kB of memory beside the model, 42 kB on disk; up to d_sae=" in said  # 98 steps of 3 s
    train()
    assert "beside the model; up to" in capsys.readouterr().err, "in memory nothing is said of the disk"
    monkeypatch.setattr(estimate, "room_on", lambda device: None)
    train()
    assert "beside the model\n" in capsys.readouterr().err, "where it is not known nothing is said of what would fit"


def test_a_store_says_how_long(monkeypatch, capsys, tiny_gpt2, tmp_path):
    """Two readings of the model tell: 4 tokens a second here."""
    clock = Clock()

    class Slow(TimeLeft):
        def __init__(self, total):
            super().__init__(total, clock)

        def after(self, done):
            clock.now = done / 4
            return super().after(done)

    monkeypatch.setattr("saekit.activations.store.TimeLeft", Slow)
    site = "blocks.0.hook_resid_post"
    twice = int(sk.activations.harvest(tiny_gpt2, ["the cat sat and the dog"] * 32, site).mask.sum())
    texts = ["the cat sat and the dog"] * 1000
    ActivationStore.build(tiny_gpt2, texts, site, tmp_path, tokens=twice + 4 * 600)
    said = capsys.readouterr().err
    assert said.count("about") == 1 and "about 10 minutes\n" in said, said


def test_time_left_by_hand():
    clock = Clock()
    time_left = TimeLeft(1000, clock)
    clock.now = 50.0  # the first piece warms up
    assert time_left.after(100) is None
    clock.now = 51.0
    assert time_left.after(110) is None, "a second says too little"
    clock.now = 53.0
    assert time_left.after(130) == pytest.approx(870 / 10)
    clock.now = 60.0
    assert time_left.after(200) is None, "once is enough"


@pytest.mark.parametrize(
    ("seconds", "words"),
    [
        (0.2, "about 1 second"),
        (31, "about 31 seconds"),
        (700, "about 12 minutes"),
        (7200, "about 2.0 hours"),
        (200_000, "about 2.3 days"),
    ],
)
def test_durations(seconds, words):
    assert spoken_duration(seconds) == words


@pytest.mark.parametrize(
    ("size", "words"), [(12, "12 bytes"), (1_500, "1.5 kB"), (310_400_000, "310 MB"), (1_240_000_000, "1.2 GB")]
)
def test_sizes(size, words):
    assert spoken_bytes(size) == words


@pytest.mark.parametrize(("ahead", "waits"), [(0, [4.0] * 5), (160, [4.0] + [0.8] * 4)])
def test_the_time_left_neither_grows_while_a_chunk_is_read_nor_jumps(monkeypatch, ahead, waits):
    """4 s for a chunk of 32 batches, .1 s a step, the first one 5 s more: from the second step on it falls evenly. Of
    what is read beside the steps .8 s are left to wait for."""
    clock = Clock()
    monkeypatch.setattr(estimate, "clock", clock)
    stream = SimpleNamespace(chunk_tokens=32 * BATCH, ahead=ahead)
    calm, told = estimate.Calm(stream, BATCH, 0, 160), []
    for step in range(160):
        clock.now += waits[step // 32] * (step % 32 == 0)
        calm.read()
        clock.now += 0.1 + 5.0 * (step == 0)
        told.append(calm.learnt())
    assert told[0] is None
    truth = [sum(waits[step // 32 + 1 :]) + 0.1 * (159 - step) for step in range(160)]
    assert told[1:] == pytest.approx(truth[1:])
    assert all(after <= before for before, after in itertools.pairwise(told[1:]))
