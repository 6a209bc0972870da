"""What gpu.py measures: codes and activations of one shape, each kernel on them, torch's own ways, and what is right.

Codes have k latents a row, drawn without replacement; real dictionaries have a few latents that fire nearly always,
which a popularity of 1 / rank (Zipf) resembles and a uniform one hides.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

NAMES = ["decode_rows", "decode_residual", "value_gradients", "by_latent", "weighted_rows", "latent_update"]
NAMES += ["top_k_rows", "batch_top_k"]


class Shape(NamedTuple):
    n: int
    d: int
    d_sae: int
    k: int
    zipf: bool  # the latents' popularity: proportional to 1 / rank, or uniform

    def __str__(self) -> str:
        return f"{self.n} × {self.d} × {self.d_sae}, {self.k}"


class Inputs(NamedTuple):
    x: Tensor  # [n, D] bfloat16, as g
    g: Tensor
    u: Tensor  # [n, F] bfloat16
    values: Tensor
    indices: Tensor
    offsets: Tensor
    s: Tensor  # the pre-activations' gradients, an entry each
    index: Any  # the LatentIndex


class Operation(NamedTuple):
    name: str
    ours: Callable[[Inputs], Any]
    peers: dict[str, Callable[[Inputs], Any]]
    error: Callable[[Any, Inputs], float]  # norm-relative
    tolerance: float
    bytes: float  # the least traffic
    flop: float = 0.0
    recall: Callable[[Any, Inputs], float] | None = None


def draw(shape: Shape, seed: int, device: str) -> Inputs:
    from saekit_kernels.latent_index import by_latent

    generator = torch.Generator(device).manual_seed(seed)

    def normal(*size: int) -> Tensor:
        return torch.randn(*size, generator=generator, device=device)

    ranks = torch.arange(1, shape.d_sae + 1, device=device)
    logits = -ranks.log() if shape.zipf else torch.zeros(shape.d_sae, device=device)
    chosen = []
    for rows in torch.arange(shape.n).split(512):  # Gumbel noise: k latents a row without replacement
        noise = torch.rand(len(rows), shape.d_sae, generator=generator, device=device).log_().neg_().log_()
        chosen.append((logits - noise).topk(shape.k, dim=1).indices.sort(dim=1).values)
    indices = torch.cat(chosen).int().view(-1)
    offsets = shape.k * torch.arange(shape.n + 1, device=device)
    x, g = normal(shape.n, shape.d).bfloat16(), normal(shape.n, shape.d).bfloat16()
    u = torch.cat([normal(len(rows), shape.d_sae).bfloat16() for rows in torch.arange(shape.n).split(512)])
    index = by_latent(indices, offsets, shape.d_sae)
    return Inputs(x, g, u, normal(len(indices)), indices, offsets, normal(len(indices)), index)


def distance(found: Tensor, wanted: Tensor) -> float:
    return float((found.float() - wanted.float()).norm() / wanted.float().norm())


def operations(shape: Shape, device: str) -> Iterator[Operation]:
    from saekit_kernels.batch_top_k import reference as batch_reference
    from saekit_kernels.batch_top_k import triton as batch
    from saekit_kernels.decode import triton as decode
    from saekit_kernels.latent_gradients import reference as gradients_reference
    from saekit_kernels.latent_gradients import triton as gradients
    from saekit_kernels.latent_gradients.reference import AdamStep, Moments, Parameters
    from saekit_kernels.latent_index import by_latent
    from saekit_kernels.top_k import triton as top_k

    n, d, d_sae, k, _ = shape
    entries = n * k
    directions = F.normalize(torch.randn(d_sae, d, device=device), dim=1)
    half = directions.bfloat16()
    codes = 8.0 * entries  # a float32 value and an int32 index each
    matrix, batch_rows = 2.0 * min(d_sae, entries) * d, 2.0 * n * d  # bytes in bfloat16

    def bag(i: Inputs) -> Tensor:
        return F.embedding_bag(
            i.indices.view(n, k), half, mode="sum", per_sample_weights=i.values.bfloat16().view(n, k)
        )

    def exact_bag(i: Inputs) -> Tensor:
        return F.embedding_bag(i.indices.view(n, k), half.float(), mode="sum", per_sample_weights=i.values.view(n, k))

    def dense(i: Inputs) -> Tensor:
        z = torch.zeros(n, d_sae, dtype=torch.bfloat16, device=device)
        return z.scatter_(1, i.indices.view(n, k).long(), i.values.bfloat16().view(n, k))

    yield Operation(
        "decode_rows",
        lambda i: decode.decode_rows(i.values, i.indices, i.offsets, half),
        {"embedding_bag": bag, "dense": lambda i: dense(i) @ half},
        lambda out, i: distance(out, exact_bag(i)),
        5e-3,
        codes + matrix + batch_rows,
    )
    yield Operation(
        "decode_residual",
        lambda i: decode.decode_residual(i.values, i.indices, i.offsets, half, None, i.x),
        {"embedding_bag": lambda i: (i.x - bag(i)).square().sum(1)},
        lambda out, i: distance(out[1], (i.x.float() - exact_bag(i)).square().sum(1)),
        5e-3,
        codes + matrix + 2 * batch_rows,
    )

    def products(i: Inputs) -> Tensor:
        return torch.bmm(half[i.indices.long()].view(n, k, d), i.g[:, :, None]).view(-1)

    yield Operation(
        "value_gradients",
        lambda i: decode.value_gradients(i.indices, i.offsets, half, i.g),
        {"gather and bmm": products, "dense": lambda i: (i.g @ half.T).gather(1, i.indices.view(n, k).long())},
        lambda out, i: distance(out, products(i)),
        5e-3,
        codes + matrix + batch_rows,
    )
    yield Operation(
        "by_latent",
        lambda i: by_latent(i.indices, i.offsets, d_sae),
        {},
        lambda out, i: float((i.indices[out.entries].diff() < 0).sum() + (out.rows != out.entries // k).sum()),
        0.0,
        16.0 * entries + 8 * d_sae,
    )
    yield Operation(
        "weighted_rows",
        lambda i: gradients.weighted_rows(i.index, i.values, i.g),
        {
            "index_add": lambda i: gradients_reference.weighted_rows(i.index, i.values, i.g),
            "dense": lambda i: dense(i).T @ i.g,
        },
        lambda out, i: distance(out, gradients_reference.weighted_rows(i.index, i.values, i.g)),
        1e-2,
        20.0 * entries + batch_rows + 4.0 * d_sae * d,
    )

    parameters = Parameters(directions, directions.clone(), torch.zeros(d_sae, device=device))
    moments, step = Moments.zeros(parameters), AdamStep(1, 1e-3)

    def moved(update: Callable, i: Inputs) -> tuple[Tensor, ...]:
        """Changes of fresh parameters in one step, and the moments."""
        fresh = Parameters(*(parameter.clone() for parameter in parameters))
        its = Moments.zeros(fresh)
        update(i.index, i.values, i.s, i.x, i.g, fresh, its, step)
        return *(new - old for new, old in zip(fresh, parameters, strict=True)), *its

    def dense_update(i: Inputs) -> None:
        z = dense(i)
        decoder = (z.T @ i.g).float()
        decoder -= (decoder * parameters.decoder).sum(1, keepdim=True) * parameters.decoder
        s = z.scatter_(1, i.indices.view(n, k).long(), i.s.bfloat16().view(n, k))
        all_gradients = [decoder, (s.T @ i.x).float(), s.float().sum(0)]
        torch._fused_adam_(
            list(parameters), all_gradients, list(moments[::2]), list(moments[1::2]), [],
            [torch.ones((), device=device)] * 3,
            lr=step.lr, beta1=step.beta1, beta2=step.beta2, weight_decay=0.0, eps=step.epsilon,
            amsgrad=False, maximize=False, grad_scale=None, found_inf=None,
        )  # fmt: skip
        F.normalize(parameters.decoder, dim=1, out=parameters.decoder)

    def update_error(out: None, i: Inputs) -> float:
        pairs = zip(moved(gradients.latent_update, i), moved(gradients_reference.latent_update, i), strict=True)
        return max(distance(one, other) for one, other in pairs)

    yield Operation(
        "latent_update",
        lambda i: gradients.latent_update(i.index, i.values, i.s, i.x, i.g, parameters, moments, step),
        {"dense, fused Adam": dense_update},
        update_error,
        1e-2,
        24.0 * 2 * d_sae * d + 40.0 * entries + 2 * batch_rows,
    )
    del parameters, moments
    yield Operation(
        "top_k_rows",
        lambda i: top_k.top_k_rows(i.u, k),
        {"topk": lambda i: i.u.topk(k, dim=1), "topk, not sorted": lambda i: i.u.topk(k, dim=1, sorted=False)},
        lambda out, i: distance(i.u.gather(1, out[1].long()), out[0]),
        0.0,
        2.0 * n * d_sae + 6.0 * entries,
        recall=lambda out, i: float((out[0] >= i.u.topk(k, dim=1).values[:, -1:]).float().mean()),
    )
    yield Operation(
        "batch_top_k",
        lambda i: batch.batch_top_k(i.u, entries),
        {"flat topk": lambda i: i.u.view(-1).topk(entries, sorted=False)},
        lambda out, i: float(not torch.equal(out[0], batch_reference.batch_top_k(i.u, entries)[0])),
        0.0,
        2.0 * n * d_sae + 12.0 * entries,
        recall=lambda out, i: float(torch.isin(batch_reference.batch_top_k(i.u, entries)[1], out[1]).float().mean()),
    )
