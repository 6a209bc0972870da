"""latent_gradients/triton_update.py against the reference, which is held against torch.optim.Adam elsewhere."""

from __future__ import annotations

import pytest
import torch
from saekit_kernels.latent_gradients import reference
from saekit_kernels.latent_gradients.reference import AdamStep, Moments, Parameters
from saekit_kernels.latent_gradients.triton import latent_update
from saekit_kernels.latent_gradients.triton_update import parts
from saekit_kernels.latent_index import by_latent
from torch import Tensor


def normal(*shape: int, seed: int = 1) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def dictionary(d_sae: int, d: int) -> Parameters:
    rows = torch.nn.functional.normalize(normal(d_sae, d), dim=1)
    return Parameters(rows.clone(), rows.clone(), torch.zeros(d_sae))


def after(update, steps: int, codes, d_sae: int, d: int, dtype=torch.float32) -> tuple[Tensor, ...]:
    """Parameters and moments after some steps on the same codes, with new gradients at each."""
    parameters = dictionary(d_sae, d)
    moments = Moments.zeros(parameters)
    index = by_latent(codes.indices, codes.offsets, d_sae)
    n = len(codes.dense)
    for number in range(1, steps + 1):
        s = normal(len(codes.values), seed=number)
        x, g = normal(n, d, seed=number + 50).to(dtype), normal(n, d, seed=number + 90).to(dtype)
        update(index, codes.values, s, x, g, parameters, moments, AdamStep(number, 1e-2))
    return (*parameters, *moments)


@pytest.mark.parametrize(("n", "d_sae", "d", "steps"), [(9, 8, 48, 5), (150, 5, 200, 2), (1, 5, 3, 3), (5, 4, 2304, 2)])
def test_steps_equal_the_references(random_codes, close, n, d_sae, d, steps):
    codes = random_codes(n, d_sae, 3.0, hot=1)  # unused latents too; with n = 150 the hot one is summed in pieces
    found = after(latent_update, steps, codes, d_sae, d)
    for one, other in zip(found, after(reference.latent_update, steps, codes, d_sae, d), strict=True):
        close(one, other)
    assert float((found[0] - dictionary(d_sae, d).decoder).norm()) > 1e-3  # the rows moved
    close(found[0].norm(dim=1), torch.ones(d_sae))
    once, twice = (after(latent_update, 1, codes, d_sae, d) for _ in range(2))
    assert all(torch.equal(one, other) for one, other in zip(once, twice, strict=True))


def test_bfloat16_activations_and_gradients(random_codes, close):
    codes = random_codes(20, 9, 3.0, hot=1, dtype=torch.bfloat16)
    found = after(latent_update, 2, codes, 9, 96, torch.bfloat16)
    for one, other in zip(found, after(reference.latent_update, 2, codes, 9, 96, torch.bfloat16), strict=True):
        close(one, other)


def test_without_a_firing_the_moments_decay_and_the_step_is_taken(random_codes, close):
    codes = random_codes(6, 8, 3.0, hot=1)
    none = by_latent(codes.indices[:0], torch.zeros(7, dtype=torch.int64), 8)
    for update in (latent_update, reference.latent_update):
        parameters = dictionary(8, 16)
        moments = Moments(*(torch.full_like(tensor, 0.5) for tensor in Moments.zeros(parameters)))
        update(
            none, torch.zeros(0), torch.zeros(0), normal(6, 16), normal(6, 16), parameters, moments, AdamStep(3, 0.1)
        )
        close(moments.encoder_mean, torch.full((8, 16), 0.45))
        close(moments.decoder_square, torch.full((8, 16), 0.4995))
        close(parameters.bias, torch.full((8,), -0.1 / (1 - 0.9**3) * 0.45 / (0.4995 / (1 - 0.999**3)) ** 0.5))


@pytest.mark.parametrize("d", [1, 3, 16, 48, 96, 200, 768, 1000, 2304, 3584, 12288])
def test_parts_cover_a_row_without_padding_it_much(d):
    widths, begins = parts(d)
    assert 1 <= len(widths) <= 3 and all(width & (width - 1) == 0 for width in widths)
    assert begins == tuple(sum(widths[:i]) for i in range(len(widths)))
    assert d <= sum(widths) <= max(1.25 * d, 16 + d)
    assert {2304: (2048, 256), 3584: (2048, 1024, 512), 768: (512, 256)}.get(d, widths) == widths


def test_what_is_refused(random_codes):
    codes = random_codes(6, 8, 3.0, hot=1)
    index, s = by_latent(codes.indices, codes.offsets, 8), torch.zeros(len(codes.values))
    half = Parameters(*(tensor.bfloat16() for tensor in dictionary(8, 16)))
    with pytest.raises(TypeError, match="decoder is bfloat16, and the update is made in float32"):
        latent_update(index, codes.values, s, normal(6, 16), normal(6, 16), half, Moments.zeros(half), AdamStep(1, 0.1))
