"""torch.use_deterministic_algorithms(True): all of it runs, gives the same bits twice, and calls nothing that torch
refuses on a GPU then (its documentation lists what)."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from saekit_kernels import dispatch
from torch.utils._python_dispatch import TorchDispatchMode

import saekit as sk

SITE = "blocks.1.hook_resid_post"
TEXTS = [f"the cat {'sat and ' * (n % 7)}ran to the {n} mats in the garden of number {n * n}" for n in range(40)]
METHODS = [
    sk.TopK(d_sae=64, k=3),
    sk.BatchTopK(d_sae=64, k=3),
    sk.JumpReLU(d_sae=64, l0=4),
    sk.Gated(d_sae=64, l0=4),
    sk.ReLU(d_sae=64),
    sk.MatchingPursuit(d_sae=64, steps=3),
    sk.ITDA(d_sae=32, k=3),
    sk.EndToEnd(sk.TopK(d_sae=64, k=3)),
]
REFUSED = re.compile(
    r"put_\.|histc|nll_loss2d|ctc_loss|grid_sampler|interpolate|upsample|adaptive_|avg_pool3d_backward|max_unpool|"
    r"reflection_pad|fractional|median\.dim|kthvalue"
)


class Calls(TorchDispatchMode):
    """What a GPU would refuse, as it is called."""

    def __init__(self) -> None:
        super().__init__()
        self.refused: set[str] = set()

    def __torch_dispatch__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        name, given = str(function).removeprefix("aten."), kwargs or {}
        floats = [a for a in args if isinstance(a, torch.Tensor) and a.is_floating_point()]
        weights = name.startswith("bincount") and isinstance((*args, given.get("weights"))[1], torch.Tensor)
        products = name.startswith("scatter_reduce") and "prod" in args
        if REFUSED.match(name) or weights or products or (name.startswith("cumsum") and floats):
            self.refused.add(name)
        return function(*args, **given)


@pytest.fixture
def strictly() -> Iterator[None]:
    torch.use_deterministic_algorithms(True)
    yield
    torch.use_deterministic_algorithms(False)


def train(model: Any, method: sk.Method, **settings: Any) -> sk.Run:
    settings |= {"tokens": 512, "batch_size": 64, "dead_after": 128, "callback": lambda _: None}
    return sk.train(model, SITE, method, TEXTS, **settings)


@pytest.mark.parametrize("method", METHODS, ids=lambda method: type(method).__name__)
@pytest.mark.parametrize("kernels", ["auto", "reference"])
def test_training_gives_the_same_bits_and_calls_nothing_refused(tiny_gpt2, strictly, method, kernels) -> None:
    with Calls() as calls:
        one = train(tiny_gpt2, method, kernels=kernels).dictionary.state_dict()
    two = train(tiny_gpt2, method, kernels=kernels).dictionary.state_dict()
    assert not calls.refused
    assert all(torch.equal(tensor, two[name]) for name, tensor in one.items())


def test_so_do_harvest_evaluate_edits_and_the_store(tiny_gpt2, strictly, tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setattr(dispatch, "VARIABLE", "reference")  # as on a GPU without Triton; with it these are kernels
    sae = train(tiny_gpt2, METHODS[1]).dictionary
    found, first = [], int(sae.latent_max.argmax())
    with Calls() as calls:
        for number in range(2):
            acts = sk.activations.harvest(tiny_gpt2, TEXTS, SITE)
            report = sk.evaluate(tiny_gpt2, sae, TEXTS, ce_tokens=200)
            store = sk.FeatureStore.build(tiny_gpt2, sae, TEXTS, tmp_path / str(number))
            sk.features_on(tiny_gpt2, sae, "the cat sat")
            sk.before_and_after(tiny_gpt2, sk.Edit(sae, latent=first, mode="project"), "the cat")
            found.append((acts.flat(SITE), report.numbers, store.latents().to_csv()))
    assert not calls.refused
    assert torch.equal(found[0][0], found[1][0])
    assert str(found[0][1]) == str(found[1][1]) and found[0][2] == found[1][2]


def test_the_rule_itself_catches() -> None:
    x = torch.rand(3, 4)
    with Calls() as calls:
        x.cumsum(0), x.median(0), torch.histc(x), torch.bincount(torch.tensor([1]), torch.ones(1)), x.kthvalue(1)
        (
            x.long().cumsum(0),
            x.median(),
            torch.bincount(torch.tensor([1])),
            torch.zeros(4).scatter_add_(0, x[0].long(), x[0]),
        )
    assert calls.refused == {
        "cumsum.default",
        "median.dim",
        "histc.default",
        "bincount.default",
        "kthvalue.default",
    }
