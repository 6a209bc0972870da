"""GradientLearner: Adam, the decoder's gradient projected before it."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from saekit_kernels import using
from torch import Tensor

from saekit.dictionaries import Method, Wiring
from saekit.engines import processes
from saekit.engines.memory import keep_freed
from saekit.files.checkpoints import optimizer_tensors, restore_optimizer
from saekit.objectives import Batch, Loss, add_row_gradient
from saekit.training.learners.learner import Learner, first_tokens, picked, rows_of, scaled
from saekit.training.settings import Settings

EPSILON = 1e-10
"""Adam's ε. The loss is a mean over tokens and dimensions, so that an element's gradient falls as 1 / (n · d), at 8,192
tokens of width 2,304 below torch's default of 1e-8, which would slow wide dictionaries down."""


class GradientLearner(Learner):
    """A dictionary trained by Adam, whose rate follows the run's schedule."""

    def __init__(self, method: Method, wiring: Wiring, widths: Mapping[str, int], settings: Settings) -> None:
        super().__init__(method, wiring, widths, settings)
        if settings.device.type == "cpu":
            keep_freed()
        self.lr = settings.rate(method.d_sae)
        groups = [{**group, "lr": self.lr * group.get("factor", 1.0)} for group in self.dictionary.groups()]
        fused = settings.device.type in ("cpu", "cuda")
        self.optimizer = torch.optim.Adam(groups, lr=self.lr, eps=EPSILON, fused=fused, foreach=not fused)

    def update(self, whole: Batch, scales: Mapping[str, float], step: int, measure: bool) -> dict[str, float] | None:
        """Loss, backward pass, projection, Adam's step, norms, the method's own ``after_step``, counting."""
        self.seen = first_tokens(whole)
        whole = scaled(whole, scales)
        dictionary, state = self.dictionary, self.state(step, scales)
        batch, state.part = _share(whole)
        state.row_gradient = getattr(type(dictionary).loss, "fused", False)
        for group in self.optimizer.param_groups:
            group["lr"] = self.lr * group.get("factor", 1.0) * self.settings.schedule(step)
        loss = self.loss(batch, state)
        self._backward(loss, rows_of(loss, state))
        for part in (dictionary.encoder, dictionary.decoder):
            part.before_step()
        dictionary.before_step(state)
        self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=True)
        for part in (dictionary.encoder, dictionary.decoder):
            part.after_step()
        loss = loss._replace(codes=loss.codes.detach())
        dictionary.after_step(batch, loss, state)
        self.count()
        return self.measured(whole, loss) if measure else None

    def _backward(self, loss: Loss, whole: int) -> None:
        """Gradients of all processes, added up; whole: rows of the batch, of which this process has a share. A row
        gradient goes the plain way: summed by latent, then what ``before_step`` projects, Adam, what ``after_step``
        normalises."""
        together = processes.count() > 1
        share = len(loss.error) / whole
        if loss.total.requires_grad:
            (loss.total * share if together else loss.total).backward()
        elif loss.row_gradient is None:
            raise ValueError(
                f"the loss of {type(self.dictionary).__name__} has no gradient: nothing that it is made of is learned."
            )
        if loss.row_gradient is not None:
            d = self.dictionary
            with using(self.settings.kernels):
                rows = (d.encoder_directions, d.encoder_bias, d.decoder_directions, d.decoder_bias)
                add_row_gradient(loss.row_gradient, *rows, share=share)
        if together:
            for group in self.optimizer.param_groups:
                for learned in group["params"]:
                    learned.grad = processes.summed(torch.zeros_like(learned) if learned.grad is None else learned.grad)

    def tensors(self, prefix: str) -> dict[str, Tensor]:
        """Also Adam's moments."""
        return super().tensors(prefix) | optimizer_tensors(self.optimizer, f"{prefix}optimizer/")

    def restore(self, tensors: dict[str, Tensor], prefix: str) -> None:
        """Also Adam's moments."""
        super().restore(tensors, prefix)
        restore_optimizer(self.optimizer, tensors, f"{prefix}optimizer/")


def _share(whole: Batch) -> tuple[Batch, tuple[int, int] | None]:
    """This process's part of a batch: rows one after the other, and which of how many they are."""
    if processes.count() == 1:
        return whole, None
    n = len(next(iter(whole.reads.values())))
    first, end = (n * number // processes.count() for number in (processes.number(), processes.number() + 1))
    return picked(whole, slice(first, end)), (first, n)
