"""ReLU and BatchTopK: by hand, their training pieces, and what survives a file."""

from __future__ import annotations

import pytest
import torch
from saekit_kernels import SparseCodes, encode_batch_top_k

import saekit as sk
from saekit.objectives import Batch, Loss, State

U = torch.tensor([[1.0, -2, 3, -4], [-5, 6, -7, 8]])


def batch_top_k(u: torch.Tensor, k: float) -> SparseCodes:
    """Pre-activations u as the method selects them: the ⌊k · B⌋ largest positive ones."""
    wanted = int(k * (u.numel() // u.shape[-1]))
    return encode_batch_top_k(u, torch.eye(u.shape[-1]), torch.zeros(u.shape[-1]), wanted)


@pytest.mark.parametrize(
    ("k", "expected"),
    [(2, [[1, 0, 3, 0], [0, 6, 0, 8]]), (1.5, [[0, 0, 3, 0], [0, 6, 0, 8]]), (0.5, [[0] * 4, [0, 0, 0, 8]])],
)
def test_batch_top_k_by_hand(k, expected):
    codes = batch_top_k(U, k)
    assert codes.to_dense().tolist() == expected
    assert codes.k is None and codes.indices.dtype == torch.int32


def test_batch_top_k_keeps_no_negative_and_no_zero():
    assert batch_top_k(torch.tensor([[0.0, -1.0], [2.0, -1.0]]), 2).to_dense().tolist() == [[0, 0], [2, 0]]
    assert len(batch_top_k(-torch.ones(3, 4), 2).values) == 0
    assert batch_top_k(torch.ones(2, 3, 5), 1).shape == (2, 3)
    assert batch_top_k(torch.ones(2, 3), 1.5).to_dense().tolist() == [[1, 1, 1], [0, 0, 0]], "of equals the first"


def test_batch_top_k_against_a_full_sort():
    u = torch.randn(7, 11, generator=torch.Generator().manual_seed(0), requires_grad=True)
    codes = batch_top_k(u, 2.4)
    kept = u.detach().flatten().sort(descending=True).values[: int(2.4 * 7)]
    expected = torch.where(u.detach() >= kept[-1], u.detach(), 0)
    assert torch.equal(codes.to_dense().detach(), expected)
    codes.values.square().sum().backward()
    assert torch.equal(u.grad, 2 * expected)


def identity(configuration):
    dictionary = configuration.build(sk.Wiring("x"), {"x": 4})
    with torch.no_grad():
        dictionary.encoder_directions.copy_(torch.eye(4))
        dictionary.decoder_directions.copy_(torch.eye(4))
    return dictionary


def test_the_threshold_follows_the_smallest_kept_and_then_decides():
    dictionary = identity(sk.BatchTopK(d_sae=4, k=1.5))

    def observe(codes):
        dictionary.after_step(Batch.of(U), Loss(torch.tensor(0.0), torch.zeros(2), codes), State())

    observe(dictionary.encode(U))
    assert float(dictionary.threshold) == 3
    observe(dictionary.encode(2 * U))
    assert float(dictionary.threshold) == pytest.approx(3 + 0.01 * (6 - 3))
    dictionary.encode(100 * U)
    assert float(dictionary.threshold) == pytest.approx(3.03), "only training moves it"
    dictionary.eval()
    alone = dictionary.encode(U[:1]).to_dense()
    assert alone.tolist() == [[0, 0, 0, 0]] and dictionary.encode(U).to_dense().tolist() == [[0] * 4, [0, 6, 0, 8]]
    dictionary.rescale({"x": 2.0})
    assert float(dictionary.threshold) == pytest.approx(6.06)
    assert torch.allclose(dictionary.encode(2 * U).to_dense(), 2 * torch.tensor([[0.0] * 4, [0, 6, 0, 8]]))


def test_relu_by_hand():
    """x = [.3, .3], all weights one, b_enc = [0, −.5]: u = [.6, .1]; x̂ = .7 a dimension."""
    dictionary = sk.ReLU(d_sae=2).build(sk.Wiring("x"), {"x": 2})
    with torch.no_grad():
        dictionary.encoder_directions.fill_(1)
        dictionary.decoder_directions.fill_(1)
        dictionary.encoder_bias.copy_(torch.tensor([0, -0.5]))
    x = torch.tensor([[0.3, 0.3], [-1.0, -1.0]])
    assert torch.allclose(dictionary.encode(x).to_dense(), torch.tensor([[0.6, 0.1], [0, 0]]))
    assert torch.allclose(dictionary(x), torch.tensor([[0.7, 0.7], [0, 0]]))


@pytest.mark.parametrize("sparsity", ["l1", "log", "tanh"])
def test_the_penalty_by_hand(sparsity):
    """z = [2, 0] and [0, 1], rows of norm 3 and 1, each x reconstructed exactly: only λ √d Σ p is left."""
    dictionary = sk.ReLU(d_sae=2, sparsity_weight=0.5, sparsity=sparsity).build(sk.Wiring("x"), {"x": 2})
    with torch.no_grad():
        dictionary.encoder_directions.copy_(torch.diag(torch.tensor([1 / 3, 1.0])))
        dictionary.decoder_directions.copy_(torch.diag(torch.tensor([3.0, 1.0])))
    x = torch.tensor([[6.0, 0], [0, 1.0]])
    p = {"l1": lambda a: a, "log": torch.log1p, "tanh": torch.tanh}[sparsity]
    expected = 0.5 * (p(torch.tensor(6.0)) + p(torch.tensor(1.0))) / 2 / 2**0.5
    loss = dictionary.loss(Batch.of(x), State(step=1, steps=1))
    assert torch.allclose(loss.total, expected) and loss.error.abs().max() < 1e-12
    assert loss.codes.to_dense().tolist() == [[2, 0], [0, 1]]
    early = dictionary.loss(Batch.of(x), State(step=5, steps=100))
    assert torch.allclose(early.total, expected / 2), "λ grows over a tenth"


@pytest.mark.parametrize("configuration", [sk.ReLU(d_sae=8), sk.BatchTopK(d_sae=8, k=1.5)])
def test_scaled_saved_and_loaded(configuration, tmp_path):
    torch.manual_seed(0)
    x = torch.randn(50, 4)
    run = sk.train(7 * x, None, configuration, tokens=2_000, batch_size=50, callback=lambda _: None)
    run.dictionary.save(tmp_path)
    loaded = sk.load_dictionary(tmp_path)
    assert not loaded.training and loaded.method == configuration
    assert torch.equal(loaded(7 * x), run.dictionary(7 * x))
    one_by_one = torch.cat([loaded(7 * row[None]) for row in x])
    assert torch.allclose(one_by_one, loaded(7 * x), atol=1e-5), "a token does not depend on its neighbours"


def test_several_on_one_pass_are_each_as_alone(tmp_path):
    torch.manual_seed(0)
    x = torch.randn(400, 6)
    configurations = [sk.TopK(d_sae=12, k=2), sk.ReLU(d_sae=10), sk.BatchTopK(d_sae=12, k=2)]
    quiet = {"tokens": 4_000, "batch_size": 100, "callback": lambda _: None}
    together = sk.train(x, None, configurations, out=tmp_path / "run", **quiet)
    for number, configuration in enumerate(configurations):
        alone = sk.train(x, None, configuration, **quiet)
        state = together.dictionaries[number].state_dict()
        assert all(torch.equal(t, state[name]) for name, t in alone.dictionary.state_dict().items())
        frame = together.metrics.query(f"dictionary == {number}")
        assert frame["loss"].tolist() == alone.metrics["loss"].tolist()
    again = sk.train(x, None, configurations, out=tmp_path / "run", **quiet)
    assert [d.method for d in again.dictionaries] == configurations and again.records == together.records
    with pytest.raises(ValueError, match="trained 3 dictionaries"):
        _ = together.dictionary
    with pytest.raises(ValueError, match="it differs in configuration"):
        sk.train(x, None, configurations[:2], out=tmp_path / "run", **quiet)


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        (lambda: sk.ReLU(d_sae=0), "d_sae must be at least 1, found 0"),
        (lambda: sk.ReLU(d_sae=4, sparsity="l0"), "sparsity cannot be 'l0'; the closest is 'l1' .of l1, log, tanh"),
        (lambda: sk.ReLU(d_sae=4, sparsity_weight=-1), "at least 0, found -1"),
        (lambda: sk.BatchTopK(d_sae=4, k=0), "k must be between 1 and d_sae = 4, found 0"),
        (lambda: sk.TopK(d_sae=4, k=1.5), "whole number, found 1.5"),
        (lambda: sk.train(torch.ones(4, 2), None, []), "or a list of them, found"),
    ],
)
def test_refused(wrong, message):
    with pytest.raises(ValueError, match=message):
        wrong()


@pytest.mark.parametrize("skip", [False, True])
@pytest.mark.parametrize(
    "wiring", [sk.Wiring(["a", "b"]), sk.Wiring("a", ["b", "c"]), sk.Wiring(["a", "c"], each=True), sk.Wiring("a")]
)
def test_one_site_alone_is_decoded_as_all_are(wiring, skip):
    widths = {"a": 4, "b": 6, "c": 4}
    sae = sk.TopK(d_sae=10, k=3, skip=skip).build(wiring, widths)
    torch.nn.init.normal_(sae.decoder_bias)
    reads = wiring.reads[:1] if wiring.each else wiring.reads
    x = {site: torch.randn(7, widths[site]) for site in reads}
    codes = sae.encode(x)
    whole = sae.decode(codes, x)
    for site in wiring.writes:
        expected = whole[site] if isinstance(whole, dict) else whole
        torch.testing.assert_close(sae.decode_at(codes, site, x if skip else None), expected)
    with pytest.raises(ValueError, match="the dictionary does not write 'z'"):
        sae.decode_at(codes, "z")
