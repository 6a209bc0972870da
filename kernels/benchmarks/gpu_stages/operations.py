"""What stage 4 measures: each kernel, torch's own ways, what is right, and the least traffic of it.

Least traffic: each input read once and each output written once, of the decoder the bfloat16 rows that are used.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from saekit_kernels.batch_top_k import reference as batch_reference
from saekit_kernels.latent_gradients import reference as gradients_reference
from saekit_kernels.latent_gradients.reference import AdamStep, Moments, Parameters
from saekit_kernels.latent_index import by_latent
from torch import Tensor

from gpu_stages.gates import distance, selection_fault
from gpu_stages.inputs import Case, Inputs

NAMES = ["decode_rows", "decode_residual", "value_gradients", "by_latent", "weighted_rows", "latent_update"]
NAMES += ["top_k_rows", "batch_top_k"]


class Operation(NamedTuple):
    """ours: what is timed; fault: what is wrong with its result, "" if nothing; bytes: the least traffic; result: what
    is compared, where that is not what ``ours`` returns."""

    name: str
    ours: Callable[[Inputs], Any]
    peers: dict[str, Callable[[Inputs], Any]]
    fault: Callable[[Any, Inputs], str]
    bytes: float
    result: Callable[[Inputs], Any] | None = None


def far(tolerance: float, *pairs: tuple[Tensor, Tensor]) -> str:
    """ "" if each tensor is within the tolerance of its oracle, and written."""
    error = max(distance(found, wanted) for found, wanted in pairs)
    return "" if error <= tolerance else f"error {error:.1e}, more than {tolerance:.0e}"


def operations(case: Case, device: str) -> Iterator[Operation]:
    """In the order of NAMES."""
    yield from _of_rows(case, device)
    yield _of_index(case)
    yield from _of_latents(case, device)
    yield from _of_selection(case)


def _of_rows(case: Case, device: str) -> Iterator[Operation]:
    from saekit_kernels.decode import triton as decode

    n, d, d_sae, k, _ = case
    entries = n * k
    half = F.normalize(torch.randn(d_sae, d, device=device), dim=1).bfloat16()
    codes, matrix, rows = 8.0 * entries, 2.0 * min(d_sae, entries) * d, 2.0 * n * d

    def bag(i: Inputs, kind: torch.dtype = torch.bfloat16) -> Tensor:
        weights = i.values.to(kind).view(n, k)
        return F.embedding_bag(i.indices.view(n, k), half.to(kind), mode="sum", per_sample_weights=weights)

    def oracle(i: Inputs) -> Tensor:
        return bag(i, torch.float64)

    def residual_fault(out: Any, i: Inputs) -> str:
        wanted = i.x.double() - oracle(i)
        return far(5e-3, (out[0], wanted), (out[1], wanted.square().sum(1)))

    yield Operation(
        "decode_rows",
        lambda i: decode.decode_rows(i.values, i.indices, i.offsets, half),
        {"embedding_bag": bag, "dense": lambda i: dense(i, case) @ half},
        lambda out, i: far(5e-3, (out, oracle(i))),
        codes + matrix + rows,
    )
    yield Operation(
        "decode_residual",
        lambda i: decode.decode_residual(i.values, i.indices, i.offsets, half, None, i.x),
        {"embedding_bag": lambda i: (i.x - bag(i)).square().sum(1)},
        residual_fault,
        codes + matrix + 2 * rows,
    )

    def products(i: Inputs) -> Tensor:
        return torch.bmm(half[i.indices.long()].view(n, k, d), i.g[:, :, None]).view(-1)

    def exact_products(i: Inputs) -> Tensor:
        parts = zip(i.indices.view(n, k).split(256), i.g.split(256), strict=True)
        return torch.cat([torch.bmm(half[j.long()].double(), g.double()[:, :, None]).view(-1) for j, g in parts])

    yield Operation(
        "value_gradients",
        lambda i: decode.value_gradients(i.indices, i.offsets, half, i.g),
        {"gather and bmm": products, "dense": lambda i: (i.g @ half.T).gather(1, i.indices.view(n, k).long())},
        lambda out, i: far(1e-5, (out, exact_products(i))),
        codes + matrix + rows,
    )


def dense(i: Inputs, case: Case) -> Tensor:
    """The codes with their zeros, bfloat16."""
    n, _, d_sae, k, _ = case
    z = torch.zeros(n, d_sae, dtype=torch.bfloat16, device=i.x.device)
    return z.scatter_(1, i.indices.view(n, k).long(), i.values.bfloat16().view(n, k))


def _of_index(case: Case) -> Operation:
    def fault(out: Any, i: Inputs) -> str:
        latents = i.indices[out.entries]
        keys = latents.long() * len(i.indices) + out.entries  # stable: the order of both at once
        counts = torch.bincount(i.indices, minlength=case.d_sae)
        right = bool((keys.diff() > 0).all()) and torch.equal(out.rows.long(), out.entries // case.k)
        return "" if right and torch.equal(out.starts.diff(), counts) else "an entry out of its place"

    return Operation(
        "by_latent",
        lambda i: by_latent(i.indices, i.offsets, case.d_sae),
        {},
        fault,
        16.0 * case.n * case.k + 8 * case.d_sae,
    )


def _of_latents(case: Case, device: str) -> Iterator[Operation]:
    from saekit_kernels.latent_gradients import triton as gradients

    n, d, d_sae, k, _ = case
    entries, rows = n * k, 2.0 * n * d
    yield Operation(
        "weighted_rows",
        lambda i: gradients.weighted_rows(i.index, i.values, i.g),
        {
            "index_add": lambda i: gradients_reference.weighted_rows(i.index, i.values, i.g),
            "dense": lambda i: dense(i, case).T @ i.g,
        },
        lambda out, i: far(1e-5, (out, exact_rows(i, i.values, i.g, d_sae))),
        20.0 * entries + rows + 4.0 * d_sae * d,
    )
    directions = F.normalize(torch.randn(d_sae, d, device=device), dim=1)
    parameters = Parameters(directions, directions.clone(), torch.zeros(d_sae, device=device))
    moments, step = Moments.zeros(parameters), AdamStep(1, 1e-3)

    def moved(i: Inputs, update: Callable[..., None] = gradients.latent_update) -> tuple[Tensor, ...]:
        """Changes of fresh parameters in one step, and the moments."""
        fresh = Parameters(*(parameter.clone() for parameter in parameters))
        its = Moments.zeros(fresh)
        update(i.index, i.values, i.s, i.x, i.g, fresh, its, step)
        return *(new.sub_(old) for new, old in zip(fresh, parameters, strict=True)), *its

    def dense_update(i: Inputs) -> None:
        z = dense(i, case)
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

    yield Operation(
        "latent_update",
        lambda i: gradients.latent_update(i.index, i.values, i.s, i.x, i.g, parameters, moments, step),
        {"dense, fused Adam": dense_update},
        lambda out, i: far(1e-2, *zip(out, moved(i, gradients_reference.latent_update), strict=True)),
        24.0 * 2 * d_sae * d + 40.0 * entries + 2 * rows,
        result=moved,
    )


def exact_rows(i: Inputs, weights: Tensor, x: Tensor, d_sae: int) -> Tensor:
    """Σ weight · x[row] of each latent in float64, a part of the columns at a time."""
    parts = [gradients_reference.weighted_rows(i.index, weights.double(), part.double()) for part in x.split(64, dim=1)]
    return torch.cat(parts, dim=1)


def _of_selection(case: Case) -> Iterator[Operation]:
    from saekit_kernels.batch_top_k import triton as batch
    from saekit_kernels.top_k import triton as top_k

    n, _, d_sae, k, _ = case
    entries = n * k

    def batch_fault(out: Any, i: Inputs) -> str:
        wanted = batch_reference.batch_top_k(i.u, entries)
        same = all(torch.equal(found, exact) for found, exact in zip(out, wanted, strict=True))
        return "" if same else "another selection than plain torch's"

    yield Operation(
        "top_k_rows",
        lambda i: top_k.top_k_rows(i.u, k),
        {"topk": lambda i: i.u.topk(k, dim=1), "topk, not sorted": lambda i: i.u.topk(k, dim=1, sorted=False)},
        lambda out, i: selection_fault(i.u, *out),
        2.0 * n * d_sae + 6.0 * entries,
    )
    yield Operation(
        "batch_top_k",
        lambda i: batch.batch_top_k(i.u, entries),
        {"flat topk": lambda i: i.u.view(-1).topk(entries, sorted=False)},
        batch_fault,
        2.0 * n * d_sae + 12.0 * entries,
    )
