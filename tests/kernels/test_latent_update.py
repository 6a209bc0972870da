"""The reference of latent_gradients against autograd and torch.optim.Adam on a whole dictionary, in float64."""

from __future__ import annotations

import pytest
import torch
from saekit_kernels.latent_gradients.reference import AdamStep, Moments, Parameters, latent_update
from saekit_kernels.latent_index import by_latent


@pytest.mark.parametrize("betas", [(0.9, 0.999), (0.0, 0.99)])
def test_twenty_steps_equal_adam_with_projection_and_unit_rows(betas):
    generator = torch.Generator().manual_seed(0)
    n, d, d_sae, k = 30, 12, 40, 4
    rows = torch.nn.functional.normalize(torch.randn(d_sae, d, generator=generator, dtype=torch.float64), dim=1)
    mine = Parameters(rows.clone(), rows.clone(), torch.zeros(d_sae, dtype=torch.float64))
    mine.encoder[-3:] = 0
    mine.bias[-3:] = -5.0  # these never fire at first: what they do is what Adam does without a gradient
    moments = Moments.zeros(mine)
    theirs = [parameter.clone().requires_grad_() for parameter in mine]
    adam = torch.optim.Adam(theirs, lr=3e-2, betas=betas, eps=1e-8)
    for number in range(1, 21):
        x = torch.randn(n, d, generator=generator, dtype=torch.float64)

        u, latents = (x @ theirs[1].T + theirs[2]).topk(k, dim=1)
        z = torch.zeros(n, d_sae, dtype=torch.float64).scatter(1, latents, u.relu())
        adam.zero_grad()
        (z @ theirs[0] - x).square().sum(1).mean().backward()
        with torch.no_grad():
            unit, gradient = theirs[0], theirs[0].grad
            gradient -= (gradient * unit).sum(1, keepdim=True) * unit
        adam.step()
        with torch.no_grad():
            theirs[0] /= theirs[0].norm(dim=1, keepdim=True)

        u, latents = (x @ mine.encoder.T + mine.bias).topk(k, dim=1)
        latents, order = latents.sort(dim=1)
        values = u.gather(1, order).relu()
        z = torch.zeros(n, d_sae, dtype=torch.float64).scatter(1, latents, values)
        g = 2 / n * (z @ mine.decoder - x)
        s = (g @ mine.decoder.T).gather(1, latents) * (values > 0)
        index = by_latent(latents.view(-1).int(), k * torch.arange(n + 1), d_sae)
        step = AdamStep(number, 3e-2, *betas)
        latent_update(index, values.view(-1), s.view(-1), x, g, mine, moments, step)

        for found, wanted in zip(mine, theirs, strict=True):
            torch.testing.assert_close(found, wanted, rtol=1e-9, atol=1e-11)
    assert float((mine.decoder - rows).norm()) > 0.1  # something was learned, so something was compared
    torch.testing.assert_close(mine.decoder.norm(dim=1), torch.ones(d_sae, dtype=torch.float64))
