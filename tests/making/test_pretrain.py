"""Training the embedded model: the same seed gives the same weights, stopped or not; a folder holds one run."""

from __future__ import annotations

import json
import shutil

import pytest
import torch
from safetensors.torch import load_file

from saekit.making.card import MICRO
from saekit.making.pretrain import __main__ as command
from saekit.making.pretrain import loop, rows, tokenizer
from saekit.making.pretrain.settings import Settings, open_run

SETTINGS = Settings(tokens=20 * 128, width=16, layers=1, heads=2, context=64, batch_tokens=128)


@pytest.fixture(autouse=True)
def small(one_thread, monkeypatch):
    """Few modules of the library, and the shipped tokenizer instead of twenty seconds of training one."""
    few = rows.modules("train")[:2]
    monkeypatch.setattr(rows, "modules", lambda split: few)
    monkeypatch.setattr(loop, "CHECKPOINT_EVERY", 6)
    monkeypatch.setattr(loop, "LOG_EVERY", 5)


def run(out, settings=SETTINGS, **more):
    open_run(out, settings)
    shutil.copyfile(MICRO / "tokenizer.json", out / "tokenizer.json")
    loop.train(out, settings, compile_model=False, device="cpu", **more)
    return load_file(out / "checkpoint.safetensors")


def weights(tensors):
    return {name: tensor for name, tensor in tensors.items() if name.startswith("model/")}


def same(first, second):
    return all(torch.equal(first[name], second[name]) for name in first | second)


def test_the_same_seed_gives_the_same_weights(tmp_path):
    first, again = run(tmp_path / "a"), run(tmp_path / "b")
    assert same(first, again)
    other = run(tmp_path / "c", Settings(**{**vars(SETTINGS), "seed": 1}))
    assert not same(weights(first), weights(other))


@pytest.mark.parametrize("moment", [3, 6, 13])
def test_stopped_and_gone_on(tmp_path, monkeypatch, capsys, moment):
    whole = run(tmp_path / "whole")
    batch = rows.Text.batch

    def stopped(self, settings, step, *more):
        if step == moment:
            raise KeyboardInterrupt
        return batch(self, settings, step, *more)

    with monkeypatch.context() as patch:
        patch.setattr(rows.Text, "batch", stopped)
        run(tmp_path / "stopped")
    assert f"stopped at step {moment} of 20" in capsys.readouterr().out
    assert not (tmp_path / "stopped" / "model").exists()
    assert same(whole, run(tmp_path / "stopped"))
    steps = [json.loads(line)["step"] for line in (tmp_path / "stopped" / "log.jsonl").read_text().splitlines()]
    assert steps == [5, 10, 15, 20]


def test_killed_after_a_checkpoint(tmp_path, monkeypatch):
    """A kill leaves rows in the log after the last checkpoint: they are written again, not twice."""
    whole = run(tmp_path / "whole")
    take = loop.Pretraining.take_step

    def killed(self, text):
        if self.step == 11:
            raise SystemExit
        take(self, text)

    with monkeypatch.context() as patch, pytest.raises(SystemExit):
        patch.setattr(loop.Pretraining, "take_step", killed)
        run(tmp_path / "killed")
    assert same(whole, run(tmp_path / "killed"))
    log = (tmp_path / "killed" / "log.jsonl").read_text().splitlines()
    assert [json.loads(line)["step"] for line in log] == [5, 10, 15, 20]


def test_the_model_is_a_plain_folder_and_snapshots_are_log_spaced(tmp_path):
    from transformers import AutoModelForCausalLM, AutoTokenizer

    run(tmp_path / "a", snapshots=True)
    assert sorted(int(path.name) for path in (tmp_path / "a" / "snapshots").iterdir()) == [1, 2, 4, 8, 16]
    model = AutoModelForCausalLM.from_pretrained(tmp_path / "a" / "model", local_files_only=True)
    assert model.dtype == torch.float16 and model.config.hidden_size == 16
    assert len(AutoTokenizer.from_pretrained(tmp_path / "a" / "model", local_files_only=True)) == 4096


def test_a_loss_that_is_not_finite_moves_no_weight(tmp_path):
    from tokenizers import Tokenizer

    text = rows.Text(Tokenizer.from_file(str(MICRO / "tokenizer.json")), 3_000, seed=0)
    model = loop.make_model(SETTINGS)
    training = loop.Pretraining(SETTINGS, model, torch.device("cpu"), compile_model=False)
    with torch.no_grad():
        model.model.norm.weight[0] = torch.nan
    before = {name: weight.clone() for name, weight in model.state_dict().items()}
    with pytest.raises(ValueError, match="the loss of step 0 is nan: lower the learning rate"):
        training.take_step(text)
    assert all(torch.equal(before[name], x) for name, x in model.state_dict().items() if x.ndim == 2)


def test_another_runs_folder_is_refused(tmp_path):
    open_run(tmp_path, SETTINGS)
    open_run(tmp_path, SETTINGS)
    with pytest.raises(
        ValueError, match=r"holds another run; it differs in width \(there 16, here 32\); layers \(there 1, here 2\)"
    ):
        open_run(tmp_path, Settings(**{**vars(SETTINGS), "width": 32, "layers": 2}))
    with pytest.raises(ValueError, match=r"tokens \(there 2560, here 999\)"):
        command.main([str(tmp_path), "--tokens", "999", "--width", "16", "--layers", "1"])


def test_half_a_checkpoint_is_refused(tmp_path):
    run(tmp_path)
    (tmp_path / "checkpoint.safetensors").write_bytes(b"half")
    with pytest.raises(ValueError, match="not a whole checkpoint"):
        run(tmp_path)


def test_batches_are_a_function_of_seed_and_step(tmp_path):
    from tokenizers import Tokenizer

    text = rows.Text(Tokenizer.from_file(str(MICRO / "tokenizer.json")), 3_000, seed=0)
    first, again, later = (text.batch(SETTINGS, step, 0.5, 8, 32) for step in (3, 3, 4))
    assert all(torch.equal(a, b) for a, b in zip(first, again, strict=True))
    assert not torch.equal(first[0], later[0])
    tokens, counted, source = first
    assert tokens.shape == (8, 33) and counted.shape == (8, 32) and source.shape == (8,)
    assert not counted[tokens[:, 1:] == 0].any()  # where a document begins there is nothing to predict
    assert (tokens[:, 0] == 0).all()


def test_known_names_are_no_spellings():
    from saekit.corpora.microworld.chance import Draw
    from saekit.corpora.microworld.entities import ENTITIES

    text = " and ".join(ENTITIES)
    assert len(tokenizer.KNOWN.findall(tokenizer.disguised(text, Draw("x")))) < 5  # a fresh name may be known by chance
    assert tokenizer.plain("<|user|>a<|end|><|assistant|>b") == ["a", "b"]
