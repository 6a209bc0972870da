"""What can be trained on: arrays by name, NumPy's, a model; and one sentence for what does not fit."""

from __future__ import annotations

import functools
from dataclasses import dataclass
from typing import Any

import pytest
import torch

import saekit as sk
from saekit.dictionaries import Method, TopKDictionary

SITE = "blocks.0.hook_resid_post"
TEXTS = [f"the cat sat on {a} and the {b} saw it in the other room" for a in "abcdefgh" for b in ("dog", "bat", "hen")]
METHOD = sk.TopK(d_sae=24, k=3)
train = functools.partial(sk.train, callback=lambda _: None, batch_size=64)


def normal(n: int, d: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(n, d, generator=torch.Generator().manual_seed(seed))


def same(one: Any, other: Any) -> bool:
    return all(torch.equal(t, other.state_dict()[name]) for name, t in one.state_dict().items())


@pytest.fixture
def methods_of_ones_own():
    """Methods that are TopK and need labels, or gradients; what their loss was given is in ``seen``."""

    class Seeing(TopKDictionary):
        def loss(self, batch, state):
            self.method.seen.append(batch)
            return super().loss(batch, state)

    @dataclass(frozen=True)
    class Labelled(sk.TopK):
        needs = frozenset({"labels"})
        seen = []  # noqa: RUF012

        def build(self, wiring, widths):
            return Seeing(self, wiring, widths)

    @dataclass(frozen=True)
    class Sloped(Labelled):
        needs = frozenset({"gradients"})

    yield Labelled(d_sae=24, k=3), Sloped(d_sae=24, k=3)
    for name in ("Labelled", "Sloped"):
        Method.known.pop(name)


# -- arrays ------------------------------------------------------------------------------------------------------------


def test_named_arrays_are_wired_as_is_said():
    """Two arrays: a crosscoder where nothing is said, a transcoder, and a dictionary of one of them."""
    x = {"in": normal(300, 5), "out": normal(300, 4, seed=1)}
    widths = {"in": 5, "out": 4}
    for site, reads, writes in (
        (None, ("in", "out"), ("in", "out")),
        (sk.Wiring("in", "out"), ("in",), ("out",)),
        ("out", ("out",), ("out",)),
        (["out", "in"], ("out", "in"), ("out", "in")),
    ):
        sae = train(x, site, METHOD).dictionary
        assert (sae.reads, sae.writes) == (reads, writes)
        assert (sae.read_widths, sae.write_widths) == ({s: widths[s] for s in reads}, {s: widths[s] for s in writes})
        assert sae.latent_max.shape == (24,) and sae.provenance.model is None


def test_a_transcoder_between_arrays_learns_the_map_between_them():
    """out = in · A: rows that belong together stay together through the shuffling."""
    x = normal(2000, 6)
    y = x.relu() @ normal(6, 5, seed=2) + 3
    sae = train({"in": x, "out": y}, sk.Wiring("in", "out"), sk.TopK(d_sae=24, k=12), tokens=30_000).dictionary
    assert sk.metrics.explained_variance(y, sae(x)) > 0.9
    with pytest.raises(ValueError, match="no single site"):
        _ = sae.site
    assert (sae.d_in, sae.d_out) == (6, 5)


def test_numpy_arrays_are_tensors():
    x = normal(300, 6)
    one = train(x, None, METHOD)
    for given in (x.numpy(), x.double().numpy(), {"x": x.numpy()}):
        assert same(train(given, None, METHOD).dictionary, one.dictionary)


def test_several_sites_have_no_single_width():
    sae = train({"a": normal(200, 6), "b": normal(200, 4)}, None, METHOD).dictionary
    for name in ("site", "d_in", "d_out"):
        with pytest.raises(ValueError, match=f"{name} is for dictionaries of a single site; this one has a, b"):
            getattr(sae, name)


@pytest.mark.parametrize(
    ("x", "site", "message"),
    [
        ({"a": normal(9, 4)}, "b", "there is no array 'b'; the only one is 'a'"),
        ({"a": normal(9, 4)}, sk.Wiring("a", "c"), "there is no array 'c'; the only one is 'a'"),
        (normal(9, 4), ["a", "b"], "one array is of one site, found a, b: give"),
        ({"a": normal(9, 4), "b": normal(8, 4)}, None, "there are 9 rows of 'a' and 8 of 'b'"),
        ({"a": normal(9, 4), "b": torch.ones(9)}, None, r"\[n, d\] with n ≥ 1, found shape \(9,\) at 'b'"),
        ({}, None, "at least one array, found an empty mapping"),
    ],
)
def test_arrays_that_do_not_fit(x, site, message):
    with pytest.raises(ValueError, match=message):
        train(x, site, METHOD)


@pytest.mark.parametrize("settings", [{"exclude": "special"}, {"exclude": ["</s>"]}, {"context": 8}], ids=str)
def test_an_array_has_no_tokens_to_leave_out(settings):
    with pytest.raises(ValueError, match="exclude= and context= are for training on a model"):
        train(normal(90, 4), None, METHOD, **settings)


# -- labels and gradients ----------------------------------------------------------------------------------------------


def test_labels_come_with_their_rows(methods_of_ones_own):
    """Columns of the array itself as labels, so that each can be held against its row; [n] is one concept."""
    labelled, _ = methods_of_ones_own
    x = normal(100, 4)
    for labels, columns in (((x[:, :2] > 0), [0, 1]), ((x[:, 0] > 0), [0]), ((x[:, :2] > 0).numpy(), [0, 1])):
        labelled.seen.clear()
        train(x, None, labelled, labels=labels, tokens=256, dtype=torch.float32)
        assert len(labelled.seen) == 4
        for batch in labelled.seen:
            assert torch.equal(batch.labels, (batch.reads["x"][:, columns] > 0).float())


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        (torch.ones(99, 2), r"labels of 100 rows are \[100, concepts\], found shape \(99, 2\)"),
        (torch.ones(100, 2, 2), r"found shape \(100, 2, 2\)"),
        (["cat"], r"labels of 100 rows are an array \[100, concepts\], found \['cat'\]"),
        (None, "Labelled needs labels: name the concepts"),
    ],
    ids=["rows", "dimensions", "names", "none"],
)
def test_labels_that_do_not_fit(methods_of_ones_own, labels, message):
    with pytest.raises(ValueError, match=message):
        train(normal(100, 4), None, methods_of_ones_own[0], labels=labels)


def test_labels_that_nobody_takes():
    with pytest.raises(ValueError, match="labels were given, and TopK takes none: leave them out"):
        train(normal(100, 4), None, METHOD, labels=torch.ones(100, 1))


def test_labels_of_a_corpus_are_named(methods_of_ones_own, tiny_gpt2):
    corpus = sk.load_corpus("microworld", split="heldout")
    with pytest.raises(ValueError, match="corpus 'microworld' labels no 'cta'; the closest is '"):
        train(tiny_gpt2, SITE, methods_of_ones_own[0], corpus, tokens=128, labels=["cta"])
    with pytest.raises(ValueError, match=r"labels of a corpus are names of its concepts, found an array of shape \(9,"):
        train(tiny_gpt2, SITE, methods_of_ones_own[0], corpus, tokens=128, labels=torch.ones(9, 2))


def test_gradients_are_those_of_a_model(methods_of_ones_own, tiny_gpt2):
    _, sloped = methods_of_ones_own
    with pytest.raises(ValueError, match="Sloped needs gradients, which an array does not have: train it on a model"):
        train(normal(100, 4), None, sloped)
    train(tiny_gpt2, SITE, sloped, TEXTS, tokens=128)
    assert sloped.seen[-1].gradients[SITE].shape == sloped.seen[-1].reads[SITE].shape
    assert sloped.seen[-1].gradients[SITE].abs().max() > 0


def test_rows_and_tokens_do_not_share_a_pass(tiny_gpt2):
    with pytest.raises(ValueError, match="whole rows and one that takes single tokens do not share a pass"):
        train(tiny_gpt2, SITE, [sk.EndToEnd(METHOD), METHOD], TEXTS, tokens=128)


# -- a model -----------------------------------------------------------------------------------------------------------


def test_what_is_no_source(tiny_gpt2):
    with pytest.raises(ValueError, match="training on a model needs a site and a corpus"):
        train(tiny_gpt2, None, METHOD, TEXTS, tokens=64)
    with pytest.raises(ValueError, match=f"no hook 'blocks.0.hook_resid_pots'; the closest is '{SITE}'"):
        train(tiny_gpt2, sk.Wiring(SITE, "blocks.0.hook_resid_pots"), METHOD, TEXTS, tokens=64)
    with pytest.raises(ValueError, match=r"takes a method such as .* \(call it: TopK\(d_sae=…\)\)"):
        train(normal(90, 4), None, sk.TopK)
    with pytest.raises(ValueError, match=f"'a:{SITE}' is a site of the model 'a'; there is one, without a name"):
        train(tiny_gpt2, f"a:{SITE}", METHOD, TEXTS, tokens=64)
