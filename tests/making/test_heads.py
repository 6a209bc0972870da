"""The table of heads: an ablation that is known by construction, and one computed by hand."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from saekit.making import heads
from saekit.making.card import MICRO, heads_found
from saekit.models import load_model

RIGHT, WRONG = [[7], [9, 11]], [[8], [10]]


@pytest.fixture
def model(tiny_llama_folder):
    """The plain model, for what is done by hand."""
    from transformers import AutoModelForCausalLM

    return AutoModelForCausalLM.from_pretrained(tiny_llama_folder, dtype=torch.float32).eval().requires_grad_(False)


@pytest.fixture
def effects_of(tiny_tokenizer, tmp_path):
    """head_effects of a plain model, as saekit loads it."""

    def effects(model):
        model.save_pretrained(tmp_path)
        tiny_tokenizer.save_pretrained(tmp_path)
        return heads.head_effects(load_model(tmp_path, device="cpu"), None, "ioi")

    return effects


@pytest.fixture
def pairs(monkeypatch):
    """Two pairs of five tokens in place of a task's."""
    generator = torch.Generator().manual_seed(3)
    clean, corrupt = torch.randint(5, 300, (2, 2, 5), generator=generator)
    monkeypatch.setattr(heads, "same_length", lambda *_: iter([(clean, corrupt, RIGHT, WRONG)]))
    return clean, corrupt


def test_only_the_head_that_writes_has_an_effect(model, pairs, effects_of):
    """o_proj of all heads but 1.2 is zero, so that the others write nothing and their ablation changes nothing."""
    width = model.config.hidden_size // 4
    for layer, block in enumerate(model.model.layers):
        kept = torch.zeros(16, dtype=torch.bool)
        if layer == 1:
            kept[2 * width : 3 * width] = True
        block.self_attn.o_proj.weight[:, ~kept] = 0
    effects = effects_of(model)
    assert effects.shape == (2, 4) and effects[1, 2].abs() > 1e-3
    effects[1, 2] = 0
    assert effects.abs().max() < 1e-6


def test_one_head_by_hand(model, pairs, effects_of):
    clean, corrupt = pairs
    layer, head, width = 0, 3, 4
    projection = model.model.layers[layer].self_attn.o_proj
    seen = []
    handle = projection.register_forward_pre_hook(lambda module, given: seen.append(given[0]))
    before = model(clean).logits[:, -1]
    model(corrupt)
    handle.remove()
    mean = seen[1].mean(0, keepdim=True)
    change = torch.zeros_like(seen[0])
    change[..., head * width :] = mean[..., head * width :] - seen[0][..., head * width :]
    handle = projection.register_forward_hook(lambda module, given, out: out + change @ projection.weight.T)
    after = model(clean).logits[:, -1]
    handle.remove()
    fall = before - after
    by_hand = fall[0, 7] - fall[0, 8] + fall[1, [9, 11]].mean() - fall[1, 10]
    whole = before[0, 7] - before[0, 8] + before[1, [9, 11]].mean() - before[1, 10]
    assert effects_of(model)[layer, head] == pytest.approx(float(by_hand / whole), rel=1e-4)


def test_a_prefix_by_hand(model, tiny_tokenizer, tmp_path, monkeypatch):
    """The fall of log p of the token that is due, one head at its mean over the rows without repetition."""
    tokens = torch.randint(5, 300, (9, 2, 5), generator=torch.Generator().manual_seed(4))
    due = torch.tensor([7, 9])
    monkeypatch.setattr(heads, "prefix_prompts", lambda *_: (tokens, due))
    model.save_pretrained(tmp_path)
    tiny_tokenizer.save_pretrained(tmp_path)
    effects = heads.prefix_effects(load_model(tmp_path, device="cpu"))
    assert effects.shape == (8, 2, 4)
    projection, head, width = model.model.layers[1].self_attn.o_proj, 2, 4
    mine = slice(head * width, (head + 1) * width)
    seen = []
    handle = projection.register_forward_pre_hook(lambda module, given: seen.append(given[0]))
    model(tokens[0])
    handle.remove()

    def ablated(module, given):
        changed = given[0].clone()
        changed[..., mine] = seen[0].mean(0)[:, mine]
        return (changed,)

    for length in (1, 8):
        before = model(tokens[length]).logits[:, -1].log_softmax(-1)[[0, 1], due]
        handle = projection.register_forward_pre_hook(ablated)
        after = model(tokens[length]).logits[:, -1].log_softmax(-1)[[0, 1], due]
        handle.remove()
        assert float(effects[length - 1, 1, head]) == pytest.approx(float((before - after).mean()), abs=1e-4)


def test_the_card_keeps_shares_and_nats_apart(tmp_path):
    lines = ["task,layer,head,effect", "ioi,0,1,0.6", "ioi,1,0,0.02"]
    lines += [f"prefix_{length},1,0,{-1.0 if length == 1 else 2.0}" for length in range(1, 9)]
    lines += [f"prefix_{length},0,1,{0.04}" for length in range(1, 9)]
    (tmp_path / "heads.csv").write_text("\n".join(lines) + "\n", encoding="utf-8")
    card = "\n".join(heads_found(tmp_path))
    assert "- ioi: 0.1 (0.60)" in card and "prefix_1" not in card
    assert "- 1.0: -1.00, 2.00, 2.00, 2.00, 2.00, 2.00, 2.00, 2.00 (long)" in card and "- 0.1:" not in card


def test_micros_card_says_what_its_table_has():
    card = (Path(MICRO) / "README.md").read_text(encoding="utf-8")
    assert "\n".join(heads_found(Path(MICRO))) in card
