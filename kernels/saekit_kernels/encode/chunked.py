"""Encoding a chunk of tokens at a time, as operations that torch.compile and autograd know.

Forward: u of a chunk, in bfloat16 where that is the product's dtype; the kept entries; the next chunk. Backward, with s
the gradient of the kept values: ∂W_enc[f] = Σ_t s_tf (x_t − c), ∂b[f] = S_f = Σ_t s_tf, ∂x_t = Σ_f s_tf W_enc[f] and
∂c = −Σ_f S_f W_enc[f], one product of a vector and a matrix.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor

from saekit_kernels.batch_top_k import batch_above, batch_top_k, largest
from saekit_kernels.decode import decode_entries
from saekit_kernels.latent_gradients import latent_sums, weighted_rows
from saekit_kernels.operations import operation
from saekit_kernels.sparse_codes import offsets_of
from saekit_kernels.top_k import top_k_rows

CHUNK_BYTES = {"cpu": 32 * 2**20, "cuda": 2**30}
"""Of pre-activations at a time: on a CPU about what its last cache holds."""
_kept = threading.local()  # a thread's chunk; to map its pages anew each time costs a fifth of the product


def encode_top_k_entries(
    x: Tensor, directions: Tensor, bias: Tensor, centre: Tensor | None, k: int, product: torch.dtype
) -> tuple[Tensor, Tensor]:
    """values and indices [n · k] of the k largest pre-activations of each row, after a ReLU; ascending in a row. Here
    and below x is [n, d_in], directions [d_sae, d_in], bias [d_sae], centre [d_in]."""
    parts = [top_k_rows(u, k) for _, u in chunks(x, directions, bias, centre, product)]
    if len(parts) == 1:
        values, indices = parts[0]
    else:
        none = (x.new_empty(0, k), torch.empty(0, k, dtype=torch.int32, device=x.device))
        values, indices = (torch.cat(part) for part in zip(*(parts or [none]), strict=True))
    return values.relu_().view(-1).to(x.dtype), indices.view(-1)


def _like_top_k(
    x: Tensor, directions: Tensor, bias: Tensor, centre: Tensor | None, k: int, product: torch.dtype
) -> Any:
    return x.new_empty(len(x) * k), torch.empty(len(x) * k, dtype=torch.int32, device=x.device)


def encode_above_entries(
    x: Tensor, directions: Tensor, bias: Tensor, centre: Tensor | None, threshold: Tensor, product: torch.dtype
) -> tuple[Tensor, Tensor, Tensor]:
    """values and indices of the pre-activations above the threshold, and where each row begins among them."""
    values, indices, counts = [], [], [torch.zeros(1, dtype=torch.int64, device=x.device)]
    for _, u in chunks(x, directions, bias, centre, product):
        kept = ~(u <= threshold)  # NaN too, which must be met and not lost
        _, latents = kept.nonzero(as_tuple=True)
        values.append(u[kept].to(x.dtype))
        indices.append(latents.int())
        counts.append(kept.sum(1))
    if not values:
        return x.new_empty(0), torch.empty(0, dtype=torch.int32, device=x.device), counts[0]
    return torch.cat(values), torch.cat(indices), torch.cat(counts).cumsum(0)


def encode_batch_top_k_entries(
    x: Tensor,
    directions: Tensor,
    bias: Tensor,
    centre: Tensor | None,
    wanted: int,
    lower_bound: float,
    product: torch.dtype,
) -> tuple[Tensor, Tensor, Tensor]:
    """values and indices of the `wanted` largest positive pre-activations of all rows, and where each row begins.

    Those above the lower bound are looked at first; where they are too few, a chunk's own largest."""
    d_sae = len(directions)
    found: list[tuple[Tensor, Tensor]] = []
    if lower_bound > 0:
        for rows, u in chunks(x, directions, bias, centre, product):
            values, places = batch_above(u, lower_bound)
            found.append((values, places + rows.start * d_sae))
    if sum(len(values) for values, _ in found) < wanted:
        found = []
        for rows, u in chunks(x, directions, bias, centre, product):
            values, places = batch_top_k(u, wanted)
            found.append((values, places + rows.start * d_sae))
    none = (x.new_empty(0), torch.empty(0, dtype=torch.int64, device=x.device))
    values, places = (torch.cat(parts) for parts in zip(none, *found, strict=True))
    values, places = largest(values, places, wanted)
    return values.to(x.dtype), (places % d_sae).int(), offsets_of(places // d_sae, len(x))


def _like_batch(
    x: Tensor, directions: Tensor, bias: Tensor, centre: Any, wanted: int, lower_bound: float, product: torch.dtype
) -> Any:
    return _like_above(x, directions, bias, centre, bias, product)


def _like_above(
    x: Tensor, directions: Tensor, bias: Tensor, centre: Any, threshold: Tensor, product: torch.dtype
) -> Any:
    entries = torch.library.get_ctx().new_dynamic_size()
    offsets = torch.empty(len(x) + 1, dtype=torch.int64, device=x.device)
    return x.new_empty(entries), torch.empty(entries, dtype=torch.int32, device=x.device), offsets


def chunks(
    x: Tensor, directions: Tensor, bias: Tensor, centre: Tensor | None, product: torch.dtype
) -> Iterator[tuple[slice, Tensor]]:
    """Rows and their pre-activations, a chunk at a time, in one tensor that is written again and again."""
    rows = min(len(x), max(1, CHUNK_BYTES.get(x.device.type, 2**30) // (len(directions) * product.itemsize)))
    weights, b = directions.to(product).T, bias.to(product)
    chunk = _chunk(rows * len(directions), product, x.device).view(rows, len(directions))
    for start in range(0, len(x), max(1, rows)):
        part = x[start : start + rows]
        part = (part if centre is None else part - centre).to(product)
        yield slice(start, start + rows), torch.mm(part, weights, out=chunk[: len(part)]).add_(b)


def _chunk(elements: int, dtype: torch.dtype, device: torch.device) -> Tensor:
    """Memory for a chunk: on a CPU the same every time, as long as it is large enough and small."""
    if device.type != "cpu" or elements * dtype.itemsize > CHUNK_BYTES["cpu"]:
        return torch.empty(elements, dtype=dtype, device=device)
    bytes_ = getattr(_kept, "bytes", None)
    if bytes_ is None or bytes_.numel() < elements * dtype.itemsize:
        bytes_ = _kept.bytes = torch.empty(elements * dtype.itemsize, dtype=torch.uint8)
    return bytes_[: elements * dtype.itemsize].view(dtype)


def _setup_top_k(ctx: Any, inputs: Any, output: Any) -> None:
    x, directions, _, centre, k, _ = inputs
    values, indices = output
    offsets = torch.arange(len(x) + 1, device=x.device) * k
    ctx.save_for_backward(x, directions, centre, indices, offsets, values > 0)
    ctx.mark_non_differentiable(indices)


def _setup_ragged(ctx: Any, inputs: Any, output: Any) -> None:
    x, directions, _, centre, *_ = inputs
    ctx.save_for_backward(x, directions, centre, output[1], output[2], None)
    ctx.mark_non_differentiable(*output[1:])


def _backward(ctx: Any, gradient: Tensor, *_: Any) -> tuple[Tensor | None, ...]:
    x, directions, centre, indices, offsets, passed = ctx.saved_tensors
    s = gradient if passed is None else torch.where(passed, gradient, 0)
    of_x, of_directions, of_bias, of_centre = ctx.needs_input_grad[:4]
    d_sae = len(directions)
    sums = latent_sums(s, indices, offsets, d_sae) if of_bias or of_centre else None
    return (
        decode_entries(s, indices, offsets, directions) if of_x else None,
        weighted_rows(s, indices, offsets, x if centre is None else x - centre, d_sae) if of_directions else None,
        sums if of_bias else None,
        -(sums @ directions) if of_centre and sums is not None else None,
        *[None] * (len(ctx.needs_input_grad) - 4),
    )


top_k_entries = operation(encode_top_k_entries, _like_top_k, _backward, _setup_top_k)
above = operation(encode_above_entries, _like_above, _backward, _setup_ragged)
batch_top_k_entries = operation(encode_batch_top_k_entries, _like_batch, _backward, _setup_ragged)
