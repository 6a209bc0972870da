"""ArrayStream: an array of one's own, every row once a pass, seeded, resumable at any batch."""

from __future__ import annotations

from itertools import islice

import pytest
import torch

from saekit.activations import ArrayStream, StreamState


def take(stream: ArrayStream, n: int) -> list[torch.Tensor]:
    return [batch["x"] for batch in islice(stream, n)]


def numbered(n: int, dtype: torch.dtype = torch.float32) -> torch.Tensor:
    """Row i holds i and −i."""
    return torch.stack([torch.arange(n), -torch.arange(n)], 1).to(dtype)


@pytest.mark.parametrize("batch_size", [1, 4, 7, 20, 50])
def test_every_row_once_a_pass_in_a_new_order_each(batch_size):
    """Passes follow one another without a gap, whether or not a batch crosses from one to the next."""
    stream = ArrayStream(numbered(20), batch_size, seed=1)
    rows = torch.cat(take(stream, 400 // batch_size))[:, 0].long()
    passes = [p.tolist() for p in rows.split(20) if len(p) == 20]
    assert len(passes) >= 18 and all(sorted(p) == list(range(20)) for p in passes)
    assert len({tuple(p) for p in passes}) == len(passes)


def test_rows_stay_whole_and_become_float32():
    for dtype in (torch.float16, torch.bfloat16, torch.float64, torch.int64):
        (batch,) = take(ArrayStream(numbered(9, dtype), 9), 1)
        assert batch.dtype == torch.float32 and torch.equal(batch[:, 0], -batch[:, 1])
        assert sorted(batch[:, 0].tolist()) == list(range(9))


def test_the_seed_decides():
    x = numbered(50)
    assert all(map(torch.equal, take(ArrayStream(x, 8, seed=2), 9), take(ArrayStream(x, 8, seed=2), 9)))
    assert not torch.equal(take(ArrayStream(x, 8, seed=2), 1)[0], take(ArrayStream(x, 8, seed=3), 1)[0])


@pytest.mark.parametrize("batch_size", [7, 20, 45])
def test_a_state_brings_back_the_following_batches_bit_for_bit(batch_size):
    x = torch.randn(20, 3, generator=torch.Generator().manual_seed(0))
    stream = ArrayStream(x, batch_size, seed=4)
    states, batches = [stream.state], []
    for batch in islice(stream, 12):
        batches.append(batch["x"])
        states.append(stream.state)
    for at in range(12):
        again = ArrayStream(x, batch_size, seed=4, state=StreamState(batches=states[at].batches))
        assert all(map(torch.equal, take(again, 12 - at), batches[at:])), at


def test_what_is_refused():
    for wrong in (torch.ones(3), torch.ones(0, 4), torch.ones(2, 3, 4)):
        with pytest.raises(ValueError, match=r"are \[n, d\] with n ≥ 1, found shape"):
            ArrayStream(wrong, 4)
    x = numbered(10)
    x[7, 1] = torch.nan
    with pytest.raises(ValueError, match="NaN activations at 'x'"):
        ArrayStream(x, 4)
    with pytest.raises(ValueError, match="batch_size must be at least 1, found 0"):
        ArrayStream(numbered(3), 0)


def test_numbers_whose_norm_is_too_large_are_finite():
    (batch,) = take(ArrayStream(torch.full((9, 4), 3e38), 9, max_norm_multiple=10.0), 1)
    assert bool((batch == 3e38).all())


def test_an_array_is_not_copied():
    x = numbered(20)
    stream = ArrayStream(x, 4)
    assert stream.arrays["x"].data_ptr() == stream.anew().arrays["x"].data_ptr() == x.data_ptr()
    take(stream, 3)
    assert stream.anew().state == StreamState() and stream.state.batches == 3


def test_what_it_says_of_itself():
    stream = ArrayStream(numbered(5), 2)
    assert stream.sites == ("x",) and stream.widths == {"x": 2}
    assert stream.provenance == {"model": None, "model_hash": None, "processing": "none"}
