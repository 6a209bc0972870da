"""Arrays as people have them: NumPy's, pandas frames, .npy files, lists; all as tensors."""

from __future__ import annotations

import contextlib
import os
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from saekit.files.arguments import brief
from saekit.files.choices import unknown


def as_array(given: Any, name: str = "x") -> Tensor:
    """A tensor of what was given, off its autograd graph; without a copy where its memory can be shared. A file is
    mapped, not read.

    name: what the sentence calls it. Raises ValueError for what holds no real numbers, and for a file that is no .npy.
    """
    if isinstance(given, Tensor):
        if given.is_complex():
            raise ValueError(f"{name} is an array of real numbers, found {given.dtype}.")
        return given.detach().byte() if given.dtype == torch.bool else given.detach()
    if isinstance(given, str | os.PathLike):
        given = _mapped(Path(given), name)
    if not hasattr(given, "__array__") and not isinstance(given, list | tuple):
        raise ValueError(f"{name} is an array, a tensor, a frame or the path of a .npy file, found {brief(given)}.")
    if (kinds := getattr(given, "dtypes", None)) is not None:  # a frame
        _check_columns(kinds, name)
    try:
        array = np.asarray(given)
    except ValueError as error:
        raise ValueError(f"{name} is an array whose rows are equally long ({error}).") from error
    if array.dtype == object:  # such as a frame of nullable numbers
        with contextlib.suppress(TypeError, ValueError):
            array = array.astype(np.float64)
    if array.dtype.kind not in "biuf":
        raise ValueError(f"{name} is an array of real numbers, found dtype {array.dtype}.")
    if array.dtype == bool or array.dtype.itemsize > 8:
        array = array.astype(np.uint8 if array.dtype == bool else np.float64)
    array = np.ascontiguousarray(array, dtype=array.dtype.newbyteorder("="))
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "The given NumPy array is not writable")  # nobody writes into it
        return torch.from_numpy(array)


def by_site(x: Any, sites: Sequence[str]) -> dict[str, Tensor]:
    """[n, d] at each of the sites, of one array for a single site, a mapping from site, or what ``harvest`` gave
    (counted tokens). Raises ValueError for a site without an array."""
    if not isinstance(x, Mapping):
        if len(sites) > 1:
            raise ValueError(f"activations at {', '.join(sites)} are a mapping from site to array, found one array.")
        return {sites[0]: as_array(x, "activations")}
    flat = getattr(x, "flat", x.__getitem__)
    for site in sites:
        if site not in x:
            raise ValueError(unknown("there is no array for", site, list(x)))
    return {site: as_array(flat(site), repr(str(site))) for site in sites}


def _mapped(path: Path, name: str) -> np.ndarray:
    path = path.expanduser()
    if path.suffix != ".npy":
        raise ValueError(f"{name} is read from a .npy file (numpy.save), found {str(path)!r}.")
    try:
        return np.load(path, mmap_mode="c", allow_pickle=False)
    except (OSError, ValueError, EOFError) as error:
        raise ValueError(f"{path} is missing, cut or no .npy file of numbers ({error}).") from error


def _check_columns(kinds: Any, name: str) -> None:
    columns = kinds.items() if isinstance(kinds, Mapping) or hasattr(kinds, "items") else ()
    for column, kind in columns:
        if getattr(kind, "kind", "O") not in "biuf":
            raise ValueError(
                f"{name} is a frame of numbers, and its column {column!r} is {kind}: leave it out, "
                f"frame.select_dtypes('number')."
            )
