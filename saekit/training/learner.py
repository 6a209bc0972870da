"""Learner: one dictionary in training, its optimiser and what is counted of it. Batches come scaled (see loop)."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import Any

import torch
from saekit_kernels import using
from torch import Tensor

from saekit.dictionaries import Dictionary, DictionaryConfiguration, Provenance
from saekit.engines import processes
from saekit.models.safely import below, optimizer_tensors, restore_optimizer
from saekit.training.objectives import find_objective

Batch = Mapping[str, Tensor]


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


class Learner:
    def __init__(
        self,
        configuration: DictionaryConfiguration,
        widths: Mapping[str, int],
        steps: int,
        batch_size: int,
        lr: float | None,
        seed: int,
        device: torch.device,
        dtype: torch.dtype,
        kernels: str = "auto",
    ) -> None:
        self.steps, self.batch_size = steps, batch_size
        self.dtype, self.kernels = dtype, kernels
        self.lr = lr if lr is not None else default_rate(configuration.d_sae, steps)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            self.dictionary: Dictionary = configuration.build(widths, widths).to(device, weights_dtype(dtype))
        self.objective = find_objective(configuration.objective)
        learned = [p for p in self.dictionary.parameters() if p.requires_grad]
        fused = device.type in ("cpu", "cuda")
        self.optimizer = torch.optim.Adam(learned, lr=self.lr, fused=fused, foreach=not fused)
        self.dead_after = min(10_000_000, max(steps * batch_size // 20, batch_size))
        self.since_fired = torch.zeros(configuration.d_sae, dtype=torch.int64, device=device)

    def update(self, whole: Batch, step: int, measure: bool) -> dict[str, float] | None:
        """One step; returns its numbers when they are asked for. Processes that train together take a share of the
        batch each and add up their gradients."""
        batch = {site: x[processes.number() :: processes.count()] for site, x in whole.items()}
        dictionary, parameter = self.dictionary, self.dictionary.decoder_directions
        dictionary.progress = step / self.steps
        for group in self.optimizer.param_groups:
            group["lr"] = self.lr * self.schedule(step)
        mixed = torch.autocast(parameter.device.type, torch.bfloat16, enabled=self.dtype == torch.bfloat16)
        with using(self.kernels), mixed:
            loss = self.objective(batch, batch, dictionary, self.since_fired > self.dead_after)
        if not bool(torch.isfinite(loss.total)):
            raise ValueError(
                f"the loss became {float(loss.total.detach())} at step {step}: try a smaller lr (now {self.lr:g})."
            )
        if processes.count() == 1:
            loss.total.backward()
        else:
            (loss.total * (len(loss.error) / self.batch_size)).backward()
            for learned in self.optimizer.param_groups[0]["params"]:
                learned.grad = processes.summed(torch.zeros_like(learned) if learned.grad is None else learned.grad)
        if dictionary.unit_norm_decoder and parameter.grad is not None:
            # The step along a row would only change its norm.
            along = torch.einsum("fd,fd->f", parameter.grad, parameter.detach())
            parameter.grad.addcmul_(parameter.detach(), along[:, None], value=-1)
        self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=True)
        if dictionary.unit_norm_decoder:
            with torch.no_grad():
                parameter.div_(parameter.norm(dim=1, keepdim=True).clamp_min(1e-12))
        codes = loss.codes.detach()
        dictionary.observe(codes)
        fired = torch.zeros_like(self.since_fired, dtype=torch.bool)
        fired[codes.indices[codes.values != 0].long()] = True
        if processes.count() > 1:
            fired = processes.summed(fired.int()) > 0
        self.since_fired = torch.where(fired, 0, self.since_fired + self.batch_size)
        if not measure:
            return None
        x = dictionary.join_writes(whole)
        spread = (x - x.mean(0)).square().sum()
        share = len(loss.error) / len(x)
        kind = torch.promote_types(x.dtype, torch.float32)
        sums = torch.stack([(loss.total.detach() * share).to(kind), loss.error.to(kind).sum(), codes.l0.sum().to(kind)])
        total, error, active = processes.summed(sums).tolist()
        return {
            "loss": total,
            "explained_variance": 1 - error / float(spread),
            "l0": active / len(x),
            "dead": int((self.since_fired > self.dead_after).sum()),
        }

    def schedule(self, step: int) -> float:
        warm = min(200, max(1, self.steps // 20))
        return min(1.0, (step + 1) / warm, (self.steps - step) / max(1, self.steps // 5))

    def tensors(self, prefix: str) -> dict[str, Tensor]:
        """Everything that a checkpoint must hold of it."""
        found = {f"{prefix}dictionary/{name}": tensor for name, tensor in self.dictionary.state_dict().items()}
        found |= optimizer_tensors(self.optimizer, f"{prefix}optimizer/")
        return found | {f"{prefix}since_fired": self.since_fired}

    def restore(self, tensors: dict[str, Tensor], prefix: str) -> None:
        self.dictionary.load_state_dict(below(tensors, f"{prefix}dictionary/"))
        restore_optimizer(self.optimizer, tensors, f"{prefix}optimizer/")
        self.since_fired = tensors[f"{prefix}since_fired"].to(self.since_fired.device)

    def folded(self, scale: float, provenance: dict[str, Any], tokens: int, seed: int) -> Dictionary:
        """A copy of the dictionary for activations as the model gives them."""
        dictionary = copy.deepcopy(self.dictionary).eval()
        dictionary.progress = 1.0
        if scale:
            dictionary.rescale(scale)
        dictionary.provenance = Provenance(
            model=provenance["model"],
            model_hash=provenance["model_hash"],
            processing=provenance["processing"],
            corpus=provenance.get("corpus"),
            tokens=tokens,
            seed=seed,
        )
        return dictionary.requires_grad_(False)
