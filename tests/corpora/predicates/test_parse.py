"""parse reads what str writes, and says where it cannot."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from saekit.corpora.predicates import After, And, Before, Concept, Not, Or, Tokens, from_json, parse

LEAVES = st.one_of(
    st.builds(Concept, st.text() | st.sampled_from(["entity", "entity.person", "and", "or", "not", "concept"])),
    st.builds(Tokens, st.frozensets(st.text(), min_size=1, max_size=3), st.booleans()),
)


def joined(children):
    parts = st.lists(children, min_size=2, max_size=3).map(tuple)
    return st.one_of(
        *(st.builds(kind, parts) for kind in (And, Or)), *(st.builds(k, children) for k in (Not, After, Before))
    )


PREDICATES = st.recursive(LEAVES, joined, max_leaves=8)


@given(PREDICATES)
def test_parse_reads_what_str_writes(predicate):
    assert parse(str(predicate)) == predicate
    assert from_json(predicate.to_json()) == predicate


@given(st.text(alphabet="concept(tokens'\"\\)&|~ ,.x0u", max_size=40) | st.text(max_size=40))
def test_any_other_text_raises_a_sentence(text):
    try:
        parse(text)
    except ValueError as error:
        assert str(error).startswith("at character ") and "\n" not in str(error)


@pytest.mark.parametrize(
    ("text", "predicate"),
    [
        (
            "concept(entity.person) & ~tokens(' the', ' a')",
            Concept("entity.person") & ~Tokens(frozenset({" the", " a"})),
        ),
        (" concept( a )or not concept(b)and concept(c) ", Concept("a") | (~Concept("b") & Concept("c"))),
        ("(concept(a) | concept(b)) & concept(c)", (Concept("a") | Concept("b")) & Concept("c")),
        ("~(concept(a) | concept(b))", ~(Concept("a") | Concept("b"))),
        ("words(\"The\", ' cat')", Tokens(frozenset({"the", "cat"}), fold=True)),
        ("after(tokens('\\n', '\\u00e9\\x41', '\\\\'))", After(Tokens(frozenset({"\n", "éA", "\\"})))),
        ("concept('no dots here')", Concept("no dots here")),
        ("((concept(a)))", Concept("a")),
    ],
)
def test_texts_read_by_hand(text, predicate):
    assert parse(text) == predicate


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("", "at character 1: expected concept, .*, found the end"),
        ("concpt(a)", "at character 1: .* found 'concpt'; the closest word is 'concept'"),
        ("concept(a) & token('b')", "at character 14: .* found 'token'; the closest word is 'tokens'"),
        ("concept(a) concept(b)", "at character 12: expected '&', '|' or the end, found 'concept'"),
        ("concept(a", r"at character 10: expected '\)', found the end"),
        ("concept a", r"at character 9: expected '\(' after concept, found 'a'"),
        ("concept()", "at character 9: expected the name of a concept"),
        ("tokens(the)", "at character 8: expected a text in quotes, such as ' the', found 'the'"),
        ("tokens('a' 'b')", r"at character 12: expected ',' or '\)', found \"'b'\""),
        ("tokens('a)", "at character 8: .* the quote is never closed"),
        (r"tokens('a\q')", "at character 10: .*q' is no escape; write a backslash twice"),
        ("tokens('a\\\n')", "at character 10: .* is no escape"),
        (r"tokens('\Uffffffff')", "at character 9: .* is no escape"),
        ("tokens()", "at character 8: expected a text in quotes"),
        ("a && b", "at character 1: expected concept"),
        ("concept(a) &", "at character 13: .* found the end"),
        ("__import__('os')", "at character 1: expected concept"),
        ("people's names", "at character 1: expected concept"),
    ],
)
def test_errors_name_the_place_and_the_nearest_word(text, complaint):
    with pytest.raises(ValueError, match=complaint):
        parse(text)


@pytest.mark.parametrize("text", ["(" * 100_000, "~" * 100_000, "after(" * 50_000, "(" * 60 + "concept(a)" + ")" * 60])
def test_nesting_without_end_is_refused(text):
    with pytest.raises(ValueError, match="50 levels"):
        parse(text)


def test_unknown_concepts_are_refused_where_the_known_are_given():
    known = ["entity.person", "entity.city", "number.year"]
    assert parse("concept(entity)", known) == Concept("entity")
    assert parse("concept('entity.city')", known) == Concept("entity.city")
    with pytest.raises(
        ValueError, match=r"at character 9: there is no concept 'entity.persn'; the closest is 'entity.person'"
    ):
        parse("concept(entity.persn)", known)
    with pytest.raises(ValueError, match="there is no concept 'entity'; the corpus has no labels"):
        parse("concept(entity)", [])
