"""Activations of one's own, in whatever they are kept: tensors, arrays, frames, files, what harvest gave."""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from os import PathLike
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from saekit.files.choices import unknown


def tensor_of(array: Any) -> Tensor:
    """A tensor of a tensor, a NumPy array, a pandas frame or series, a list, or the path of an .npy file, which is
    mapped and not read. Without a gradient. Raises TypeError for anything else, and ValueError for a file that is no
    array."""
    if isinstance(array, Tensor):
        return array.detach()
    if isinstance(array, str | PathLike):
        array = _mapped(Path(array).expanduser())
    elif hasattr(array, "to_numpy"):
        array = array.to_numpy()
    try:
        found = np.asarray(array)
        with warnings.catch_warnings():  # of memory that cannot be written: it is read alone
            warnings.filterwarnings("ignore", message="The given NumPy array is not writable")
            return torch.from_numpy(found)
    except (TypeError, ValueError) as error:
        raise TypeError(
            f"an array is a tensor, a NumPy array, a pandas frame or an .npy file, found {type(array).__name__}."
        ) from error


def by_site(x: Any, sites: Sequence[str]) -> dict[str, Tensor]:
    """[n, d] at each of the sites, of one array for a single site, a mapping from site, or what ``harvest`` gave
    (counted tokens). Raises ValueError for a site without an array."""
    if not isinstance(x, Mapping):
        if len(sites) > 1:
            raise ValueError(f"activations at {', '.join(sites)} are a mapping from site to array, found one array.")
        return {sites[0]: tensor_of(x)}
    flat = getattr(x, "flat", x.__getitem__)
    for site in sites:
        if site not in x:
            raise ValueError(unknown("there is no array for", site, list(x)))
    return {site: tensor_of(flat(site)) for site in sites}


def _mapped(path: Path) -> np.ndarray:
    if path.suffix != ".npy":
        raise ValueError(f"an array on disk is an .npy file, found {str(path)!r}.")
    try:
        return np.load(path, mmap_mode="r", allow_pickle=False)
    except FileNotFoundError:
        raise FileNotFoundError(f"there is no file {path}.") from None
    except (ValueError, OSError, EOFError) as error:
        raise ValueError(f"{path} is no whole .npy file of numbers ({error}).") from error
