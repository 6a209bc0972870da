"""fine_tune: a copy that has learned its text, with its own hash and card, the same for the same seed."""

from __future__ import annotations

import json

import pytest
import torch

import saekit as sk
from saekit.models import fine_tune, hash_checkpoint, load_model

TEXT = [f"the cat {verb} on the mat ." for verb in ("sat", "slept", "ran", "lay")]


def loss(model, text: str) -> float:
    tokens = model.to_tokens(text)
    with torch.no_grad():
        p = model(tokens)[0].log_softmax(-1)
    return -float(p[:-1].gather(1, tokens[0, 1:, None]).mean())


@pytest.fixture(scope="module", params=["gpt2", "llama"])
def base(request, tiny_gpt2_folder, tiny_llama_folder):
    return load_model({"gpt2": tiny_gpt2_folder, "llama": tiny_llama_folder}[request.param], device="cpu")


@pytest.fixture(scope="module")
def made(base, tmp_path_factory):
    out = tmp_path_factory.mktemp("copies") / "copy"
    return out, fine_tune(base, TEXT, out, tokens=6000, lr=1e-2, checkpoints=2)


def test_it_learns_its_text_and_the_original_stays(base, made):
    out, copy = made
    assert loss(copy, TEXT[0]) < 0.5 * loss(base, TEXT[0])
    assert copy.model_hash != base.model_hash == load_model(base.model_name, device="cpu").model_hash
    assert copy.model_hash == hash_checkpoint(out)
    assert copy.cfg.n_ctx == base.cfg.n_ctx and copy.to_tokens(TEXT[0]).equal(base.to_tokens(TEXT[0]))


def test_the_card_and_the_settings(base, made):
    out, copy = made
    told = json.loads((out / "fine_tune.json").read_text())
    assert told["base_hash"] == base.model_hash and told["tokens"] == 6000 and told["seed"] == 0
    assert told["loss_last"] < told["loss_first"] == pytest.approx(sum(loss(base, text) for text in TEXT) / 4, rel=0.2)
    card = (out / "README.md").read_text()
    assert copy.model_hash[:12] in card and base.model_hash[:12] in card and "4 texts of one's own" in card


def test_stages_on_the_way(base, made):
    out, copy = made
    stages = sorted((out / "checkpoints").iterdir(), key=lambda place: int(place.name))
    assert [place.name for place in stages] == ["2000", "4000"]
    losses = [loss(each, TEXT[1]) for each in (base, *(load_model(place, device="cpu") for place in stages), copy)]
    assert losses == sorted(losses, reverse=True)


def test_the_same_call_gives_what_is_there_and_the_seed_decides(base, made, tmp_path):
    out, copy = made
    assert fine_tune(base, TEXT, out, tokens=6000, lr=1e-2, checkpoints=2).model_hash == copy.model_hash
    few = {"tokens": 600, "lr": 1e-2}
    hashes = [fine_tune(base, TEXT, tmp_path / str(n), **few, seed=seed).model_hash for n, seed in enumerate((0, 0, 1))]
    assert hashes[0] == hashes[1] != hashes[2]
    with pytest.raises(ValueError, match=r"another fine-tuned model; it differs in .*seed \(there 0, here 3\)"):
        fine_tune(base, TEXT, out, tokens=6000, lr=1e-2, checkpoints=2, seed=3)


def test_an_endless_corpus_and_a_stop(base, tmp_path, monkeypatch):
    endless = sk.load_corpus("microworld", split="train")
    assert fine_tune(base, endless, tmp_path / "micro", tokens=300).model_hash != base.model_hash

    def stop(*given):
        raise KeyboardInterrupt

    monkeypatch.setattr(torch.optim.AdamW, "step", stop)
    with pytest.raises(KeyboardInterrupt, match="no copy was made"):
        fine_tune(base, TEXT, tmp_path / "stopped", tokens=300)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["micro"], "nothing half made is left"


def test_bad_input(base, tmp_path):
    with pytest.raises(ValueError, match="no token to predict: the corpus is empty"):
        fine_tune(base, ["", ""], tmp_path / "a")
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "mine.txt").write_text("mine")
    with pytest.raises(ValueError, match=r"full is not empty, and holds no fine_tune\.json"):
        fine_tune(base, TEXT, tmp_path / "full")
    assert (tmp_path / "full" / "mine.txt").read_text() == "mine"
    with pytest.raises(ValueError, match=r"the loss became nan .*try a smaller lr \(now 1e\+30\)"):
        fine_tune(base, TEXT, tmp_path / "b", tokens=3000, lr=1e30)
    with pytest.raises(ValueError, match="tokens must be at least 1, found 0"):
        fine_tune(base, TEXT, tmp_path / "c", tokens=0)
