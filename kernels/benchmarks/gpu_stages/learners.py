"""A TopK dictionary in training, made on the device, with a batch that resembles activations; its gates."""

from __future__ import annotations

from collections.abc import Callable

import torch
from saekit_kernels import path_for, using
from saekit_kernels.encode.chunked import chunks
from torch import Tensor

import saekit as sk
from gpu_stages.gates import bits_differ, clear_rows, recall, selection_fault
from gpu_stages.shapes import Shape
from saekit.objectives import Batch, State, add_row_gradient
from saekit.training.learners import Learner, make_learner
from saekit.training.settings import Settings

LATENTS_OF_A_TOKEN = 32


def learner_for(shape: Shape, device: str, dtype: torch.dtype = torch.bfloat16, kernels: str = "auto") -> Learner:
    """Seed 0; the weights are drawn on the device, since a million rows take minutes on a host."""
    n, d, f, k = shape
    where = torch.device(device)
    settings = Settings(steps=10**5, batch_size=n, lr=1e-4, device=where, dtype=dtype, kernels=kernels)
    with where:
        return make_learner(sk.TopK(d_sae=f, k=k), sk.Wiring("x"), {"x": d}, settings)


def activations(shape: Shape, device: str, seed: int = 0) -> Tensor:
    """x [N, D]: sums of a few of 4 D directions with Zipf popularity, and noise; the same for a seed and a device."""
    n, d, *_ = shape
    drawn = torch.Generator(device).manual_seed(seed)
    directions = torch.randn(4 * d, d, generator=torch.Generator(device).manual_seed(-1 + 2**31), device=device)
    directions /= d**0.5
    popularity = 1 / torch.arange(1, 4 * d + 1, device=device)
    picked = torch.multinomial(popularity.expand(n, -1), min(LATENTS_OF_A_TOKEN, d), generator=drawn)
    x = torch.randn(n, d, generator=drawn, device=device).mul_(0.1)
    for column in picked.T:
        x += torch.rand(n, 1, generator=drawn, device=device) * directions[column]
    return x


def stepper(learner: Learner, x: Tensor, dead: float) -> Callable[[], object]:
    """A whole training step on a batch, with a share of the latents held dead."""
    batch, scales, held = Batch.of(x), {"x": 1.0}, int(dead * len(learner.since_fired))

    def step() -> None:
        learner.since_fired[:held], learner.n_dead = 10**9, held
        learner.update(batch, scales, 1000, False)

    return step


def states(learner: Learner) -> list[Tensor]:
    """Parameters and Adam's moments."""
    moments = [m for each in learner.optimizer.state.values() for m in each.values() if isinstance(m, Tensor)]  # type: ignore[attr-defined]
    return [*learner.dictionary.parameters(), *moments]


def other_bits(shape: Shape, device: str, steps: int, dead: float = 0.05) -> str:
    """Whether two fresh copies hold other parameters or moments after the same steps; the first's are kept on the host,
    so that no more than one learner's memory is taken."""
    kept: list[list[Tensor]] = []
    for _ in range(2):
        learner = learner_for(shape, device)
        for number in range(steps):
            stepper(learner, activations(shape, device, number), dead)()
        kept.append([state.detach().cpu() for state in states(learner)])
        del learner
    if len(kept[0]) < 3 * 4:  # two weights and two biases, each with two moments
        return f"only {len(kept[0])} parameters and moments were found"
    return bits_differ(*kept)


@torch.no_grad()
def selection(learner: Learner, x: Tensor, k: int) -> dict[str, object]:
    """The codes against the pre-activations that they were chosen from, in the dtype of the product, and against those
    in float32: chosen of numbers of 8 bits, about one in a hundred is another."""
    d = learner.dictionary
    with torch.autocast(x.device.type, torch.bfloat16), using(learner.settings.kernels):
        codes = d.encode(x)
        values, indices = codes.values.view(-1, k), codes.indices.view(-1, k)
        wrong, hits, exact = "", 0.0, 0.0
        given = (x, d.encoder_directions, d.encoder_bias, d.centre, torch.bfloat16)
        for part, u in chunks(*given):
            lower = path_for(x) == "triton"  # torch.topk takes any of equals
            wrong = wrong or selection_fault(u, values[part], indices[part], relu=True, lower=lower)
            hits += recall(u, indices[part]) * len(u) / len(x)
    for part, u in chunks(*given[:-1], torch.float32):
        exact += recall(u, indices[part]) * len(u) / len(x)
    return {"selection": wrong or "right", "recall": hits, "recall, float32 u": exact}


def gradients_differ(shape: Shape, device: str, kernels: str = "auto", dead: float = 0.05) -> tuple[float, int]:
    """The largest relative difference of any gradient between a path and plain torch in float32, AuxK included, over
    the tokens whose support is the same in both; and how many near ties were left out."""
    x = activations(shape, device, seed=1)
    held = torch.arange(shape[2], device=device) < int(dead * shape[2])
    with torch.no_grad():
        d = learner_for(shape, device, torch.float32, "reference").dictionary
        clear = [clear_rows(u, shape[3]) for _, u in chunks(x, d.encoder_directions, d.encoder_bias, d.centre, x.dtype)]
        kept = torch.cat(clear)
    found: list[list[Tensor]] = []
    for path in (kernels, "reference"):
        sae = learner_for(shape, device, torch.float32, path).dictionary
        with using(path):
            loss = sae.loss(Batch.of(x[kept]), State(dead=held, row_gradient=True))
            if loss.total.requires_grad:
                loss.total.backward()
            if loss.row_gradient is not None:
                rows = (sae.encoder_directions, sae.encoder_bias, sae.decoder_directions, sae.decoder_bias)
                add_row_gradient(loss.row_gradient, *rows)
        found.append([p.grad for p in sae.parameters() if p.grad is not None])
        del sae, loss
    assert len(found[0]) == len(found[1]) >= 4, f"{len(found[0])} and {len(found[1])} gradients were found"
    return max(float((a - b).norm() / b.norm()) for a, b in zip(*found, strict=True)), int((~kept).sum())
