"""ITDA: its atoms are activations that were met; how it grows, what does not join, and how a stopped run goes on."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from saekit_kernels import SparseCodes

import saekit as sk
from saekit.objectives import Batch, Loss, State


def normal(n: int, d: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(n, d, generator=torch.Generator().manual_seed(seed))


def train(x, method, tokens=4096, **settings):
    quiet = {"batch_size": 256, "dtype": torch.float32, "callback": lambda _: None}
    return sk.train(x, None, method, tokens=tokens, **(quiet | settings))


def grown(x, error=None, step=0, steps=100, **settings):
    """A dictionary with x[:2] in it, after one batch x whose errors are given."""
    dictionary = sk.ITDA(**({"d_sae": 8, "k": 2} | settings)).build(sk.Wiring("x"), {"x": x.shape[1]})
    dictionary._take(x[:2], begin=True)
    error = torch.ones(len(x)) if error is None else torch.tensor(error)
    codes = SparseCodes.from_dense(torch.zeros(len(x), dictionary.d_sae))
    dictionary.after_step(Batch.of(x), Loss(error.sum(), error, codes), State(step=step, steps=steps))
    return dictionary


def test_atoms_are_activations_of_norm_one():
    """In the units of the data: whatever the scale that training divides by, x / ‖x‖ is x / ‖x‖."""
    x = 37 * normal(600, 24) + 5
    dictionary = train(x, sk.ITDA(d_sae=64, k=4)).dictionary
    atoms = dictionary.decoder_directions
    assert torch.allclose(atoms.norm(dim=1), torch.ones(64), atol=1e-5)
    assert (atoms @ torch.nn.functional.normalize(x, dim=1).T).amax(1).min() > 1 - 1e-5, "each is one of the rows"
    assert dictionary.decoder_bias.abs().max() == 0


@pytest.mark.parametrize("d_sae", [5, 64, 300])
def test_it_grows_to_the_wanted_size(d_sae):
    """To less than it begins with, and to more than a batch holds."""
    run = train(normal(2000, 4), sk.ITDA(d_sae=d_sae, k=2))
    assert run.dictionary.d_sae == d_sae == len(run.dictionary.latent_max) == run.records[-1]["latents"]
    sizes = run.metrics["latents"].tolist()
    assert sizes == sorted(sizes) and sizes[0] <= max(d_sae // 2, 16)


def test_more_atoms_leave_less_error():
    x = normal(2000, 24)
    few, many = (train(x, sk.ITDA(d_sae=d_sae, k=4)).dictionary for d_sae in (32, 256))
    assert sk.metrics.explained_variance(x, few(x)) + 0.1 < sk.metrics.explained_variance(x, many(x))


def test_those_with_the_largest_error_join_by_hand():
    """Room for 6 in the 80 − 77 = 3 steps that are left of four fifths: 2 join, rows 4 and 3."""
    x = torch.eye(6)
    dictionary = grown(x, [0.0, 0, 0.1, 0.8, 0.9, 0.2], step=77)
    assert dictionary.decoder_directions.tolist() == x[[0, 1, 4, 3]].tolist()
    assert dictionary.latent_max.isnan().all() and dictionary.d_sae == 4


def test_tau_by_hand():
    """Joins where ‖x − x̂‖² > τ times the mean of ‖x − x̄‖², which of six axes is 5/6: above .5 · 5/6 = .41667."""
    x = torch.eye(6)
    dictionary = grown(x, [0.0, 0, 0.41, 0.42, 0.9, 0.2], tau=0.5)
    assert dictionary.decoder_directions.tolist() == x[[0, 1, 4, 3]].tolist()
    assert grown(x, [0.0, 0, 0.41, 0.41, 0.41, 0.2], tau=0.5).d_sae == 2, "none is above it"
    full = grown(x, [0.0, 0, 1.0, 2.0, 3.0, 4.0], tau=0.5, d_sae=4)
    assert full.decoder_directions.tolist() == x[[0, 1, 5, 4]].tolist(), "no more than there is room for"


def test_a_larger_tau_ends_smaller():
    x = normal(2000, 24)
    sizes = [train(x, sk.ITDA(d_sae=500, k=4, tau=tau)).dictionary.d_sae for tau in (0.6, 0.4, 0.25)]
    assert 16 <= sizes[0] < sizes[1] < sizes[2] <= 500


def test_near_duplicates_do_not_join():
    """Cosine above .99 with an atom, or with one that joins before it in the same batch; length does not matter."""
    axes = torch.eye(4)
    near = torch.nn.functional.normalize(axes[2] + 0.1 * axes[3], dim=0)  # cosine .995
    far = torch.nn.functional.normalize(axes[2] + 0.3 * axes[3], dim=0)  # cosine .958, with the former .982
    x = torch.stack([axes[0], axes[1], 5 * axes[0], axes[2], 3 * near, far])
    dictionary = grown(x, [0.0, 0, 5, 4, 3, 2], step=99)
    assert torch.allclose(dictionary.decoder_directions, torch.stack([axes[0], axes[1], axes[2], far]))
    repeated = normal(3, 8).repeat(200, 1)
    assert train(repeated, sk.ITDA(d_sae=40, k=2)).dictionary.d_sae == 3, "three rows, and no more atoms than that"


def test_nothing_is_no_atom():
    """A row of zeros has no direction; where a whole batch has none, there is nothing to begin with."""
    x = torch.cat([torch.zeros(300, 8), normal(100, 8)])
    atoms = train(x, sk.ITDA(d_sae=60, k=2)).dictionary.decoder_directions
    assert torch.allclose(atoms.norm(dim=1), torch.ones(len(atoms)), atol=1e-5) and len(atoms) == 60
    with pytest.raises(ValueError, match="all of the first batch at 'x' are 0"):
        train(torch.zeros(300, 8), sk.ITDA(d_sae=60, k=2))


def test_its_codes_are_a_signed_pursuit():
    x = normal(600, 24)
    dictionary = train(x, sk.ITDA(d_sae=64, k=4)).dictionary
    codes = dictionary.encode(x)
    assert dictionary.signed and (codes.values < 0).any() and codes.l0.max() <= 4
    first = dictionary.at(k=1).encode(x)
    products = x @ dictionary.decoder_directions.T
    assert torch.equal(first.indices.long(), products.abs().argmax(1))
    assert torch.allclose(first.values, products.gather(1, first.indices.long()[:, None])[:, 0], atol=1e-5)
    errors = [float((x - dictionary.at(k=k)(x)).square().sum()) for k in (1, 2, 4, 8)]
    assert errors == sorted(errors, reverse=True)


@pytest.mark.parametrize("step", [1, 5, 15])
def test_a_run_that_was_stopped_while_it_grows_goes_on_to_the_same_bits(step, tmp_path):
    x, method = normal(600, 24), sk.ITDA(d_sae=200, k=4)

    def stop(progress):
        if progress.tokens == step * 256:
            raise KeyboardInterrupt

    whole = train(x, method)
    part = train(x, method, out=tmp_path, callback=stop)
    assert not part.finished and (part.dictionary.d_sae < 200 or step == 15)
    resumed = train(x, method, out=tmp_path)
    assert resumed.finished and resumed.metrics["latents"].tolist() == whole.metrics["latents"].tolist()
    for name, tensor in whole.dictionary.state_dict().items():
        assert torch.equal(resumed.dictionary.state_dict()[name], tensor), name
    assert torch.equal(train(x, method, out=tmp_path).dictionary(x), whole.dictionary(x)), "finished: it is returned"


def test_saved_and_loaded_with_fewer_latents_than_it_might_have(tmp_path):
    x = normal(600, 24)
    dictionary = train(x, sk.ITDA(d_sae=500, k=4, tau=0.3)).dictionary
    assert 16 < dictionary.d_sae < 500
    loaded = sk.load_dictionary(dictionary.save(tmp_path))
    assert loaded.d_sae == dictionary.d_sae and loaded.method == dictionary.method
    assert torch.equal(loaded(x), dictionary(x)) and torch.equal(loaded.latent_max, dictionary.latent_max)
    assert not any(p.requires_grad for p in loaded.parameters())


def test_another_seed_begins_with_other_activations():
    x = normal(600, 24)
    one, two = (train(x, replace(sk.ITDA(d_sae=32, k=4), seed=seed)).dictionary for seed in (0, 1))
    assert not torch.equal(one.decoder_directions, two.decoder_directions)


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        (lambda: sk.ITDA(d_sae=4, k=0), "k is a number of steps from 1, found 0"),
        (lambda: sk.ITDA(d_sae=4, tau=0.0), "tau must be above 0, found 0"),
        (lambda: sk.ITDA(d_sae=4).build(sk.Wiring("a", "b"), {"a": 2, "b": 2}), "writes the one site it reads"),
    ],
)
def test_refused(wrong, message):
    with pytest.raises(ValueError, match=message):
        wrong()
