"""A run that was interrupted, killed or finished: the same call goes on to the same numbers, bit for bit."""

from __future__ import annotations

import functools
import json
import signal

import pytest
import torch

import saekit as sk
from saekit.corpora import Corpus, Document
from saekit.dictionaries import TopKDictionary
from saekit.training import latent_max, session
from saekit.training.run import TIMES

SITE = "blocks.1.hook_resid_post"
CONFIGURATION = sk.TopK(d_sae=40, k=3)
BATCH, STEPS = 64, 24
TEXTS = [f"the cat {'sat and ' * (n % 7)}ran to the {n} mats in the garden of number {n * n}" for n in range(40)]


def stop_at(step: int, error: type[BaseException] = KeyboardInterrupt):
    def callback(progress):
        if progress.tokens == step * BATCH:
            raise error

    return callback


def endless() -> Corpus:
    def stream():
        n = 0
        while True:
            yield Document(f"{n} cats and the {n * n} other ones sat in the garden")
            n += 1

    return Corpus(stream, name="counting")


def array() -> torch.Tensor:
    return torch.randn(700, 16, generator=torch.Generator().manual_seed(0))


@pytest.fixture(params=["array", "finite corpus", "endless corpus", "tokens"])
def train(request):
    """train(out=…, callback=…) on each kind of source; every one is read more than once or never ends."""
    keywords = {"tokens": BATCH * STEPS, "batch_size": BATCH, "lr": 1e-2}
    if request.param == "array":
        return functools.partial(sk.train, array(), None, CONFIGURATION, **keywords)
    tokens = torch.randint(5, 300, (60, 12), generator=torch.Generator().manual_seed(1))
    source = {"finite corpus": TEXTS, "endless corpus": endless(), "tokens": tokens}[request.param]
    return functools.partial(sk.train, request.getfixturevalue("tiny_gpt2"), SITE, CONFIGURATION, source, **keywords)


@pytest.fixture
def on_array():
    return functools.partial(
        sk.train, array(), None, CONFIGURATION, tokens=BATCH * STEPS, batch_size=BATCH, lr=1e-2, callback=lambda p: None
    )


@pytest.fixture(autouse=True)
def small_chunks(monkeypatch):
    monkeypatch.setattr("saekit.activations.shuffled.CHUNK_TOKENS", 300)  # several chunks, each of several batches


def same(run, whole) -> None:
    assert run.finished
    for name, tensor in whole.dictionary.state_dict().items():
        assert torch.equal(run.dictionary.state_dict()[name], tensor), name
    without_time = [[{k: v for k, v in r.items() if k not in TIMES} for r in x.records] for x in (run, whole)]
    assert without_time[0] == without_time[1]
    if run.out is not None:
        lines = (run.out / "metrics.jsonl").read_text().splitlines()
        assert [json.loads(line) for line in lines] == run.records
        assert not (run.out / "checkpoint.safetensors").exists()


@pytest.mark.parametrize("steps", [(1,), (2, 9, 23)], ids=str)
def test_interrupted(train, tmp_path, steps, capsys):
    whole = train(callback=lambda progress: None)
    for step in steps:
        part = train(out=tmp_path, callback=stop_at(step))
        assert not part.finished and len(part.records) == step
        said = capsys.readouterr()
        assert said.err.endswith(f"stopped at {step * BATCH:,} of {STEPS * BATCH:,} tokens; the same call goes on.\n")
        assert said.out == "" and part.tokens == step * BATCH
        assert part.dictionary.provenance.tokens == step * BATCH
    same(train(out=tmp_path, callback=lambda progress: None), whole)


def test_killed_after_a_checkpoint(train, tmp_path, monkeypatch):
    """An error stands for a kill: steps after the last checkpoint are lost and made again."""
    whole = train(callback=lambda progress: None)
    monkeypatch.setattr(session, "CHECKPOINT_SECONDS", 0.0)
    with pytest.raises(RuntimeError):
        train(out=tmp_path, callback=stop_at(10, RuntimeError))
    monkeypatch.setattr(session, "CHECKPOINT_SECONDS", 60.0)
    with pytest.raises(RuntimeError):
        train(out=tmp_path, callback=stop_at(14, RuntimeError))  # from step 9 again, none kept
    assert (tmp_path / "metrics.jsonl").read_text().count("\n") == 14
    same(train(out=tmp_path, callback=lambda progress: None), whole)


def test_how_many_are_dead_is_known_after_a_resume(on_array, tmp_path):
    """AuxK is given the number, and would leave out the first step without it."""
    many = functools.partial(sk.train, array(), None, sk.TopK(d_sae=160, k=1), **on_array.keywords, dead_after=BATCH)
    whole = many()
    assert min(record["dead"] for record in whole.records[6:]) > 10
    assert not many(out=tmp_path, callback=stop_at(9)).finished
    same(many(out=tmp_path), whole)


def test_killed_before_the_first_checkpoint(on_array, tmp_path):
    with pytest.raises(RuntimeError):
        on_array(out=tmp_path, callback=stop_at(5, RuntimeError))
    with open(tmp_path / "metrics.jsonl", "a") as file:
        file.write('{"tokens": 384, "lo')
    same(on_array(out=tmp_path), on_array())


def test_a_half_written_line(on_array, tmp_path):
    on_array(out=tmp_path, callback=stop_at(8))
    with open(tmp_path / "metrics.jsonl", "a") as file:
        file.write('{"tokens": 576, "loss": 0.')
    same(on_array(out=tmp_path), on_array())


@pytest.mark.parametrize("moment", [3, 12])
def test_the_stop_button_in_the_middle_of_a_step(on_array, tmp_path, monkeypatch, moment):
    """Ctrl-C may come while a batch is taken but not learnt from; the step is finished first."""
    whole = on_array()
    steps, right = [], TopKDictionary.loss

    @functools.wraps(right)
    def interrupted(*arguments):
        steps.append(len(steps))
        if len(steps) == moment:
            signal.raise_signal(signal.SIGINT)
        return right(*arguments)

    monkeypatch.setattr(TopKDictionary, "loss", interrupted)
    before = signal.getsignal(signal.SIGINT)
    part = on_array(out=tmp_path)
    assert not part.finished and part.dictionary.provenance.tokens == moment * BATCH
    assert signal.getsignal(signal.SIGINT) is before
    same(on_array(out=tmp_path), whole)


@pytest.mark.parametrize("chunks", [0, 2])
def test_the_stop_button_while_the_model_reads(tiny_gpt2, tmp_path, monkeypatch, chunks):
    train = functools.partial(
        sk.train, tiny_gpt2, SITE, CONFIGURATION, TEXTS, tokens=BATCH * STEPS, batch_size=BATCH, callback=lambda p: None
    )
    whole = train()
    right, calls = sk.activations.ActivationStream._run, []

    def interrupted(self, *arguments):
        calls.append(self.state.chunk)
        if calls[-1] == chunks:
            raise KeyboardInterrupt
        return right(self, *arguments)

    with monkeypatch.context() as patch:
        patch.setattr(sk.activations.ActivationStream, "_run", interrupted)
        assert not train(out=tmp_path).finished
    same(train(out=tmp_path), whole)


def test_the_stop_button_after_the_last_step(on_array, tmp_path, monkeypatch):
    """latent_max is measured when training is over: stopping there loses no step."""

    def interrupted(*arguments, **keywords):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(latent_max, "measure_latent_max", interrupted)
        part = on_array(out=tmp_path)
        assert not part.finished and len(part.records) == STEPS and on_array().dictionary.provenance.tokens == 1536
    seen: list[object] = []
    again = on_array(out=tmp_path, callback=seen.append)
    assert seen == []
    same(again, on_array())


def test_interrupted_in_memory(on_array):
    part = on_array(callback=stop_at(4))
    assert not part.finished and part.out is None and len(part.metrics) == 4 and part.tokens == 4 * BATCH


def test_whoever_watches_hears_of_the_stop(on_array, tmp_path):
    """Between two measurements too: monitor, line, run and records have one count."""
    seen = []

    def callback(progress):
        seen.append(progress)
        if progress.tokens == 4 * BATCH:
            raise KeyboardInterrupt

    part = on_array(out=tmp_path, tokens=BATCH * STEPS + 10, callback=callback)
    assert [progress.tokens // BATCH for progress in seen] == [1, 2, 3, 4, 4]
    assert seen[-1].stopped == f"stopped at 256 of {BATCH * STEPS + 10:,} tokens; the same call goes on"
    assert not seen[-1].finished and not any(progress.stopped for progress in seen[:-1])
    assert part.tokens == seen[-1].tokens == part.dictionary.provenance.tokens == 256
    in_memory = []
    on_array(callback=lambda progress: (in_memory.append(progress), stop_at(2)(progress)))
    assert in_memory[-1].stopped == "stopped at 128 of 1,536 tokens; the dictionary is kept"


def test_a_finished_run_is_returned(on_array, tmp_path):
    first = on_array(out=tmp_path)
    seen: list[object] = []
    again = on_array(out=tmp_path, callback=seen.append)
    assert seen == [], "nothing was trained"
    same(again, first)
    assert again.dictionary.provenance == first.dictionary.provenance
    assert not any(p.requires_grad for p in again.dictionary.parameters())


def test_a_finished_run_keeps_its_precision(on_array, tmp_path):
    first = on_array(out=tmp_path, dtype=torch.float64)
    again = on_array(out=tmp_path, dtype=torch.float64)
    assert again.dictionary.decoder_directions.dtype == torch.float64
    same(again, first)


@pytest.mark.parametrize("finished", [False, True], ids=["interrupted", "finished"])
def test_another_configuration_in_the_same_folder(on_array, tmp_path, finished):
    on_array(out=tmp_path, callback=(lambda p: None) if finished else stop_at(6))
    kept = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
    tokens = 1024 if finished else 2048  # a finished run may have more: it goes on (test_going_on)
    changed = {"seed": 3, "lr": 0.02, "tokens": tokens, "batch_size": 32}
    for name, value in changed.items():
        with pytest.raises(ValueError, match=rf"holds another run; it differs in {name} \(there .*, here {value}\)"):
            on_array(out=tmp_path, **{name: value})
    with pytest.raises(ValueError, match=r"differs in configuration\.k \(there 3, here 4\); seed \("):
        sk.train(array(), None, sk.TopK(d_sae=40, k=4), tokens=1536, batch_size=64, lr=1e-2, seed=1, out=tmp_path)
    with pytest.raises(ValueError, match="differs in source"):
        sk.train(array() + 1, None, CONFIGURATION, tokens=1536, batch_size=64, lr=1e-2, out=tmp_path)
    assert {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()} == kept


def test_other_texts_or_tokens_in_the_same_folder(tiny_gpt2, tmp_path):
    train = functools.partial(
        sk.train, tiny_gpt2, SITE, CONFIGURATION, tokens=256, batch_size=BATCH, callback=lambda p: None
    )
    for name, source, other in (
        ("texts", TEXTS, [*TEXTS, "one more"]),
        ("tokens", torch.full((20, 9), 7), torch.full((20, 9), 8)),
    ):
        train(source, out=tmp_path / name)
        with pytest.raises(ValueError, match="differs in source"):
            train(other, out=tmp_path / name)


@pytest.mark.parametrize("finished", [False, True], ids=["interrupted", "finished"])
def test_resume_false_overwrites_nothing(on_array, tmp_path, finished):
    on_array(out=tmp_path, callback=(lambda p: None) if finished else stop_at(6))
    with pytest.raises(ValueError, match="resume=False would overwrite it: choose another out="):
        on_array(out=tmp_path, resume=False)
    same(on_array(out=tmp_path), on_array(out=tmp_path / "new", resume=False))


@pytest.mark.parametrize("left", [0, 4, 3000])
def test_a_truncated_checkpoint(on_array, tmp_path, left):
    on_array(out=tmp_path, callback=stop_at(6))
    file = tmp_path / "checkpoint.safetensors"
    whole = file.read_bytes()
    assert len(whole) > 3000
    file.write_bytes(whole[:left])
    with pytest.raises(ValueError, match=r"checkpoint.safetensors is not a whole checkpoint .*delete it to begin anew"):
        on_array(out=tmp_path)
    file.unlink()  # what the message advises
    same(on_array(out=tmp_path), on_array())
