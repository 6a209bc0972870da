"""train: the one entrance. Adam with warm-up and decay on shuffled activations; unit-norm decoder rows; resumable.

Each site's inputs are scaled to mean square 1 a dimension and the scale is folded back into the weights, so that one
learning rate serves any site. Adam's learning rate defaults to 3e-3 · √(1024 / d_sae), up to three times that in short
runs (`default_rate`), warmed up over 5 % of the run (200 steps at most) and brought to zero over its last fifth. A
latent is dead when it has not fired for 5 % of the run, or for what one that is ten times as rare as the mean needs to
fire once with near certainty (`Settings.dead_window`). ``latent_max`` is measured at the end on the last
100,000 tokens of a model that were trained on, or on rows of the array or store (see latent_max).

Activations of a model or a store are shuffled 32 batches at a time (``chunk_tokens`` in the run's config.json), in
512 MiB at most, or 4 GiB of a GPU; an array in all its rows. On a GPU, and on a CPU where the work takes one of several
threads, the next ones are read while these are trained on, to the same bits.
"""

from __future__ import annotations

import inspect
import os
import warnings
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from saekit_kernels.dispatch import CHOICES, checked
from torch import Tensor

from saekit.activations import ActivationStore, ArrayStream
from saekit.activations.outliers import USUAL
from saekit.corpora import Corpus
from saekit.dictionaries import Dictionary, Method, Wiring, read_dictionary
from saekit.engines import processes
from saekit.engines.threads import working_with
from saekit.files import make_folder
from saekit.files.arguments import whole
from saekit.files.choices import no_argument
from saekit.files.locks import writing_in
from saekit.files.paths import resolved
from saekit.files.progress import say
from saekit.files.roles import ACTIVATIONS, CORPUS, METHOD, MODEL, MODELS, SITE, check_roles
from saekit.interventions.checks import check_order
from saekit.interventions.standing import Standing
from saekit.models import as_dtype, together
from saekit.training import latent_max
from saekit.training.arguments import MEANT, length, methods_in, optional, rate, times
from saekit.training.folder import (
    CHECKPOINT,
    END,
    as_begun,
    describe,
    former_ends,
    go_on,
    keep_chunks,
    open_folder,
    written_config,
)
from saekit.training.learners import FitLearner, Learner, make_learner
from saekit.training.memory import look_before
from saekit.training.run import Progress, Run, is_finished, places, read_records
from saekit.training.session import Session
from saekit.training.settings import TRAINED_IN, Settings, default_dtype, weights_dtype
from saekit.training.sources import Source

if TYPE_CHECKING:
    from transformer_lens.model_bridge import TransformerBridge


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
    max_norm_multiple: float | None = USUAL,
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

    model:    what is read, as above.
    site:     a site, several (a crosscoder), or a ``sk.Wiring`` (``sk.Wiring.transcoder(2)``).
    method:   such as ``sk.TopK(d_sae=1024, k=16)``; or a list of them, which learn side by side on one pass over the
              model, each exactly as it would alone; ``run.dictionaries`` has them in order.
    corpus:   what ``load_corpus`` gives, a list of strings, or token ids; None beside arrays and stores.
    tokens:   counted tokens to train on (default: one pass over an array or a store). A finished run in ``out`` whose
              tokens alone have grown goes on: the learning rate rises again, and falls at the new end; the dictionary
              of the former end is kept in ends/<tokens>.
    batch_size: tokens a step. lr: Adam's highest learning rate; default by the number of latents and steps
              (``sk.training.default_rate``). seed: of the first weights and of the order.
    warm_up, decay: tokens over which the learning rate rises, and falls at the end.
    dead_after: tokens without a firing after which a latent is dead; default: 5 % of the run, or if that is more
              46 d_sae / k, in which one that is ten times as rare as the mean has fired (``Settings.dead_window``).
    labels:   for methods that need them: concepts of the corpus by name, or an array [n, concepts] beside an array.
    exclude:  special tokens that are not counted, by their text; "special": all that the tokenizer has.
    context:  tokens in a row at most, BOS included (default: what the model can).
    max_norm_multiple: tokens whose norm at a site is above so many times the median there are left out, counted
              (``left_out`` in the records) and said: a few of a hundred times the norm would be all that is learned.
              None: none is left out.
    device:   default where the model or the array lies.
    dtype:    of products; torch.bfloat16 (weights and Adam's moments stay in float32) where the device multiplies it
              natively, else torch.float32; torch.float64 for everything.
    kernels:  "auto" takes the fastest way there is; "reference" plain torch, for comparison; "cpu" and "triton" are
              kept to or refused.
    out:      a folder for config, metrics.jsonl, checkpoint and dictionary; the same call on an interrupted one goes
              on, on a finished one returns it. None keeps all in memory. resume=False refuses a folder that
              holds a run.
    callback: called with a Progress now and then (``sk.TrainingMonitor()`` draws it), of several dictionaries with the
              first one's numbers; default: a line of text. Nothing is read meanwhile, so that it may run the model.
    Returns a ``Run``: its ``dictionary`` (or ``dictionaries``), ``metrics``, a frame, and ``finished``. For example
    ``run = sk.train(model, "blocks.2.hook_resid_post", sk.TopK(d_sae=1024, k=16), corpus, tokens=500_000)``.
    Raises ValueError when ``out`` holds another run (naming the fields), a method needs what the source does not have,
    a model reaches what would be read only after what would be written (it could never run with the dictionary),
    activations or the loss are not finite.
    """
    if former:
        raise TypeError(no_argument("train", next(iter(former)), ARGUMENTS, MEANT))
    call = "sk.train(model, site, method, corpus)"
    read_from, made_of = (MODEL, MODELS, ACTIVATIONS), None if isinstance(method, Mapping) else method
    check_roles(call, model=(model, read_from), site=(site, SITE), method=(made_of, METHOD), corpus=(corpus, CORPUS))
    methods = methods_in(method)
    checked(kernels, CHOICES, "kernels")
    tokens, lr = optional(whole, "tokens", tokens), optional(rate, "lr", lr)
    batch_size, dead_after = whole("batch_size", batch_size), optional(whole, "dead_after", dead_after)
    warm_up, decay = (optional(length, name, each) for name, each in (("warm_up", warm_up), ("decay", decay)))
    multiple, seed = optional(times, "max_norm_multiple", max_norm_multiple), whole("seed", seed, 0)
    kind = None if dtype is None else as_dtype(dtype, TRAINED_IN)
    source = Source.of(model, corpus, labels, exclude, context)
    wiring, tokens, where = source.wiring(site), source.tokens(tokens), source.device(device)
    if all(each.learner == "fit" for each in methods):  # they take all tokens at once
        batch_size = tokens
    if batch_size < processes.count():
        raise ValueError(f"batch_size={batch_size} is less than a token for each of {processes.count()} processes.")
    stream = source.stream(wiring, methods, batch_size, seed, multiple, where, tokens)
    folder = None if out is None else resolved(out, "out")
    if folder is not None:
        keep_chunks(folder, stream)
    ends = former_ends(folder, tokens) if folder is not None and resume else []
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
        begun=ends[-1] // batch_size if ends else 0,
    )
    if folder is not None and resume:
        settings = as_begun(settings, folder)
    room = look_before(methods, wiring, settings, stream)
    learners = [make_learner(each, wiring, stream.widths, settings) for each in methods]
    if source.reads_text and not wiring.same:
        check_order(together(source.model), Standing(learners[0].dictionary))
    _warn_of_narrow(methods, stream.widths)
    session = Session(stream, learners, tokens, batch_size, seed, room)
    if folder is None:
        with working_with(session.threads):
            return _trained(session, source, folder, callback)
    several = not isinstance(method, Method | Mapping)
    config = describe(session, source, settings, methods, several)
    with _writer(folder, tokens, len(methods)), working_with(session.threads):
        if ends:
            config["gone_on_at"] = ends
            till_then = as_begun(replace(settings, steps=max(1, ends[-1] // batch_size)), folder)
            before = {"tokens": ends[-1]} | ({"gone_on_at": ends[:-1]} if ends[1:] else {})
            shorter = describe(session, source, till_then, methods, several) | before
            if processes.first() and go_on(folder, config, shorter, len(methods)):
                lengths = settings.lengths()
                say(
                    f"goes on from {ends[-1]:,} to {tokens:,} tokens: the learning rate rises again, over "
                    f"{lengths['warm_up']:,} tokens, and falls over the last {lengths['decay']:,}."
                )
        done = _begin(session, folder, config, resume, settings)
        return done or _trained(session, source, folder, callback)


def _writer(folder: Path, tokens: int, count: int) -> AbstractContextManager[None]:
    """The folder held by this process, or by the first of those that train together; a finished run is only read."""
    there = written_config(folder)
    is_read = there.get("tokens", 0) >= tokens and is_finished(folder, there, places(folder, count))
    if is_read or not processes.first():
        return nullcontext()
    make_folder(folder)
    return writing_in(folder, "run")


def _trained(session: Session, source: Source, folder: Path | None, callback: Callable[[Progress], Any] | None) -> Run:
    finished = session.run(folder, callback)
    if processes.first():
        _say(session, finished)
    dictionaries = session.folded()
    if finished:
        finished = _finish(source, dictionaries, folder, session)
    return Run(dictionaries, session.records, folder, finished)


ARGUMENTS = [name for name in inspect.signature(train).parameters if name != "former"]


def _begin(session: Session, folder: Path, config: Any, resume: bool, settings: Settings) -> Run | None:
    """Open the folder of a run: what it holds where that run is finished; else None, and the session goes on from the
    checkpoint there, or begins. Of processes that train together the first opens it, and all of them must see it."""
    checkpoint, count = folder / CHECKPOINT, len(session.learners)
    whole = torch.tensor(processes.first() and open_folder(folder, config, resume, count)).int()
    if bool(processes.from_process(whole, 0)):
        if processes.first() and checkpoint.is_file():  # a run that was killed right after its dictionary was saved
            _keep_end(folder, session.learners)
        kind = weights_dtype(settings.dtype)
        done = [read_dictionary(place, kind).to(settings.device) for place in places(folder, count)]
        return Run(done, read_records(folder / "metrics.jsonl"), folder)
    if checkpoint.is_file():
        session.resume(folder)
    elif processes.first():  # what a run wrote that was killed before its first checkpoint is written again
        (folder / "metrics.jsonl").unlink(missing_ok=True)
    return None


def _finish(source: Source, dictionaries: list[Dictionary], folder: Path | None, session: Session) -> bool:
    """Measure ``latent_max``, and save; False when it was stopped."""
    try:
        for dictionary in dictionaries:
            latent_max.measure(dictionary, source, session.stream, session.last, session.tokens)
        if folder is not None and processes.first():
            for dictionary, place in zip(dictionaries, places(folder, len(dictionaries)), strict=True):
                dictionary.save(place)
            _keep_end(folder, session.learners)
    except KeyboardInterrupt:
        say("stopped while latent_max was measured; what was trained is kept, and the same call measures it.")
        return False
    return True


def _keep_end(folder: Path, learners: Sequence[Learner]) -> None:
    """The last state, from which the run can go on with more tokens; a fit, which takes all at once, cannot."""
    if any(isinstance(learner, FitLearner) for learner in learners):
        (folder / CHECKPOINT).unlink(missing_ok=True)
    else:
        os.replace(folder / CHECKPOINT, folder / END)


def _say(session: Session, finished: bool) -> None:
    """What a run has to say of itself, once."""
    stream, last = session.stream, session.records[-len(session.learners) :]
    if stream.left_out:
        where = "rows of the array" if isinstance(stream, ArrayStream) else "tokens"
        say(
            f"left out {stream.left_out:,} {where}, whose norm is above {stream.max_norm_multiple:g} times the median "
            f"(max_norm_multiple={stream.max_norm_multiple:g}; None leaves none out)."
        )
    worse = [
        (record, learner)
        for record, learner in zip(last, session.learners, strict=False)
        if "worse_than_mean" in record
    ]
    if finished and worse:
        record, learner = min(worse, key=lambda each: each[0]["explained_variance"])
        rate = getattr(learner, "lr", None)
        say(
            f"training ended worse than the mean: with x̂ = the mean of the activations the error would be smaller "
            f"(explained variance {record['explained_variance']:.3g})"
            + (f"; try a smaller lr (now {rate:g}) or more tokens." if rate is not None else ".")
        )


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
