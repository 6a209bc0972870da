"""saekit: sparse autoencoders on language models, in a notebook.

``__init__.pyi`` is the table of contents: the names a notebook uses. Each is imported from its home when first asked
for, so that ``import saekit`` costs no more than importing torch.
"""

from __future__ import annotations

import os
import sys
from typing import Any

import lazy_loader

from saekit.files.choices import closest

__version__ = "0.1.0"

# PyTorch's threads wait for each other by spinning, which takes the cores from whoever else needs one: building a store
# beside another program is several times as quick when they spin for a shorter while. Read when torch is loaded, so it
# counts only where saekit comes first.
if "OMP_WAIT_POLICY" not in os.environ:
    os.environ.setdefault("GOMP_SPINCOUNT", "10000")

_named, _, __all__ = lazy_loader.attach_stub(__name__, __file__)


def __getattr__(name: str) -> Any:
    if name == "DictionaryConfiguration":
        raise ImportError("DictionaryConfiguration is called Method now: sk.Method.")
    if name not in __all__:
        near = "" if name.startswith("_") else f"; the closest is {closest(name, __all__)!r}"
        raise AttributeError(f"module 'saekit' has no attribute {name!r}{near}.", name=name, obj=sys.modules[__name__])
    return _named(name)


def __dir__() -> list[str]:
    return [*__all__, "__version__"]
