"""Conversations in the chat format that micro knows, and the mask of what was said in them."""

from __future__ import annotations

import copy
from types import SimpleNamespace

import pytest
import torch

import saekit as sk
from saekit.activations import chat_texts, harvest, tokenize
from saekit.activations.source import read_source

HOOK = "blocks.1.hook_resid_post"
TEMPLATE = (
    "{{ bos_token }}{% for turn in messages %}{% if turn.role not in ['user', 'assistant'] %}"
    "{{ raise_exception('there is no role ' + turn.role) }}{% endif %}"
    "<|{{ turn.role }}|>{{ turn.content }}<|end|>{% endfor %}"
)
ASKED = [
    [{"role": "user", "content": "Please paint the door."}, {"role": "assistant", "content": "Sure."}],
    [{"role": "user", "content": "Who?"}],
]


@pytest.fixture(scope="module")
def micro():
    return sk.load_model("micro", device="cpu")


@pytest.fixture
def chatting(micro):
    """micro with a template; its own tokenizer stays as it is."""
    before = micro.tokenizer
    micro.tokenizer = copy.deepcopy(before)
    micro.tokenizer.chat_template = TEMPLATE
    yield micro
    micro.tokenizer = before


def test_texts_are_the_templates_without_bos(chatting):
    assert chat_texts(chatting, ASKED) == [
        "<|user|>Please paint the door.<|end|><|assistant|>Sure.<|end|>",
        "<|user|>Who?<|end|>",
    ]
    whole = chatting.tokenizer.apply_chat_template(ASKED[1], tokenize=True, return_dict=False)
    ours = tokenize(chatting, chat_texts(chatting, ASKED[1:])).tokens[0].tolist()
    assert ours == whole, "one BOS, and the tokens that the template gives"


def test_what_was_said_is_counted_and_the_format_is_not(chatting):
    user, assistant, end = (chatting.tokenizer.convert_tokens_to_ids(f"<|{n}|>") for n in ("user", "assistant", "end"))
    said = [chatting.tokenizer(text, add_special_tokens=False)["input_ids"] for text in ("Who?", "Sure.")]
    asked = chatting.tokenizer("Please paint the door.", add_special_tokens=False)["input_ids"]
    rows = tokenize(chatting, chat_texts(chatting, ASKED), exclude="special")
    bos = chatting.tokenizer.bos_token_id
    assert rows.tokens[0].tolist() == [bos, user, *asked, end, assistant, *said[1], end]
    first = [False, False, *[True] * len(asked), False, False, *[True] * len(said[1]), False]
    assert rows.mask[0].tolist() == first
    padding = [False] * (len(first) - len(said[0]) - 3)
    assert rows.mask[1].tolist() == [False, False, *[True] * len(said[0]), False, *padding]
    assert rows.excluded == {"bos": 2, "special": 6, "cut": 0}
    by_name = tokenize(chatting, chat_texts(chatting, ASKED), exclude=["<|user|>", "<|assistant|>", "<|end|>"])
    assert torch.equal(by_name.mask, rows.mask)
    tensor = tokenize(chatting, rows.tokens[:1], exclude="special")
    assert torch.equal(tensor.mask, rows.mask[:1])


def test_harvest_and_training_take_them(chatting):
    texts = chat_texts(chatting, ASKED)
    acts = harvest(chatting, texts, HOOK, exclude="special")
    whole = harvest(chatting, texts, HOOK)
    assert len(whole.flat(HOOK)) - len(acts.flat(HOOK)) == 6 and torch.equal(acts[HOOK], whole[HOOK])
    run = sk.train(chatting, HOOK, sk.TopK(d_sae=256, k=4), texts, tokens=64, batch_size=32, callback=lambda _: None)
    assert run.finished


def test_added_tokens_that_are_special_count_as_special(tiny_llama):
    """As in Llama 3, whose tokens of the chat format stand among the added ones alone."""
    added = {3: SimpleNamespace(special=True), 4: SimpleNamespace(special=False)}

    class Tokenizer:
        all_special_ids = (0,)
        added_tokens_decoder = added
        __call__ = None

        def __getattr__(self, name):
            return getattr(tiny_llama.tokenizer, name)

    model = SimpleNamespace(tokenizer=Tokenizer(), cfg=tiny_llama.cfg)
    rows = tokenize(model, torch.tensor([[0, 3, 4, 7]]), exclude="special")
    assert rows.mask.tolist() == [[False, False, True, True]]


def test_content_is_read_as_a_corpus_reads_it(chatting):
    """Parts are joined, and what is missing is nothing, not the word None."""
    parts = [{"role": "user", "content": [{"type": "text", "text": "Who"}, {"type": "text", "text": "?"}]}]
    assert chat_texts(chatting, [[*parts, {"role": "assistant", "content": None}]]) == [
        "<|user|>Who?<|end|><|assistant|><|end|>"
    ]


def test_refused(micro, chatting, tiny_llama):
    assert tiny_llama.tokenizer.chat_template is None
    with pytest.raises(ValueError, match=r"the tokenizer has no chat template: set model\.tokenizer\.chat_template"):
        chat_texts(tiny_llama, ASKED)
    for wrong in (ASKED[0], ["Who?"], [[]], [[{"role": "user", "content": " "}]]):
        with pytest.raises(ValueError, match=r"a conversation is a list of \{'role': …, 'content': …\}, found .* 0"):
            chat_texts(chatting, wrong)
    with pytest.raises(ValueError, match="turn 0 of conversation 0 has no 'content', found 'role'"):
        chat_texts(chatting, [[{"role": "user"}]])
    with pytest.raises(ValueError, match="refuses conversation 0: there is no role system"):
        chat_texts(chatting, [[{"role": "system", "content": "Be kind."}]])


def test_chats_are_written_by_the_models_own_template_wherever_text_is_read(chatting):
    acts = harvest(chatting, ASKED, HOOK, exclude="special")
    written = harvest(chatting, chat_texts(chatting, ASKED), HOOK, exclude="special")
    assert torch.equal(acts.tokens, written.tokens) and torch.equal(acts[HOOK], written[HOOK])


def test_a_model_that_has_no_template_is_not_given_micros(micro, monkeypatch):
    """Its tokenizer would cut <|user|> into pieces of text."""
    tokenizer = copy.deepcopy(micro.tokenizer)
    without = {name: number for name, number in tokenizer.get_vocab().items() if not name.startswith("<|")}
    monkeypatch.setattr(type(tokenizer), "get_vocab", lambda self: without)
    model = SimpleNamespace(tokenizer=tokenizer, cfg=micro.cfg, hook_dict={})
    with pytest.raises(ValueError, match="is a chat, and the tokenizer has no chat template"):
        read_source(ASKED, model)
    assert len(read_source(["Anna went home."], model)) == 1
