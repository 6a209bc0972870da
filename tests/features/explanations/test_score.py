"""score: numbers by hand, planted latents, chance level, and windows that are of no use."""

from __future__ import annotations

import math
import random
from dataclasses import replace

import pytest

from saekit.features.explanations import Concept, Tokens, propose, score
from saekit.features.explanations.scoring import DEFINITION, Answers, wilson


def test_scores_by_hand(window):
    # concept(x) holds in 3 of the 4 activating windows and in 1 of the 2 silent ones
    positives = [
        window("a*|x b|x"),  # right: a, holds; wrong: b, holds
        window("a*|x b"),  # right holds; wrong does not
        window("a*|x b"),
        window("a* b"),  # neither
    ]
    negatives = [window("a|x b"), window("a b")]
    found = score(Concept("x"), positives, negatives)
    assert found.detected == Answers(hits=3, positives=4, rejected=1, negatives=2)
    assert found.detection == (3 / 4 + 1 / 2) / 2
    assert found.fuzzed == Answers(hits=3, positives=4, rejected=3, negatives=4)
    assert found.fuzzing == 0.75
    assert found.documents == frozenset(w.document for w in [*positives, *negatives])
    assert "only 4 activating and 2 silent windows" in found.note


def test_accuracy_is_balanced(window):
    positives = [window("a*|x") for _ in range(3)]
    negatives = [window("a|x b") for _ in range(90)]
    found = score(Concept("x"), positives, negatives)  # 3 of 93 right, and yet chance level
    assert found.detection == 0.5
    assert score(~Concept("x"), positives, [*negatives[1:], window("a|x")]).detection == (0 + 1 / 90) / 2


def test_wilson_and_the_interval_by_hand():
    low, high = wilson(45, 50)
    assert (low, high) == (pytest.approx(0.7864, abs=1e-4), pytest.approx(0.9565, abs=1e-4))  # Newcombe's tables
    assert wilson(0, 10) == (pytest.approx(0, abs=1e-12), pytest.approx(0.2775, abs=1e-4))
    assert wilson(10, 10) == (pytest.approx(0.7225, abs=1e-4), pytest.approx(1))
    both = Answers(45, 50, 45, 50).interval
    assert both[0] == pytest.approx(0.9 - math.hypot(0.9 - low, 0.9 - low) / 2)
    assert both[1] == pytest.approx(0.9 + math.hypot(high - 0.9, high - 0.9) / 2)
    assert Answers(50, 50, 50, 50).interval[1] == pytest.approx(1)
    assert all(map(math.isnan, Answers(0, 0, 1, 2).interval))


@pytest.fixture
def planted(window):
    """planted(fires, n, seed) → n activating and n silent windows of random words."""

    def make(fires, n=50, seed=0, length=20):
        chance, positives, negatives = random.Random(seed), [], []
        while min(len(positives), len(negatives)) < n:
            words = [f"w{chance.randrange(60)}" for _ in range(length)]
            made = window(" ".join(word + "*" * fires(word) for word in words), bos=True)
            (positives if made.fires else negatives).append(made)
        return positives[:n], negatives[:n]

    return make


def test_a_latent_that_fires_on_a_token_set_is_explained_in_full(planted):
    def fires(word):
        return word in ("w1", "w7")

    proposals = propose(*planted(fires, seed=1))
    found = score(proposals[0].predicate, *planted(fires, seed=2))
    assert found.detection == found.fuzzing == 1 and found.note == ""


def cut_to(window, word):
    """The window with the firings on this word alone, as a list of top examples shows it."""
    values = tuple(v if t.strip() == word else 0.0 for v, t in zip(window.values, window.texts, strict=True))
    return replace(window, values=values)


def test_a_flattering_picture_is_seen_through(planted):
    """The strongest firings are all w1, the others w2 to w9: who only read the top is right about few."""

    def fires(word):
        return word in [f"w{i}" for i in range(1, 10)]

    positives, negatives = planted(fires, seed=3, length=6)
    top = [w for w in positives if any(v and t.strip() == "w1" for v, t in zip(w.values, w.texts, strict=True))]
    top = [cut_to(w, "w1") for w in top[:5]]
    best = propose(top)[0].predicate
    assert str(best) == "words('w1')"
    found = score(best, positives, negatives)
    assert 0.5 < found.detection < 0.7 and found.detected.specificity == 1
    everywhere = Tokens(frozenset(f"w{i}" for i in range(1, 10)), fold=True)
    assert score(everywhere, positives, negatives).detection == 1


def test_random_explanations_score_by_chance(planted):
    def fires(word):
        return word in ("w1", "w7")

    positives, negatives = planted(fires)
    chance = random.Random(5)
    scores = []
    for _ in range(40):
        words = chance.sample([f"w{i}" for i in range(60) if i not in (1, 7)], 3)
        scores.append(score(Tokens(frozenset(words), fold=True), positives, negatives))
    assert sum(s.detection for s in scores) / 40 == pytest.approx(0.5, abs=0.04)
    assert sum(s.fuzzing for s in scores) / 40 == pytest.approx(0.5, abs=0.04)


def test_saying_yes_always_is_chance_level(planted):
    positives, negatives = planted(lambda word: word == "w1")
    for predicate in (Concept("x"), ~Concept("x")):
        found = score(predicate, positives, negatives)
        assert found.detection == found.fuzzing == 0.5


class Listener:
    """A judge that remembers what it was asked and says what it is told to."""

    def __init__(self, answer=lambda one: True):
        self.answer, self.windows, self.marked = answer, [], []

    def detect(self, explanation, windows):
        self.windows = list(windows)
        return [self.answer(one) for one in windows]

    def fuzz(self, explanation, marked):
        self.marked = list(marked)
        return [self.answer(one) for one in marked]


def test_each_window_is_marked_right_once_and_wrong_once_with_as_many_marks(window):
    positives = [window("a* b c* d e f", bos=True) for _ in range(20)]
    judge = Listener()
    score("free text", positives, [window("x"), window("y")], judge)
    seen: dict[int, list[list[int]]] = {}
    for one in judge.marked:
        assert not one.marked[0]  # BOS
        seen.setdefault(one.window.document, []).append([i for i, m in enumerate(one.marked) if m])
    assert len(seen) == 20
    wrong = set()
    for places in seen.values():
        assert len(places) == 2 and [1, 3] in places
        places.remove([1, 3])
        assert len(places[0]) == 2 and set(places[0]) <= {2, 4, 5, 6}
        wrong.update(places[0])
    assert wrong == {2, 4, 5, 6}


@pytest.mark.parametrize("seed", range(20))
def test_wrong_marks_are_the_right_ones_swapped_for_silent_tokens(window, seed):
    chance = random.Random(seed)

    def text():
        words = [f"w{i}" + "*" * (chance.random() < 0.3) for i in range(chance.randrange(3, 12))]
        return " ".join(["first*", *words, "last"])

    positives = [window(text(), bos=True) for _ in range(5)]
    judge = Listener()
    score("free text", positives, [window("x"), window("y")], judge, seed=seed)
    for positive in positives:
        one, other = (m.marked for m in judge.marked if m.window is positive)
        right, wrong = (one, other) if any(v and m for v, m in zip(positive.values, one, strict=True)) else (other, one)
        assert sum(right) == sum(wrong) > 0 and not right[0] and not wrong[0]
        for value, r, w in zip(positive.values, right, wrong, strict=True):
            assert not (r and w) and (not r or value) and (not w or not value)


def test_the_definition_cites_its_source():
    assert "Paulo et al., 2410.13928" in " ".join(DEFINITION.split())


def test_windows_that_fire_more_often_than_not_give_nothing_away(window):
    judge = Listener()
    found = score("x", [window("a* b* c* d"), window("a* b*"), window("a* b")], [window("x"), window("y")], judge)
    assert sorted(sum(one.marked) for one in judge.marked) == [1, 1, 1, 1]
    assert found.fuzzed.positives == 2 and "1 activating windows have no silent token" in found.note
    full = score("x", [window("a*"), window("b*")], [window("x"), window("y")], judge)
    assert math.isnan(full.fuzzing) and full.detection == 0.5 and "2 activating windows" in full.note


def test_the_judge_sees_them_in_an_order_that_the_seed_gives(window):
    positives = [window("a* b c d e f g") for _ in range(10)]
    negatives = [window("x") for _ in range(10)]

    def order(seed):
        judge = Listener()
        score("x", positives, negatives, judge, seed=seed)
        return [one.fires for one in judge.windows], judge.marked

    assert order(1) == order(1) != order(2)
    assert order(1)[0] != sorted(order(1)[0], reverse=True)


def test_useless_windows_are_refused(window):
    fires, silent = window("a* b"), window("a b")
    with pytest.raises(ValueError, match="at least 2 activating windows, better 50, found 1"):
        score(Concept("x"), [fires], [silent, silent])
    with pytest.raises(ValueError, match="at least 2 silent windows, better 50, found 0"):
        score(Concept("x"), [fires, fires], [])
    with pytest.raises(ValueError, match="fires nowhere in the activating window at place"):
        score(Concept("x"), [fires, silent], [silent, silent])
    with pytest.raises(ValueError, match="fires in the negative window at place"):
        score(Concept("x"), [fires, fires], [silent, fires])
    uncounted = window("a b", values=(1.0, 0.0), counted=(False, True))
    with pytest.raises(ValueError, match="fires nowhere"):
        score(Concept("x"), [fires, uncounted], [silent, silent])


def test_free_text_needs_a_chat_model(window):
    with pytest.raises(ValueError, match=r"only a chat model.*such as concept\(animal\)"):
        score("an animal", [window("a*|animal")] * 2, [window("b")] * 2)


def test_a_judge_that_answers_too_little(window):
    class Short(Listener):
        def detect(self, explanation, windows):
            return [True]

    with pytest.raises(ValueError, match="asked about 4 windows and gave 1 answers"):
        score("x", [window("a*")] * 2, [window("b")] * 2, Short())


def test_text_is_only_text(window):
    evil = Tokens(frozenset({"<script>alert(1)</script>"}))
    html = score(evil, [window("a* b")] * 2, [window("b")] * 2)._repr_html_()
    assert "<script>" not in html and "&lt;script&gt;" in html and "balanced accuracy" in html
    assert "detection 0.50" in str(score(evil, [window("a* b")] * 2, [window("b")] * 2))


def test_the_explanation_heads_the_table_and_the_definition_is_small_print(window):
    html = score("tokens('a')", [window("a* b")] * 2, [window("b")] * 2)._repr_html_()
    assert "<caption>tokens(&#x27;a&#x27;)</caption>" in html
    small = html.split("</p>")[0]
    assert "Detection: balanced accuracy" in small and "PredicateJudge(), seed 0" in small
