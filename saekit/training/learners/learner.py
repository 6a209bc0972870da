"""Learner: one dictionary in training, and what is counted of it."""

from __future__ import annotations

import copy
import math
from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import replace
from typing import Any, NamedTuple

import torch
from jaxtyping import Float, Int
from saekit_kernels import SparseCodes, using
from torch import Tensor

from saekit.dictionaries import Dictionary, Method, Provenance, Wiring, latents_in
from saekit.dictionaries.cross_layer import built
from saekit.engines import processes
from saekit.engines.threads import working_with
from saekit.files.checkpoints import below
from saekit.objectives import Batch, Loss, State
from saekit.training.batches import constant
from saekit.training.settings import Settings, weights_dtype

FOLDED_TOKENS, FOLDED_ERROR = 256, 1e-3
LEAST_TOKENS, ROUGHLY = 32, 0.04
DENSITY_RATE = 0.01


class Counts(NamedTuple):
    """since_fired: tokens since each latent fired; density: the running share of tokens in which it does; n_dead: how
    many were silent for longer than the dead window."""

    since_fired: Int[Tensor, " d_sae"]
    density: Float[Tensor, " d_sae"]
    n_dead: float


class Learner(ABC):
    """Batches come as the model gives them; a learner divides them by the scales of their sites."""

    def __init__(self, method: Method, wiring: Wiring, widths: Mapping[str, int], settings: Settings) -> None:
        self.settings = settings
        with torch.random.fork_rng(devices=[]):
            torch.default_generator.manual_seed(settings.seed)  # torch.manual_seed would seed the user's GPUs too
            dictionary = built(method, wiring, widths)
        if not isinstance(dictionary, Dictionary):
            raise TypeError(f"{type(method).__name__}.build gave a {type(dictionary).__name__}, not a Dictionary.")
        self.dictionary = dictionary.to(settings.device, weights_dtype(settings.dtype))
        self.since_fired = torch.zeros(self.dictionary.d_sae, dtype=torch.int64, device=settings.device)
        self.density = torch.zeros(self.dictionary.d_sae, device=settings.device)
        self.dead_window = settings.dead_window(method.wanted_density)
        self.n_dead = 0  # the sum of ``dead``: the host is told once a step
        self.counts: Counts  # what the step of the last loss leaves
        self.memory: dict[str, Tensor] = {}
        self.seen: Batch | None = None  # some tokens of the last batch, as the model gave them

    @abstractmethod
    def update(self, whole: Batch, scales: Mapping[str, float], step: int, measure: bool) -> dict[str, float] | None:
        """One step; its numbers when they are asked for. Processes that train together give the whole batch to each."""

    def initialise(self, sample: Batch, scales: Mapping[str, float]) -> None:
        """Before the first step."""
        self.dictionary.initialise(scaled(sample, scales), self.state(0, scales))
        self.make_room()

    @torch.no_grad()
    def finalise(self, recent: Batch, scales: Mapping[str, float], step: int) -> None:
        """After the last step; recent: tokens as the model gave them."""
        with using(self.settings.kernels):
            self.dictionary.finalise(scaled(recent, scales), self.state(step, scales))

    def check_foldable(self, batch: Batch, scales: Mapping[str, float]) -> None:
        """Before the first step: raise ValueError where what is trained could not be folded in the end. Roughly: where
        thresholds begin at an activation, a few codes hang on rounding, which of a small batch is much."""
        if next(iter(batch.flat().reads.values())).shape[0] < LEAST_TOKENS:
            return
        dictionary = copy.deepcopy(self.dictionary).eval()
        dictionary.rescale(scales)
        check_folding(dictionary, self.dictionary, first_tokens(batch), scales, ROUGHLY)

    @property
    def dead(self) -> Tensor:
        """[d_sae], True for latents that were silent for longer than the dead window."""
        return self.since_fired > self.dead_window

    def make_room(self) -> None:
        """What is counted of latents that have joined."""
        grown = self.dictionary.d_sae - len(self.since_fired)
        if grown > 0:
            self.since_fired = torch.cat([self.since_fired, self.since_fired.new_zeros(grown)])
            self.density = torch.cat([self.density, self.density.new_zeros(grown)])

    def state(self, step: int, scales: Mapping[str, float]) -> State:
        """What the loss of a step may know of the run."""
        settings = self.settings
        return State(
            step=step,
            steps=settings.steps,
            tokens=step * settings.batch_size,
            scales=scales,
            dead=self.dead,
            n_dead=self.n_dead,
            density=self.density,
            memory=self.memory,
            seed=settings.seed,
        )

    def loss(self, batch: Batch, state: State) -> Loss:
        """The loss of a step, and what it would leave counted. Raises ValueError for a loss of another shape, and one
        that is not finite."""
        dictionary, settings = self.dictionary, self.settings
        device = self.since_fired.device.type
        mixed = torch.autocast(device, torch.bfloat16, enabled=settings.dtype == torch.bfloat16)
        with using(settings.kernels), mixed:
            loss = dictionary.loss(batch, state)
        check_loss(loss, dictionary, batch)
        self.counts = self._counted(loss, rows_of(loss, state))
        if math.isnan(self.counts.n_dead):
            raise ValueError(
                f"the loss became {float(loss.total.detach())} at step {state.step}: try a smaller lr "
                f"(now {settings.rate(dictionary.method.d_sae):g})."
            )
        return loss

    @torch.no_grad()
    def _counted(self, loss: Loss, rows: int) -> Counts:
        """What a step with this loss leaves; rows: of the whole batch, which are more than its tokens where each of
        several sites is coded. n_dead is NaN where the loss is not finite. So one number tells the host
        both, and a GPU is waited for once a step."""
        fired = torch.zeros_like(self.since_fired)
        fired.index_add_(0, loss.codes.indices.long(), (loss.codes.values != 0).long())
        fired, n = processes.summed(fired), self.settings.batch_size
        since_fired = torch.where(fired > 0, 0, self.since_fired + n)
        density = torch.lerp(self.density, fired.to(self.density) / rows, DENSITY_RATE)
        n_dead = (since_fired > self.dead_window).sum()
        return Counts(since_fired, density, float(n_dead + 0 * loss.total.float()))  # 0 · NaN = 0 · ∞ = NaN

    def count(self) -> None:
        """The step of the last loss is made: when each latent fired last, how often it does, how many are dead."""
        self.since_fired, self.density, n_dead = self.counts
        self.n_dead = int(n_dead)

    def measured(self, whole: Batch, loss: Loss) -> dict[str, float]:
        """Numbers of a step over all processes; whole: the scaled batch of all of them."""
        x = self.dictionary.join_writes(whole.flat().writes)
        with working_with(1):  # several would add up in another order
            spread, share = float((x - x.mean(0)).square().sum()), len(loss.error) / len(x)
        kind = torch.promote_types(x.dtype, torch.float32)
        total, active = (loss.total.detach() * share).to(kind), loss.codes.l0.sum().to(kind)
        parts = [torch.as_tensor(part).detach().to(total) * share for part in loss.parts.values()]
        sums = processes.summed(torch.stack([total, loss.error.to(kind).sum(), active, *parts])).tolist()
        numbers = {
            "loss": sums[0],
            "explained_variance": float("nan") if constant(x) or not spread else 1 - sums[1] / spread,
            "l0": sums[2] / len(x),
            "dead": self.n_dead,
        }
        return numbers | dict(zip(loss.parts, sums[3:], strict=True))

    def tensors(self, prefix: str) -> dict[str, Tensor]:
        """Everything that a checkpoint must hold of it."""
        found = {f"{prefix}dictionary/{name}": tensor for name, tensor in self.dictionary.state_dict().items()}
        found |= {f"{prefix}memory/{name}": tensor for name, tensor in self.memory.items()}
        return found | {f"{prefix}since_fired": self.since_fired, f"{prefix}density": self.density}

    def restore(self, tensors: dict[str, Tensor], prefix: str) -> None:
        """Go on from what ``tensors`` gave."""
        device, state = self.since_fired.device, below(tensors, f"{prefix}dictionary/")
        if latents_in(state) != self.dictionary.d_sae:
            self.dictionary.resize(latents_in(state))
        self.dictionary.load_state_dict(state)
        self.memory = {name: x.to(device) for name, x in below(tensors, f"{prefix}memory/").items()}
        self.since_fired = tensors[f"{prefix}since_fired"].to(device)
        self.density = tensors[f"{prefix}density"].to(device)
        self.n_dead = int(self.dead.sum())

    def folded(self, scales: Mapping[str, float], provenance: dict[str, Any], tokens: int) -> Dictionary:
        """A copy of the dictionary for activations as the model gives them.

        Raises ValueError where the copy does not give what the trained one gave: a method whose ``rescale`` is wrong.
        """
        dictionary = copy.deepcopy(self.dictionary).eval()
        if scales:
            dictionary.rescale(scales)
            if self.seen is not None:
                check_folding(dictionary, self.dictionary, self.seen, scales)
        made: dict[str, Any] = {key: provenance.get(key) for key in ("model", "model_hash", "corpus", "prepend_bos")}
        dictionary.provenance = Provenance(
            **made, processing=provenance["processing"], tokens=tokens, seed=self.settings.seed
        )
        return dictionary.requires_grad_(False)


def rows_of(loss: Loss, state: State) -> int:
    """Of the whole batch, where this process has a part of it too."""
    return len(loss.error) if state.part is None else state.part[1]


def scaled(batch: Batch, scales: Mapping[str, float]) -> Batch:
    """x_s / scale_s, and gradients in these units."""
    reads = {site: x / scales[site] for site, x in batch.reads.items()}
    same = batch.writes is batch.reads
    writes = reads if same else {site: x / scales[site] for site, x in batch.writes.items()}
    gradients = batch.gradients and {site: g * scales[site] for site, g in batch.gradients.items()}
    return replace(batch, reads=reads, writes=writes, gradients=gradients)


def first_tokens(batch: Batch) -> Batch:
    """A few, for the check of what was folded."""
    return picked(batch, slice(0, FOLDED_TOKENS))


def picked(batch: Batch, some: slice) -> Batch:
    """The same batch with some of its rows."""

    def of(mapping: Mapping[str, Tensor] | None) -> Any:
        return mapping and {site: x[some] for site, x in mapping.items()}

    rows = batch.rows and type(batch.rows)(*[x[some] for x in batch.rows])
    labels = None if batch.labels is None else batch.labels[some]
    reads = of(batch.reads)
    writes = reads if batch.writes is batch.reads else of(batch.writes)
    return replace(batch, reads=reads, writes=writes, rows=rows, gradients=of(batch.gradients), labels=labels)


def check_loss(loss: Loss, dictionary: Dictionary, batch: Batch) -> None:
    """Raise TypeError or ValueError for a loss that is not total, error of each token, and codes."""
    who, tokens = f"the loss of {type(dictionary).__name__}", len(next(iter(batch.flat().reads.values())))
    if not isinstance(loss, Loss):
        raise TypeError(f"{who} is a saekit.objectives.Loss(total, error, codes), found {type(loss).__name__}.")
    if not isinstance(loss.total, Tensor) or loss.total.ndim:
        found: Any = list(loss.total.shape) if isinstance(loss.total, Tensor) else type(loss.total).__name__
        raise ValueError(f"{who} has a total that is a scalar tensor, found {found}.")
    if not isinstance(loss.error, Tensor) or loss.error.shape != (tokens,):
        found = list(loss.error.shape) if isinstance(loss.error, Tensor) else type(loss.error).__name__
        raise ValueError(f"{who} has an error for each of the {tokens} tokens, [{tokens}], found {found}.")
    if not isinstance(loss.codes, SparseCodes) or loss.codes.d_sae != dictionary.d_sae:
        found = loss.codes.d_sae if isinstance(loss.codes, SparseCodes) else type(loss.codes).__name__
        raise ValueError(f"{who} has SparseCodes of {dictionary.d_sae} latents, found {found}.")


@torch.no_grad()
def check_folding(
    folded: Dictionary, trained: Dictionary, seen: Batch, scales: Mapping[str, float], most: float = FOLDED_ERROR
) -> None:
    """Raise ValueError where x̂ · scale of the trained dictionary and x̂ of the folded one differ by more than 3 % of
    their spread (``most``, its square)."""
    seen = seen.flat()
    trained.eval()
    expected, found = trained(scaled(seen, scales).reads), folded(seen.reads)
    trained.train()
    if isinstance(expected, Tensor):
        expected, found = {trained.writes[0]: expected}, {trained.writes[0]: found}  # type: ignore[dict-item]
    for site, x_hat in expected.items():
        x_hat = x_hat * scales[site]
        missed, spread = (found[site] - x_hat).square().sum(), (x_hat - x_hat.mean(0)).square().sum()
        if not float(missed) <= most * float(spread) + 1e-6 * float(x_hat.square().sum()):
            shared = {id(p) for p in trained.encoder.parameters()} & {id(p) for p in trained.decoder.parameters()}
            instead = (
                "Encoder and decoder share a parameter, which cannot grow as both should where sites have different "
                "scales: give each its own, or override rescale."
                if shared
                else "Override rescale (and codes_scale) so that every parameter and buffer beside the encoder's and "
                "decoder's grows as it should."
            )
            raise ValueError(
                f"{type(trained).__name__}.rescale does not give back what was trained: at {site!r} its reconstruction "
                f"changed by {float(missed / spread) ** 0.5:.1%} of its spread. {instead}"
            )
