"""How much memory a run needs where it trains, before it begins: and so how large a dictionary, which batch fits.

States are counted: weights, and of what is learned its gradient and Adam's two moments (16 bytes a parameter in
float32), buffers, and 12 bytes a latent of what is counted of it. What a step holds beside them is estimated: ``held``
of the method times its pre-activations, of all tokens or of a chunk, and a few copies of the batch. The sum is 1.1 to
1.5 times the peak of a run on a CPU whose tensors are each given back at once
(``tests/training/test_memory_needed.py``). The room above is for the holes that an allocator leaves between tensors:
with glibc's own threshold the sum was .94 to 1.47 of the peak, from run to run. Not in it: the model, which is there
already, and what it holds while it runs; what a fit (PCA, ICA) needs; temporaries of the reference kernels; what coding
4,096 tokens holds when latent_max is measured in the end; and on a CPU up to 512 MB that are kept for the next step
(engines/memory.py).
"""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from saekit_kernels.encode.chunked import CHUNK_BYTES

from saekit.dictionaries import Dictionary, Method, Wiring
from saekit.dictionaries.cross_layer import built
from saekit.engines import processes
from saekit.files.arguments import whole
from saekit.files.durations import spoken_bytes
from saekit.files.memory import Room, room_on
from saekit.models import as_device, as_dtype
from saekit.training.latent_max import LastTokens
from saekit.training.settings import TRAINED_IN, Settings, default_dtype, weights_dtype

COUNTED = 12  # bytes a latent: when it fired last, and how often it does
COPIES = 8  # of a batch: as it comes, scaled, read, its reconstruction, the residual, their gradients
MOST = 0.9  # of what is free


@dataclass(frozen=True)
class MemoryNeeded:
    """Bytes that training needs on its device.

    states: weights, gradients, moments, and what is counted of each latent.
    step:   the most that a step holds beside them.
    stream: activations that wait for their turn or are kept for latent_max, and the states of dictionaries that learn
            beside this one.
    d_sae, batch_size: of the run. The rest is what these are made of: ``per_latent`` bytes of states a latent,
    ``dense`` bytes a token and latent, ``chunk`` bytes of them at most, ``per_token`` bytes of a batch's copies."""

    d_sae: int
    batch_size: int
    states: int
    stream: int
    per_latent: float
    dense: float
    chunk: float
    per_token: float

    @property
    def step(self) -> int:
        """The most that a step holds beside the states."""
        return int(min(self.dense * self.batch_size * self.d_sae, self.chunk) + self.per_token * self.batch_size)

    @property
    def total(self) -> int:
        """All of it."""
        return self.states + self.step + self.stream

    def largest_d_sae(self, free: float) -> int:
        """The most latents for which so many bytes are enough, all else as it is; 0 where none are.

        free: bytes."""
        left = free - self.total + self.states + self.step - (self.states - self.per_latent * self.d_sae)
        left -= self.per_token * self.batch_size
        whole_batch = left / (self.per_latent + self.dense * self.batch_size)
        return rounded_down(max(whole_batch, (left - self.chunk) / self.per_latent))

    def largest_batch(self, free: float) -> int:
        """The most tokens a step for which so many bytes are enough, all else as it is; 0 where none are.

        free: bytes."""
        left = free - self.states - self.stream
        dense = left / (self.dense * self.d_sae + self.per_token)
        return rounded_down(max(dense, (left - self.chunk) / self.per_token))

    def __repr__(self) -> str:
        parts = {"states": self.states, "a step": self.step, "activations that wait or are kept": self.stream}
        listed = ", ".join(f"{spoken_bytes(size)} {name}" for name, size in parts.items())
        return (
            f"MemoryNeeded: {spoken_bytes(self.total)} to train d_sae={self.d_sae:,} with "
            f"batch_size={self.batch_size:,}\n({listed}; the model comes on top)"
        )


def memory_needed(
    method: Method,
    width: int | Mapping[str, int],
    batch_size: int = 1024,
    *,
    wiring: Wiring | None = None,
    dtype: str | torch.dtype | None = None,
    device: str | torch.device = "cpu",
    chunk_tokens: int = 0,
) -> MemoryNeeded:
    """How much memory ``sk.train`` needs for a dictionary where it trains, beside the model.

    method:       such as ``sk.TopK(d_sae=65_536, k=32)``.
    width:        of the site, ``model.cfg.d_model`` of the residual stream; of several by site.
    batch_size:   tokens a step.
    wiring:       default: each site is read and written (of several a crosscoder).
    dtype, device: as for ``sk.train``.
    chunk_tokens: activations of a model that are shuffled together, in float32, while as many more are read beside; 0
                  for an array of one's own.
    Returns a ``MemoryNeeded``, whose ``total`` is in bytes, and whose ``largest_d_sae(free)`` and
    ``largest_batch(free)`` say what would fit. For example
    ``sk.training.memory_needed(sk.TopK(d_sae=65_536), 2304, device="cuda").largest_d_sae(80e9)``.
    Raises ValueError for a width or batch size below 1.
    """
    widths = {str(site): whole("width", each) for site, each in width.items()} if isinstance(width, Mapping) else {}
    widths = widths or {"x": whole("width", width)}
    where = as_device(device)
    settings = Settings(
        steps=1,
        batch_size=whole("batch_size", batch_size),
        device=where,
        dtype=default_dtype(where) if dtype is None else as_dtype(dtype, TRAINED_IN),
    )
    waiting = 2 * 4 * whole("chunk_tokens", chunk_tokens, 0) * sum(widths.values())
    wiring = wiring or Wiring(list(widths))
    return of_dictionary(method, built_of(method, wiring, widths), settings, waiting)


def built_of(method: Method, wiring: Wiring, widths: Mapping[str, int]) -> Dictionary:
    """The method's dictionary without its memory: shapes alone."""
    with torch.device("meta"):
        return built(method, wiring, widths)


def waiting_bytes(stream: Any) -> int:
    """Of the activations that a stream holds: a chunk, and the next one where it is read beside the training."""
    size = getattr(stream, "token_bytes", 0)  # an array, or rows of text, have no chunks
    return stream.chunk_tokens * size * (2 if stream.ahead else 1) if size else 0


def kept_bytes(dictionary: Dictionary, settings: Settings, stream: Any) -> int:
    """Of the last activations of a model that are trained on, of which latent_max is measured; they are kept on the
    CPU."""
    if not getattr(stream, "models", None) or settings.device.type != "cpu":
        return 0
    widths = dictionary.read_widths.values()
    last = LastTokens.of_run(dictionary, settings.batch_size, settings.steps)
    return last.wanted * (max(widths) if dictionary.wiring.each else sum(widths)) * 4


def of_dictionary(method: Method, dictionary: Dictionary, settings: Settings, beside: int = 0) -> MemoryNeeded:
    """What training one needs. beside: bytes of all else."""
    kind = weights_dtype(settings.dtype)
    of_weights, of_products = kind.itemsize, settings.dtype.itemsize
    copies = 4 if method.learner == "gradient" else 3  # a growing dictionary is copied into a larger one
    layers = len(dictionary.reads) if dictionary.wiring.layerwise else 1  # d_sae is a layer's
    now, per_latent, states = dictionary.d_sae // layers, float(COUNTED * layers), COUNTED * layers * method.d_sae
    for x in (*dictionary.parameters(), *dictionary.buffers()):
        learned = isinstance(x, torch.nn.Parameter) and (x.requires_grad or method.learner == "growing")
        size = of_weights * (copies if learned else 1)
        if now in x.shape:
            per_latent += size * x.numel() / now
            states += size * x.numel() // now * method.d_sae
        else:
            states += size * x.numel()
    read, written = (sum(widths.values()) for widths in (dictionary.read_widths, dictionary.write_widths))
    times, chunked, a_token = method.held
    if of_products < of_weights:  # the encoder's rows are cast each step
        per_latent += of_products * read
        states += of_products * read * method.d_sae
    plain = settings.kernels == "reference" or settings.device.type not in ("cpu", "cuda")
    chunk = times * CHUNK_BYTES.get(settings.device.type, 2**30) if chunked and not plain else float("inf")
    return MemoryNeeded(
        d_sae=method.d_sae,
        batch_size=settings.batch_size,
        states=states,
        stream=beside,
        per_latent=per_latent,
        dense=layers * times * (of_products if chunked else of_weights),
        chunk=chunk,
        per_token=COPIES * of_weights * (read + written) / 2 + a_token,
    )


def of_run(
    methods: Sequence[Method], dictionaries: Sequence[Dictionary], settings: Settings, stream: Any
) -> MemoryNeeded:
    """What training them side by side on a stream needs, told of the largest."""
    waiting = waiting_bytes(stream) + kept_bytes(dictionaries[0], settings, stream)
    alone = [of_dictionary(*each, settings) for each in zip(methods, dictionaries, strict=True)]
    largest = max(alone, key=lambda each: each.total)
    return replace(largest, stream=waiting + sum(each.states for each in alone) - largest.states)


def look_before(methods: Sequence[Method], wiring: Wiring, settings: Settings, stream: Any) -> Room | None:
    """What the device has left before a run; None where that is not known. Warns of a run that takes nearly all of it
    or more, with the most latents that fit. Raises ValueError where states alone are more than the device has at all.

    A run that is sure to be small is not looked at: the shapes of a dictionary without its memory cost seconds the
    first time."""
    room, widths = room_on(settings.device), sum(stream.widths.values())
    if room is None:
        return None
    roughly = sum(method.d_sae * (40 * widths + 60 * settings.batch_size) for method in methods)
    if roughly < room.free / 2 or any(method.learner == "fit" for method in methods):
        return room
    needed = of_run(methods, [built_of(method, wiring, stream.widths) for method in methods], settings, stream)
    free, most = spoken_bytes(room.free), needed.largest_d_sae(MOST * room.free)
    fits = f"at most d_sae={most:,} fits" if most else "no dictionary fits"
    what = f"d_sae={needed.d_sae:,} at width {widths:,} needs"
    if needed.states + needed.stream > room.total:
        raise ValueError(
            f"{what} {spoken_bytes(needed.states)} of states, more than the {spoken_bytes(room.total)} that "
            f"{settings.device} has: {fits} beside what is there already."
        )
    if needed.total > MOST * room.free and processes.first():
        warnings.warn(
            f"{what} about {spoken_bytes(needed.total)} ({spoken_bytes(needed.states)} of states) beside {free} free "
            f"on {settings.device}; {fits}.",
            stacklevel=4,
        )
    return room


def would_have_fitted(needed: MemoryNeeded, room: Room | None, device: torch.device) -> str:
    """Said when memory has run out in a step: what was tried, what was free before the run, the largest batch that by
    this estimate would have fitted; at most half of what did not."""
    tried = f"memory ran out on {device} in a step of batch_size={needed.batch_size:,} with d_sae={needed.d_sae:,}"
    if room is None:
        return f"{tried}: take a smaller batch_size."
    had = f"about {spoken_bytes(needed.total)} are needed and {spoken_bytes(room.free)} were free before the run"
    batch = rounded_down(min(needed.largest_batch(MOST * room.free), needed.batch_size / 2))
    if batch:
        return f"{tried}: {had}; batch_size={batch:,} would have fitted."
    return f"{tried}: {had}; no batch would have fitted, at most d_sae={needed.largest_d_sae(MOST * room.free):,}."


def rounded_down(number: float) -> int:
    """To a multiple of 1,024, of fewer of 64, of fewer a power of two; 0 below 1."""
    n = max(0, int(number))
    step = 1024 if n >= 16_384 else 64 if n >= 64 else 1 << max(n.bit_length() - 1, 0)
    return n // step * step
