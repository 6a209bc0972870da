"""A metric from outside the package is measured in the same pass: what is read and run is counted."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import pytest
import torch

import saekit as sk
from saekit.corpora import Corpus, Document, Span
from saekit.metrics import Metric, Number

SITE = "blocks.1.hook_resid_post"


class LargestCode(Metric):
    """The largest z anywhere, and how many labels it saw."""

    def begin(self, model: object, dictionary: object, concepts: Sequence[str]) -> None:
        self.largest, self.positives, self.tokens, self.concepts = 0.0, 0, 0, concepts

    def update(self, batch: sk.dictionaries.coded.Coded) -> None:
        self.largest = max(self.largest, float(batch.codes.values.max()))
        self.positives += int(batch.beside["labels"].sum())
        self.tokens += len(batch.x_hat)

    def result(self) -> Number:
        return Number("largest code", self.largest, f"over {self.tokens} tokens, {self.positives} {self.concepts}")


class Counting(Corpus):
    """A corpus that counts how often it is read."""

    readings = 0

    def __iter__(self) -> Iterator[Document]:
        self.readings += 1
        return super().__iter__()


@pytest.fixture(scope="module")
def corpus():
    documents = [Document("the cat sat in it", "text", (Span(0, 7, "cat"),)) for _ in range(70)]
    corpus = Counting(documents, name="cats", concepts=["cat"])
    _ = corpus.fingerprint  # the corpus keeps it
    return corpus


@pytest.fixture(scope="module")
def dictionary():
    built = sk.TopK(d_sae=24, k=3).build(sk.Wiring(SITE), {SITE: 16})
    return built.eval().requires_grad_(False)


@pytest.mark.parametrize("made", [LargestCode, LargestCode()], ids=["class", "object"])
def test_its_number_stands_in_the_report(tiny_gpt2, dictionary, corpus, made):
    """70 documents: more than are tokenised at once, and the last rows are fewer than run at once."""
    report = sk.evaluate(tiny_gpt2, dictionary, corpus, metrics=[made])
    acts = sk.activations.harvest(tiny_gpt2, corpus, SITE)
    x = acts.flat(SITE)
    masks = sk.activations.concept_masks(acts.rows, list(corpus))
    positives = int(masks["cat"][acts.mask].sum())
    assert report.tokens == len(x) and positives >= 70
    row = report.frame().set_index("name").loc["largest code"]
    assert row["value"] == pytest.approx(float(dictionary.encode(x).values.max()), abs=1e-4)
    assert row["definition"] == f"over {len(x)} tokens, {positives} ('cat',)"
    assert "largest code" in report._repr_html_() and "largest code" in report.text()
    assert report.explained_variance == pytest.approx(
        sk.metrics.explained_variance(x, dictionary(x).detach()), abs=1e-6
    )


def test_text_is_read_once_and_the_model_runs_once_and_twice_more_for_the_first_predictions(
    tiny_gpt2, dictionary, corpus, monkeypatch
):
    sk.evaluate(tiny_gpt2, dictionary, corpus, ce_tokens=1)  # the fast path looks at the model once
    texts: list[str] = []
    passes: list[int] = []
    tokenizer = type(tiny_gpt2.tokenizer)
    plain, forward = tokenizer.__call__, sk.models.forward

    def tokenised(self, text, *args, **kwargs):
        texts.extend([text] if isinstance(text, str) else text)
        return plain(self, text, *args, **kwargs)

    def passed(model, tokens, *args, **kwargs):
        passes.append(len(tokens))
        return forward(model, tokens, *args, **kwargs)

    monkeypatch.setattr(tokenizer, "__call__", tokenised)
    for module in ("running", "recovery"):
        monkeypatch.setattr(f"saekit.metrics.{module}.forward", passed)
    corpus.readings = 0
    sk.evaluate(tiny_gpt2, dictionary, corpus, metrics=[LargestCode], ce_tokens=1)
    assert corpus.readings == 1 and len(texts) == 70
    assert sorted(passes) == sorted([16, 16, 16, 16, 6, 1, 1]), "one row makes the prediction: spliced and ablated"


def test_what_is_no_metric_is_refused(tiny_gpt2, dictionary):
    with pytest.raises(TypeError, match=r"metrics are saekit.metrics.Metric, objects or classes, found 3"):
        sk.evaluate(tiny_gpt2, dictionary, ["the cat"], metrics=[3])
    with pytest.raises(TypeError, match="abstract"):
        Metric()


def test_the_report_as_text(tiny_gpt2, dictionary, corpus):
    report = sk.evaluate(tiny_gpt2, dictionary, corpus)
    lines = report.text().splitlines()
    for line in (f"model_hash: {tiny_gpt2.model_hash[:12]}", "corpus: cats/train", f"site: {SITE}", "seed: 0",
                 f"tokens: {report.tokens:,} counted", f"left out: {len(corpus)} bos, 0 special, 0 cut",
                 f"dictionary: {dictionary.method}", f"torch: {report.header['torch']}"):  # fmt: skip
        assert line in lines and line in report._repr_html_()


def test_the_mean_over_the_same_rows(tiny_gpt2, dictionary):
    """evaluate's mean ablation, which waits for the last row, against the function on plain rows."""
    texts = ["the cat sat in the", "a dog and an", "it is on the mat"] * 8
    rows = sk.activations.tokenize(tiny_gpt2, texts)
    direct = sk.metrics.recovered(tiny_gpt2, dictionary, rows, tokens=20, ablation="mean")
    found = sk.evaluate(tiny_gpt2, dictionary, texts, ablation="mean", ce_tokens=20).recovered
    assert found is not None and found.tokens == direct.tokens
    assert found.ce_ablated == pytest.approx(direct.ce_ablated, abs=1e-6) != direct.ce_spliced


def test_nothing_grows_with_the_activations(tiny_gpt2, dictionary):
    """Batches are let go: of many tokens no more than a few batches are alive at once."""
    import weakref

    alive: list[weakref.ref[torch.Tensor]] = []
    most = 0

    class Watch(LargestCode):
        def update(self, batch: sk.dictionaries.coded.Coded) -> None:
            nonlocal most
            alive.append(weakref.ref(batch.x[SITE]))
            most = max(most, sum(ref() is not None for ref in alive))

    tokens = torch.arange(5, 35).repeat(600, 1)  # 18,000
    sk.evaluate(tiny_gpt2, dictionary, tokens, metrics=[Watch], ce_tokens=10)
    assert len(alive) == 5 and most <= 2
