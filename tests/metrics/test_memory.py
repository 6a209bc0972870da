"""evaluate reads a long text in bounded memory: measured in a process of its own, concepts included."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

TOKENS, MOST = 300_000, 250  # MB above the model; at a million tokens 300 are promised

CODE = """
import re, sys
import torch
import saekit as sk


def megabytes(name):  # of this process alone: what resource.getrusage tells begins with what its parent held
    return 1024 * int(re.search(rf"{name}:\\s+(\\d+) kB", open("/proc/self/status").read())[1]) / 1e6


torch.set_num_threads(1)
model, site = sk.load_model(sys.argv[1], device="cpu"), "blocks.2.hook_resid_post"
torch.manual_seed(0)
sae = sk.TopK(d_sae=512, k=16).build(sk.Wiring(site), {site: 64}).eval().requires_grad_(False)
corpus = sk.load_corpus("microworld", split="train")
corpus.fingerprint
before = megabytes("VmRSS")
report = sk.evaluate(model, sae, corpus, tokens=int(sys.argv[2]))
print()
print(megabytes("VmHWM") - before, len(report.concepts.rows), report.tokens)
"""


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="memory is read from /proc, which is Linux's")
def test_evaluate_holds_no_activations(real_folder: Path) -> None:
    command = [sys.executable, "-c", CODE, str(real_folder / "stories260K"), str(TOKENS)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    megabytes, concepts, tokens = map(float, done.stdout.splitlines()[-1].split())
    assert tokens == TOKENS and concepts > 100
    assert megabytes <= MOST, f"{megabytes:.0f} MB above the model"
    print(f"evaluate, {TOKENS:,} tokens: {megabytes:.0f} MB above the model")
