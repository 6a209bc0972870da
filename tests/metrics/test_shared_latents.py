"""shared_latents: by hand, and on two spaces that share some directions and not others."""

from __future__ import annotations

import pytest
import torch

import saekit as sk
from saekit.metrics import shared_latents


def crosscoder(a: torch.Tensor, b: torch.Tensor):
    wiring = sk.Wiring(["a:x", "b:x"])
    made = sk.TopK(d_sae=len(a), k=1).build(wiring, {"a:x": a.shape[1], "b:x": b.shape[1]})
    with torch.no_grad():
        made.decoder.directions.copy_(torch.cat([a, b], 1))
    return made


def test_by_hand():
    a = torch.tensor([[3.0, 4.0], [0.0, 0.0], [1.0, 0.0], [0.0, 0.0]])
    b = torch.tensor([[0.0, 0.0], [0.0, 2.0], [0.0, 3.0], [0.0, 0.0]])
    found = shared_latents(crosscoder(a, b))
    assert found.models == ("a", "b")
    torch.testing.assert_close(found.norms, torch.tensor([[5.0, 0], [0, 2], [1, 3], [0, 0]], dtype=torch.float64))
    assert found.share[:3].tolist() == [0.0, 1.0, 0.75] and found.share[3].isnan()
    assert found.exclusive("a").tolist() == [0] and found.exclusive("b").tolist() == [1]
    assert found.exclusive("b", most=0.3).tolist() == [1, 2], "the most one-sided first"
    assert [row["number"] for row in found.rows] == [1, 0, 1]
    frame = found.frame()
    assert list(frame.columns) == ["latent", "share", "norm in a", "norm in b"] and frame["norm in b"][2] == 3.0
    assert "a alone" in repr(found) and "<svg" in found._repr_html_()


def test_planted_directions_of_one_side_are_found():
    """Sixteen causes that both spaces write, eight of the second alone."""
    generator = torch.Generator().manual_seed(0)
    n, both, alone, d = 40_000, 16, 8, 32
    fires = torch.rand(n, both + alone, generator=generator) < 0.08
    z = fires * (1 + torch.rand(n, both + alone, generator=generator))
    in_a, in_b = (torch.nn.functional.normalize(torch.randn(both + alone, d, generator=generator), dim=1) for _ in "ab")
    in_a[both:] = 0
    arrays = {"a:x": z @ in_a + 0.01 * torch.randn(n, d, generator=generator), "b:x": z @ in_b}
    run = sk.train(arrays, sk.Wiring(["a:x", "b:x"]), sk.TopK(d_sae=64, k=3), tokens=n * 3, batch_size=512, lr=3e-3)
    found, dictionary = shared_latents(run), run.dictionary
    strongest = torch.nn.functional.normalize(dictionary.decoder_directions_at("b:x"), dim=1) @ in_b.T
    best = strongest.abs().argmax(0)  # the latent that writes each cause
    fitting = strongest.abs().amax(0) > 0.9
    assert int(fitting.sum()) >= 20, fitting
    share = found.share[best]
    assert (share[both:][fitting[both:]] > 0.8).all(), share
    assert ((share[:both][fitting[:both]] - 0.5).abs() < 0.05).all(), share


@pytest.mark.parametrize("reads", [["x"], ["a:x"], ["a:x", "b:x", "c:x"]])
def test_other_dictionaries_are_refused(reads):
    made = sk.TopK(d_sae=4, k=1).build(sk.Wiring(reads), {site: 3 for site in reads})
    with pytest.raises(ValueError, match="a crosscoder over two models, found one that writes"):
        shared_latents(made)


def test_another_name():
    found = shared_latents(crosscoder(torch.eye(2), torch.eye(2)))
    with pytest.raises(ValueError, match="the crosscoder is not of 'base'"):
        found.exclusive("base")
