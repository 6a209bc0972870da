"""Settings: how a run trains; what decides its result stands in its config.json."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch

CPU = torch.device("cpu")
RARE, MISSED = 10, 0.01
"""A latent that fires so many times more rarely than the mean should be taken for dead with this probability."""
TRAINED_IN = (torch.float32, torch.float64, torch.bfloat16)


@dataclass(frozen=True)
class Settings:
    """What the learners of a run share; lengths are in tokens.

    lr:         Adam's learning rate; None: ``default_rate`` of each dictionary.
    warm_up:    tokens over which the rate rises; None: 5 % of the run, 200 steps at most.
    decay:      tokens at the end over which it falls to nothing; None: a fifth of the run.
    dead_after: tokens without a firing after which a latent is dead; None: see ``dead_window``.
    begun:      the step at which the run goes on past its former end: there the rate rises again.
    """

    steps: int
    batch_size: int
    lr: float | None = None
    warm_up: int | None = None
    decay: int | None = None
    dead_after: int | None = None
    seed: int = 0
    device: torch.device = CPU
    dtype: torch.dtype = torch.float32
    kernels: str = "auto"
    begun: int = 0

    def __post_init__(self) -> None:
        if self.device.type == "mps" and self.dtype == torch.float64:
            raise ValueError("dtype cannot be 'float64' on mps, which has none: take 'float32', or device='cpu'.")

    def dead_window(self, density: float | None) -> int:
        """Tokens after which a silent latent is dead; density: the share of tokens in which one is meant to fire.

        Where none is given, 5 % of the run, or n if that is more: the tokens in which a rare latent, of a tenth of that
        density, has fired with 99 % probability. It stays silent with (1 − density / 10)ⁿ ≈ exp(−n density / 10), so
        that n = 10 ln(100) / density. In short runs that would be much of the run: it is a quarter of it at most, so
        that the dead have the rest to learn in. A batch at least and 10M at most."""
        if self.dead_after is not None:
            return self.dead_after
        run = self.steps * self.batch_size
        chance = math.ceil(RARE * math.log(1 / MISSED) / density) if density else 0
        return min(10_000_000, max(self.twentieth, min(chance, run // 4)))

    @property
    def twentieth(self) -> int:
        """5 % of the run in tokens, a batch at least and 10M at most: once the whole rule for dead latents."""
        return min(10_000_000, max(self.steps * self.batch_size // 20, self.batch_size))

    @property
    def rise(self) -> int:
        """Steps of warm-up."""
        if self.warm_up is not None:
            return max(1, self.warm_up // self.batch_size)
        return min(200, max(1, self.steps // 20))

    @property
    def fall(self) -> int:
        """Steps of decay."""
        return max(1, self.steps // 5 if self.decay is None else self.decay // self.batch_size)

    def schedule(self, step: int) -> float:
        """The factor on the learning rate at a step, counted from 0."""
        return min(1.0, (step + 1 - self.begun) / self.rise, (self.steps - step) / self.fall)

    def lengths(self) -> dict[str, int]:
        """warm_up and decay in tokens, defaults worked out."""
        return {"warm_up": self.rise * self.batch_size, "decay": self.fall * self.batch_size}

    def rate(self, d_sae: int) -> float:
        """Adam's learning rate, before the schedule."""
        return self.lr if self.lr is not None else default_rate(d_sae, self.steps)


def default_rate(d_sae: int, steps: int) -> float:
    """Adam's learning rate where none is given: 3e-3 · √(1024 / d_sae) for long runs, up to three times that for those
    of fewer than 10,000 steps, which end before a small rate has arrived anywhere."""
    return 3e-3 * (1024 / d_sae) ** 0.5 * min(3.0, max(1.0, (10_000 / steps) ** 0.5))


def default_dtype(device: torch.device) -> torch.dtype:
    """bfloat16 where the device multiplies it natively, which is several times faster; else float32."""
    if device.type == "cuda":
        return torch.bfloat16 if torch.cuda.get_device_capability(device) >= (8, 0) else torch.float32
    native = ("_is_avx512_bf16_supported", "_is_amx_tile_supported")  # torch calls the names private
    has = any(getattr(torch.cpu, name, lambda: False)() for name in native)
    return torch.bfloat16 if device.type == "cpu" and has else torch.float32


def weights_dtype(dtype: torch.dtype) -> torch.dtype:
    """That of the weights and Adam's moments: with bfloat16 only products are made in it."""
    return torch.float32 if dtype == torch.bfloat16 else dtype
