"""load_model: any Hugging Face model as a TransformerLens 4 bridge, unprocessed, with its hash."""

from __future__ import annotations

import json
import sys
from importlib.resources import files
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from saekit.files.arguments import brief
from saekit.files.choices import offered, unknown
from saekit.files.progress import SHOWN_AFTER, Bar
from saekit.files.stopping import stopped_with
from saekit.models.bos import begin_alike
from saekit.models.hashing import hash_checkpoint
from saekit.models.placing import as_device, as_dtype
from saekit.models.trial import check_trial

if TYPE_CHECKING:
    from transformer_lens.model_bridge import TransformerBridge

    from saekit.models.several import SeveralModels

EMBEDDED = ("micro",)
"""Models that ship with saekit and need no network."""


def load_model(
    name: str | Path, device: str | torch.device | None = None, dtype: str | torch.dtype | None = None
) -> TransformerBridge:
    """Load a model by name: ``"micro"`` (ships with saekit), a Hub name such as ``"gpt2"``, or a local folder.

    The weights are left as they are (no folding, no centring). The bridge carries ``model_name``, ``model_hash``
    (SHA-256 of the stored weights, see ``saekit.models.hashing``) and ``processing`` (``"none"``), which stand in every
    dictionary made from it.

    name: as above; the three are tried in this order.
    device: default cuda, then mps, then cpu. dtype: such as "bfloat16" or torch.bfloat16; default float32 on a
    CPU, else the checkpoint's own.
    Returns a TransformerLens bridge, which prints as what it is; ``sk.models.sites_of(model)`` lists its sites. For
    example ``model = sk.load_model("micro")``, ``sk.load_model("gpt2", dtype="bfloat16")``.
    Raises FileNotFoundError for a name that is neither embedded, nor a folder, nor to be had from the Hub, ValueError
    for a folder that is not a Hugging Face model or holds damaged weights, and for a model that is no causal language
    model or that TransformerLens does not run as Hugging Face does (see ``saekit.models.trial``).
    """
    device = as_device(device) if device is not None else _default_device()
    dtype = as_dtype(dtype) if dtype is not None else None
    if not isinstance(name, str | PathLike):
        raise TypeError(f"a model is loaded by its name or folder, found {brief(name)}.")
    name = str(name)
    folder = find_folder(name)
    with stopped_with("stopped; no model was loaded."), _progress(name) as bar:
        model_hash = hash_checkpoint(folder)
        if dtype is None:
            dtype = torch.float32 if device.type == "cpu" else stored_dtype(folder)
        model = _booted(folder, device, dtype, bar)
        model.eval()
        model.requires_grad_(False)
        model.model_name = name
        model.origin = _origin(name)
        model.model_hash = model_hash
        model.processing = "none"
        check_trial(model)
        begin_alike(model)
        bar.update()
    return model


def _progress(name: str) -> Bar:
    """Drawn at once where TransformerLens is imported first, which takes longer than all the rest."""
    first = "transformer_lens.model_bridge" not in sys.modules
    why = " (the first time TransformerLens is imported)" if first else ""
    plain = "{l_bar}{bar}| {elapsed}"
    return Bar(total=3, desc=f"load {name}{why}", bar_format=plain, leave=False, delay=0 if first else SHOWN_AFTER)


def _booted(folder: Path, device: torch.device, dtype: torch.dtype, bar: Bar) -> TransformerBridge:
    from transformer_lens.model_bridge import TransformerBridge
    from transformers.utils import logging

    from saekit.models.loaded import LoadedModel

    bar.update()
    bars = logging.is_progress_bar_enabled()
    logging.disable_progress_bar()  # there is one
    try:
        model: TransformerBridge = TransformerBridge.boot_transformers(str(folder), device=device, dtype=dtype)
    except ValueError as error:
        raise _said_shorter(error, folder) from error
    finally:
        if bars:
            logging.enable_progress_bar()
    object.__setattr__(model, "__class__", LoadedModel)  # for its text alone
    bar.update()
    return model


def describe_model(model: TransformerBridge | SeveralModels) -> dict[str, Any]:
    """Name, hash and processing of a model, as they stand in every provenance; None where it was not loaded here. Of
    several models the names and hashes by the names that they were given."""
    name = getattr(model, "model_name", None) or model.cfg.model_name
    return {
        "model": name,
        "model_hash": getattr(model, "model_hash", None),
        "processing": getattr(model, "processing", "none"),
    }


def _said_shorter(error: ValueError, folder: Path) -> ValueError:
    """The error; of an architecture that TransformerLens does not know, with the closest and not with all of them."""
    from transformer_lens.factories.architecture_adapter_factory import SUPPORTED_ARCHITECTURES

    architectures = _read_configuration(folder).get("architectures") or []
    if not architectures or any(name in SUPPORTED_ARCHITECTURES for name in architectures):
        return error
    return ValueError(unknown("TransformerLens knows no architecture", architectures[0], SUPPORTED_ARCHITECTURES))


def find_folder(name: str) -> Path:
    """Where the files of a model lie; downloaded from the Hub where they do not."""
    if name in EMBEDDED:
        return Path(str(files("saekit") / "models" / name))
    path = Path(name).expanduser()
    if path.is_dir():
        if not (path / "config.json").is_file():
            raise ValueError(f"{path} is not a Hugging Face model folder: it has no config.json.")
        _read_configuration(path)
        return path
    if path.is_file():
        raise ValueError(f"{path} is a file: load_model takes its folder, {path.parent}.")
    if path.is_absolute() or name.startswith((".", "~")) or name.count("/") > 1:
        raise FileNotFoundError(f"there is no folder {name}.")
    return _download(name)


def _origin(name: str) -> str:
    """Where a model of that name comes from, in words."""
    if name in EMBEDDED:
        return "ships with saekit"
    return "a local folder" if Path(name).expanduser().is_dir() else "from the Hugging Face Hub"


def _download(name: str) -> Path:
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HfHubHTTPError, HFValidationError, LocalEntryNotFoundError

    wanted = ["*.json", "*.safetensors", "tokenizer*", "*.model", "*.txt"]
    hint = f"of the models that ship {offered(name, EMBEDDED)}."
    try:
        folder = Path(snapshot_download(name, allow_patterns=wanted))
        if not any(folder.glob("*.safetensors")):  # an old checkpoint without safetensors
            folder = Path(snapshot_download(name, allow_patterns=[*wanted, "pytorch_model*.bin"]))
        return folder
    except (HfHubHTTPError, HFValidationError, LocalEntryNotFoundError, OSError) as error:
        raise FileNotFoundError(
            f"no model {name!r}: not embedded, not a folder here, and the Hugging Face Hub did not give it "
            f"({type(error).__name__}: no such model, no access or no network); {hint}"
        ) from error


def _default_device() -> torch.device:
    if torch.cuda.is_available():
        return torch.device("cuda")
    if torch.backends.mps.is_available():
        return torch.device("mps")
    return torch.device("cpu")


def stored_dtype(folder: Path) -> torch.dtype:
    """The precision of a folder's weights, as its configuration says; float32 where it does not."""
    config = _read_configuration(folder)
    return getattr(torch, str(config.get("dtype") or config.get("torch_dtype") or "float32"))


def _read_configuration(folder: Path) -> dict[str, Any]:
    try:
        config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    except ValueError as error:
        raise ValueError(f"{folder / 'config.json'} is not JSON ({error}): copy or download it again.") from error
    if not isinstance(config, dict):
        raise ValueError(f"{folder / 'config.json'} describes no model: it holds a {type(config).__name__}.")
    return config
