"""A format that somebody adds from outside: two arrays in one npz file, of TopK dictionaries. The whole of it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch

from saekit.dictionaries import Dictionary, TopK, Wiring
from saekit.formats import Format, register


def matches(path: Path) -> bool:
    return path.suffix == ".npz" or (path / "rows.npz").is_file()


def read(path: Path, dtype: torch.dtype) -> Dictionary:
    with np.load(path if path.is_file() else path / "rows.npz", allow_pickle=False) as found:
        rows, k = torch.from_numpy(found["rows"]), int(found["k"])
    sae = TopK(d_sae=len(rows), k=k).build(Wiring("x"), {"x": rows.shape[1]})
    with torch.no_grad():
        sae.encoder.directions.copy_(rows)
        sae.decoder.directions.copy_(rows)
    return sae.to(dtype).eval().requires_grad_(False)


def write(dictionary: Dictionary, folder: Path) -> Path:
    if not isinstance(dictionary.method, TopK):
        raise ValueError(f"this format holds TopK dictionaries, found {type(dictionary.method).__name__}.")
    folder.mkdir(parents=True, exist_ok=True)
    np.savez(folder / "rows.npz", rows=dictionary.decoder_directions.detach().numpy(), k=dictionary.method.k)
    return folder


ROWS = register(Format("rows", matches, read, write))
