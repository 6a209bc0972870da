"""FitLearner: a dictionary that is made of all tokens at once (PCA, ICA): they are kept until the last one is read."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from saekit.dictionaries import Dictionary
from saekit.files.checkpoints import below
from saekit.objectives import Batch, State, squared_error
from saekit.training.learners.learner import Learner


class FitLearner(Learner):
    """``initialise`` makes the dictionary; activations are not scaled."""

    def __init__(self, *given: Any) -> None:
        super().__init__(*given)
        self.kept: dict[str, list[Tensor]] = {}

    def initialise(self, sample: Batch, scales: Mapping[str, float]) -> None:
        """Nothing yet: all tokens are the sample."""

    def check_foldable(self, batch: Batch, scales: Mapping[str, float]) -> None:
        """Nothing is folded."""

    @torch.no_grad()
    def update(self, whole: Batch, scales: Mapping[str, float], step: int, measure: bool) -> dict[str, float] | None:
        """Keep the tokens; at the last step make the dictionary of all of them. Numbers at the last step alone."""
        for site, x in whole.flat().reads.items():
            self.kept.setdefault(site, []).append(x.cpu())
        if step + 1 < self.settings.steps:
            return None
        kept = {site: torch.cat(parts).to(self.since_fired.device) for site, parts in self.kept.items()}
        self.dictionary.initialise(Batch(kept, kept), State(seed=self.settings.seed))
        loss = squared_error(self.dictionary, whole)
        self.counts = self._counted(loss, len(loss.error))
        self.count()
        return self.measured(whole, loss)

    def tensors(self, prefix: str) -> dict[str, Tensor]:
        """Also the tokens kept so far."""
        kept = {f"{prefix}kept/{site}": torch.cat(parts) for site, parts in self.kept.items()}
        return super().tensors(prefix) | kept

    def restore(self, tensors: dict[str, Tensor], prefix: str) -> None:
        """Also the tokens kept so far."""
        super().restore(tensors, prefix)
        self.kept = {site: [x] for site, x in below(tensors, f"{prefix}kept/").items()}

    def folded(self, scales: Mapping[str, float], provenance: dict[str, Any], tokens: int) -> Dictionary:
        """A copy as it is: nothing was scaled."""
        return super().folded({}, provenance, tokens)
