"""A loss that turns NaN ends the run at its step and keeps the last good state, from which the same call goes on."""

from __future__ import annotations

import functools

import pytest
import torch

import saekit as sk
from saekit.files.checkpoints import read_tensors
from saekit.training import session
from saekit.training.run import TIMES

BATCH, STEPS = 64, 24
ONE, OTHER = sk.TopK(d_sae=40, k=3), sk.ReLU(d_sae=32)


@pytest.fixture
def train():
    x = torch.randn(700, 16, generator=torch.Generator().manual_seed(0))
    return functools.partial(
        sk.train, x, None, tokens=BATCH * STEPS, batch_size=BATCH, lr=1e-2, callback=lambda progress: None
    )


def spoil(monkeypatch, configuration, steps: int) -> None:
    """The loss of a method is NaN once, after so many steps."""
    kind, calls = type(configuration.build(sk.Wiring("x"), {"x": 16})), []
    right = kind.loss

    @functools.wraps(right)
    def objective(*arguments):
        loss = right(*arguments)
        calls.append(0)
        return loss._replace(total=loss.total * float("nan")) if len(calls) == steps + 1 else loss

    monkeypatch.setattr(kind, "loss", objective)


def step_of(folder) -> int:
    return read_tensors(folder / "checkpoint.safetensors")[1]["step"]


def same(run, whole) -> None:
    assert run.finished
    for one, two in zip(run.dictionaries, whole.dictionaries, strict=True):
        assert all(torch.equal(a, b) for a, b in zip(one.state_dict().values(), two.state_dict().values(), strict=True))
    records = [[{k: v for k, v in record.items() if k not in TIMES} for record in r.records] for r in (run, whole)]
    assert records[0] == records[1]


def test_one_dictionary_keeps_the_state_before_the_step(train, tmp_path, monkeypatch):
    whole = train(ONE)
    spoil(monkeypatch, ONE, 10)
    message = (
        r"the loss became nan at step 10: try a smaller lr \(now 0\.01\)\. The last good state, of 640 tokens, is in "
        r".*checkpoint\.safetensors; the same call goes on from there\.$"
    )
    with pytest.raises(ValueError, match=message):
        train(ONE, out=tmp_path)
    assert step_of(tmp_path) == 10
    same(train(ONE, out=tmp_path), whole)


def test_in_memory_the_message_is_the_step_alone(train, monkeypatch):
    spoil(monkeypatch, ONE, 10)
    with pytest.raises(ValueError, match=r"the loss became nan at step 10: try a smaller lr \(now 0\.01\)\.$"):
        train(ONE)


def test_the_first_step_leaves_nothing_to_go_on_from(train, tmp_path, monkeypatch):
    spoil(monkeypatch, ONE, 0)
    with pytest.raises(ValueError, match=r"at step 0: .* No checkpoint was written before it\.$"):
        train(ONE, out=tmp_path)
    assert not (tmp_path / "checkpoint.safetensors").exists()


@pytest.mark.parametrize(("spoiled", "kept"), [(ONE, 10), (OTHER, 7)], ids=["first of two", "second of two"])
def test_of_several_the_former_checkpoint_stays_where_one_has_stepped(train, tmp_path, monkeypatch, spoiled, kept):
    """The first one's loss fails before anything steps; the second one's when the first has stepped already."""
    whole = train([ONE, OTHER])
    spoil(monkeypatch, spoiled, 10)

    def callback(progress):  # a checkpoint after each of the first seven steps, then none
        monkeypatch.setattr(session, "CHECKPOINT_SECONDS", 60.0 if progress.tokens > 7 * BATCH else 0.0)

    monkeypatch.setattr(session, "CHECKPOINT_SECONDS", 0.0)
    with pytest.raises(ValueError, match=rf"at step 10: .* of {kept * BATCH} tokens, is in .*checkpoint"):
        train([ONE, OTHER], out=tmp_path, callback=callback)
    assert step_of(tmp_path) == kept
    same(train([ONE, OTHER], out=tmp_path), whole)


def test_weights_that_are_not_finite_replace_no_checkpoint(train, tmp_path, monkeypatch):
    """The gradient of a finite loss may be infinite: then the weights are spoiled one step before the loss is."""
    whole = train(ONE)

    def callback(progress):
        if progress.tokens == 7 * BATCH:
            monkeypatch.setattr(session, "CHECKPOINT_SECONDS", 60.0)
        if progress.tokens == 10 * BATCH:
            with torch.no_grad():
                learners[0].dictionary.encoder_bias[:] = float("nan")

    learners = []
    run = session.Session.run

    def watched(self, *arguments):
        learners[:] = self.learners
        return run(self, *arguments)

    monkeypatch.setattr(session.Session, "run", watched)
    monkeypatch.setattr(session, "CHECKPOINT_SECONDS", 0.0)
    with pytest.raises(ValueError, match=r"not finite|nan|NaN"):
        train(ONE, out=tmp_path, callback=callback)
    assert step_of(tmp_path) == 6
    same(train(ONE, out=tmp_path), whole)


def test_activations_that_are_not_finite_keep_the_state_before_them(tiny_gpt2, tmp_path):
    """A model that fails in the middle of a run costs no step either."""
    site, forward = "blocks.1.hook_resid_post", []

    def spoiled(h, hook):
        forward.append(0)
        return h * float("nan") if len(forward) > 6 else h

    texts = [f"the cat sat on the mat {n} times and ran to the garden" for n in range(300)]
    again = functools.partial(
        sk.train, tiny_gpt2, site, ONE, texts, tokens=64 * 100, batch_size=64, callback=lambda _: None, out=tmp_path
    )
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("saekit.activations.shuffled.CHUNK_TOKENS", 300)
        with (
            tiny_gpt2.hooks(fwd_hooks=[("blocks.0.hook_resid_pre", spoiled)]),
            pytest.raises(ValueError, match=r"NaN activations at .* The last good state, of [\d,]+ tokens, is in"),
        ):
            again()
        assert step_of(tmp_path) > 3
