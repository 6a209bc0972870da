"""head_latents: shares by hand, each latent's kind and concept by brute force, and who counts as polysemantic."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

import saekit as sk
from saekit.corpora import Corpus
from saekit.metrics import HeadLatents, decoder_shares, head_latents

SITE = "blocks.1.attn.hook_z"
HEADS, LATENTS = 4, 24


def documents() -> Corpus:
    """Animals and letters in turn, with a word of each labelled."""
    animals = ["the cat sat", "the dog is in", "the cat and the dog", "a cat is on a cat"]
    letters = ["to whom it is", "in a word", "or to the other", "her word is on it"]
    made = []
    for number in range(160):
        text = (animals if number % 2 == 0 else letters)[number // 2 % 4]
        word = "cat" if "cat" in text else "word"
        spans = [sk.Span(text.find(word), text.find(word) + len(word), f"entity.{word}")] if word in text else []
        first = sk.Span(0, 2, "place.first")
        made.append(sk.Document(text, ("animals", "letters")[number % 2], (first, *spans)))
    return Corpus(made, name="made", kinds=("animals", "letters"))


@pytest.fixture(scope="module")
def sae(tiny_llama):
    made = sk.TopK(d_sae=LATENTS, k=4).build(sk.Wiring(SITE), {SITE: 16})
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for parameter in made.parameters():
            parameter.copy_(torch.randn(parameter.shape, generator=generator) / 4)
    made.provenance = type(made.provenance)(model_hash=tiny_llama.model_hash)
    return made


def test_shares_by_hand():
    directions = torch.tensor([[3.0, 4, 0, 5], [0, 0, 1, 0]])
    assert decoder_shares(directions, 2).tolist() == [[0.5, 0.5], [0.0, 1.0]]


def test_latents_of_heads_by_brute_force(tiny_llama, sae):
    corpus = documents()
    found = head_latents(tiny_llama, sae, corpus, top=3)
    acts = sk.activations.harvest(tiny_llama, corpus, SITE)
    z = sae.encode(acts.flat(SITE)).to_dense().detach().numpy()
    shares = decoder_shares(sae.decoder_directions, HEADS).numpy()
    document = acts.rows.documents[:, None].expand_as(acts.mask)[acts.mask].numpy()
    kinds = np.array([corpus[int(d)].kind for d in document])
    chooses = document // 2 % 2 == 0
    masks = {name: mask[acts.mask].numpy() for name, mask in sk.activations.concept_masks(acts.rows, corpus).items()}
    masks = {name: mask for name, mask in masks.items() if mask.sum() >= 50}
    assert len(masks) >= 2, "there is something to choose from"
    live = [i for i in range(LATENTS) if z[:, i].any()]
    assert [row["head"] for row in found.rows] == [head for head in range(HEADS) for _ in range(3)]
    for head in range(HEADS):
        expected = sorted(live, key=lambda i: -shares[i, head])[:3]
        assert [row["latent"] for row in found.rows if row["head"] == head] == expected
    for row in found.rows:
        mine = z[:, row["latent"]]
        assert row["share"] == pytest.approx(shares[row["latent"], row["head"]])
        mass = {kind: float(mine[kinds == kind].sum()) for kind in ("animals", "letters")}
        assert row["kind"] == max(mass, key=mass.get)
        assert row["of_kind"] == pytest.approx(mass[row["kind"]] / mine.sum(), abs=1e-4)
        largest = mine[chooses].max()
        scores = {}
        for level in range(10):
            fires = (mine > np.float32(largest) * level / 10) & (mine > 0)
            for name, mask in masks.items():
                scores[level, name] = [f1(fires[half], mask[half]) for half in (chooses, ~chooses)]
        best = max(score[0] for score in scores.values())
        tied = [(name, score[1]) for (_, name), score in scores.items() if score[0] == pytest.approx(best)]
        assert any(name == row["concept"] and value == pytest.approx(row["f1"], abs=1e-4) for name, value in tied)
        at = int(mine.argmax())
        prompt = acts.tokens[int(acts.mask.nonzero()[at, 0])]
        prompt = prompt[: int(acts.rows.lengths[int(acts.mask.nonzero()[at, 0])])]
        assert row["source"] == sk.metrics.attention_sources(tiny_llama, sae, prompt, row["latent"]).families()[0]
    assert sum(found.sources().values()) == len({row["latent"] for row in found.rows})


def f1(fires, mask) -> float:
    return 2 * (fires & mask).sum() / max(fires.sum() + mask.sum(), 1)


def row(head, latent, kind, of_kind, concept, f1, source="local"):
    names = ("head", "latent", "share", "kind", "of_kind", "concept", "f1", "source")
    return dict(zip(names, (head, latent, 0.9, kind, of_kind, concept, f1, source), strict=True))


def test_who_is_polysemantic():
    found = HeadLatents(
        [
            row(0, 1, "a", 0.9, "entity.person", 0.9),
            row(0, 2, "b", 0.5, "entity.place", 0.8),  # two kinds, one family
            row(1, 3, "a", 0.9, "entity.person", 0.5),
            row(1, 4, "b", 0.4, "role.giver", 0.7, "induction"),  # the second kind has not half; two families
            row(2, 5, "a", 0.6, "entity.person", 0.9),
            row(2, 2, "a", 0.6, "role.giver", 0.4),  # one of either
            row(3, 6, "a", 0.3, None, math.nan),
            row(3, 7, "b", 0.3, None, math.nan),  # nothing at all
        ],
        4,
    )
    assert found.polysemantic() == found.polysemantic("kind") == 1 / 4
    assert found.polysemantic("concept") == 1 / 4
    assert found.sources() == {"induction": 1, "local": 6, "long-range": 0}, "latent 2 is counted once"
    assert [each["kinds"] for each in found.by_head()] == ["a 1, b 1", "a 1", "a 2", ""]
    assert [each["concepts"] for each in found.by_head()] == ["entity 2", "entity 1, role 1", "entity 1", ""]
    assert "polysemantic of 4 heads: 1 by kind, 1 by concept" in repr(found)
    assert "role 1" in found._repr_html_() and len(found.frame()) == 8
    with pytest.raises(ValueError, match="by"):
        found.polysemantic("head")


def test_what_is_refused(tiny_llama, sae):
    with pytest.raises(ValueError, match="of one kind and none has a label"):
        head_latents(tiny_llama, sae, ["the cat sat", "the dog"])
    with pytest.raises(ValueError, match="token ids have no labels"):
        head_latents(tiny_llama, sae, torch.tensor([[5, 6, 7]]))
    site = "blocks.1.hook_resid_post"
    other = sk.TopK(d_sae=4, k=1).build(sk.Wiring(site), {site: 16})
    with pytest.raises(ValueError, match=r"no heads in what this dictionary codes, blocks\.1\.hook_resid_post"):
        head_latents(tiny_llama, other, documents())


@pytest.mark.slow
def test_latents_of_the_last_layers_heads_carry_the_indirect_object(one_thread):
    """Their values, one at a time, from the prompt with the names the other way round move the logit difference that
    way; those of latents drawn by lot do so less."""
    micro = sk.load_model("micro", device="cpu")
    site, method = "blocks.3.attn.hook_z", sk.TopK(d_sae=256, k=12)
    sae = sk.train(
        micro, site, method, sk.load_corpus("microworld"), tokens=100_000, callback=lambda _: None
    ).dictionary
    pairs = list(sk.load_pairs("ioi", n=120))

    def token(word):
        return micro.tokenizer.encode(word, add_special_tokens=False)[-1]

    def swapped(some, method, latents=None):
        ends = torch.tensor([pair.roles["end"][1] for pair in some])  # BOS stands before
        right, wrong = (torch.tensor([token(getattr(p, name)[0]) for p in some]) for name in ("answers", "wrong"))

        def gap(passed, rows):
            logits = passed.logits[torch.arange(len(rows)), ends[rows]]
            each = torch.arange(len(rows))
            return logits[each, right[rows]] - logits[each, wrong[rows]]

        clean, corrupt = [p.clean for p in some], [p.corrupt for p in some]
        return sk.interventions.latent_effects(
            micro, sae, clean, gap, reference=corrupt, method=method, latents=latents
        ).by_latent()

    chosen = swapped(pairs[:60], "gradient").sort_values("effect", ascending=False)
    best = [int(i) for i in chosen.latent[:5]]
    others = [int(i) for i in chosen.latent[5:].sample(5, random_state=0)]
    found = swapped(pairs[60:], "exact", [*best, *others]).set_index("latent").effect
    assert found[best].sum() > 0.5, found[best]
    assert found[best].sum() > 2 * found[others].abs().sum(), found[[*best, *others]]
