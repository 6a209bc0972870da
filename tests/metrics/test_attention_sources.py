"""attention_sources: the parts add up to the pre-activation, each is what a change of its source does, and families."""

from __future__ import annotations

import pytest
import torch

import saekit as sk
from saekit.metrics import attention_sources

PROMPT = "Anna saw the zib and Peter saw the zib"


@pytest.fixture(scope="module")
def micro():
    return sk.load_model("micro", device="cpu")


def dictionary_at(model, site: str, d_sae: int = 24):
    width = sk.models.joined_width(model, site)
    made = sk.TopK(d_sae=d_sae, k=4).build(sk.Wiring(site), {site: width})
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for parameter in made.parameters():
            parameter.copy_(torch.randn(parameter.shape, generator=generator) / 4)
    made.provenance = type(made.provenance)(model_hash=model.model_hash)
    return made


@pytest.fixture(scope="module", params=["micro", "tiny_gpt2", "tiny_llama"])
def given(request, micro):
    model = micro if request.param == "micro" else request.getfixturevalue(request.param)
    return model, dictionary_at(model, "blocks.1.attn.hook_z")


def test_heads_and_sources_add_up_to_the_pre_activation(given):
    model, sae = given
    found = attention_sources(model, sae, PROMPT, list(range(24)))
    acts = sk.activations.harvest(model, [PROMPT], sae.reads[0])
    u = sae.pre_activations(acts.flat(sae.reads[0])).T
    torch.testing.assert_close(found.u[:, found.counted], u, atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(found.contributions.sum((2, 3)) + found.constant[:, None], found.u, atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(found.by_head().sum(-1), found.by_source().sum(-1), atol=1e-5, rtol=1e-5)
    m, t, heads, _ = found.contributions.shape
    assert (m, t, heads) == (24, len(found.tokens), model.cfg.n_heads)
    later = torch.triu(torch.ones(t, t), 1).bool()
    assert float(found.by_source().abs()[:, later].max()) == 0, "nothing comes from what is not there yet"


def test_a_part_is_what_is_lost_without_its_source(given):
    """The value of one head at one token set to 0: u at every later token falls by that part."""
    model, sae = given
    found = attention_sources(model, sae, PROMPT, [3, 7])
    tokens, source, head = found.tokens[None], 2, 1
    kv = "blocks.1.attn.hook_v"

    def without(v, kept):
        v = v.clone()
        shared = model.cfg.n_heads // v.shape[2]
        v[:, source, head // shared] = 0
        return v

    site = sae.reads[0]
    z = sk.models.forward(model, tokens, [site], replace={kv: without}).kept[site]
    u = sae.pre_activations(z[0].flatten(1)).T[[3, 7]]
    shared = model.cfg.n_heads // sk.models.forward(model, tokens, [kv]).kept[kv].shape[2]
    same = slice(head // shared * shared, (head // shared + 1) * shared)  # heads that share these values
    lost = found.contributions[:, :, same, source].sum(2)
    torch.testing.assert_close(found.u - u, lost, atol=1e-4, rtol=1e-4)


def test_families_of_planted_patterns(micro):
    found = attention_sources(micro, dictionary_at(micro, "blocks.1.attn.hook_z"), PROMPT, [0, 1, 2])
    t = len(found.tokens)
    contributions, u = torch.zeros_like(found.contributions), torch.zeros_like(found.u)
    last = t - 1
    first = int((found.tokens[:-1] == found.tokens[last]).nonzero()[0])
    u[:, last] = 1
    contributions[0, last, 0, first + 1] = 2.0
    contributions[0, last, 1, last] = -1.0
    contributions[1, last, 0, last - 1] = 1.0
    contributions[2, last, 0, 0] = 1.0
    planted = type(found)(found.tokens, found.strings, found.counted, [0, 1, 2], contributions, found.constant, u)
    assert planted.families() == ["induction", "local", "long-range"]
    frame = planted.frame()
    assert frame.query("latent == 0").contribution.tolist() == [2.0, -1.0] and len(frame) == 4
    assert "induction" in repr(planted) and "local" in planted._repr_html_()


@pytest.mark.parametrize(
    ("site", "sentence"),
    [("blocks.1.hook_resid_post", r"no heads in what this dictionary reads, blocks\.1\.hook_resid_post")],
)
def test_where_there_are_no_heads(micro, site, sentence):
    with pytest.raises(ValueError, match=sentence):
        attention_sources(micro, dictionary_at(micro, site), PROMPT, 0)


def test_bad_input(micro):
    sae = dictionary_at(micro, "blocks.1.attn.hook_z")
    with pytest.raises(IndexError, match="24"):
        attention_sources(micro, sae, PROMPT, 24)
    with pytest.raises(ValueError, match="passes the model's context"):
        attention_sources(micro, sae, "word " * 2000, 0)
    ids = micro.to_tokens(PROMPT)
    assert attention_sources(micro, sae, ids[0], 0).u.shape == attention_sources(micro, sae, ids, 0).u.shape
