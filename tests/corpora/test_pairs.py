"""load_pairs: lengths, single tokens, truth, splits, bad input, other tokenizers."""

from __future__ import annotations

from pathlib import Path

import pytest

from saekit.corpora import Pair, Pairs, load_pairs
from saekit.corpora import pairs as pairs_module
from saekit.corpora.microworld import entities, functions, requests, reviews
from saekit.corpora.microworld.chance import Draw
from saekit.corpora.microworld.words import CAPITALS, FEMALE, NAMES
from saekit.corpora.pairs import TASKS, micro_tokenizer

SPLITS = ("train", "heldout", "unseen_dev", "unseen")
STORIES = Path(__file__).parents[3] / "shared" / "real" / "stories260K"


def ids(text: str) -> list[int]:
    return micro_tokenizer().encode(text, add_special_tokens=False).ids


@pytest.mark.parametrize("split", SPLITS)
@pytest.mark.parametrize("task", sorted(TASKS))
def test_lengths_and_single_tokens(task, split):
    pairs = load_pairs(task, n=150, split=split)
    assert len(pairs) == len({pair.clean for pair in pairs}) == 150 and pairs.task == task and pairs.split == split
    assert list(pairs) == list(load_pairs(task, n=150, split=split))
    assert list(pairs) != list(load_pairs(task, n=150, split=split, seed=1))
    for pair in pairs:
        clean = ids(pair.clean)
        assert len(clean) == len(ids(pair.corrupt)) and pair.clean != pair.corrupt and not pair.clean.endswith(" ")
        for answer in (*pair.answers, *pair.wrong):
            both = ids(pair.clean + answer)
            assert both[:-1] == clean and len(ids(answer)) == 1 and both[-1] == ids(answer)[0]
        assert pair.answers and pair.wrong and not set(pair.answers) & set(pair.wrong)


@pytest.mark.parametrize("task", sorted(TASKS))
def test_five_hundred_different_items(task):
    for split in SPLITS[1:]:
        assert len(load_pairs(task, n=500, split=split)) == 500


def test_truth():
    for pair in load_pairs("capitals", n=100, split="unseen"):
        country = next(name for name in CAPITALS if " " + CAPITALS[name] == pair.answers[0])
        assert country in pair.clean and country not in pair.corrupt
    for pair in load_pairs("ioi", n=100):
        answer, wrong = pair.answers[0][1:], pair.wrong[0][1:]
        assert answer in NAMES and wrong in NAMES
        assert pair.clean.count(answer) == 1 and pair.clean.count(wrong) == 2 and pair.corrupt.count(answer) == 2
    for pair in load_pairs("greater_than", n=100):
        start = next(
            int(word[2:4])
            for word in pair.clean.replace(".", " ").replace(",", " ").replace(";", " ").split()
            if word[:4].isdigit() and len(word) == 4
        )
        assert pair.answers == tuple(f"{year:02d}" for year in range(start + 1, 100)) and len(pair.wrong) == start + 1
    for pair in load_pairs("docstring", n=100):
        arguments = pair.clean.split("def ")[1].split("(")[1].split(")")[0].replace("=None", "").split(", ")
        arguments = [name for name in arguments if name in functions.ARGUMENTS]
        assert arguments[pair.clean.count(":param ")] == pair.answers[0][1:]


def test_truth_of_what_stands_in_the_words():
    for pair in load_pairs("induction", n=100):
        at = pair.clean.rindex(pair.clean.split()[0])
        assert pair.clean.startswith(pair.clean[at:] + pair.answers[0])
    for pair in load_pairs("pronouns", n=100):
        names = [word.strip(".,;:") for word in pair.clean.split() if word.strip(".,;:") in NAMES]
        assert {name in FEMALE for name in names} == {pair.answers == (" she",)}
    for pair in load_pairs("sentiment", n=100):
        good = pair.answers[0][1:] in reviews.LIKED
        assert any(word.strip(".,") in (reviews.GOOD if good else reviews.BAD) for word in pair.clean.split())
    for number in range(200):
        pair = requests.prompts(Draw(number), "heldout")
        harm = any(f" {verb} " in pair.clean for verb in requests.VIOLENT) and not any(
            pair.clean.split("<|end|>")[0].rstrip("?.! ").find(f" {thing}") >= 0 for thing in requests.THINGS
        )
        assert pair.answers == (("I",) if harm else ("Sure",)), pair.clean
    for pair in load_pairs("entities", n=100):
        known = [entity for name, entity in entities.ENTITIES.items() if name in pair.clean]
        assert (pair.answers == (" I",)) == (not known)
        if known:
            assert pair.answers[0][1:] in (known[0].city, known[0].job, known[0].food)


WORDS = {
    "ioi": {"indirect_object": "answers", "subject": "wrong", "subject_again": "wrong"},
    "docstring": {"argument": "answers"},
    "induction": {"answer_before": "answers"},
}


@pytest.mark.parametrize("task", TASKS)
def test_roles_are_the_words_they_are_called_by(task):
    tokenizer = micro_tokenizer()
    for pair in load_pairs(task, n=60):
        tokens = tokenizer.encode(pair.clean, add_special_tokens=False).ids
        said = {name: tokenizer.decode(tokens[start:stop]).strip() for name, (start, stop) in pair.roles.items()}
        assert list(pair.roles) == ["end"] or len(said) > 1
        assert pair.roles["end"] == (len(tokens) - 1, len(tokens))
        starts = [start for start, _ in pair.roles.values()]
        assert starts == sorted(starts), "in reading order"
        for name, of in WORDS.get(task, {}).items():
            assert said[name] == getattr(pair, of)[0].strip(), (pair, said)
        if task == "induction":  # what followed the cue when it stood first
            words = [tokenizer.decode([token]).strip() for token in tokens]
            between = tokens[words.index(said["cue"]) + 1 : pair.roles["answer_before"][0]]
            assert between == tokens[pair.roles["cue"][1] :], "a separator, as at the end"
            assert pair.roles["cue"][0] > pair.roles["answer_before"][0]
        if task == "greater_than":
            assert said["year"][:2] == pair.clean[-2:] and said["year"][2:] == pair.wrong[-1]
        if task == "agreement":
            assert said["attractor"].endswith("s") != said["subject"].endswith("s"), "outside training"
        if task in ("capitals", "entities", "pronouns"):
            name = {"capitals": "country", "entities": "entity", "pronouns": "person"}[task]
            assert said[name] in pair.clean and said[name] not in pair.corrupt, "what the corrupt one changes"


@pytest.mark.parametrize("task", TASKS)
def test_pairs_of_one_layout_have_each_role_at_one_place(task):
    n = 5 if task == "sentiment" else 20
    pairs, tokenizer = load_pairs(task, n=n, layout="one"), micro_tokenizer()
    assert len(pairs) == n == len({pair.clean for pair in pairs}) and len(pairs.layouts) == 1
    lengths = {
        len(tokenizer.encode(text, add_special_tokens=False).ids)
        for pair in pairs
        for text in (pair.clean, pair.corrupt)
    }
    assert lengths == {pairs[0].roles["end"][1]}
    assert f"end {pairs[0].roles['end'][0]}" in repr(pairs)
    more = load_pairs(task, n=3, seed=7, layout=pairs[0].layout)
    assert more[0].layout == pairs[0].layout and more[0] != pairs[0]


def test_layouts_that_are_not_to_be_had(monkeypatch):
    monkeypatch.setattr(pairs_module, "MOST_DRAWN", 300)
    with pytest.raises(ValueError, match=r"only \d+ pairs of 'ioi' were found of one layout, 5000 are asked for"):
        load_pairs("ioi", n=5000, layout="one")
    with pytest.raises(ValueError, match="there is no layout 'same'"):
        load_pairs("ioi", n=5, layout="same")
    with pytest.raises(ValueError, match="only 0 pairs of 'ioi' were found"):
        load_pairs("ioi", n=1, layout=(("end", (0, 1)),))
    assert len(load_pairs("ioi", n=40).layouts) > 5


def test_drawing_escapes():
    html = Pairs([Pair("<b>x", "&", (" <i>",), (" y",))], "ioi", "heldout")._repr_html_()
    assert "&lt;b&gt;x" in html and "<b>" not in html and "<i>" not in html and "␣" in html
    pairs = load_pairs("ioi", n=3)
    assert pairs[:2][1] == pairs[1] and len(pairs[:2]) == 2 and pairs[:2].task == "ioi"


def test_bad_input():
    for wrong, message in [
        (lambda: load_pairs("greater"), "no task 'greater'; the closest is 'greater_than'"),
        (
            lambda: load_pairs("sums"),
            "no task 'sums'; the closest is '.*' .of ioi, greater_than, agreement, doc",
        ),
        (lambda: load_pairs("ioi", split="test"), "no split 'test'; the closest is '.*' .of train, "),
        (lambda: load_pairs("ioi", n=0), "at least 1"),
    ]:
        with pytest.raises(ValueError, match=message):
            wrong()


def test_a_tokenizer_that_splits_names_is_told_so():
    class Letters:
        def encode(self, text: str, *, add_special_tokens: bool = True) -> list[int]:
            return [ord(letter) for letter in text]

    with pytest.raises(ValueError, match=r"only 0 of 5 pairs of 'ioi'.*splits ' ?\w+'"):
        load_pairs("ioi", n=5, tokenizer=Letters())


def test_a_real_foreign_tokenizer():
    """Agreement works with words that the tokenizer has; what it splits is told by name."""
    if not STORIES.is_dir():
        pytest.skip("../shared/real/stories260K is not here")
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(STORIES)
    for task in ("agreement", "capitals"):
        try:
            pairs = load_pairs(task, n=5, tokenizer=tokenizer)
        except ValueError as error:
            assert "splits" in str(error)
            continue
        for pair in pairs:
            clean = tokenizer.encode(pair.clean, add_special_tokens=False)
            assert len(clean) == len(tokenizer.encode(pair.corrupt, add_special_tokens=False))
            assert len(tokenizer.encode(pair.clean + pair.answers[0], add_special_tokens=False)) == len(clean) + 1


@pytest.fixture(scope="module")
def gpt2_like():
    """A byte-level BPE with GPT-2's pre-tokenisation (numbers whole, a space before a word), trained here."""
    from itertools import islice

    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

    from saekit.corpora import load_corpus

    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    special = ["<|endoftext|>", "<|user|>", "<|assistant|>", "<|end|>"]
    trainer = trainers.BpeTrainer(
        vocab_size=8_000,
        special_tokens=special,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator((d.text for d in islice(iter(load_corpus("microworld")), 15_000)), trainer)
    return tokenizer


@pytest.mark.parametrize("task", sorted(TASKS))
def test_a_tokenizer_with_gpt2s_pre_tokenisation(gpt2_like, task):
    """Every task can be had, or the error names a word that the tokenizer splits."""

    def encode(text: str) -> list[int]:
        return gpt2_like.encode(text, add_special_tokens=False).ids

    for split in ("heldout", "unseen_dev"):
        try:
            pairs = load_pairs(task, n=60, split=split, tokenizer=gpt2_like)
        except ValueError as error:
            # A hundred endings must be single tokens; the names of known people are, those of unknown ones are not.
            assert task in ("greater_than", "entities") and "splits" in str(error)
            continue
        for pair in pairs:
            clean = encode(pair.clean)
            assert len(clean) == len(encode(pair.corrupt))
            for answer in (*pair.answers, *pair.wrong):
                both = encode(pair.clean + answer)
                assert both[:-1] == clean and len(both) == len(clean) + 1
