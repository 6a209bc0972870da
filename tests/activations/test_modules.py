"""Any module: outputs of named submodules, channels last or where they are said to be, and a dictionary on them."""

from __future__ import annotations

import pytest
import torch
from torch import nn

import saekit as sk
from saekit.activations import harvest


class Pair(nn.Module):
    """Gives a tuple, as attention does."""

    def __init__(self) -> None:
        super().__init__()
        self.inner = nn.Linear(16, 16)

    def forward(self, x):
        return self.inner(x), None


def network() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(8, 16), nn.ReLU(), nn.Dropout(0.5), Pair())


class Images(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.first = nn.Conv2d(3, 12, 3, padding=1)
        self.norm = nn.BatchNorm2d(12)
        self.second = nn.Conv2d(12, 20, 3, stride=2)
        self.head = nn.Linear(20, 5)
        self.unused = nn.Linear(2, 2)
        self.calls: list[str] = []

    def forward(self, x):
        x = torch.relu_(self.norm(self.first(x)))  # written into what the norm gave
        x = self.second(x)
        self.calls.append("second")
        return self.head(x.mean((2, 3)))


@pytest.fixture
def images():
    return torch.randn(70, 3, 8, 8, generator=torch.Generator().manual_seed(1))


def test_an_mlp_by_hand():
    model, x = network(), torch.randn(600, 8, generator=torch.Generator().manual_seed(1))
    model.train()
    model[2].eval()
    acts = harvest(model, x, ["1", "3"])
    assert [module.training for module in model] == [True, True, False, True], "each part's mode is put back"
    hidden = torch.relu(x @ model[0].weight.T + model[0].bias).detach()
    assert torch.allclose(acts["1"], hidden, atol=1e-6) and torch.equal(acts.flat("1"), acts["1"])
    assert torch.allclose(acts["3"], (hidden @ model[3].inner.weight.T + model[3].inner.bias).detach(), atol=1e-5)
    assert list(acts) == ["1", "3"] and len(acts) == 2 and "1: [600, 16]" in repr(acts)
    assert not acts["1"].requires_grad and not model[1]._forward_hooks


def test_batches_make_no_difference(images):
    whole, parts = (harvest(Images(), images, "second", batch_size=size) for size in (70, 16))
    assert torch.allclose(whole["second"], parts["second"], atol=1e-5) and whole["second"].shape == (70, 20, 3, 3)


def test_channels_first(images):
    model = Images().eval()
    acts = harvest(model, images, "first", channels=1)
    x = model.first(images).detach()
    assert torch.allclose(acts["first"], x, atol=1e-6)
    flat = acts.flat("first")
    assert flat.shape == (70 * 64, 12) and torch.allclose(flat[64 * 5 + 8 * 2 + 3], x[5, :, 2, 3], atol=1e-6)
    last = harvest(model, images, "first").flat("first")  # the last dimension counts as d where nothing is said
    assert last.shape == (70 * 12 * 8, 8)
    run = sk.train(flat, None, sk.TopK(d_sae=48, k=4), tokens=6_400, batch_size=128, callback=lambda _: None)
    assert run.finished and sk.metrics.explained_variance(flat, run.dictionary(flat)) > 0.5


def test_what_comes_later_does_not_run_and_writes_into_nothing(images):
    model = Images().eval()
    acts = harvest(model, images, "norm")
    assert model.calls == [], "it stopped before"
    assert float(acts["norm"].min()) < 0, "the activation function in place came after"
    harvest(model, images, ["norm", "head"])
    assert model.calls == ["second"]


def test_the_whole_module_and_a_module_twice_in_a_pass():
    inner = nn.Linear(4, 4)
    model, x = nn.Sequential(inner, inner), torch.randn(5, 4)
    acts = harvest(model, x, ["", "0"])
    assert torch.equal(acts["0"], inner(x).detach()) and torch.equal(acts[""], inner(inner(x)).detach())


def test_refused(images, tiny_gpt2):
    model = Images()
    with pytest.raises(ValueError, match="no submodule 'secnd'; the closest is 'second'"):
        harvest(model, images, ["secnd"])
    with pytest.raises(ValueError, match="'unused' is not called in a forward pass"):
        harvest(model, images, ["unused"])
    for inputs in (images[:0], ["a text"]):
        with pytest.raises(ValueError, match=r"inputs \[n, …\], n ≥ 1, found"):
            harvest(model, inputs, ["first"])
    with pytest.raises(ValueError, match="batch_size must be at least 1, found 0"):
        harvest(model, images, "first", batch_size=0)
    spoiled = images.clone()
    spoiled[40] = float("nan")
    with pytest.raises(ValueError, match="NaN activations at 'second' in batch 2"):
        harvest(model, spoiled, "second", batch_size=16)
    with pytest.raises(ValueError, match="2 dimensions, and channels=2 is none of them"):
        harvest(model, images, "head", channels=2).flat("head")
    with pytest.raises(KeyError, match="nothing harvested at 'head'; the only one is 'first'"):
        harvest(model, images, "first")["head"]
    with pytest.raises(TypeError, match="channels is for modules without hooks"):
        harvest(tiny_gpt2, ["the cat"], "blocks.0.hook_resid_post", channels=1)
    assert model.training and not model.second._forward_hooks
