"""The other libraries in a folder, for a machine without a network: PEERS=FOLDER.

Twelve pure wheels, 21 MB unpacked; torch, transformers and the like are the machine's own. What they import beside and
a training step never calls (wandb, nnsight, plotly, …) is replaced by empty modules in the peer's process alone.

    python gpu.py --fetch-peers FOLDER --for-python 3.12       where there is a network
    PEERS=FOLDER python gpu.py --out OUT --stages 3            where the GPU is
"""

from __future__ import annotations

import importlib.abc
import importlib.machinery
import importlib.util
import subprocess
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

WHEELS = [
    *("sae-lens==6.54.0", "transformer-lens==3.9.0", "dictionary-learning==0.1.0", "eai-sparsify==1.3.3"),
    *("datasets==5.2.0", "multiprocess==0.70.19", "dill==0.4.1", "natsort==8.4.0", "schedulefree==1.4.1"),
    *("simple-parsing==0.1.9", "docstring-parser==0.18.0", "better-abc==0.0.3"),
]
EMPTY = ("wandb", "nnsight", "plotly", "circuitsvis", "umap", "zstandard", "fancy_einsum", "kaleido")


def fetch(folder: Path, python: str | None = None) -> None:
    """Install the wheels there with pip, for this Python or another; nothing that they depend on."""
    if importlib.util.find_spec("pip") is None:
        sys.exit(f"{sys.executable} has no pip, which fetches the wheels: `{sys.executable} -m ensurepip` adds it.")
    folder.mkdir(parents=True, exist_ok=True)
    command = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--no-compile", "--upgrade"]
    command += ["--only-binary", ":all:", "--target", str(folder), *(["--python-version", python] if python else [])]
    subprocess.run([*command, *WHEELS], check=True)
    print(f"{len(WHEELS)} wheels are in {folder}: PEERS={folder} on the machine with the GPU.")


class Anything(type):
    """A class with every attribute, of itself again."""

    def __getattr__(cls, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        return cls


class Nothing(metaclass=Anything):
    """What an empty module gives for every name: a class to derive from, to call, to decorate with."""

    def __init__(self, *_: Any, **__: Any) -> None:
        pass

    def __call__(self, *given: Any, **__: Any) -> Any:
        return given[0] if given else self

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        return self


class EmptyModules(importlib.abc.MetaPathFinder, importlib.abc.Loader):
    """Asked last: for the names of EMPTY that are not installed."""

    def find_spec(self, name: str, path: Any = None, target: Any = None) -> importlib.machinery.ModuleSpec | None:
        if name.partition(".")[0] not in EMPTY:
            return None
        return importlib.machinery.ModuleSpec(name, self, is_package=True)

    def create_module(self, spec: importlib.machinery.ModuleSpec) -> ModuleType:
        module = ModuleType(spec.name)
        module.__getattr__ = _attribute  # type: ignore[method-assign]
        return module

    def exec_module(self, module: ModuleType) -> None:
        """There is nothing to run."""


def _attribute(name: str) -> Any:
    if name.startswith("__"):
        raise AttributeError(name)
    return Nothing


def use(folder: str) -> None:
    """Import from the folder first, and empty modules where nothing else is found."""
    sys.path.insert(0, folder)
    sys.meta_path.append(EmptyModules())
