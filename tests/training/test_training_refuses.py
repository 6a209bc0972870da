"""What training refuses: wrong arguments, values that are not finite, a loss that explodes; each names its cause."""

from __future__ import annotations

import functools

import pytest
import torch

import saekit as sk

CONFIGURATION = sk.TopK(d_sae=48, k=2)
train = functools.partial(sk.train, callback=lambda progress: None, batch_size=256)


@pytest.fixture(scope="module")
def x():
    return torch.randn(8000, 16, generator=torch.Generator().manual_seed(0))


def test_what_is_reached_after_it_is_written(tiny_gpt2, tiny_copy):
    """A transcoder backwards could never run in its model; between two models there is no order, and of arrays none."""
    first, second = "blocks.0.hook_resid_post", "blocks.1.hook_resid_post"
    texts = ["the cat sat on the mat and the dog saw it"] * 8
    go = functools.partial(sk.train, callback=lambda progress: None, batch_size=16, tokens=16)
    method = sk.TopK(d_sae=20, k=2)
    with pytest.raises(ValueError, match=f"reads '{second}', which the model reaches only after '{first}'"):
        go(tiny_gpt2, sk.Wiring(second, first), method, texts)
    pair = {"a": tiny_gpt2, "b": tiny_copy}
    with pytest.raises(ValueError, match=f"reads 'b:{second}', which the model reaches only after 'b:{first}'"):
        go(pair, sk.Wiring(f"b:{second}", f"b:{first}"), method, texts)
    assert go(pair, sk.Wiring(f"a:{second}", f"b:{first}"), method, texts).finished
    assert go(tiny_gpt2, sk.Wiring([second, first], [first]), method, texts).finished  # reads all in a pass of its own
    x = sk.activations.harvest(tiny_gpt2, texts, [first, second])
    assert go(x, sk.Wiring(second, first), method).finished


def test_bad_arguments(x, tiny_gpt2):
    site = "blocks.1.hook_resid_post"
    with pytest.raises(ValueError, match="k must be between 1 and d_sae = 8, found 9"):
        sk.TopK(d_sae=8, k=9)
    with pytest.raises(ValueError, match="kernels is 'auto', 'triton', 'cpu' or 'reference', found 'fast'"):
        train(x, None, CONFIGURATION, kernels="fast")
    with pytest.raises(ValueError, match=r"dtype cannot be 'torch.float16'; .* \(of float32, float64, bfloat16\)"):
        train(x, None, CONFIGURATION, dtype=torch.float16)
    with pytest.raises(ValueError, match="kernels='triton' was asked for, but the tensors are on cpu, not on a GPU"):
        train(x, None, CONFIGURATION, kernels="triton", tokens=512)
    with pytest.raises(ValueError, match="takes a method such as"):
        train(x, None, "TopK")
    with pytest.raises(ValueError, match="say how many tokens"):
        train(tiny_gpt2, site, CONFIGURATION, ["the cat"])
    with pytest.raises(ValueError, match="needs a site and a corpus"):
        train(tiny_gpt2, site, CONFIGURATION, tokens=100)
    with pytest.raises(ValueError, match="empty"):
        train(tiny_gpt2, site, CONFIGURATION, [], tokens=100)
    with pytest.raises(ValueError, match=f"no hook 'blocks.1.hook_resid_pots'; the closest is '{site}'"):
        train(tiny_gpt2, "blocks.1.hook_resid_pots", CONFIGURATION, ["the cat"], tokens=100)
    with pytest.raises(ValueError, match=r"\[n, d\] with n ≥ 1, found shape \(0, 16\)"):
        train(x[:0], None, CONFIGURATION)
    for name, value in (("tokens", -5), ("batch_size", 0), ("lr", 0.0), ("lr", -1.0)):
        with pytest.raises(ValueError, match=f"{name} must be .*found {value}"):
            train(x, None, CONFIGURATION, **{name: value})


def test_not_finite(x, tiny_gpt2):
    spoiled = x.clone()
    spoiled[5000, 3] = float("nan")
    with pytest.raises(ValueError, match="NaN activations at 'x' in batch"):
        train(spoiled, None, CONFIGURATION)

    def spoil(h, hook):
        return h.masked_fill(torch.arange(16) == 0, float("inf"))

    site = "blocks.1.hook_resid_post"
    error = pytest.raises(ValueError, match=rf"(NaN|infinite) activations at '{site}' in batch 0")
    with tiny_gpt2.hooks(fwd_hooks=[("blocks.0.hook_resid_pre", spoil)]), error:
        train(tiny_gpt2, site, CONFIGURATION, ["the cat sat"] * 20, tokens=512)


def test_a_loss_that_explodes_names_the_step_and_keeps_what_was_written(x, tmp_path):
    message = r"the loss became (nan|inf) at step [1-9]\d*: try a smaller lr \(now 1e\+30\)"
    with pytest.raises(ValueError, match=message):
        train(x, None, CONFIGURATION, lr=1e30, tokens=25_600, out=tmp_path)
    assert (tmp_path / "metrics.jsonl").read_text().count("\n") >= 1
