"""How fast is the CPU path? Ratios beside named peers, each printed only after its correctness gate.

    python kernels/benchmarks/cpu.py [step] [decode] [scaling]        (make bench runs all)

step:    a whole training step (encoder, top-k, decoder, AuxK at 5 % dead, backward, Adam, unit norm) beside the same of
         other libraries, in turns, and beside one product with the encoder alone in the same dtype, which no exact step
         can do without; also with no latent dead and with half of them.
decode:  decoding, and encoding and decoding, beside the dense products, over a grid of shapes.
scaling: a step's time and peak memory over the number of latents and of tokens, with the fitted exponents.
Writes cpu.json and cpu.md (cpu_table.py) beside this file.
"""

from __future__ import annotations

import argparse
import json
import platform
import resource
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from cpu_table import table
from gpu_stages.learners import gradients_differ, learner_for
from peers import DEAD, REQUIREMENTS, Peer
from saekit_kernels import decode, encode_top_k

from saekit.objectives import Batch
from saekit.training.settings import default_dtype

HERE = Path(__file__).parent
CPU = torch.device("cpu")
Shape = tuple[int, int, int, int]  # N, D, F, k
STEPS = [(1024, 128, 2048, 16), (1024, 256, 4096, 32), (2048, 512, 8192, 32), (2048, 768, 12288, 32)]
GRID = [
    (64, 128, 1024, 8),
    (256, 256, 4096, 16),
    (1024, 512, 8192, 32),
    (1024, 768, 24576, 32),
    (1024, 768, 24576, 128),
]
LATENTS = [2048, 4096, 8192, 16384, 32768, 65536]
TOKENS = [256, 512, 1024, 2048, 4096]


def milliseconds(ways: dict[str, Callable[[], object]], rounds: int) -> dict[str, float]:
    """The median of each way, timed in turns so that a slow moment falls on all."""
    for way in ways.values():
        way()
    seen: dict[str, list[float]] = {name: [] for name in ways}
    for _ in range(rounds):
        for name, way in ways.items():
            began = time.perf_counter()
            way()
            seen[name].append(1000 * (time.perf_counter() - began))
    return {name: statistics.median(each) for name, each in seen.items()}


def stepper(shape: Shape, dtype: torch.dtype, kernels: str = "auto", dead: float | None = None) -> Callable[[], object]:
    """A whole training step on a batch of the shape, with a share of the latents held dead: DEAD, or another."""
    learner = learner_for(shape, "cpu", dtype, kernels)
    batch = Batch.of(torch.randn(shape[0], shape[1], generator=torch.Generator().manual_seed(0)))

    def step() -> None:
        learner.n_dead = int((DEAD if dead is None else dead) * shape[2])
        learner.since_fired[: learner.n_dead] = 10**9
        learner.update(batch, {"x": 1.0}, 1000, False)

    return step


def steps() -> list[dict[str, Any]]:
    rows = []
    dtypes = {"float32": torch.float32, str(default_dtype(CPU)).removeprefix("torch."): default_dtype(CPU)}
    for shape in STEPS:
        n, d, f, _ = shape
        difference, _ = gradients_differ(shape, "cpu", dead=DEAD)  # near ties, which may go either way, left out
        assert difference < 1e-4, f"{shape}: gradients differ from the reference by {difference}"
        native = default_dtype(CPU) == torch.bfloat16  # elsewhere a product in bfloat16 takes many times as long
        peers = {name: Peer(name, shape) for name in REQUIREMENTS if native or "autocast" not in name}
        x, w = torch.randn(n, d), torch.randn(f, d)
        ways: dict[str, Callable[[], object]] = {}
        for name, dtype in dtypes.items():
            ways[f"saekit, {name}"] = stepper(shape, dtype)
            ways[f"none dead, {name}"] = stepper(shape, dtype, dead=0.0)
            ways[f"half dead, {name}"] = stepper(shape, dtype, dead=0.5)
            a, b = x.to(dtype), w.to(dtype).T
            ways[f"encoder product alone, {name}"] = lambda a=a, b=b: a @ b
        ways["saekit, plain torch"] = stepper(shape, torch.float32, "reference")
        seen: dict[str, list[float]] = {}
        for _ in range(5):
            for name, ms in milliseconds(ways, 1).items():
                seen.setdefault(name, []).append(ms)
            for name, peer in peers.items():
                seen.setdefault(name, []).append(peer.step())
        for peer in peers.values():
            peer.close()
        median = {name: round(statistics.median(each), 1) for name, each in seen.items()}
        rows.append({"shape": shape, "gradients_differ_by": difference, "ms": median})
        print(shape, f"{difference:.1e}", median, flush=True)
    return rows


def decoding() -> list[dict[str, Any]]:
    rows = []
    for n, d, f, k in GRID:
        x, w, b = torch.randn(n, d), torch.randn(f, d) / d**0.5, torch.zeros(f)
        codes = encode_top_k(x, w, b, k)
        dense = codes.to_dense()
        difference = float((decode(codes, w) - dense @ w).norm() / (dense @ w).norm())
        assert difference < 1e-5, f"decoding differs from the dense product by {difference}"

        def densely(x=x, w=w, b=b, k=k) -> torch.Tensor:
            u = torch.addmm(b, x, w.T)
            values, indices = u.topk(k, sorted=False)
            return torch.zeros_like(u).scatter_(1, indices, values.relu()) @ w

        with torch.no_grad():
            ms = milliseconds(
                {
                    "decode": lambda codes=codes, w=w: decode(codes, w),
                    "dense decode": lambda dense=dense, w=w: dense @ w,
                    "encode and decode": lambda x=x, w=w, b=b, k=k: decode(encode_top_k(x, w, b, k), w),
                    "dense encode and decode": densely,
                },
                9,
            )
        rows.append({"shape": (n, d, f, k), "ms": {name: round(value, 2) for name, value in ms.items()}})
        print(rows[-1], flush=True)
    return rows


def one_step_in_a_process(n: int, d: int, f: int, k: int) -> tuple[float, float]:
    """Milliseconds of a step, and the MiB that training takes beside the weights, gradients and moments."""
    code = f"import cpu; cpu.measured_alone(({n}, {d}, {f}, {k}))"
    out = subprocess.run([sys.executable, "-c", code], cwd=HERE, capture_output=True, text=True, check=True)
    return tuple(json.loads(out.stdout.splitlines()[-1]))  # type: ignore[return-value]


def measured_alone(shape: tuple[int, int, int, int]) -> None:
    torch.set_num_threads(2)
    stepper((64, 16, 32, 2), torch.float32)()  # what the libraries load with the first step
    before = peak_mib()
    step = stepper(shape, torch.float32)
    step()
    step()
    parameters = 2 * shape[1] * shape[2] * 4 / 2**20
    beside = peak_mib() - before - 4 * parameters
    ms = milliseconds({"step": step}, 5)["step"]
    print(json.dumps((round(ms, 1), round(beside, 1))))


def peak_mib() -> float:
    """The most memory this process has held. (getrusage counts what its parent held too.)"""
    status = Path("/proc/self/status")
    if status.is_file():
        line = next(line for line in status.read_text().splitlines() if line.startswith("VmHWM"))
        return int(line.split()[1]) / 2**10
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / (2**20 if sys.platform == "darwin" else 2**10)


def scaling() -> dict[str, Any]:
    found: dict[str, Any] = {}
    for name, shapes in {
        "latents": [(1024, 256, f, 32) for f in LATENTS],
        "tokens": [(n, 256, 8192, 32) for n in TOKENS],
    }.items():
        rows = [(shape, *one_step_in_a_process(*shape)) for shape in shapes]
        sizes = [shape[2] if name == "latents" else shape[0] for shape in shapes]
        exponent = np.polyfit(np.log(sizes), np.log([row[1] for row in rows]), 1)[0]
        found[name] = {"rows": rows, "exponent": round(float(exponent), 2)}
        print(name, found[name], flush=True)
    return found


def machine() -> str:
    try:
        model = next(line for line in Path("/proc/cpuinfo").read_text().splitlines() if line.startswith("model name"))
        name = model.split(":")[1].strip()
    except (OSError, StopIteration):
        name = platform.processor() or platform.machine()
    has = "bfloat16" if default_dtype(CPU) == torch.bfloat16 else "no bfloat16"
    return f"{name}, {torch.get_num_threads()} cores, {has}, torch {torch.__version__.split('+')[0]}"


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("parts", nargs="*", default=["step", "decode", "scaling"])
    parts = parser.parse_args().parts
    torch.set_num_threads(2)
    torch.manual_seed(0)
    file = HERE / "cpu.json"
    results = json.loads(file.read_text()) if file.is_file() else {}
    results["machine"] = machine()
    ways: dict[str, Callable[[], Any]] = {"step": steps, "decode": decoding, "scaling": scaling}
    for part in parts:
        results[part] = ways[part]()
        results = json.loads(json.dumps(results))
        file.write_text(json.dumps(results, indent=1) + "\n")
        (HERE / "cpu.md").write_text(table(results))


if __name__ == "__main__":
    main()
