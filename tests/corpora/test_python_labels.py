"""Labels of Python source on snippets where every span can be read off, and the cutting of modules."""

from __future__ import annotations

import itertools

import pytest

from saekit.corpora.python_library.labels import CONCEPTS, label
from saekit.corpora.python_library.sources import LONGEST, cut, library, modules, split_of

SNIPPET = '''"""Module."""
import os.path as p
from re import sub

@decorated(1)
def greet(name, *rest, times=2):
    """Say it."""
    # now
    if times > 1:
        return len(name.upper()) + [None][0]
    print(f"hi {name + 'x'} {times!r}", sep="")

class Box(Base):
    size = 1.5
'''


def of(source: str, concept: str) -> list[str]:
    return [source[span.start : span.end] for span in label(source) if span.concept == "python." + concept]


@pytest.mark.parametrize(
    ("concept", "texts"),
    [
        ("keyword", ["import", "as", "from", "import", "def", "if", "return", "class"]),
        ("constant", ["None"]),
        ("name.function", ["greet"]),
        ("name.class", ["Box"]),
        ("name.argument", ["name", "rest", "times"]),
        ("argument_use", ["times", "name"]),
        ("name.attribute", ["upper"]),
        ("name.called", ["decorated", "len", "upper", "print"]),
        ("name.keyword_argument", ["sep"]),
        ("name.module", ["os.path", "sub"]),
        ("import", ["import os.path as p", "from re import sub"]),
        ("docstring", ['"""Module."""', '"""Say it."""']),
        ("string", ['"""Module."""', '"""Say it."""', "f\"hi {name + 'x'} {times!r}\"", '""']),
        ("comment", ["# now"]),
        ("number", ["1", "2", "1", "0", "1.5"]),
        ("builtin", ["len", "print"]),
        ("decorator", ["decorated(1)"]),
        ("default", ["2"]),
        ("condition", ["times > 1"]),
        ("return_value", ["len(name.upper()) + [None][0]"]),
        ("operator", ["@", "*", "=", ">", "+", "=", "="]),
        ("brackets.depth_2", ["()"]),
    ],
)
def test_each_concept(concept, texts):
    assert of(SNIPPET, concept) == texts


@pytest.mark.parametrize(
    "string",
    ['f"{a}"', "rf'{a!r:>{w}}'", "f\"{f'{a}'} and {b}\"", 'f"""{\na + b\n}"""', 'F"{{}}"', 'f"{x:{y}}" '],
)
def test_an_f_string_is_one_string(string):
    source = f"value = {string}\nother = 1\n"
    assert of(source, "string") == [string.strip()]
    assert of(source, "operator") == ["=", "="] and of(source, "number") == ["1"]


def test_columns_are_characters_not_bytes():
    source = 'é = "ü" + call(größe=1).wert\n'
    assert of(source, "name.attribute") == ["wert"]
    assert of(source, "name.keyword_argument") == ["größe"]
    assert of(source, "name.called") == ["call"]


def test_brackets_nest():
    source = "f(a[b{c}])".replace("{c}", "((c))") + "\n"
    assert of(source, "brackets.depth_1") == ["(a[b((c))])"]
    assert of(source, "brackets.depth_2") == ["[b((c))]"]
    assert of(source, "brackets.depth_3") == ["((c))", "(c)"]


def test_cut_keeps_all_code_and_stays_short():
    for module in ("queue", "typing", "encodings.cp1252", "pydoc_data.topics"):
        source = library()[module]
        pieces = cut(source)
        assert all(stop - start <= LONGEST for start, stop in pieces)
        assert all(before[1] <= after[0] for before, after in itertools.pairwise(pieces))
        kept = "".join(source[start:stop] for start, stop in pieces)
        lost = len("".join(source.split())) - len("".join(kept.split()))
        assert 0 <= lost <= 0.005 * len(source)


def test_splits_are_disjoint_and_complete():
    splits = {split: set(modules(split)) for split in ("train", "heldout", "unseen_dev", "unseen")}
    assert sum(map(len, splits.values())) == len(library()) == len(set.union(*splits.values()))
    assert all(split_of(name) == split for split, names in splits.items() for name in names)
    assert len(splits["train"]) > 0.75 * len(library())


def test_snapshot_has_no_test_and_no_generated_file():
    for name in library():
        assert not set(name.split(".")) & {"test", "tests", "idle_test", "ensurepip"} and "sysconfigdata" not in name


def test_every_concept_occurs():
    found = {span.concept for name in ("queue", "argparse", "contextlib") for span in label(library()[name])}
    assert found == set(CONCEPTS)


@pytest.mark.slow
def test_the_running_interpreters_own_library():
    from saekit.corpora import load_corpus

    corpus = load_corpus("python", n=40, installed=True)
    assert corpus.name == "python (installed)" and len(corpus) == 40 and corpus.concepts
    heldout = load_corpus("python", split="heldout", n=20, installed=True)
    assert all(document.text for document in heldout)
    for document in corpus:
        for span in document.spans:
            assert 0 <= span.start < span.end <= len(document.text)
    with pytest.raises(ValueError, match="installed=True is for 'python'"):
        load_corpus("microworld", installed=True)
