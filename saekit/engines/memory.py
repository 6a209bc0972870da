"""Memory of a process on a CPU: what one training step frees, the next one takes.

A step makes gradients as large as the weights and frees them. The C library gives such memory back to the system, and
for each step the system maps and clears its pages anew: 8,000 to 15,000 faults a step with 8,192 latents of width 512,
a tenth of its time. glibc can be told to keep it (``mallopt``); other C libraries are left as they are.
"""

from __future__ import annotations

import ctypes
import functools
import os
import platform

VARIABLE = "SAEKIT_MEMORY"
M_TRIM_THRESHOLD, M_MMAP_THRESHOLD = -1, -3  # glibc's malloc.h
LARGEST = 2**26
"""Bytes of a tensor up to which its memory is kept; larger ones are mapped and given back one by one, as ever."""
MOST = 2**29
"""Bytes that are kept, at the end of the heap; what is free beyond goes back to the system."""


@functools.cache  # once a process
def keep_freed() -> bool:
    """Make malloc keep what is freed for what comes next, at most MOST bytes; whether it was told to.

    SAEKIT_MEMORY=give_back leaves it as it is. Raises ValueError for another value than "keep" and "give_back"."""
    choice = os.environ.get(VARIABLE, "keep")
    if choice not in ("keep", "give_back"):
        raise ValueError(f"{VARIABLE} is 'keep' or 'give_back', found {choice!r}.")
    if choice == "give_back" or platform.libc_ver()[0] != "glibc":
        return False
    mallopt = ctypes.CDLL(None).mallopt
    return bool(mallopt(M_MMAP_THRESHOLD, LARGEST)) and bool(mallopt(M_TRIM_THRESHOLD, MOST))
