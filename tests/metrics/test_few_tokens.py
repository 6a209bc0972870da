"""Explained variance where a few tokens hold most of it: the number without them stands beside, in one sentence."""

from __future__ import annotations

import pytest
import torch

import saekit as sk
from saekit.metrics import ExplainedVariance, Number
from saekit.metrics.variance import Explained


def measured(x, x_hat, at_once: int):
    measure = ExplainedVariance()
    for start in range(0, len(x), at_once):
        measure.add(x[start : start + at_once], x_hat[start : start + at_once])
    return measure.result()


def brute(x, x_hat) -> float:
    x, x_hat = x.double(), x_hat.double()
    return 1 - float((x - x_hat).square().sum() / (x - x.mean(0)).square().sum())


def planted(every: int, size: float, n: int = 4000):
    """Tokens around a mean of 2, one in ``every`` moved by ``size``; x̂ is exact there and the mean elsewhere."""
    x = torch.randn(n, 24, generator=torch.Generator().manual_seed(0)) + 2
    huge = torch.arange(n) % every == 0
    x[huge] += size / 24**0.5
    x_hat = torch.where(huge[:, None], x, torch.full_like(x, 2.0) + 0.1 * x)
    return x, x_hat, huge


@pytest.mark.parametrize("at_once", [1, 37, 4000])
def test_one_token_in_forty_of_huge_norm(at_once):
    x, x_hat, huge = planted(40, 300)
    found = measured(x, x_hat, at_once)
    assert isinstance(found, Explained)
    whole, rest = found.numbers
    assert (whole.name, rest.name) == ("explained variance", "explained variance of the rest")
    assert whole.value == pytest.approx(brute(x, x_hat), abs=1e-9) and whole.value > 0.99
    assert rest.value == pytest.approx(brute(x[~huge], x_hat[~huge]), abs=1e-9) and rest.value < 0.3
    assert rest.definition.startswith("2.5 % of the counted tokens (100 of 4,000, of norm ")
    assert "of the variance: this is the number without them" in rest.definition


@pytest.mark.parametrize(("every", "size"), [(40, 0), (40, 10), (15, 300)], ids=["none", "too little", "too many"])
def test_where_it_is_not_so_there_is_one_number(every, size):
    """Moved by 10, a token in 40 holds 2.5 of 26.5; one in 15 is more than 5 %."""
    x, x_hat, _ = planted(every, size)
    found = measured(x, x_hat, 512)
    assert isinstance(found, Number) and found.value == pytest.approx(brute(x, x_hat), abs=1e-9)


def test_a_single_token_and_tokens_that_are_all_the_same():
    x, x_hat, _ = planted(4000, 1e4)
    assert measured(x, x_hat, 100).numbers[1].definition.startswith("0.025 % of the counted tokens (1 of 4,000,")
    same = torch.ones(50, 24)
    same[0] = 1e3
    assert measured(same, same, 10).numbers[1].value != measured(same, same, 10).numbers[1].value  # nan: nothing varies
    assert isinstance(measured(torch.ones(50, 24), torch.ones(50, 24), 10), Number)
    assert isinstance(measured(torch.zeros(50, 24), torch.zeros(50, 24), 10), Number)


def test_a_report_says_it(tiny_gpt2):
    site = "blocks.1.hook_resid_post"
    texts = ["the cat sat on the mat and saw the dog in the other room", "and the bat sat in the hen " * 3] * 4
    x = sk.activations.harvest(tiny_gpt2, texts, site).flat(site)
    method = sk.TopK(d_sae=32, k=4)
    sae = sk.train(x, site, method, tokens=2000, batch_size=100, callback=lambda _: None).dictionary
    count = 0

    def grow(h, hook):
        nonlocal count
        count += 1
        return torch.cat([h[:, :3], h[:, 3:4] * (1000 if count == 1 else 1), h[:, 4:]], 1)

    with tiny_gpt2.hooks(fwd_hooks=[(site, grow)]):
        report = sk.evaluate(tiny_gpt2, sae, texts, ce_tokens=1)
    text = report.text()
    if "explained variance of the rest" not in text:
        pytest.fail(text)
    assert report["explained variance of the rest"] > report.explained_variance
