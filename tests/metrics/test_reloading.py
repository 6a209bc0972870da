"""Reloading a module, which %autoreload does, leaves evaluate working: no name stands for a module and a function."""

from __future__ import annotations

import importlib
import pkgutil
import subprocess
import sys

import saekit.metrics

CODE = """
import importlib, sys, torch
import saekit as sk
for name in sys.argv[2:]:
    importlib.reload(importlib.import_module("saekit.metrics." + name))
importlib.reload(importlib.import_module("saekit.metrics"))
model = sk.load_model(sys.argv[1], device="cpu")
site = "blocks.0.hook_resid_post"
sae = sk.TopK(d_sae=8, k=2).build(sk.Wiring(site), {site: 16})
report = importlib.import_module("saekit.metrics").evaluate(model, sae, ["the cat sat in the"] * 3)
print("explained", report.explained_variance)
"""


def test_every_module_can_be_reloaded(tiny_gpt2_folder):
    names = [module.name for module in pkgutil.iter_modules(saekit.metrics.__path__)]
    assert "evaluation" in names and len(names) > 8
    run = [sys.executable, "-c", CODE, str(tiny_gpt2_folder), *names, *reversed(names)]
    done = subprocess.run(run, capture_output=True, text=True)
    assert done.returncode == 0 and done.stdout.startswith("explained"), done.stderr[-2000:]
    assert importlib.import_module("saekit.metrics").evaluate is not None
