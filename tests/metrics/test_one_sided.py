"""one_sided: counted as token by token, chosen as said, drawn; and a kind that one model alone has read is found."""

from __future__ import annotations

import functools
from typing import Any

import pytest
import torch

import saekit as sk
from saekit.corpora import Corpus, Document, Span
from saekit.metrics import SharedLatents, one_sided, shared_latents
from saekit.metrics.sides import _chosen

SITE = "blocks.0.hook_resid_post"
D_SAE, K = 24, 4
TEXTS = ["the cat sat on the mat and the dog saw it", "he is in the other room", "a dog and a cat"]


def labelled() -> Corpus:
    """Two kinds; a span over every cat, and one over the whole of each second text."""
    documents = []
    for number in range(30):
        text = TEXTS[number % 3]
        spans = [Span(text.index("cat"), text.index("cat") + 3, "animal.cat")] if "cat" in text else []
        spans += [Span(0, len(text), "whole")] * (number % 2)
        documents.append(Document(text, ("long", "short", "short")[number % 3], tuple(spans)))
    return Corpus(documents, name="labelled", split="heldout", kinds=("long", "short"))


@pytest.fixture(scope="module")
def crosscoder(tiny_gpt2: Any) -> Any:
    """Random weights, each latent's rows of its own lengths in the two models."""
    made = sk.TopK(d_sae=D_SAE, k=K).build(
        sk.Wiring.crosscoder([0], models=("a", "b")), {f"a:{SITE}": 16, f"b:{SITE}": 16}
    )
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        made.decoder.directions.copy_(torch.randn(D_SAE, 32, generator=generator))
        made.decoder.directions[:, 16:] *= torch.rand(D_SAE, 1, generator=generator)
    return made


@pytest.fixture(scope="module")
def found(tiny_gpt2: Any, crosscoder: Any) -> Any:
    return one_sided({"a": tiny_gpt2, "b": tiny_gpt2}, crosscoder, labelled(), of="a", n=3, tokens=250)


def test_counted_token_by_token(tiny_gpt2, crosscoder, found):
    """A loop over documents and tokens, with characters compared one by one."""
    fires, inside, left = [0] * D_SAE, [dict.fromkeys(found.names, 0) for _ in range(D_SAE)], 250
    tokens_inside = dict.fromkeys(found.names, 0)
    for document in labelled():
        acts = sk.activations.harvest(tiny_gpt2, [document.text], SITE)
        offsets = tiny_gpt2.tokenizer(document.text, add_special_tokens=False, return_offsets_mapping=True)
        for h, (start, end) in zip(acts.flat(SITE)[:left], offsets["offset_mapping"], strict=False):
            left -= 1
            names = {f"kind.{document.kind}"}
            names |= {s.concept for s in document.spans if set(range(start, end)) & set(range(s.start, s.end))}
            for name in names:
                tokens_inside[name] += 1
            z = crosscoder.encode_dense({f"a:{SITE}": h[None], f"b:{SITE}": h[None]})[0]
            for latent in z.nonzero().flatten().tolist():
                fires[latent] += 1
                for name in names:
                    inside[latent][name] += 1
    assert left == 0 and found.tokens == 250 and found.firings.tolist() == fires
    assert found.names == ("kind.long", "kind.short", "animal.cat", "whole")
    assert found.usual.tolist() == pytest.approx([tokens_inside[name] / 250 for name in found.names])
    for latent in range(D_SAE):
        if fires[latent]:
            expected = [inside[latent][name] / fires[latent] for name in found.names]
            assert found.inside[latent].tolist() == pytest.approx(expected)


def test_the_most_one_sided_that_fire_and_random_ones_of_like_density(tiny_gpt2, crosscoder, found):
    alive = found.firings >= 20
    assert (~alive).any(), "some latents are left out"
    share = 1 - shared_latents(crosscoder).share
    order = [latent for latent in share.argsort(descending=True).tolist() if alive[latent]]
    assert found.latents.tolist() == order[:3] and torch.equal(found.share, share)
    assert not set(found.random.tolist()) & set(order[:3]) and len(set(found.random.tolist())) == 3
    assert alive[found.random].all()
    other = one_sided({"b": tiny_gpt2, "a": tiny_gpt2}, crosscoder, labelled(), of="b", n=3, tokens=250)
    assert other.latents.tolist() == order[::-1][:3] and torch.allclose(other.share, 1 - share)
    again = one_sided({"a": tiny_gpt2, "b": tiny_gpt2}, crosscoder, labelled(), of="a", n=3, tokens=250)
    assert again.random.tolist() == found.random.tolist()


@pytest.mark.parametrize(("most", "beside"), [(1000, {2, 6}), (9000, {2})])
def test_random_ones_fire_half_to_twice_as_often_or_are_the_nearest(most, beside):
    share = torch.tensor([0.9, 0.8, 0.1, 0.2, 0.3, 0.95, 0.4, torch.nan], dtype=torch.float64)
    shared = SharedLatents(("a", "b"), torch.ones(8, 2, dtype=torch.float64), share)
    firings = torch.tensor([most, 30, 900, 40, 31, 5, 510, 800])
    seen: list[set[int]] = [set(), set()]
    for seed in range(20):
        found = _chosen(shared, "b", 2, seed, ("all",), firings, firings[:, None].double(), torch.ones(1), 5000)
        assert found.latents.tolist() == [0, 1], "neither the one that fires too rarely nor the one without a share"
        for place, other in enumerate(found.random.tolist()):
            seen[place].add(other)
    assert seen == [beside, {3, 4}]


def test_drawn(found):
    own, others = found.fires_in("whole")
    assert own.tolist() == found.inside[found.latents, 3].tolist() and len(others) == 3
    frame = found.frame()
    assert list(frame["latents"]) == ["one-sided"] * 3 + ["random"] * 3
    assert frame["whole"].tolist()[:3] == own.tolist()
    more = {name: float((a - b).mean()) for name in found.names for a, b in [found.fires_in(name)]}
    assert found.telling == max(more, key=more.get)
    assert f"in {found.telling}" in repr(found) and "<table>" in found._repr_html_() and "of 250 tokens" in repr(found)


def test_bad_input(tiny_gpt2, tiny_llama, crosscoder):
    ask = functools.partial(one_sided, crosscoder=crosscoder, corpus=labelled(), n=3, tokens=250)
    with pytest.raises(ValueError, match="the crosscoder is of a, b; the models are named a, c"):
        ask({"a": tiny_gpt2, "c": tiny_gpt2}, of="a")
    with pytest.raises(ValueError, match="the crosscoder is not of 'copy'"):
        ask({"a": tiny_gpt2, "b": tiny_gpt2}, of="copy")
    with pytest.raises(ValueError, match="latents fire on 20 or more of 250 tokens, and 40 are needed"):
        ask({"a": tiny_gpt2, "b": tiny_gpt2}, of="a", n=20)
    with pytest.raises(ValueError, match="the corpus has no concept or kind 'animal'"):
        ask({"a": tiny_gpt2, "b": tiny_gpt2}, of="a").fires_in("animal")
