"""Chats: what is missing is nothing, parts are joined, and each span lies where the template wrote what was said."""

from __future__ import annotations

import numpy as np
import pytest
from jinja2.sandbox import ImmutableSandboxedEnvironment

from saekit.corpora import load_corpus

LLAMA = (
    "<|begin|>{% for m in messages %}<|start|>{{ m.role }}<|end|>\n\n{{ m.content | trim }}"
    "{% for call in m.tool_calls or [] %}{{ call.name }}(){% endfor %}<|eot|>{% endfor %}"
)
GEMMA = (
    "{% if messages[0].role == 'system' %}{{ raise_exception('System role not supported') }}{% endif %}<bos>"
    "{% for m in messages %}<turn>{{ 'model' if m.role == 'assistant' else m.role }}\n{{ m.content }}</turn>\n"
    "{% endfor %}"
)
MISTRAL = (  # the system's words stand within the user's
    "{% for m in messages %}{% if m.role == 'user' %}[INST] {{ messages[0].content + '\n\n' if "
    "messages[0].role == 'system' and loop.index0 == 1 else '' }}{{ m.content }} [/INST]"
    "{% elif m.role == 'assistant' %} {{ m.content }}</s>{% endif %}{% endfor %}"
)
THINKS = "{% for m in messages %}<{{ m.role }}>{{ m.content.split('</think>')[-1] }}{% endfor %}"
ONLY_LAST = "{% for m in messages %}{% if loop.last %}<{{ m.role }}>{{ m.content }}{% endif %}{% endfor %}"


class Tokenizer:
    """As of transformers, as far as its template goes."""

    def __init__(self, chat_template):
        self.chat_template = chat_template

    def apply_chat_template(self, turns, tokenize):
        def refuse(message):
            raise ValueError(message)

        environment = ImmutableSandboxedEnvironment(trim_blocks=True, lstrip_blocks=True)
        environment.globals["raise_exception"] = refuse
        return environment.from_string(self.chat_template).render(messages=turns)


def turns(*said: tuple[str, object]) -> list[dict[str, object]]:
    return [{"role": role, "content": content} for role, content in said]


def spans(document) -> list[tuple[int, str, str]]:
    return [(span.start, document.text[span.start : span.end], span.concept) for span in document.spans]


def test_a_content_that_is_a_word_of_the_markup():
    (found,) = load_corpus([turns(("user", "user"), ("assistant", "a"), ("user", "end"), ("assistant", "a"))])
    assert found.text == "<|user|>user<|end|><|assistant|>a<|end|><|user|>end<|end|><|assistant|>a<|end|>"
    assert spans(found) == [
        (8, "user", "chat.user"),
        (32, "a", "chat.assistant"),
        (48, "end", "chat.user"),
        (71, "a", "chat.assistant"),
    ]


@pytest.mark.parametrize("template", [LLAMA, GEMMA, MISTRAL])
def test_spans_lie_where_another_template_writes_what_is_said(template):
    chat = turns(("user", "s"), ("assistant", "user"), ("user", "s"), ("assistant", "[INST] s"))
    (found,) = load_corpus([chat], tokenizer=Tokenizer(template))
    assert [said for _, said, _ in spans(found)] == ["s", "user", "s", "[INST] s"]
    before = {LLAMA: "<|end|>\n\n", GEMMA: "\n", MISTRAL: " "}[template]
    after = {LLAMA: ["<|eot|>"] * 4, GEMMA: ["</turn>"] * 4, MISTRAL: [" [/INST]", "</s>"] * 2}[template]
    for (start, said, _), follows in zip(spans(found), after, strict=True):
        assert found.text[:start].endswith(before) and found.text[start + len(said) :].startswith(follows)


def test_white_space_that_a_template_leaves_out_is_in_no_span():
    (found,) = load_corpus([turns(("user", "  hi \n"), ("assistant", "\t"))], tokenizer=Tokenizer(LLAMA))
    assert spans(found) == [(found.text.index("hi"), "hi", "chat.user")]


def test_a_system_turn_within_the_users():
    (found,) = load_corpus([turns(("system", "s"), ("user", "s"))], tokenizer=Tokenizer(MISTRAL))
    assert found.text == "[INST] s\n\ns [/INST]"
    assert spans(found) == [(7, "s", "chat.system"), (10, "s", "chat.user")]


def test_a_template_that_cuts_what_is_said_or_writes_a_part_of_the_chat():
    chat = turns(("user", "why"), ("assistant", "<think>why</think>because"))
    (found,) = load_corpus([chat], tokenizer=Tokenizer(THINKS))
    assert found.text == "<user>why<assistant>because" and not found.spans  # it cannot be told what is whose
    (found,) = load_corpus([chat], tokenizer=Tokenizer(ONLY_LAST))
    assert spans(found) == [(11, "<think>why</think>because", "chat.assistant")]


@pytest.mark.parametrize("tokenizer", [None, Tokenizer(LLAMA)])
def test_what_is_missing_is_nothing_and_no_word(tokenizer):
    (found,) = load_corpus([turns(("user", "hi"), ("assistant", None))], tokenizer=tokenizer)
    assert "None" not in found.text and [said for _, said, _ in spans(found)] == ["hi"]


def test_a_chat_in_which_nothing_is_said_is_a_row_without_text():
    rows = [
        turns(("user", None)),
        [],
        turns(("user", "hi")),
        {"messages": None},
        {"messages": []},
        turns(("user", " ")),
    ]
    corpus = load_corpus(rows)
    assert [document.text for document in corpus] == ["<|user|>hi<|end|>"] and corpus.reading["skipped"] == 5


def test_parts_of_text_are_joined():
    parts = [{"type": "text", "text": "one "}, {"type": "text", "text": "two"}, " three"]
    for given in (parts, tuple(parts), np.array(parts, dtype=object)):
        (found,) = load_corpus([turns(("user", given))])
        assert spans(found) == [(8, "one two three", "chat.user")]


def test_calls_of_tools_are_written_by_the_tokenizers_template():
    call = {"role": "assistant", "content": None, "tool_calls": [{"name": "time"}]}
    table = [
        {"role": "user", "content": "when?", "tool_calls": None},
        call,
        {"role": "tool", "content": "noon", "name": None},
    ]
    (found,) = load_corpus([table], tokenizer=Tokenizer(LLAMA))
    assert "<|start|>assistant<|end|>\n\ntime()<|eot|>" in found.text
    assert [said for _, said, _ in spans(found)] == ["when?", "noon"]
    with pytest.raises(
        ValueError, match="row 0 has 'tool_calls', which micro's template cannot write: pass tokenizer="
    ):
        load_corpus([table])


def test_a_cell_of_turns_in_a_frame_is_an_array():
    cell = np.array(turns(("user", "hi")), dtype=object)
    assert load_corpus([{"id": 1, "dialogue": cell}])[0].text == "<|user|>hi<|end|>"
    assert load_corpus([{"text": "a", "conversation": "no. 7"}])[0].text == "a"  # a name of a chat, and no chat
    assert load_corpus([{"text": "a", "messages": None}])[0].text == "a"


class Broken:
    chat_template = "{{ messages"

    def apply_chat_template(self, turns, tokenize):
        raise RuntimeError("it fell over")


@pytest.mark.parametrize(
    ("chat", "tokenizer", "message"),
    [
        (turns(("system", "x")), Tokenizer(GEMMA), "chat template refuses row 1: System role not supported"),
        (turns(("user", "x")), Broken(), "chat template refuses row 1: it fell over"),
        (turns(("user", "x")), Tokenizer(None), "row 1 is a chat, and the tokenizer has no chat template"),
        (turns(("user", "x")), "gpt2", "tokenizer= is one with a chat template, .* found 'gpt2'"),
        (turns(("tool", "x")), None, "row 1 has the role 'tool', micro's template knows 'user' and 'assistant'"),
        (turns(("user", 5)), None, "turn 0 of row 1: content is a string, a list of parts or None, found int"),
        (turns(("user", {"a": 1})), None, "turn 0 of row 1: content is .* found dict"),
        (turns(("user", [{"type": "image", "text": None}])), None, "turn 0 of row 1 has a part of type 'image'"),
        (turns(("user", [3])), None, "turn 0 of row 1 has a part of type 'int'"),
        (turns((None, "x")), None, "turn 0 of row 1 has the role None"),
        ([{"role": "user", "text": "x"}], None, "turn 0 of row 1 has no 'content', found 'role', 'text'"),
        (turns(("user", "\ud83d")), None, r"row 1 is no text: its character 8 is U\+D83D"),
    ],
)
def test_what_is_refused_names_the_row(chat, tokenizer, message):
    with pytest.raises((ValueError, TypeError), match=message):
        load_corpus(["a text", chat], tokenizer=tokenizer)
