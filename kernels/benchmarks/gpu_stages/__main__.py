"""One stage, in a process of its own: `python -m gpu_stages NUMBER --out OUT --run ID --ends SECONDS [--dry]`."""

from __future__ import annotations

import argparse
import importlib
from pathlib import Path

from gpu_stages import STAGES
from gpu_stages.rows import Run

parser = argparse.ArgumentParser()
parser.add_argument("stage", type=int)
parser.add_argument("--out", type=Path, required=True)
parser.add_argument("--run", required=True)
parser.add_argument("--ends", type=float, required=True, help="as time.monotonic() will say")
parser.add_argument("--dry", action="store_true")
options = parser.parse_args()
device = "cpu" if options.dry else "cuda"
run = Run(options.out, options.run, options.stage, options.ends, device, options.dry)
try:
    importlib.import_module(f"gpu_stages.{STAGES[options.stage].module}").measure(run)
except Exception as error:
    said = str(error).strip().splitlines() or [""]
    run.row("error", found=f"{type(error).__name__}: {said[0][:200]}")
    raise
