"""train: the one loop. Adam with warm-up and decay on shuffled activations; unit-norm decoder rows; resumable.

Inputs are scaled to mean square 1 a dimension and the scale is folded back into the weights, so that one learning rate
serves any site. Adam's learning rate defaults to 3e-3 · √(1024 / d_sae), warmed up over 5 % of the run (200 steps at
most) and brought to zero over its last fifth. A latent is dead when it has not fired for min(10M, 5 % of the run's)
tokens.
"""

from __future__ import annotations

import contextlib
import copy
import json
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor
from tqdm.std import tqdm

from saekit.activations import ActivationStream, ArrayStream
from saekit.corpora import Corpus
from saekit.dictionaries import Dictionary, DictionaryConfiguration, Provenance, read_dictionary
from saekit.metrics import measure_latent_max
from saekit.models.safely import whole_step, write_atomically
from saekit.training.checkpoints import describe_source, read_checkpoint, write_checkpoint
from saekit.training.objectives import find_objective
from saekit.training.run import Progress, Run, read_records

if TYPE_CHECKING:
    from transformer_lens.model_bridge import TransformerBridge

LATENT_MAX_TOKENS = 100_000
CHECKPOINT_SECONDS = 60.0


def train(
    model: TransformerBridge | Tensor,
    site: str | Sequence[str] | None,
    configuration: DictionaryConfiguration,
    corpus: Corpus | Sequence[str] | Tensor | None = None,
    *,
    tokens: int | None = None,
    out: str | Path | None = None,
    batch_size: int = 2048,
    lr: float | None = None,
    dtype: torch.dtype | None = None,
    device: str | torch.device | None = None,
    seed: int = 0,
    callback: Callable[[Progress], Any] | None = None,
    kernels: str = "auto",
    resume: bool = True,
) -> Run:
    """Train a dictionary on a model's activations at ``site``, or on an array [n, d] of one's own (``site=None``).

    tokens:   counted tokens to train on (default: one pass over an array).
    out:      a folder for config, metrics.jsonl, checkpoint and dictionary; the same call on an interrupted one goes
              on, on a finished one returns it. None keeps all in memory.
    callback: called with a Progress now and then (``sk.TrainingMonitor()`` draws it); default: a line of text.
    Raises ValueError when ``out`` holds another run (naming the fields), activations or the loss are not finite.
    """
    if not isinstance(configuration, DictionaryConfiguration):
        raise ValueError(f"train takes one configuration such as sk.TopK(d_sae=1024, k=16), found {configuration!r}.")
    if kernels not in ("auto", "reference"):
        raise ValueError(f"kernels is 'auto' or 'reference', found {kernels!r}.")
    for name, value in {"tokens": tokens, "batch_size": batch_size}.items():
        if value is not None and value < 1:
            raise ValueError(f"{name} must be at least 1, found {value}.")
    if lr is not None and not lr > 0:
        raise ValueError(f"lr must be above 0, found {lr}; leave it out for the default.")
    stream: ActivationStream | ArrayStream
    if isinstance(model, Tensor):
        stream = ArrayStream(model, batch_size, seed)
        tokens = len(model) if tokens is None else tokens
        device = torch.device(device or model.device)
    else:
        if corpus is None or site is None:
            raise ValueError("training on a model needs a site and a corpus.")
        if tokens is None:
            raise ValueError("say how many tokens to train on, for example tokens=1_000_000.")
        stream = ActivationStream(model, [site] if isinstance(site, str) else site, corpus, batch_size, seed)
        device = torch.device(device if device is not None else str(model.cfg.device))
    dtype = dtype or torch.float32
    trainer = _Trainer(stream, configuration, tokens, batch_size, lr, seed, device, dtype)
    folder = None if out is None else Path(out)
    if folder is not None:
        if _open(folder, trainer.config, resume):
            done = read_dictionary(folder / "dictionary", dtype).to(device)
            return Run(done, read_records(folder / "metrics.jsonl"), folder)
        if (folder / "checkpoint.safetensors").is_file():
            trainer.resume(folder)
        else:  # what a run wrote that was killed before its first checkpoint is written again
            (folder / "metrics.jsonl").unlink(missing_ok=True)
    finished = trainer.run(folder, callback)
    dictionary = trainer.folded(stream.provenance)
    try:
        if finished:
            source = model if isinstance(model, Tensor) else corpus
            measured = min(tokens, LATENT_MAX_TOKENS)
            measure_latent_max(None if isinstance(model, Tensor) else model, dictionary, source, tokens=measured)  # type: ignore[arg-type]
            if folder is not None:
                dictionary.save(folder / "dictionary")
                (folder / "checkpoint.safetensors").unlink(missing_ok=True)
    except KeyboardInterrupt:
        print("stopped while latent_max was measured; the trained dictionary is kept.")
        finished = False
    return Run(dictionary, trainer.records, folder, finished)


def _open(folder: Path, config: dict[str, Any], resume: bool) -> bool:
    """Write config.json, or hold it against the one that is there; does the folder hold a finished run?"""
    file = folder / "config.json"
    text = json.dumps(config, indent=1, default=dict)
    if file.is_file() and resume:
        before, now = json.loads(file.read_text(encoding="utf-8")), json.loads(text)
        differ = [f"{key} (there {before.get(key)!r}, here {now[key]!r})" for key in now if before.get(key) != now[key]]
        if differ:
            raise ValueError(f"{folder} holds another run; it differs in {'; '.join(differ)}. Choose another out=.")
        if (folder / "dictionary" / "config.json").is_file():
            return True
    elif file.is_file() or (folder / "dictionary").exists():
        raise ValueError(f"{folder} holds a run already and resume=False would overwrite it: choose another out=.")
    write_atomically(file, lambda path: path.write_text(text, encoding="utf-8"))
    return False


class _Trainer:
    """The state of one run: dictionary, optimizer, stream, and what is counted."""

    def __init__(
        self,
        stream: ActivationStream | ArrayStream,
        configuration: DictionaryConfiguration,
        tokens: int,
        batch_size: int,
        lr: float | None,
        seed: int,
        device: torch.device,
        dtype: torch.dtype,
    ) -> None:
        self.stream, self.tokens, self.batch_size, self.seed = stream, tokens, batch_size, seed
        self.steps = max(1, tokens // batch_size)
        self.lr = lr if lr is not None else 3e-3 * (1024 / configuration.d_sae) ** 0.5
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            self.dictionary: Dictionary = configuration.build(stream.widths, stream.widths).to(device, dtype)
        self.objective = find_objective(configuration.objective)
        self.optimizer = torch.optim.Adam(self.dictionary.parameters(), lr=self.lr, foreach=True)
        self.dead_after = min(10_000_000, max(tokens // 20, batch_size))
        self.since_fired = torch.zeros(configuration.d_sae, dtype=torch.int64, device=device)
        self.step, self.scale, self.seconds = 0, 0.0, 0.0
        self.taken = stream.state  # where the stream stood after the last whole step
        self.records: list[dict[str, float]] = []
        self.config = {
            "configuration": configuration.to_json(),
            "sites": list(stream.sites),
            "tokens": tokens,
            "batch_size": batch_size,
            "lr": self.lr,
            "seed": seed,
            "dtype": str(dtype).removeprefix("torch."),
            "source": describe_source(stream),
        }

    def resume(self, folder: Path) -> None:
        state, since_fired, numbers = read_checkpoint(
            folder / "checkpoint.safetensors", self.dictionary, self.optimizer
        )
        self.stream.state = self.taken = state
        self.since_fired = since_fired.to(self.since_fired.device)
        self.step, self.scale, self.seconds = numbers["step"], numbers["scale"], numbers["seconds"]
        self.records = read_records(folder / "metrics.jsonl", numbers["step"] * self.batch_size)
        lines = "".join(json.dumps(record) + "\n" for record in self.records)
        write_atomically(folder / "metrics.jsonl", lambda path: path.write_text(lines, encoding="utf-8"))

    def run(self, folder: Path | None, callback: Callable[[Progress], Any] | None) -> bool:
        """Train to the end; False when it was interrupted, with a checkpoint left behind."""
        began, saved = time.monotonic() - self.seconds, time.monotonic()
        every = max(1, self.steps // 100)
        bar = tqdm(
            total=self.steps,
            initial=self.step,
            desc="train",
            unit="step",
            file=sys.stdout,
            disable=callback is not None,
        )
        with contextlib.ExitStack() as stack, bar:
            file = None
            if folder is not None:
                file = stack.enter_context(open(folder / "metrics.jsonl", "a", encoding="utf-8"))
            try:
                for batch in self.stream if self.step < self.steps else ():
                    with whole_step():
                        measured = self.update(batch, self.step % every == 0 or self.step + 1 == self.steps)
                        self.step, self.taken = self.step + 1, self.stream.state
                        self.seconds = time.monotonic() - began
                        if measured is not None:
                            tokens = self.step * self.batch_size
                            self.records.append({"tokens": tokens, "seconds": round(self.seconds, 3), **measured})
                            if file is not None:
                                file.write(json.dumps(self.records[-1]) + "\n")
                                file.flush()
                    bar.update()
                    if measured is not None and callback is not None:
                        callback(self.progress(measured, self.step >= self.steps))
                    if self.step >= self.steps:
                        break
                    if folder is not None and time.monotonic() - saved > CHECKPOINT_SECONDS:
                        self.save(folder)
                        saved = time.monotonic()
                if folder is not None:
                    self.save(folder)  # what follows the last step may be stopped too
            except KeyboardInterrupt:
                print(
                    f"stopped after {self.step * self.batch_size:,} of {self.tokens:,} tokens; the dictionary is kept."
                )
                if folder is not None:
                    self.save(folder)
                return False
        return True

    def progress(self, measured: dict[str, float], finished: bool) -> Progress:
        return Progress(self.step * self.batch_size, self.steps * self.batch_size, self.seconds, measured, finished)

    def save(self, folder: Path) -> None:
        numbers = {"step": self.step, "scale": self.scale, "seconds": self.seconds}
        write_checkpoint(
            folder / "checkpoint.safetensors",
            self.dictionary,
            self.optimizer,
            self.taken,
            self.since_fired,
            numbers,
        )

    def update(self, batch: Any, measure: bool) -> dict[str, float] | None:
        """One step; returns its numbers when they are asked for."""
        dictionary = self.dictionary
        parameter = dictionary.decoder_directions
        batch = {site: x.to(parameter.device, parameter.dtype) for site, x in batch.items()}
        if self.scale == 0.0:  # the first batch says how large activations are
            centred = [x - x.mean(0) for x in batch.values()]
            self.scale = float(torch.cat([c.square().mean()[None] for c in centred]).mean().sqrt()) or 1.0
            dictionary.initialise(*[{site: x / self.scale for site, x in batch.items()}] * 2)
        batch = {site: x / self.scale for site, x in batch.items()}
        for group in self.optimizer.param_groups:
            group["lr"] = self.lr * self.schedule(self.step)
        loss = self.objective(batch, batch, dictionary, self.since_fired > self.dead_after)
        if not bool(torch.isfinite(loss.total)):
            raise ValueError(
                f"the loss became {float(loss.total.detach())} at step {self.step}: try a smaller lr (now {self.lr:g})."
            )
        loss.total.backward()
        if dictionary.unit_norm_decoder and parameter.grad is not None:
            along = (parameter.grad * parameter.detach()).sum(1, keepdim=True)
            parameter.grad -= along * parameter.detach()  # the step along a row only changes its norm
        self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=True)
        if dictionary.unit_norm_decoder:
            with torch.no_grad():
                parameter.div_(parameter.norm(dim=1, keepdim=True).clamp_min(1e-12))
        codes = loss.codes.detach()
        fired = torch.zeros_like(self.since_fired, dtype=torch.bool)
        fired[codes.indices[codes.values != 0].long()] = True
        self.since_fired = torch.where(fired, 0, self.since_fired + self.batch_size)
        if not measure:
            return None
        x = dictionary.join_writes(batch)
        spread = (x - x.mean(0)).square().sum()
        return {
            "loss": float(loss.total.detach()),
            "explained_variance": float(1 - loss.error.sum() / spread),
            "l0": int(codes.l0.sum()) / len(codes),
            "dead": int((self.since_fired > self.dead_after).sum()),
        }

    def schedule(self, step: int) -> float:
        warm = min(200, max(1, self.steps // 20))
        return min(1.0, (step + 1) / warm, (self.steps - step) / max(1, self.steps // 5))

    def folded(self, provenance: dict[str, Any]) -> Dictionary:
        """A copy of the dictionary for activations as the model gives them."""
        dictionary = copy.deepcopy(self.dictionary)
        if self.scale:
            dictionary.rescale(self.scale)
        dictionary.provenance = Provenance(
            model=provenance["model"],
            model_hash=provenance["model_hash"],
            processing=provenance["processing"],
            corpus=provenance.get("corpus"),
            tokens=self.step * self.batch_size,
            seed=self.seed,
        )
        return dictionary.requires_grad_(False)
