"""GrowingLearner: a dictionary that takes latents in as it reads, without a gradient."""

from __future__ import annotations

from collections.abc import Mapping

import torch

from saekit.engines import processes
from saekit.objectives import Batch
from saekit.training.learners.learner import Learner, first_tokens, scaled


class GrowingLearner(Learner):
    """``loss`` codes a batch; ``after_step`` takes in what it finds missing, through ``resize``."""

    @torch.no_grad()
    def update(self, whole: Batch, scales: Mapping[str, float], step: int, measure: bool) -> dict[str, float] | None:
        """Code the batch, count, then let latents join. Raises ValueError where several processes train."""
        if processes.count() > 1:
            raise ValueError(f"{type(self.dictionary.method).__name__} grows, which one process does alone.")
        self.seen = first_tokens(whole)
        batch, state = scaled(whole, scales), self.state(step, scales)
        loss = self.loss(batch, state)
        self.count()
        measured = self.measured(batch, loss) if measure else None
        self.dictionary.after_step(batch, loss, state)
        self.make_room()
        return measured and measured | {"latents": self.dictionary.d_sae}
