"""Every Triton kernel compiled to sm_90 machine code, which needs no GPU: no spills, registers and length as committed.

    python tests/kernels/test_compile_gate.py        writes compiled_sm90.json again

Counts are compared (within 15 %) only under the triton that they were made with: each brings its own assembler. No
kernel here multiplies matrices, so none may hold a tensor-core instruction: a stray tl.dot would be found by it.
"""

from __future__ import annotations

import importlib
import json
import os
import re
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any, NamedTuple

import pytest
from saekit_kernels.latent_gradients.reference import Moments, Parameters

COUNTS = Path(__file__).with_name("compiled_sm90.json")
MARGIN = 0.15


class Case(NamedTuple):
    """One kernel as it would be launched: `types` overrides those of TYPES, by argument."""

    module: str
    kernel: str
    constants: dict[str, Any]
    warps: int = 4
    types: Mapping[str, str] = MappingProxyType({})


# The types of the kernels' arguments, by name. Sizes are int32; "/16" says divisible by 16, as launches find it.
TYPES = {
    **dict.fromkeys(Moments._fields + Parameters._fields, "*fp32/16"),
    **dict.fromkeys(["value_gradients", "decoder_partials", "encoder_partials", "bound"], "*fp32/16"),
    **dict.fromkeys(["rate", "share1", "beta2", "share2", "root2", "epsilon"], "fp32"),
    **dict.fromkeys(["values", "weights", "bias", "error", "out", "partials"], "*fp32/16"),
    **dict.fromkeys(["indices", "rows"], "*i32/16"),
    **dict.fromkeys(["offsets", "starts", "entries", "piece_starts", "ends"], "*i64/16"),
    **dict.fromkeys(["directions", "target", "g", "x", "u"], "*bf16/16"),
    **dict.fromkeys(["D", "F"], "i32/16"),
    **dict.fromkeys(["latents", "k", "groups"], "i32"),
    **dict.fromkeys(["maxima", "keys", "places", "counts"], "*i32/16"),
}
ROWS = {"GROUP": 8, "BLOCK": 512}
DECODE = {"HAS_BIAS": True, **ROWS}
FP32 = {"directions": "*fp32/16", "target": "*fp32/16", "g": "*fp32/16", "x": "*fp32/16"}
U32 = {"u": "*fp32/16"}
UPDATE = {"WIDTHS": (2048, 256), "BEGINS": (0, 2048), "GROUPS": (2, 8)}
UPDATE_4096 = {"WIDTHS": (4096,), "BEGINS": (0,), "GROUPS": (2,)}
COLLECT = {"WIDTH": 64, "GROUPS": 1024, "CAPACITY": 128, "BLOCK": 1024}
SELECT = {"values": "*bf16/16", "indices": "*i32/16"}

CASES = {
    "decode_rows": Case("decode.triton", "decode_kernel", {"RESIDUAL": False, **DECODE}, types={"out": "*bf16/16"}),
    "decode_residual": Case("decode.triton", "decode_kernel", {"RESIDUAL": True, **DECODE}, types={"out": "*bf16/16"}),
    "decode_residual, float32": Case("decode.triton", "decode_kernel", {"RESIDUAL": True, **DECODE}, types=FP32),
    "value_gradients": Case("decode.triton", "value_gradients_kernel", ROWS),
    "value_gradients, float32": Case("decode.triton", "value_gradients_kernel", ROWS, types=FP32),
    "partials": Case("latent_gradients.triton_firings", "partials_kernel", {"SEGMENT": 128, **ROWS}),
    "weighted_rows": Case("latent_gradients.triton", "weighted_rows_kernel", ROWS),
    "weighted_rows, float32": Case("latent_gradients.triton", "weighted_rows_kernel", ROWS, types=FP32),
    "latent_sums": Case("latent_gradients.triton", "latent_sums_kernel", {"WIDE": 64}, warps=1),
    "latent_update": Case("latent_gradients.triton_update", "latent_update_kernel", UPDATE, warps=8),
    "latent_update, D = 4096": Case("latent_gradients.triton_update", "latent_update_kernel", UPDATE_4096, warps=16),
    "group_maxima": Case("top_k.triton", "group_maxima_kernel", {"WIDTH": 64, "BLOCK": 4096}),
    "group_maxima, float32": Case("top_k.triton", "group_maxima_kernel", {"WIDTH": 64, "BLOCK": 4096}, types=U32),
    "collect": Case("top_k.triton", "collect_kernel", COLLECT),
    "collect, k = 512": Case(
        "top_k.triton", "collect_kernel", {**COLLECT, "WIDTH": 32, "GROUPS": 2048, "CAPACITY": 1024}
    ),
    "collect, 16,384 groups": Case(
        "top_k.triton", "collect_kernel", {**COLLECT, "GROUPS": 16_384, "CAPACITY": 2048}, warps=8
    ),
    "select": Case("top_k.triton", "select_kernel", {"CAPACITY": 128, "BLOCK": 1024}, types=SELECT),
    "select, k = 1,024": Case("top_k.triton", "select_kernel", {"CAPACITY": 2048, "BLOCK": 1024}, types=SELECT),
}

BATCH = {"STRICT": False, "GROUPED": True, "WIDTH": 256, "BLOCK": 1024}
BATCH_TYPES = {"maxima": "*fp32/16", "places": "*i64/16"}
CASES |= {
    "positive_maxima": Case(
        "batch_top_k.triton", "positive_maxima_kernel", {"WIDTH": 256, "BLOCK": 4096}, types=BATCH_TYPES
    ),
    "count": Case("batch_top_k.triton", "count_kernel", BATCH, types=BATCH_TYPES),
    "collect, batch": Case("batch_top_k.triton", "collect_kernel", BATCH, types=BATCH_TYPES),
    "collect, batch, no maxima": Case(
        "batch_top_k.triton",
        "collect_kernel",
        {**BATCH, "STRICT": True, "GROUPED": False},
        types={**BATCH_TYPES, "maxima": "*bf16/16"},
    ),
}


def why_not() -> str | None:
    """Why nothing can be compiled here, or None."""
    if sys.platform != "linux":
        return "triton exists for Linux alone"
    try:
        import triton
    except ImportError:
        return "triton is not installed"
    if os.environ.get("TRITON_INTERPRET", "0") != "0":
        return "TRITON_INTERPRET is set, and interpreted kernels are not compiled"
    if not disassembler().is_file():
        return f"triton {triton.__version__} came without cuobjdump"
    return None


def disassembler() -> Path:
    import triton

    return Path(triton.__file__).parent / "backends" / "nvidia" / "bin" / "cuobjdump"


def compiled(case: Case, folder: Path) -> dict[str, int]:
    """Registers, bytes of spills a thread, instructions and tensor-core instructions of one kernel."""
    import triton
    from triton.backends.compiler import GPUTarget
    from triton.compiler import ASTSource

    kernel = getattr(importlib.import_module(f"saekit_kernels.{case.module}"), case.kernel)
    names = kernel.arg_names
    types = {n: "constexpr" if n in case.constants else {**TYPES, **case.types}[n] for n in names}
    source = ASTSource(
        fn=kernel,
        signature={name: type_.partition("/")[0] for name, type_ in types.items()},
        constexprs={(names.index(name),): value for name, value in case.constants.items()},
        attrs={(i,): [["tt.divisibility", 16]] for i, name in enumerate(names) if types[name].endswith("/16")},
    )
    made = triton.compile(source, target=GPUTarget("cuda", 90, 32), options={"num_warps": case.warps})
    binary = folder / "kernel.cubin"
    binary.write_bytes(made.asm["cubin"])

    def dump(option: str) -> str:
        command = [str(disassembler()), option, str(binary)]
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout

    usage = re.search(r"REG:(\d+) STACK:(\d+) SHARED:\d+ LOCAL:(\d+)", dump("--dump-resource-usage"))
    assert usage, "cuobjdump printed no resource usage"
    instructions = re.findall(r"/\*[0-9a-f]{4,}\*/\s+(?:@!?U?P\w+ )?([A-Z][A-Z0-9_]*)", dump("-sass"))
    return {
        "registers": int(usage[1]),
        "spilled": int(usage[2]) + int(usage[3]),
        "instructions": len(instructions),
        "tensor_core": sum(name.endswith("MMA") for name in instructions),
    }


@pytest.fixture(autouse=True)
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    if reason := why_not():
        pytest.skip(reason)
    monkeypatch.setenv("TRITON_CACHE_DIR", str(tmp_path / "cache"))


@pytest.mark.parametrize("name", CASES)
def test_compiles_without_spills_as_committed(name: str, tmp_path: Path) -> None:
    import triton

    found = compiled(CASES[name], tmp_path)
    assert found["spilled"] == 0 and found["tensor_core"] == 0, found
    assert found["instructions"] > 50, "the disassembly was not read"
    committed = json.loads(COUNTS.read_text(encoding="utf-8"))
    assert name in committed["kernels"], f"{name} has no committed counts: run this file as a script"
    if committed["triton"] != triton.__version__:
        pytest.skip(f"counts were made with triton {committed['triton']}, this is {triton.__version__}")
    for count in ("registers", "instructions"):
        was = committed["kernels"][name][count]
        assert abs(found[count] - was) <= MARGIN * was, f"{count}: committed {was}, found {found[count]}"


def test_no_count_is_left_over_and_every_kernel_has_a_case() -> None:
    assert set(json.loads(COUNTS.read_text(encoding="utf-8"))["kernels"]) == set(CASES)
    sources = Path(__file__).parents[2] / "kernels" / "saekit_kernels"
    kernels = {
        (f"{path.parent.name}.{path.stem}", name)
        for path in sources.rglob("triton*.py")
        for name in re.findall(r"^def (\w+_kernel)\(", path.read_text(encoding="utf-8"), flags=re.MULTILINE)
    }
    assert kernels == {(case.module, case.kernel) for case in CASES.values()}


def main() -> None:
    import tempfile

    import triton

    if reason := why_not():
        sys.exit(reason)
    with tempfile.TemporaryDirectory() as folder:
        os.environ["TRITON_CACHE_DIR"] = folder
        kernels = {name: compiled(case, Path(folder)) for name, case in CASES.items()}
    COUNTS.write_text(json.dumps({"triton": triton.__version__, "kernels": kernels}, indent=2) + "\n", encoding="utf-8")
    for name, counts in kernels.items():
        print(f"{name:28}", *(f"{count} {value}" for count, value in counts.items()), sep="  ")


if __name__ == "__main__":
    main()
