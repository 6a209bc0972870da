"""Reading beside the training: the batches of reading in turn, bit for bit; errors and ends arrive as they do there."""

from __future__ import annotations

import threading
import time
from itertools import islice

import pytest
import torch

from saekit.activations import ActivationStore, ActivationStream, ShuffledStream, StoreStream
from saekit.activations.ahead import Ahead, Stopped
from saekit.activations.reader import TextReader
from saekit.corpora import Corpus, Document

SITE = "blocks.0.hook_resid_post"
TEXTS = [f"the cat {'sat and ' * (n % 5)}ran to the {n} mats" for n in range(40)]


@pytest.fixture(autouse=True)
def small_chunks(monkeypatch):
    monkeypatch.setattr("saekit.activations.shuffled.CHUNK_TOKENS", 300)


@pytest.fixture(params=["finite", "endless", "tokens", "store"])
def stream(request, tiny_gpt2, tmp_path):
    """stream() makes a new one of each kind."""
    endless = Corpus(lambda: (Document(f"{n} cats and the {n * n} others") for n in range(10**6)), name="counting")
    tokens = torch.randint(3, 290, (60, 12), generator=torch.Generator().manual_seed(0))
    source = {"finite": TEXTS, "endless": endless, "tokens": tokens, "store": TEXTS}[request.param]
    if request.param == "store":
        store = ActivationStore.build(tiny_gpt2, source, SITE, tmp_path, tokens=900, shard_tokens=120)
        return lambda **how: StoreStream(store, [SITE], 64, 3, **how)
    return lambda **how: ActivationStream(tiny_gpt2, [SITE], source, 64, 3, **how)


def take(stream: ShuffledStream, n: int, ahead: int) -> list[torch.Tensor]:
    stream.ahead = ahead
    return [batch[SITE].clone() for batch in islice(stream, n)]


def no_thread_is_left() -> bool:
    return not any(thread.name.startswith("saekit-reads-ahead") for thread in threading.enumerate())


@pytest.mark.parametrize("multiple", [None, 1.05])
def test_the_batches_of_reading_in_turn(stream, multiple):
    """Whether all of those to come, some or more are read beside; and from any state on."""
    of = {"max_norm_multiple": multiple}
    in_turn = stream(**of)
    expected, states = [], []
    for batch in islice(in_turn, 20):
        expected.append(batch[SITE].clone())
        states.append((in_turn.state, in_turn.left_out))
    assert len({state.chunk for state, _ in states}) >= 3 and bool(in_turn.left_out) == bool(multiple)
    for ahead in (7, 20, 10**6):
        beside = stream(**of)
        assert all(map(torch.equal, take(beside, 20, ahead), expected)), ahead
        assert (beside.state.documents, beside.state.chunk) == (states[-1][0].documents, states[-1][0].chunk)
        assert beside.left_out == states[-1][1]
    for at in (0, 4, 11):
        assert all(map(torch.equal, take(stream(state=states[at][0], **of), 8, 10**6), expected[at + 1 : at + 9])), at
    assert no_thread_is_left()


def test_it_is_read_beside_and_no_further_than_is_wanted(stream, monkeypatch):
    read = []
    kind = type(stream())
    right = kind.read

    def noted(self, begun, stop):
        read.append((begun.chunk, threading.current_thread() is threading.main_thread()))
        return right(self, begun, stop)

    monkeypatch.setattr(kind, "read", noted)
    first = stream()
    take(first, 1, 0)
    in_chunk = len(read) and first.chunk_tokens // 64  # batches, at least
    assert read == [(0, True)]
    read.clear()
    take(stream(), in_chunk, in_chunk)
    assert read == [(0, True)], "one chunk holds all that is wanted"
    read.clear()
    used = stream()
    take(used, 1, 10**6)
    assert read in ([(0, True), (1, False)], [(0, True)]), "closed before it began"
    read.clear()
    take(used, 8 * in_chunk, 8 * in_chunk)
    chunks = [chunk for chunk, _ in read]
    assert chunks == list(range(len(chunks))) and len(chunks) >= 4
    assert [main for _, main in read] == [True] + [False] * (len(chunks) - 1)


def test_an_error_arrives_where_the_chunk_is_needed(tiny_gpt2, monkeypatch):
    def failing(self, *arguments):
        if threading.current_thread() is not threading.main_thread():
            raise ValueError("NaN activations")
        return right(self, *arguments)

    right = ActivationStream._run
    whole = take(ActivationStream(tiny_gpt2, [SITE], TEXTS, 64), 30, 0)
    monkeypatch.setattr(ActivationStream, "_run", failing)
    stream = ActivationStream(tiny_gpt2, [SITE], TEXTS, 64)
    stream.ahead, seen = 10**6, []
    with pytest.raises(ValueError, match="NaN activations"):
        for batch in stream:
            seen.append(batch[SITE].clone())
    assert len(seen) >= 4 and stream.state.chunk == 1 and all(map(torch.equal, seen, whole))
    assert no_thread_is_left()
    monkeypatch.setattr(ActivationStream, "_run", right)
    assert all(map(torch.equal, take(stream, 6, 10**6), whole[len(seen) :]))


def test_closed_it_ends_the_thread_in_the_middle_of_its_work():
    passes = []

    def make(start: int, stop: threading.Event) -> int:
        while start:
            passes.append(1)
            if stop.wait(0.01):
                raise Stopped
        return start

    ahead = Ahead(make, torch.device("cpu"))
    assert ahead.given(0) == 0, "what was not begun is made when it is asked for"
    ahead.begin(1)
    while not passes:
        time.sleep(0.001)
    begun = time.monotonic()
    ahead.close()
    assert no_thread_is_left() and time.monotonic() - begun < 5


def test_whoever_holds_the_model_keeps_the_reading_out(tiny_gpt2, monkeypatch):
    """A callback may run the model, with edits even: no pass is made meanwhile."""
    passes, right = [], TextReader.read

    def noted(self, *arguments):
        passes.append(1)
        return right(self, *arguments)

    monkeypatch.setattr(TextReader, "read", noted)
    stream = ActivationStream(tiny_gpt2, [SITE], TEXTS, 8)
    stream.ahead, stream.passes = 10**6, threading.RLock()
    batches = iter(stream)
    next(batches)
    with stream.passes:
        held = len(passes)
        time.sleep(0.2)
        assert len(passes) == held
        again = take(stream.anew(), 2, 0)  # in the thread that holds it
    assert len(list(islice(batches, 60))) == 60 and len(again) == 2
    batches.close()
