"""Stage 1: every kernel at small odd shapes against an oracle in float64 on the CPU.

Outputs are poisoned; each result is made REPEATS times and must hold the same bits. Codes have empty rows, unused
latents, a hot latent in every row; pre-activations have ties, NaN of either sign, −0, ∞ and constant rows.
With SMALLEST=1 in the environment few cases of one shape are run, for compute-sanitizer.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from saekit_kernels.batch_top_k import reference as batch_reference
from saekit_kernels.latent_gradients import reference
from saekit_kernels.latent_gradients.reference import AdamStep, Moments, Parameters
from saekit_kernels.latent_index import by_latent
from saekit_kernels.sparse_codes import rows_of
from torch import Tensor

from gpu_stages.gates import distance, poisoned, repeats_differ, selection_fault
from gpu_stages.rows import Run

REPEATS = 20
STEPS = (AdamStep(1, 1e-2), AdamStep(2, 1e-2))
TOLERANCE = {torch.float32: 1e-5, torch.bfloat16: 5e-3}
SHAPES = [(7, 1000, 48), (300, 500, 201), (5, 3000, 2304), (1, 1, 1)]  # n, d_sae, D; each compiles some 30 kernels
DRY_SHAPES = [(3, 11, 6)]


class Check(NamedTuple):
    """make: a result on the device; fault: what is wrong with it, brought to the CPU; "" is right."""

    kernel: str
    case: str
    make: Callable[[], Any]
    fault: Callable[[Any], str]


def measure(run: Run) -> None:
    smallest = os.environ.get("SMALLEST") == "1"
    repeats = 2 if run.dry or smallest else REPEATS
    for number, shape in enumerate(DRY_SHAPES if run.dry else SHAPES[:1] if smallest else SHAPES):
        found: dict[str, list[str]] = {}
        for check in checks(*shape, number, run.device, few=run.dry or smallest):
            if check.kernel not in found:
                print(f"… {check.kernel}, {shape}", flush=True)  # which one hangs, where one does
            wrong = outcome(check, repeats)
            found.setdefault(check.kernel, []).append(f"{check.case}: {wrong}" if wrong else "")
        for kernel, outcomes in found.items():
            faults = [wrong for wrong in outcomes if wrong]
            said = "; ".join(faults[:3]) or f"right in {len(outcomes)} cases, {repeats} times each"
            run.row(kernel, shape=", ".join(map(str, shape)), table="small shapes", found=said, wrong=len(faults))


def outcome(check: Check, repeats: int) -> str:
    """The first thing that is wrong. An error of the kernel is one; what follows it may be its fault too."""
    try:
        with poisoned():
            first = check.make()
            return check.fault(on_cpu(first)) or repeats_differ([first, *(check.make() for _ in range(repeats - 1))])
    except Exception as error:  # whatever a kernel does, the other rows are wanted
        return f"{type(error).__name__}: {str(error).splitlines()[0][:100] if str(error) else ''}"


def on_cpu(out: Any) -> Any:
    return out.cpu() if isinstance(out, Tensor) else [on_cpu(part) for part in out]


def checks(n: int, d_sae: int, d: int, seed: int, device: str, few: bool = False) -> Iterator[Check]:
    """Of every kernel at one shape in both dtypes."""
    for dtype in TOLERANCE:
        for hot in (True,) if few else (False, True):
            yield from of_codes(n, d_sae, d, hot, dtype, seed, device)
        yield from of_selection(n, d_sae, dtype, seed, device, few)


class Drawn(NamedTuple):
    """Codes with empty rows and unused latents, and what the kernels read beside them."""

    values: Tensor
    weights: Tensor  # an entry each, as a gradient of the pre-activations
    indices: Tensor
    offsets: Tensor
    directions: Tensor
    bias: Tensor
    x: Tensor
    g: Tensor

    def to(self, device: str) -> Drawn:
        return Drawn(*(tensor.to(device) for tensor in self))

    def rows(self) -> tuple[Parameters, Moments]:
        """Fresh parameters and moments for the update: float32, in float64 where the directions are."""
        kind = torch.promote_types(self.directions.dtype, torch.float32)
        decoder = F.normalize(self.directions.to(kind), dim=1)
        fresh = Parameters(decoder, decoder.flip(0).clone(), torch.zeros_like(decoder[:, 0]))
        return fresh, Moments.zeros(fresh)


def draw(n: int, d_sae: int, d: int, hot: bool, dtype: torch.dtype, seed: int) -> Drawn:
    """`hot`: one latent is in every row."""
    drawn = torch.Generator().manual_seed(seed)
    on = torch.rand(n, d_sae, generator=drawn) < 8 / d_sae
    on[::5] = False
    on[:, ::3] = False
    on[:, d_sae // 2] |= hot
    offsets = torch.cat([torch.zeros(1, dtype=torch.int64), on.sum(1).cumsum(0)])
    indices = on.nonzero()[:, 1].int()

    def normal(*size: int) -> Tensor:
        return torch.randn(*size, generator=drawn)

    rows = (normal(d_sae, d), normal(d), normal(n, d), normal(n, d))
    return Drawn(normal(len(indices)), normal(len(indices)), indices, offsets, *(row.to(dtype) for row in rows))


def oracles(drawn: Drawn) -> dict[str, list[Tensor]]:
    """What each kernel should give, densely, in float64."""
    values, s, _, offsets, directions, bias, x, g = (t.double() if t.is_floating_point() else t for t in drawn)
    rows, latents = rows_of(offsets, len(values)), drawn.indices.long()
    z, dense_s = (torch.zeros(len(x), len(directions), dtype=torch.float64) for _ in range(2))
    z[rows, latents], dense_s[rows, latents] = values, s
    residual = x - z @ directions - bias
    parameters, moments = drawn._replace(directions=directions).rows()
    for step in STEPS:
        reference.latent_update(
            by_latent(drawn.indices, offsets, len(directions)), values, s, x, g, parameters, moments, step
        )
    return {
        "decode_rows": [z @ directions + bias],
        "decode_residual": [residual, residual.square().sum(1)],
        "value_gradients": [(g @ directions.T)[rows, latents]],
        "weighted_rows": [z.T @ g],
        "latent_sums": [dense_s.sum(0)],
        "latent_update": [*parameters, *moments],
    }


def results(drawn: Drawn) -> dict[str, Callable[[], Any]]:
    """Each kernel's own."""
    from saekit_kernels.decode import triton as decode
    from saekit_kernels.latent_gradients import triton as gradients

    values, s, indices, offsets, directions, bias, x, g = drawn
    index = by_latent(indices, offsets, len(directions))

    def latent_update() -> list[Tensor]:
        parameters, moments = drawn.rows()
        for step in STEPS:
            gradients.latent_update(index, values, s, x, g, parameters, moments, step)
        return [*parameters, *moments]

    return {
        "decode_rows": lambda: decode.decode_rows(values, indices, offsets, directions, bias),
        "decode_residual": lambda: decode.decode_residual(values, indices, offsets, directions, bias, x),
        "value_gradients": lambda: decode.value_gradients(indices, offsets, directions, g),
        "weighted_rows": lambda: gradients.weighted_rows(index, values, g),
        "latent_sums": lambda: gradients.latent_sums(index, s),
        "latent_update": latent_update,
    }


def of_codes(n: int, d_sae: int, d: int, hot: bool, dtype: torch.dtype, seed: int, device: str) -> Iterator[Check]:
    drawn = draw(n, d_sae, d, hot, dtype, seed)
    made = results(drawn.to(device))
    for kernel, wanted in oracles(drawn).items():
        # what is written in the dtype is rounded to it; sums are in float32, the update's roots of them
        written = kernel in ("decode_rows", "decode_residual")
        tolerance = 1e-3 if kernel == "latent_update" else TOLERANCE[dtype if written else torch.float32]
        yield Check(kernel, f"{dtype}{', a hot latent' * hot}", made[kernel], close(tolerance, wanted))


def close(tolerance: float, wanted: list[Tensor]) -> Callable[[Any], str]:
    def fault(out: Any) -> str:
        pairs = zip([out] if isinstance(out, Tensor) else out, wanted, strict=True)
        error = max(distance(found, oracle) for found, oracle in pairs)
        return "" if error <= tolerance else f"error {error:.1e}"

    return fault


def of_selection(n: int, f: int, dtype: torch.dtype, seed: int, device: str, few: bool) -> Iterator[Check]:
    from saekit_kernels.batch_top_k import triton as batch
    from saekit_kernels.top_k import triton as top_k

    for name, u in pre_activations(n, f, dtype, seed).items():
        there = u.to(device)
        case = f"{name} {dtype}"
        for k in [min(3, f)] if few else sorted({1, min(7, f), min(64, f), f if f < 100 else 1}):
            right = partial(selected, u)
            yield Check("top_k_rows", f"{case}, k {k}", partial(top_k.top_k_rows, there, k), right)
        wanted = max(1, n * min(5, f))
        right = equal(batch_reference.batch_top_k(u, wanted))
        yield Check("batch_top_k", case, partial(batch.batch_top_k, there, wanted), right)
        yield Check("above", case, partial(batch.above, there, 0.5), equal(batch_reference.above(u, 0.5)))


def selected(u: Tensor, out: Any) -> str:
    return selection_fault(u, *out)


def equal(wanted: tuple[Tensor, Tensor]) -> Callable[[Any], str]:
    """The same values (NaN is NaN) at the same places."""

    def fault(out: Any) -> str:
        same = torch.equal(out[1], wanted[1]) and torch.allclose(out[0], wanted[0], rtol=0, atol=0, equal_nan=True)
        return "" if same else "another selection than plain torch's"

    return fault


def pre_activations(n: int, f: int, dtype: torch.dtype, seed: int) -> dict[str, Tensor]:
    """Random ones, many equals, constant rows, and rows with NaN of either sign, −0 and ∞."""
    drawn = torch.Generator().manual_seed(seed)
    u = torch.randn(n, f, generator=drawn)
    strange = u.clone()
    for number, value in enumerate([float("nan"), -float("nan"), float("inf"), -float("inf"), -0.0]):
        strange[number % n, (7 * number) % f] = value
    found = {"random": u, "ties": torch.randint(0, 4, (n, f), generator=drawn) - 1.0, "strange": strange}
    found["constant"] = torch.ones(n, f)
    return {name: each.to(dtype) for name, each in found.items()}
