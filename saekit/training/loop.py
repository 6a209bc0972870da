"""train: the one loop. Adam with warm-up and decay on shuffled activations; unit-norm decoder rows; resumable.

Inputs are scaled to mean square 1 a dimension and the scale is folded back into the weights, so that one learning rate
serves any site. Adam's learning rate defaults to 3e-3 · √(1024 / d_sae), up to three times that in short runs
(`default_rate`), warmed up over 5 % of the run (200 steps at most) and brought to zero over its last fifth. A latent is
dead when it has not fired for min(10M, 5 % of the run's) tokens.
"""

from __future__ import annotations

import hashlib
import json
import warnings
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from saekit_kernels.dispatch import CHOICES, checked
from torch import Tensor

from saekit.activations import ActivationStore, ActivationStream, ArrayStream, ShuffledStream, StoreStream
from saekit.corpora import Corpus
from saekit.dictionaries import Dictionary, DictionaryConfiguration, read_dictionary
from saekit.engines import processes
from saekit.metrics import measure_latent_max
from saekit.models.safely import remove_leftovers, write_atomically
from saekit.training.learner import Learner, default_dtype, weights_dtype
from saekit.training.run import Progress, Run, read_records
from saekit.training.session import Session

if TYPE_CHECKING:
    from transformer_lens.model_bridge import TransformerBridge

LATENT_MAX_TOKENS = 100_000


def train(
    model: TransformerBridge | Tensor | ActivationStore,
    site: str | Sequence[str] | None,
    configuration: DictionaryConfiguration | Sequence[DictionaryConfiguration],
    corpus: Corpus | Sequence[str] | Tensor | None = None,
    *,
    tokens: int | None = None,
    out: str | Path | None = None,
    batch_size: int = 1024,
    lr: float | None = None,
    dtype: torch.dtype | None = None,
    device: str | torch.device | None = None,
    seed: int = 0,
    callback: Callable[[Progress], Any] | None = None,
    kernels: str = "auto",
    resume: bool = True,
) -> Run:
    """Train a dictionary on a model's activations at ``site``, on a store of them (``ActivationStore``), or on an array
    [n, d] of one's own (``site=None``).

    configuration: such as ``sk.TopK(d_sae=1024, k=16)``; or a list of them, which learn side by side on one pass over
              the model, each exactly as it would alone; ``run.dictionaries`` has them in order.
    tokens:   counted tokens to train on (default: one pass over an array or a store).
    dtype:    of products; torch.bfloat16 (weights and Adam's moments stay in float32) where the device multiplies it
              natively, else torch.float32; torch.float64 for everything.
    kernels:  "auto" takes the fastest way there is; "reference" plain torch, for comparison; "cpu" and "triton" are
              kept to or refused.
    out:      a folder for config, metrics.jsonl, checkpoint and dictionary; the same call on an interrupted one goes
              on, on a finished one returns it. None keeps all in memory.
    callback: called with a Progress now and then (``sk.TrainingMonitor()`` draws it), of several dictionaries with the
              first one's numbers; default: a line of text.
    Raises ValueError when ``out`` holds another run (naming the fields), activations or the loss are not finite.
    """
    configurations = list(configuration) if isinstance(configuration, Sequence) else [configuration]
    if not configurations or not all(isinstance(each, DictionaryConfiguration) for each in configurations):
        raise ValueError(
            "train takes a configuration such as sk.TopK(d_sae=1024, k=16), or a list of them, "
            f"found {configuration!r}."
        )
    checked(kernels, CHOICES, "kernels")
    if dtype not in (None, torch.float32, torch.float64, torch.bfloat16):
        raise ValueError(f"dtype is torch.float32, torch.float64 or torch.bfloat16, found {dtype}.")
    for name, value in {"tokens": tokens, "batch_size": batch_size}.items():
        if value is not None and value < 1:
            raise ValueError(f"{name} must be at least 1, found {value}.")
    if lr is not None and not lr > 0:
        raise ValueError(f"lr must be above 0, found {lr}; leave it out for the default.")
    stream: ShuffledStream | ArrayStream
    if isinstance(model, Tensor):
        stream = ArrayStream(model, batch_size, seed)
        tokens = len(model) if tokens is None else tokens
        device = torch.device(device or model.device)
    elif isinstance(model, ActivationStore):
        if site is None or corpus is not None:
            raise ValueError("training on a store needs a site, and no corpus: it was built from one.")
        stream = StoreStream(model, [site] if isinstance(site, str) else site, batch_size, seed)
        tokens = len(model) if tokens is None else tokens
        device = torch.device(device or "cpu")
    else:
        if corpus is None or site is None:
            raise ValueError("training on a model needs a site and a corpus.")
        if tokens is None:
            raise ValueError("say how many tokens to train on, for example tokens=1_000_000.")
        stream = ActivationStream(model, [site] if isinstance(site, str) else site, corpus, batch_size, seed)
        device = torch.device(device if device is not None else str(model.cfg.device))
    if batch_size < processes.count():
        raise ValueError(f"batch_size={batch_size} is less than a token for each of {processes.count()} processes.")
    dtype = dtype or default_dtype(device)
    steps = max(1, tokens // batch_size)
    learners = [
        Learner(each, stream.widths, steps, batch_size, lr, seed, device, dtype, kernels) for each in configurations
    ]
    _warn_of_narrow(configurations, stream.widths)
    session = Session(stream, learners, tokens, batch_size, seed)
    folder = None if out is None else Path(out)
    places = [] if folder is None else _places(folder, len(learners))
    if folder is not None:
        # Of processes that train together (torchrun) the first one opens the folder, which all of them must see.
        config = _describe(session, configuration, dtype)
        whole = torch.tensor(processes.first() and _open(folder, config, resume, places)).int()
        if bool(processes.from_process(whole, 0)):
            if processes.first():  # a run that was killed right after its dictionary was saved
                (folder / "checkpoint.safetensors").unlink(missing_ok=True)
            done = [read_dictionary(place, weights_dtype(dtype)).to(device) for place in places]
            return Run(done, read_records(folder / "metrics.jsonl"), folder)
        if (folder / "checkpoint.safetensors").is_file():
            session.resume(folder)
        elif processes.first():  # what a run wrote that was killed before its first checkpoint is written again
            (folder / "metrics.jsonl").unlink(missing_ok=True)
    finished = session.run(folder, callback)
    dictionaries = session.folded()
    try:
        if finished:
            for dictionary in dictionaries:
                _measure_latent_max(model, dictionary, corpus, min(tokens, LATENT_MAX_TOKENS))
            if folder is not None and processes.first():
                for dictionary, place in zip(dictionaries, places, strict=True):
                    dictionary.save(place)
                (folder / "checkpoint.safetensors").unlink(missing_ok=True)
    except KeyboardInterrupt:
        print("stopped while latent_max was measured; what was trained is kept.")
        finished = False
    return Run(dictionaries, session.records, folder, finished)


def _warn_of_narrow(configurations: list[DictionaryConfiguration], widths: dict[str, int]) -> None:
    """Say once that a dictionary has fewer latents than its site has dimensions."""
    site, width = max(widths.items(), key=lambda item: item[1])
    narrow = [each.d_sae for each in configurations if each.d_sae < width]
    if narrow and processes.first():
        warnings.warn(
            f"d_sae = {min(narrow)} is less than the width of {site!r}, {width}: so few latents cannot span it "
            f"(d_sae is mostly 4 to 32 times the width, here {4 * width} or more).",
            stacklevel=3,
        )


def _measure_latent_max(model: Any, dictionary: Dictionary, corpus: Any, tokens: int) -> None:
    if isinstance(model, ActivationStore):
        parts = []
        for number in range(len(model.shards)):
            parts.append({site: x.float() for site, x in model.shard(number, dictionary.reads).items()})
            if sum(len(part[dictionary.reads[0]]) for part in parts) >= tokens:
                break
        model, corpus = None, {site: torch.cat([part[site] for part in parts]) for site in dictionary.reads}
    elif isinstance(model, Tensor):
        model, corpus = None, model
    measure_latent_max(model, dictionary, corpus, tokens=tokens)


def _places(folder: Path, count: int) -> list[Path]:
    """Where the dictionaries of a run go: dictionary/, or dictionaries/0, 1, …"""
    return [folder / "dictionary"] if count == 1 else [folder / "dictionaries" / str(number) for number in range(count)]


def _describe(session: Session, configuration: Any, dtype: torch.dtype) -> dict[str, Any]:
    """The CONFIG of a run: everything that decides its result."""
    several = not isinstance(configuration, DictionaryConfiguration)
    described = [learner.dictionary.configuration.to_json() for learner in session.learners]
    return {
        "configuration": described if several else described[0],
        "sites": list(session.stream.sites),
        "tokens": session.tokens,
        "batch_size": session.batch_size,
        "lr": [learner.lr for learner in session.learners] if several else session.learners[0].lr,
        "seed": session.seed,
        "dtype": str(dtype).removeprefix("torch."),
        "source": _describe_source(session.stream),
    }


def _describe_source(stream: ShuffledStream | ArrayStream) -> dict[str, Any]:
    """The stream's provenance; for an array or a token tensor, which have no name, a hash of a thousand of its rows."""
    array = stream.x if isinstance(stream, ArrayStream) else getattr(stream, "source", None)
    if not isinstance(array, Tensor):
        return stream.provenance
    rows = array.detach()[:: max(1, len(array) // 1000)].cpu().contiguous()
    digest = hashlib.sha256(f"{list(array.shape)} {array.dtype}".encode() + rows.view(torch.uint8).numpy().tobytes())
    return stream.provenance | {"array": digest.hexdigest()}


def _open(folder: Path, config: dict[str, Any], resume: bool, places: list[Path]) -> bool:
    """Write config.json, or hold it against the one that is there; does the folder hold a finished run?"""
    file = folder / "config.json"
    text = json.dumps(config, indent=1, default=dict)
    if file.is_file() and resume:
        before, now = json.loads(file.read_text(encoding="utf-8")), json.loads(text)
        differ = [f"{key} (there {before.get(key)!r}, here {now[key]!r})" for key in now if before.get(key) != now[key]]
        if differ:
            raise ValueError(f"{folder} holds another run; it differs in {'; '.join(differ)}. Choose another out=.")
        if all((place / "config.json").is_file() for place in places):
            return True
    elif file.is_file() or any(place.exists() for place in places):
        raise ValueError(f"{folder} holds a run already and resume=False would overwrite it: choose another out=.")
    for place in (folder, *places):
        remove_leftovers(place)
    write_atomically(file, lambda path: path.write_text(text, encoding="utf-8"))
    return False
