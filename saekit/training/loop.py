"""train: the one entrance. Adam with warm-up and decay on shuffled activations; unit-norm decoder rows; resumable.

Each site's inputs are scaled to mean square 1 a dimension and the scale is folded back into the weights, so that one
learning rate serves any site. Adam's learning rate defaults to 3e-3 · √(1024 / d_sae), up to three times that in short
runs (`default_rate`), warmed up over 5 % of the run (200 steps at most) and brought to zero over its last fifth. A
latent is dead when it has not fired for min(10M, 5 % of the run's) tokens.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from saekit_kernels.dispatch import CHOICES, checked
from torch import Tensor

from saekit.activations import ActivationStore
from saekit.corpora import Corpus
from saekit.dictionaries import Dictionary, Method, Wiring, read_dictionary
from saekit.engines import processes
from saekit.metrics import measure_latent_max
from saekit.models import as_dtype
from saekit.training.folder import describe, open_folder, places
from saekit.training.learners import make_learner
from saekit.training.run import Progress, Run, read_records
from saekit.training.session import Session
from saekit.training.settings import TRAINED_IN, Settings, default_dtype, weights_dtype
from saekit.training.sources import Source

if TYPE_CHECKING:
    from transformer_lens.model_bridge import TransformerBridge

LATENT_MAX_TOKENS = 100_000


def train(
    model: TransformerBridge
    | Mapping[str, TransformerBridge]
    | Tensor
    | np.ndarray
    | Mapping[str, Tensor]
    | ActivationStore,
    site: str | Sequence[str] | Wiring | None,
    method: Method | Sequence[Method] = (),
    corpus: Corpus | Sequence[str] | Tensor | None = None,
    *,
    tokens: int | None = None,
    out: str | Path | None = None,
    batch_size: int = 1024,
    lr: float | None = None,
    warm_up: int | None = None,
    decay: int | None = None,
    dead_after: int | None = None,
    labels: Sequence[str] | Tensor | None = None,
    exclude: Sequence[str] | str = (),
    context: int | None = None,
    dtype: str | torch.dtype | None = None,
    device: str | torch.device | None = None,
    seed: int = 0,
    callback: Callable[[Progress], Any] | None = None,
    kernels: str = "auto",
    resume: bool = True,
    **former: Any,
) -> Run:
    """Train a dictionary on a model's activations at ``site``, on a store of them (``ActivationStore``), on an array
    [n, d] of one's own (``site=None``) or several with equal rows, ``{"in": x, "out": y}``, and over several models,
    ``{"a": model, "b": copy}``, whose sites are then "a:blocks.2.hook_resid_post" and so on.

    site:     a site, several (a crosscoder), or a ``sk.Wiring`` (``sk.Wiring.transcoder(2)``).
    method:   such as ``sk.TopK(d_sae=1024, k=16)``; or a list of them, which learn side by side on one pass over the
              model, each exactly as it would alone; ``run.dictionaries`` has them in order.
    tokens:   counted tokens to train on (default: one pass over an array or a store).
    warm_up, decay: tokens over which the learning rate rises, and falls at the end.
    dead_after: tokens without a firing after which a latent is dead.
    labels:   for methods that need them: concepts of the corpus by name, or an array [n, concepts] beside an array.
    exclude:  special tokens that are not counted, by their text; "special": all that the tokenizer has.
    context:  tokens in a row at most, BOS included (default: what the model can).
    dtype:    of products; torch.bfloat16 (weights and Adam's moments stay in float32) where the device multiplies it
              natively, else torch.float32; torch.float64 for everything.
    kernels:  "auto" takes the fastest way there is; "reference" plain torch, for comparison; "cpu" and "triton" are
              kept to or refused.
    out:      a folder for config, metrics.jsonl, checkpoint and dictionary; the same call on an interrupted one goes
              on, on a finished one returns it. None keeps all in memory.
    callback: called with a Progress now and then (``sk.TrainingMonitor()`` draws it), of several dictionaries with the
              first one's numbers; default: a line of text.
    Raises ValueError when ``out`` holds another run (naming the fields), a method needs what the source does not have,
    activations or the loss are not finite.
    """
    if former:
        raise TypeError(
            "train's configuration= is called method now."
            if "configuration" in former
            else f"train takes no {next(iter(former))}=; see help(sk.train)."
        )
    methods = _methods(method)
    _check_numbers(tokens, batch_size, lr, warm_up, decay, dead_after, kernels)
    kind = None if dtype is None else as_dtype(dtype, TRAINED_IN)
    source = Source.of(model, corpus, labels, exclude, context)
    wiring, tokens, where = source.wiring(site), source.tokens(tokens), source.device(device)
    if all(each.learner == "fit" for each in methods):  # they take all tokens at once
        batch_size = tokens
    if batch_size < processes.count():
        raise ValueError(f"batch_size={batch_size} is less than a token for each of {processes.count()} processes.")
    stream = source.stream(wiring, methods, batch_size, seed)
    settings = Settings(
        steps=max(1, tokens // batch_size),
        batch_size=batch_size,
        lr=lr,
        warm_up=warm_up,
        decay=decay,
        dead_after=dead_after,
        seed=seed,
        device=where,
        dtype=kind or default_dtype(where),
        kernels=kernels,
    )
    learners = [make_learner(each, wiring, stream.widths, settings) for each in methods]
    _warn_of_narrow(methods, stream.widths)
    session = Session(stream, learners, tokens, batch_size, seed)
    folder = None if out is None else Path(out)
    if folder is not None:
        config = describe(session, source, settings, methods, not isinstance(method, Method))
        if (done := _begin(session, folder, config, resume, settings)) is not None:
            return done
    finished = session.run(folder, callback)
    dictionaries = session.folded()
    if finished:
        finished = _finish(source, dictionaries, folder, min(tokens, LATENT_MAX_TOKENS))
    return Run(dictionaries, session.records, folder, finished)


def _begin(session: Session, folder: Path, config: Any, resume: bool, settings: Settings) -> Run | None:
    """Open the folder of a run: what it holds where that run is finished; else None, and the session goes on from the
    checkpoint there, or begins. Of processes that train together the first opens it, and all of them must see it."""
    checkpoint, count = folder / "checkpoint.safetensors", len(session.learners)
    whole = torch.tensor(processes.first() and open_folder(folder, config, resume, count)).int()
    if bool(processes.from_process(whole, 0)):
        if processes.first():  # a run that was killed right after its dictionary was saved
            checkpoint.unlink(missing_ok=True)
        kind = weights_dtype(settings.dtype)
        done = [read_dictionary(place, kind).to(settings.device) for place in places(folder, count)]
        return Run(done, read_records(folder / "metrics.jsonl"), folder)
    if checkpoint.is_file():
        session.resume(folder)
    elif processes.first():  # what a run wrote that was killed before its first checkpoint is written again
        (folder / "metrics.jsonl").unlink(missing_ok=True)
    return None


def _methods(method: Any) -> list[Method]:
    methods = list(method) if isinstance(method, Sequence) and not isinstance(method, str) else [method]
    if not methods or not all(isinstance(each, Method) for each in methods):
        hint = ""
        if isinstance(method, type) and issubclass(method, Method):
            hint = f" (call it: {method.__name__}(d_sae=…))"
        raise ValueError(
            f"train takes a method such as sk.TopK(d_sae=1024, k=16), or a list of them, found {method!r}{hint}."
        )
    return methods


def _check_numbers(
    tokens: Any, batch_size: Any, lr: Any, warm_up: Any, decay: Any, dead_after: Any, kernels: str
) -> None:
    checked(kernels, CHOICES, "kernels")
    lengths = {"tokens": tokens, "batch_size": batch_size, "dead_after": dead_after}
    for name, value in lengths.items():
        if value is not None and value < 1:
            raise ValueError(f"{name} must be at least 1, found {value}.")
    for name, value in {"warm_up": warm_up, "decay": decay}.items():
        if value is not None and value < 0:
            raise ValueError(f"{name} is a number of tokens from 0, found {value}.")
    if lr is not None and not lr > 0:
        raise ValueError(f"lr must be above 0, found {lr}; leave it out for the default.")


def _finish(source: Source, dictionaries: list[Dictionary], folder: Path | None, tokens: int) -> bool:
    """Measure ``latent_max``, and save; False when it was stopped."""
    try:
        for dictionary in dictionaries:
            _measure_latent_max(source, dictionary, tokens)
        if folder is not None and processes.first():
            for dictionary, place in zip(dictionaries, places(folder, len(dictionaries)), strict=True):
                dictionary.save(place)
            (folder / "checkpoint.safetensors").unlink(missing_ok=True)
    except KeyboardInterrupt:
        print("stopped while latent_max was measured; what was trained is kept.")
        return False
    return True


def _warn_of_narrow(methods: list[Method], widths: dict[str, int]) -> None:
    """Say once that a dictionary has fewer latents than its site has dimensions."""
    site, width = max(widths.items(), key=lambda item: item[1])
    narrow = [each.d_sae for each in methods if each.d_sae < width and each.learner != "fit"]
    if narrow and processes.first():
        warnings.warn(
            f"d_sae = {min(narrow)} is less than the width of {site!r}, {width}: so few latents cannot span it "
            f"(d_sae is mostly 4 to 32 times the width, here {4 * width} or more).",
            stacklevel=3,
        )


def _measure_latent_max(source: Source, dictionary: Dictionary, tokens: int) -> None:
    model, corpus = source.model, source.corpus
    if isinstance(model, ActivationStore):
        parts = []
        for number in range(len(model.shards)):
            parts.append({site: x.float() for site, x in model.shard(number, dictionary.reads).items()})
            if sum(len(part[dictionary.reads[0]]) for part in parts) >= tokens:
                break
        model, corpus = None, {site: torch.cat([part[site] for part in parts]) for site in dictionary.reads}
    elif source.is_array:
        model, corpus = None, model
    measure_latent_max(model, dictionary, corpus, tokens=tokens, exclude=source.exclude, context=source.context)
