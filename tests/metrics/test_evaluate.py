"""evaluate, end to end: its numbers equal those computed here from harvest, encode and decode, in float64."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

import saekit as sk
from saekit.corpora import Corpus, Document, Span
from saekit.dictionaries import Provenance, TopK, stored
from saekit.metrics import concept_match, explained_variance, reading

SITE = "blocks.1.hook_resid_post"


@pytest.fixture(scope="module")
def corpus():
    return sk.load_corpus("microworld", split="heldout", n=56)


@pytest.fixture(scope="module")
def acts(tiny_gpt2, corpus):
    return sk.activations.harvest(tiny_gpt2, corpus, [SITE])


@pytest.fixture(scope="module")
def dictionary(acts):
    """Random directions, biased so that some latents are dead and codes hold stored zeros."""
    built = TopK(d_sae=60, k=5).build(sk.Wiring(SITE), {SITE: 16})
    with torch.no_grad(), torch.random.fork_rng():
        torch.manual_seed(3)
        built.decoder_directions.copy_(torch.nn.functional.normalize(torch.randn(60, 16), dim=1))
        built.encoder_directions.copy_(built.decoder_directions)
        built.decoder_bias.copy_(acts.flat(SITE).mean(0))
        built.encoder_bias[:56] = -1.5
        built.encoder_bias[:8] = -1000.0
    return built


@pytest.fixture(scope="module")
def report(tiny_gpt2, dictionary, corpus):
    return sk.evaluate(tiny_gpt2, dictionary, corpus)


def test_numbers_equal_those_computed_directly(report, acts, dictionary):
    x = acts[SITE][acts.mask].double()
    weights = {name: tensor.double() for name, tensor in stored(dictionary).items()}
    u = (x - weights["decoder_bias"]) @ weights["encoder_directions"].T + weights["encoder_bias"]
    top = u.topk(5, dim=1)
    z = torch.zeros_like(u).scatter(1, top.indices, top.values.clamp_min(0))
    x_hat = z @ weights["decoder_directions"] + weights["decoder_bias"]
    variance = 1 - (x - x_hat).square().sum() / (x - x.mean(0)).square().sum()
    fired = (z != 0).double()
    assert 1 < float(fired.sum(1).mean()) < 5 and 8 / 60 <= float((fired.sum(0) == 0).double().mean()) < 1
    assert report.explained_variance == pytest.approx(float(variance), abs=1e-6)
    assert report.l0 == pytest.approx(float(fired.sum(1).mean()), abs=1e-3)
    assert report.dead == float((fired.sum(0) == 0).double().mean())
    assert torch.allclose(report.density, fired.mean(0), atol=2e-3)
    assert float(report.density.sum()) == pytest.approx(report.l0)


def test_concepts_equal_a_match_on_the_same_codes(report, acts, dictionary, corpus):
    documents = list(corpus)
    labels = {c: sk.activations.concept_mask(acts.rows, documents, c)[acts.mask] for c in corpus.concepts}
    of_kind: dict[str, int] = {}
    number = []  # of a document among those of its kind
    for document in documents:
        of_kind[document.kind] = of_kind.get(document.kind, -1) + 1
        number.append(of_kind[document.kind])
    where = torch.tensor(number)[acts.rows.documents][:, None].expand_as(acts.mask)[acts.mask]
    expected = concept_match(dictionary.encode(acts.flat(SITE)), labels, where, acts.tokens[acts.mask])
    assert report.concepts is not None and len(expected.rows) > 5
    assert report.concepts.rows == expected.rows


def test_header_definitions_and_what_was_excluded(report, tiny_gpt2, corpus, acts):
    assert report.header["model_hash"] == tiny_gpt2.model_hash[:12]
    assert report.header["corpus"] == "microworld/heldout"
    assert report.header["seed"] == corpus.seed
    assert corpus.fingerprint.startswith(report.header["fingerprint"])
    assert report.header["torch"] == torch.__version__.split("+")[0] or report.header["torch"] == torch.__version__
    assert report.tokens == int(acts.mask.sum()) and report.excluded == acts.rows.excluded
    assert report.excluded["bos"] == len(acts.rows) > len(corpus), "documents longer than 32 tokens go on in a new row"
    by_name = report.frame().set_index("name")
    assert by_name.loc["explained variance", "definition"].startswith("1 − Σ‖x − x̂‖² / Σ‖x − x̄‖²")
    assert "z ≠ 0" in by_name.loc["L0", "definition"] and str(report.excluded) in by_name.loc["tokens", "definition"]
    html = report._repr_html_()
    for said in (report.header["model_hash"], report.header["fingerprint"], "z ≠ 0", "explained variance"):
        assert said in html


def test_a_part_of_a_corpus(tiny_gpt2, dictionary, acts, corpus):
    report = sk.evaluate(tiny_gpt2, dictionary, corpus, tokens=500)
    x = acts.flat(SITE)[:500]
    assert report.tokens == 500
    assert report.explained_variance == pytest.approx(explained_variance(x, dictionary(x).detach()), abs=1e-6)


def test_sites_read_and_written_may_differ(tiny_gpt2, corpus, acts):
    before = "blocks.0.hook_resid_post"
    transcoder = TopK(d_sae=24, k=3).build(sk.Wiring(before, SITE), {before: 16, SITE: 16})
    report = sk.evaluate(tiny_gpt2, transcoder, corpus)
    x = sk.activations.harvest(tiny_gpt2, corpus, [before]).flat(before)
    assert report.explained_variance == pytest.approx(
        explained_variance(acts.flat(SITE), transcoder(x).detach()), abs=1e-6
    )


def test_an_unlabelled_corpus_has_no_concepts(tiny_gpt2, dictionary):
    report = sk.evaluate(tiny_gpt2, dictionary, ["the cat sat", "on the mat, and then it slept"])
    assert report.concepts is None and "corpus" in report.header
    assert not any("concept" in name for name in report.frame()["name"])
    tokens = sk.evaluate(tiny_gpt2, dictionary, torch.arange(5, 35).view(3, 10))
    assert tokens.concepts is None and tokens.tokens == 30 and "corpus" not in tokens.header


def test_two_kinds_of_documents_in_turn_are_both_in_both_halves(tiny_gpt2, dictionary):
    """Kinds take turns in a finite split; were the halves odd and even places, each kind would lie in one of them."""
    corpus = sk.load_corpus("microworld", split="heldout", n=80, kinds=["years", "capitals"])
    concepts = sk.match_concepts(tiny_gpt2, dictionary, corpus).frame().set_index("concept")
    for concept in ("number.year", "entity.country"):
        assert concepts.loc[concept, "recall"] > 0 and concepts.loc[concept, "token_f1"] > 0


def test_a_dictionary_of_another_precision(tiny_gpt2, dictionary, corpus, report):
    half = TopK(d_sae=60, k=5).build(sk.Wiring(SITE), {SITE: 16}).to(torch.bfloat16)
    half.load_state_dict(dictionary.state_dict())
    rough = sk.evaluate(tiny_gpt2, half, corpus)
    assert rough.explained_variance == pytest.approx(report.explained_variance, abs=0.02)
    assert rough.concepts is not None and len(rough.concepts.rows) == len(report.concepts.rows)


def test_concept_names_are_escaped(tiny_gpt2, dictionary):
    name = "<script>alert('x')</script>"
    documents = [Document("the cat " * 8, "text", (Span(0, 64, name),)) for _ in range(8)]
    report = sk.evaluate(tiny_gpt2, dictionary, Corpus(documents, name="<b>mine</b>"))
    assert report.concepts is not None and report.concepts.best["concept"] == name
    for html in (report._repr_html_(), report.concepts._repr_html_()):
        assert "<script>" not in html and "&lt;script&gt;" in html
    assert "<b>" not in report._repr_html_()


def test_a_dictionary_of_another_model_is_refused(tiny_gpt2, dictionary, corpus):
    other = TopK(d_sae=60, k=5).build(sk.Wiring(SITE), {SITE: 16})
    other.provenance = replace(Provenance(), model="other", model_hash="ab" * 32)
    with pytest.raises(ValueError) as error:
        sk.evaluate(tiny_gpt2, other, corpus)
    assert "ab" * 32 in str(error.value) and tiny_gpt2.model_hash in str(error.value)


def test_bad_input(tiny_gpt2, dictionary):
    for empty in ([], Corpus([], name="nothing"), torch.zeros(0, 4, dtype=torch.long), [""]):
        with pytest.raises(ValueError, match="empty"):
            sk.evaluate(tiny_gpt2, dictionary, empty)
    with pytest.raises(ValueError, match="no end: say how many tokens"):
        sk.evaluate(tiny_gpt2, dictionary, sk.load_corpus("microworld"))
    wide = TopK(d_sae=8, k=2).build(sk.Wiring(SITE), {SITE: 20})
    with pytest.raises(ValueError, match=r"reads 20 values at .*found 16"):
        sk.evaluate(tiny_gpt2, wide, ["the cat"])


def test_a_finite_corpus_is_judged_on_40_000_tokens_where_nobody_says(tiny_gpt2, dictionary, monkeypatch):
    """At a hundredth of the size: the first 400, said in the report; None is all."""
    assert reading.USUAL_TOKENS == 40_000
    monkeypatch.setattr(reading, "USUAL_TOKENS", 400)
    texts = ["the cat sat in the house and slept"] * 100
    usual, every, asked = (
        sk.evaluate(tiny_gpt2, dictionary, texts, **how) for how in ({}, {"tokens": None}, {"tokens": 400})
    )
    assert usual.tokens == asked.tokens == 400 < every.tokens
    assert usual.explained_variance == asked.explained_variance
    assert usual.header["tokens"] == "400 counted, the first of the text (tokens=None: all)"
    assert asked.header["tokens"] == "400 counted" and every.header["tokens"] == f"{every.tokens:,} counted"
    assert sk.evaluate(tiny_gpt2, dictionary, texts[:3]).header["tokens"].endswith("counted"), "fewer are all"
    with pytest.raises(TypeError, match=r"tokens is a whole number.*'some'"):
        sk.evaluate(tiny_gpt2, dictionary, texts, tokens="some")


def test_nan_activations_are_named(tiny_gpt2, dictionary):
    def spoil(h, hook):
        return h.index_fill(-1, torch.tensor([0]), float("nan"))

    error = pytest.raises(ValueError, match=f"NaN activations at '{SITE}' in batch 0")
    with tiny_gpt2.hooks(fwd_hooks=[("blocks.0.hook_resid_pre", spoil)]), error:
        sk.evaluate(tiny_gpt2, dictionary, ["the cat sat"])


def test_on_a_trained_model(real_folder):
    """A dictionary of the coordinates and their opposites explains everything, with d latents."""
    model = sk.load_model(real_folder / "stories260K", device="cpu")
    site, width = "blocks.2.hook_resid_post", 64
    both = TopK(d_sae=2 * width, k=width).build(sk.Wiring(site), {site: width})
    with torch.no_grad():  # x = ReLU(x) − ReLU(−x)
        both.decoder_directions.copy_(torch.cat([torch.eye(width), -torch.eye(width)]))
        both.encoder_directions.copy_(both.decoder_directions)
    report = sk.evaluate(model, both, sk.load_corpus("microworld", split="heldout", n=28))
    assert report.explained_variance == pytest.approx(1.0, abs=1e-9)
    assert report.l0 == width
