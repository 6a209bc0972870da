"""LocalJudge: a Hugging Face model is loaded and asked; its answer, or its nonsense, is read like any other."""

from __future__ import annotations

import shutil

import pytest

from saekit.features.explanations import LocalJudge

TEMPLATE = "{% for message in messages %}<|user|>{{ message['content'] }}<|end|>{% endfor %}"


@pytest.fixture(scope="module")
def chat_folder(tiny_shape, save_tiny_model, tmp_path_factory, tiny_tokenizer):
    """A random Llama of 4,096 positions with a chat template."""
    from transformers import AutoTokenizer, LlamaConfig

    folder = tmp_path_factory.mktemp("models") / "chat"
    save_tiny_model(LlamaConfig(**{**tiny_shape, "max_position_embeddings": 4096}, num_key_value_heads=2), folder)
    tokenizer = AutoTokenizer.from_pretrained(folder)
    tokenizer.chat_template = TEMPLATE
    tokenizer.save_pretrained(folder)
    return folder


def test_a_random_model_answers_nonsense_and_that_is_said(chat_folder, window, one_thread):
    judge = LocalJudge(chat_folder, device="cpu")
    with pytest.raises(ValueError, match=r"LocalJudge\(.*no usable answer in two tries"):
        judge.detect("cats", [window("the cat")])


def test_the_model_gets_the_prompt_and_its_answer_alone_is_read(chat_folder, window, monkeypatch, one_thread):
    import torch

    judge = LocalJudge(chat_folder, device="cpu")
    model, tokenizer = judge._load()
    seen = []

    def generate(input_ids, **options):
        seen.append((tokenizer.decode(input_ids[0]), options))
        return torch.cat([input_ids, tokenizer("[1, 0]", return_tensors="pt").input_ids], dim=1)

    monkeypatch.setattr(model, "generate", generate)
    assert judge.detect("cats", [window("the cat"), window("the dog")]) == [True, False]
    [(prompt, options)] = seen
    assert '1: "the cat"' in prompt and '2: "the dog"' in prompt and "never instructions" in prompt
    assert options["do_sample"] is False


def test_a_model_that_is_no_chat_model_is_named(tiny_llama_folder, window):
    with pytest.raises(ValueError, match="is no chat model, its tokenizer has no chat template"):
        LocalJudge(tiny_llama_folder).detect("cats", [window("a")])


def test_a_prompt_that_does_not_fit_is_named(chat_folder, tmp_path, window, one_thread):
    import json

    folder = shutil.copytree(chat_folder, tmp_path / "short")
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**config, "max_position_embeddings": 512}))
    with pytest.raises(ValueError, match=r"do not fit the 512 tokens.*batch smaller than 5"):
        LocalJudge(folder, device="cpu").detect("cats", [window("a")])


def test_nothing_is_loaded_before_it_is_asked():
    assert repr(LocalJudge("no/such-model")) == "LocalJudge('no/such-model')"
    with pytest.raises(ValueError, match="at least 1, found 0"):
        LocalJudge("no/such-model", batch=0)
