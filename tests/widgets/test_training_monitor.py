"""TrainingMonitor in Python: what it keeps, sends, shows, and how little it does outside a notebook."""

from __future__ import annotations

import itertools
import math
import re
import struct
import subprocess
import sys
from dataclasses import dataclass, field

import pytest
from saekit_widgets import TrainingMonitor
from saekit_widgets import training_monitor as module
from saekit_widgets.protocols import TrainingProgress


@dataclass(frozen=True)
class Progress:
    tokens: int
    total_tokens: int = 1000
    seconds: float = 1.0
    metrics: dict[str, float] = field(default_factory=dict)
    finished: bool = False
    seconds_left: float | None = None
    stopped: str = ""
    latents: int = 40
    waited: float | None = None


def rows(monitor: TrainingMonitor) -> list[tuple[float, ...]]:
    data = monitor._history()
    values = struct.unpack(f"<{len(data) // 8}d", data)
    return [values[i : i + 3] for i in range(0, len(values), 3)]


@pytest.fixture
def monitor(monkeypatch) -> TrainingMonitor:
    made = TrainingMonitor()
    made.sent = []
    monkeypatch.setattr(made, "send", lambda content, buffers=None: made.sent.append((content, buffers)))
    return made


def test_progress_satisfies_the_protocol() -> None:
    progress: TrainingProgress = Progress(1)  # the type checker holds this line
    assert progress.tokens == 1


def test_traits_follow_and_keep_what_was_not_measured(monitor, monkeypatch) -> None:
    monkeypatch.setattr(module, "UPDATES_PER_SECOND", 1e9)
    monitor(Progress(100, seconds=1.0, metrics={"loss": 0.5, "explained_variance": 0.7, "l0": 16.0}))
    monitor(Progress(500, seconds=3.0, metrics={"loss": 0.4, "explained_variance": math.nan, "dead": None}))
    assert (monitor.tokens, monitor.total_tokens, monitor.seconds, monitor.finished) == (500, 1000, 3.0, False)
    assert monitor.tokens_per_second == 200.0  # (500 − 100) / (3 − 1): a resumed run does not count what it found
    assert monitor.metrics == {"loss": 0.4, "explained_variance": 0.7, "l0": 16.0}
    first, second = rows(monitor)
    assert first == (100, 0.5, 0.7)
    assert second[:2] == (500, 0.4) and math.isnan(second[2])


def test_the_share_of_waiting_is_of_all_the_time_that_was_watched(monitor, monkeypatch) -> None:
    """A tenth of one second, then half of three; what came before the first call was not watched."""
    monitor(Progress(100, seconds=5.0, waited=1.0))
    assert monitor.waited == -1.0 and "waiting" not in monitor._saved()
    monkeypatch.setattr(module, "UPDATES_PER_SECOND", 1e-9)  # calls that are not shown count too
    monitor(Progress(200, seconds=6.0, waited=0.1))
    monkeypatch.setattr(module, "UPDATES_PER_SECOND", 1e9)
    monitor(Progress(400, seconds=9.0, waited=0.5))
    assert monitor.waited == pytest.approx((0.1 * 1 + 0.5 * 3) / 4)
    assert "75 tokens/s · waiting 40 %" in monitor._saved()
    monitor(Progress(400, seconds=9.0, waited=0.5, stopped="stopped at 400"))
    assert monitor.waited == pytest.approx(0.4) and "waited 40 %" in monitor._saved()
    monitor(Progress(410, seconds=10.0, waited=0.7))  # another run
    assert monitor.waited == -1.0


def test_many_calls_are_few_messages_and_the_last_always_comes(monitor) -> None:
    for tokens in range(1, 1001):
        monitor(Progress(tokens, metrics={"loss": 1 / tokens}, finished=tokens == 1000))
    assert 3 <= len(monitor.sent) < 20
    assert monitor.tokens == 1000 and monitor.finished
    assert len(rows(monitor)) == 1000


def test_long_histories_are_halved_without_losing_what_is_measured_rarely(monitor) -> None:
    for step in range(1, 20_001):
        variance = step / 20_000 if step % 50 == 0 else math.nan  # always at an even step
        monitor(Progress(step, 20_000, metrics={"loss": 1 / step, "explained_variance": variance}))
    kept = rows(monitor)
    assert 400 < len(kept) <= module.MOST_ROWS
    assert kept[-1][0] == 20_000 and [row[0] for row in kept] == sorted({row[0] for row in kept})
    assert sum(math.isfinite(row[2]) for row in kept) > 300
    assert all(row[1] == 1 / row[0] for row in kept)
    gaps = [after[0] - before[0] for before, after in itertools.pairwise(kept)]
    assert max(gaps) <= 64  # the beginning is as fine as the end


def test_the_closing_call_does_not_repeat_the_last_point(monitor) -> None:
    monitor(Progress(1000, metrics={"loss": 0.2, "explained_variance": 0.9}))
    monitor(Progress(1000, metrics={"loss": 0.1}, finished=True))
    assert rows(monitor) == [(1000, 0.1, 0.9)]


def test_the_dead_are_told_as_a_count_and_a_share(monitor) -> None:
    monitor(Progress(1000, metrics={"loss": 0.2, "dead": 3}, finished=True))
    assert "<i>dead</i>3 of 40 (7.5 %)</span>" in monitor._saved()


def test_another_run_with_the_same_monitor_begins_anew(monitor) -> None:
    monitor(Progress(1000, metrics={"loss": 0.2, "dead": 3}, finished=True))
    monitor(Progress(10, metrics={"loss": 0.9}))
    assert not monitor.finished and rows(monitor)[0][0] == 10 and monitor.metrics == {"loss": 0.9}


def test_every_question_is_answered_with_its_id(monitor) -> None:
    monitor(Progress(10, metrics={"loss": 0.9}))
    monitor.sent.clear()
    monitor._handle_custom_msg({"kind": "history", "id": 7}, [])
    monitor._handle_custom_msg({"kind": "nonsense", "id": 8}, [])
    (answer, buffers), (error, _) = monitor.sent
    assert answer == {"kind": "history", "id": 7} and len(buffers[0]) == 24
    assert error["kind"] == "error" and error["id"] == 8 and "'nonsense'" in error["message"]


def test_history_is_no_trait(monitor) -> None:
    monitor(Progress(10, metrics={"loss": 0.123456789}))
    state = {name: value for name, value in monitor.get_state().items() if name != "_esm"}
    assert len(str(state)) < 1500


def test_static_picture_is_self_contained_and_shows_the_state(monitor) -> None:
    for tokens in (10, 500, 1000):
        metrics = {"loss": 1 / tokens, "explained_variance": 0.5, "l0": 16.0, "<b>x</b>": 2.0}
        monitor(Progress(tokens, seconds=75.0, metrics=metrics, finished=tokens == 1000))
    data, _ = monitor._repr_mimebundle_()
    html = monitor._saved()
    assert set(data) == {"application/vnd.jupyter.widget-view+json", "text/plain"}
    assert data["text/plain"].startswith("<TrainingMonitor: fin")
    assert "<b>Trained</b>" in html and "1,000 of 1,000 tokens" in html and "1:15" in html
    assert html.count("<svg") == 2 and "explained variance: 0.5 after 1k tokens" in html
    assert "<i>loss</i>" not in html and "<i>L0</i>16" in html  # the curves say theirs
    assert "<b>x</b>" not in html and "&lt;b&gt;x&lt;/b&gt;" in html
    assert not re.search(r"https?:|<script|@import|src=", html) and len(html) < 12_000
    assert "<b>Stopped</b>" in stopped(monitor)


def stopped(monitor: TrainingMonitor) -> str:
    monitor(Progress(400, metrics={"loss": 0.1}, finished=True))
    return monitor._saved()


def test_a_stopped_run_has_one_count_and_the_sentence(monitor) -> None:
    """Though the last call came a moment after one that was shown."""
    monitor(Progress(100, metrics={"loss": 0.5}, seconds_left=9.0))
    assert monitor.seconds_left == 9.0
    monitor(Progress(356, stopped="stopped at 356 of 1,000 tokens; the same call <i>goes on"))
    assert (monitor.tokens, monitor.finished, monitor.metrics) == (356, False, {"loss": 0.5})
    assert repr(monitor) == "<TrainingMonitor: stopped at 356 of 1,000 tokens; the same call <i>goes on>"
    assert "<b>Stopped</b>at 356 of 1,000 tokens; the same call &lt;i&gt;goes on" in monitor._saved()
    assert " left" not in monitor._saved()
    monitor(Progress(400, metrics={"loss": 0.4}))  # the same call goes on with the same monitor
    assert not monitor.stopped and monitor.tokens == 400


def test_picture_before_anything_was_measured() -> None:
    assert "0 of 0 tokens" in TrainingMonitor()._saved()


def test_unknown_arguments_are_named() -> None:
    with pytest.raises(TypeError, match="refresh"):
        TrainingMonitor(refresh=3)


def test_a_plain_script_prints_nothing_and_loads_no_torch() -> None:
    code = (
        "import sys; from types import SimpleNamespace as P; from saekit_widgets import TrainingMonitor\n"
        "m = TrainingMonitor()\n"
        "for t in (1, 2): m(P(tokens=t, total_tokens=2, seconds=t, metrics={'loss': 1.0}, finished=t == 2))\n"
        "assert m.finished and not {'torch', 'saekit', 'pandas'} & set(sys.modules)"
    )
    done = subprocess.run([sys.executable, "-W", "error", "-c", code], capture_output=True, text=True)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
