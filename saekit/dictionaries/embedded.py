"""sk.dictionaries.available(): the dictionaries that ship."""

from __future__ import annotations

import json
from importlib.resources import files
from pathlib import Path
from typing import Any

from saekit.files.durations import spoken_bytes
from saekit.plots.available import Available


def shipped() -> dict[str, Path]:
    """Dictionaries that come with saekit: ``model/site`` and their folders."""
    root = Path(str(files("saekit") / "dictionaries" / "shipped"))
    return {
        str(config.parent.relative_to(root).as_posix()): config.parent
        for config in sorted(root.glob("*/*/config.json"))
    }


def available() -> Available:
    """The dictionaries that ``load_dictionary`` knows by name: name, what it is, and size on disk."""
    rows = [
        {
            "name": name,
            "what": _what(json.loads((folder / "config.json").read_text(encoding="utf-8"))),
            "size": spoken_bytes(sum(file.stat().st_size for file in folder.iterdir())),
        }
        for name, folder in shipped().items()
    ]
    return Available(tuple(rows), "dictionaries that ship with saekit: sk.load_dictionary(name)")


def _what(config: dict[str, Any]) -> str:
    """Such as "TopK, 2,048 latents, k 16; 2.5 M tokens of microworld+python", and of what kind it is."""
    own, made = config["configuration"], config["provenance"]
    k = f", k {own['k']}" if "k" in own else ""
    layerwise = bool(config.get("layerwise"))
    kind = "cross-layer transcoder, " if layerwise else "" if config["reads"] == config["writes"] else "transcoder, "
    each = " a layer" if layerwise else ""
    tokens = f"{made['tokens'] / 1e6:.1f} M tokens of {made['corpus']['name']}"
    return f"{kind}{own['method']}, {own['d_sae']:,} latents{k}{each}; {tokens}"
