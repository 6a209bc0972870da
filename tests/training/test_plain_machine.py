"""A processor without AVX, torch without Triton, kernels in plain torch: the same work gives nearly the same numbers.
And what an Apple GPU (mps) needs that no machine here has: the reference kernels, and no float64."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from saekit.training.settings import Settings, default_dtype

ROOT = Path(__file__).parents[2]
CODE = """
import json, sys

if len(sys.argv) > 2:
    sys.modules["triton"] = None  # cannot be imported, as where it is not installed
import torch
from saekit_kernels import dispatch

import saekit as sk

torch.set_num_threads(1)
model, site = sk.load_model("micro", device="cpu"), "blocks.2.hook_resid_post"
corpus, heldout = sk.load_corpus("microworld"), sk.load_corpus("microworld", split="heldout", n=38)
methods = [sk.TopK(d_sae=256, k=8), sk.BatchTopK(d_sae=256, k=8)]
settings = {"tokens": 6_000, "batch_size": 512, "dtype": "float32", "callback": lambda _: None}
run = sk.train(model, site, methods, corpus, **settings)
reports = [sk.evaluate(model, sae, heldout, tokens=800, ce_tokens=100) for sae in run.dictionaries]
names = ("explained_variance", "l0", "ce_recovered")
numbers = [{name: float(getattr(report, name)) for name in names} for report in reports]
store = sk.FeatureStore.build(model, run.dictionaries[0], heldout, sys.argv[1], tokens=800)
said = {
    "capability": torch.backends.cpu.get_cpu_capability(),
    "path": dispatch.path_for(torch.ones(1)),
    "triton": dispatch._triton(),
    "numbers": numbers,
    "firings": int(store.latents().firings.sum()),
}
print()
print(json.dumps(said))
"""


def done(folder: Path, plain: bool) -> dict:
    own = {"ATEN_CPU_CAPABILITY": "default", "SAEKIT_KERNELS": "reference"} if plain else {}
    command = [sys.executable, "-W", "ignore", "-c", CODE, str(folder), *["plain"] * plain]
    ran = subprocess.run(command, capture_output=True, text=True, check=False, env={**os.environ, **own})
    assert ran.returncode == 0, ran.stderr[-2_000:]
    return json.loads(ran.stdout.splitlines()[-1])


def test_without_avx_and_triton_in_plain_torch(tmp_path: Path) -> None:
    plain, usual = done(tmp_path / "plain", True), done(tmp_path / "usual", False)
    assert (plain["capability"], plain["path"], plain["triton"]) == ("DEFAULT", "reference", False)
    assert usual["path"] == "cpu"
    print(plain, usual)
    for ours, theirs in zip(plain["numbers"], usual["numbers"], strict=True):
        assert ours["explained_variance"] == pytest.approx(theirs["explained_variance"], abs=0.01)
        assert ours["l0"] == pytest.approx(theirs["l0"], rel=0.03)
        assert ours["ce_recovered"] == pytest.approx(theirs["ce_recovered"], abs=0.03)
    assert plain["firings"] == pytest.approx(usual["firings"], rel=0.03)


# -- mps ---------------------------------------------------------------------------------------------------------------

MPS = torch.device("mps")
WITHOUT = {  # where what is made double lies on the CPU already, or is moved there on mps
    "metrics/variance.py",
    "metrics/scale.py",
    "metrics/sparsity.py",
    "metrics/recovery.py",
    "models/after.py",
}


def test_mps_trains_in_float32() -> None:
    assert default_dtype(MPS) == torch.float32
    with pytest.raises(
        ValueError, match=r"^dtype cannot be 'float64' on mps, which has none: take 'float32', or device="
    ):
        Settings(10, 64, device=MPS, dtype=torch.float64)
    with torch.autocast("mps", torch.bfloat16, enabled=False):  # as a learner enters it
        assert not torch.is_autocast_enabled("mps")


def test_no_tensor_of_a_device_becomes_float64() -> None:
    """mps has none. Whatever is made double is moved to the CPU first; the few others were looked at."""
    found = {}
    for path in (ROOT / "saekit").rglob("*.py"):
        name = path.relative_to(ROOT / "saekit").as_posix()
        lines = re.findall(r"^.*\.double\(\).*$", path.read_text(encoding="utf-8"), re.MULTILINE)
        wrong = [line.strip() for line in lines if not re.search(r"cpu\(\).*\.double\(\)", line)]
        if wrong and name not in WITHOUT:
            found[name] = wrong
    assert not found
