"""What cpu.py has measured, as a page."""

from __future__ import annotations

from typing import Any

SHARES = {"saekit": "5 % dead", "none dead": "none dead", "half dead": "half the latents dead"}


def table(results: dict[str, Any]) -> str:
    where = f"Printed by `cpu.py` on {results['machine']}; times in milliseconds, medians, all ways in turns."
    lines = ["# The CPU path", "", where]
    if "step" in results:
        lines += ["", "## A training step with AuxK at 5 % dead", "", "Gradients equal those of plain torch first."]
        names = list(dict.fromkeys(name for row in results["step"] for name in row["ms"]))
        lines += ["", "| N, D, F, k | " + " | ".join(names) + " |", "|---" * (len(names) + 1) + "|"]
        for row in results["step"]:
            cells = [f"{row['ms'][name]:.1f}" if name in row["ms"] else "" for name in names]
            lines.append(f"| {', '.join(map(str, row['shape']))} | " + " | ".join(cells) + " |")
        lines += ["", "As ratios:", ""]
        lines += ["| N, D, F, k | beside | in float32 | in the default dtype |", "|---|---|---|---|"]
        for row in results["step"]:
            lines += ratios(row["shape"], row["ms"])
    if "decode" in results:
        lines += ["", "## Decoding beside the dense products, float32", ""]
        lines += [
            "| N, D, F, k | decode | dense | ratio | encode and decode | dense | ratio |",
            "|---|---|---|---|---|---|---|",
        ]
        for row in results["decode"]:
            ms = row["ms"]
            a, b, c, e = (ms[n] for n in ("decode", "dense decode", "encode and decode", "dense encode and decode"))
            shape = ", ".join(map(str, row["shape"]))
            lines.append(f"| {shape} | {a} | {b} | {b / a:.1f} | {c} | {e} | {e / c:.2f} |")
    for name in results.get("scaling", {}):
        found = results["scaling"][name]
        lines += ["", f"## A step over the number of {name}: time ∝ {name}^{found['exponent']}", ""]
        lines += ["| N, D, F, k | ms | MiB beside weights, gradients and moments |", "|---|---|---|"]
        lines += [f"| {', '.join(map(str, shape))} | {ms} | {mib} |" for shape, ms, mib in found["rows"]]
    return "\n".join(lines) + "\n"


def ratios(shape: list[int], ms: dict[str, float]) -> list[str]:
    """How many times as fast the step is as another library's, and how many encoder products in its dtype it takes."""
    dtypes = [name.removeprefix("saekit, ") for name in ms if name.startswith("saekit, ") and "torch" not in name]
    dtypes = [dtypes[0], dtypes[-1]]  # float32 and the default
    before = f"| {', '.join(map(str, shape))} |"
    lines = []
    for name in ms:
        if not name.endswith((*dtypes, "plain torch")):
            times = " | ".join(f"{ms[name] / ms[f'saekit, {dtype}']:.1f} × faster" for dtype in dtypes)
            lines.append(f"{before} {name} | {times} |")
    for name, share in SHARES.items():
        pairs = [(ms.get(f"{name}, {dtype}"), ms[f"encoder product alone, {dtype}"]) for dtype in dtypes]
        cells = " | ".join(f"{step / product:.2f} of it" for step, product in pairs if step)
        if pairs[0][0] is not None:
            lines.append(f"{before} the encoder product alone in that dtype, {share} | {cells} |")
    return lines
