"""TextReader: what the streams of training read of a model, or of several at the same tokens: activations, and beside
them labels and gradients where a method asks for them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor

from saekit.activations.finite import check_finite
from saekit.activations.given import GivenTokens
from saekit.activations.shuffled import GRADIENT, LABELS
from saekit.activations.source import Readable, in_parts, read_source
from saekit.activations.tokens import TokenRows, concept_masks, tokenize
from saekit.corpora import Corpus, Document
from saekit.files.choices import unknown
from saekit.models import (
    SeveralModels,
    Site,
    by_model,
    check_site,
    describe_model,
    forward,
    joined,
    joined_width,
    together,
)
from saekit.models.bos import bos_of

if TYPE_CHECKING:
    from transformer_lens.model_bridge import TransformerBridge

Item = Document | int
"""A document of a corpus, or the number of a row of a token tensor."""


class TextReader:
    """The activations of a source's texts. models: by name, "" where there is one.

    Raises ValueError for an empty source, an unknown site or concept, and models that do not read the same tokens."""

    def __init__(
        self,
        model: TransformerBridge | Mapping[str, TransformerBridge],
        sites: Sequence[str],
        source: Readable,
        labels: Sequence[str] | Tensor | None = None,
        gradients: bool = False,
        exclude: Sequence[str] | str = (),
        context: int | None = None,
    ) -> None:
        self.model = together(model)
        self.models: Mapping[str, Any] = self.model if isinstance(self.model, SeveralModels) else {"": self.model}
        self.sites = [Site(site) for site in sites]
        for site in self.sites:
            check_site(self.model, site)
        self.widths: dict[str, int] = {site: joined_width(self.model, site) for site in self.sites}
        self.source = read_source(source, self.model, context)
        if next(in_parts(self.source, 1), None) is None:
            raise ValueError("the corpus is empty: there is nothing to train on.")
        self.labels, self.gradients, self.exclude, self.context = labels, gradients, exclude, context
        self.concepts = self._concepts()

    @property
    def endless(self) -> bool:
        """Whether the source has no end."""
        return isinstance(self.source, Corpus) and self.source.endless

    @property
    def provenance(self) -> dict[str, Any]:
        """Model and corpus; of several models their names and hashes by name."""
        made = describe_model(self.model)
        if isinstance(self.source, Corpus):
            made |= {"corpus": self.source.provenance, "prepend_bos": bos_of(self.model) is not None}
        return made

    def columns(self) -> dict[str, int]:
        """Everything that ``read`` gives, by name, and how wide it is."""
        gradients = {GRADIENT + site: width for site, width in self.widths.items()} if self.gradients else {}
        return self.widths | gradients | ({LABELS: self.concepts} if self.concepts else {})

    def rows(self, items: Sequence[Item]) -> TokenRows:
        """The tokens of documents, or of rows of a token tensor."""
        if isinstance(self.source, GivenTokens):
            return tokenize(self.model, self.source[torch.tensor(items)], exclude=self.exclude)
        texts = [item.text for item in items if isinstance(item, Document)]
        return tokenize(self.model, texts, exclude=self.exclude, context=self.context)

    def read(
        self, part: TokenRows, items: Sequence[Item], batches: Int[Tensor, " row"]
    ) -> dict[str, Float[Tensor, "row position d"]]:
        """Each column at the rows of a part, where and in the precision in which the model gives it; what stands at
        padding means nothing. items: those that the rows' ``documents`` number. batches: the number that each row's
        batch has in an error."""
        found: dict[str, Tensor] = {}
        for own in by_model(self.model, self.sites):
            hooks = [*own.hooks.values()]
            if self.gradients:
                kept, gradients = _with_gradients(own.model, part, hooks)
                found |= {GRADIENT + site: gradients[hook] for site, hook in own.hooks.items()}
            else:
                kept = forward(own.model, part.tokens, hooks, lengths=part.lengths).kept
            found |= {site: joined(kept[hook], site) for site, hook in own.hooks.items()}
        for name, h in found.items():
            if not bool(torch.isfinite(h[part.mask]).all()):
                first = int((~torch.isfinite(h).flatten(2).all(2) & part.mask).any(1).nonzero()[0])
                check_finite(h[first][part.mask[first]], name, int(batches[first]))
        if self.concepts:
            found[LABELS] = self._labels(part, items)
        return {name: found[name] for name in self.columns()}

    def _concepts(self) -> int:
        """How many labels a token has."""
        if self.labels is None:
            return 0
        if isinstance(self.source, GivenTokens):
            given, shape = torch.as_tensor(self.labels), self.source.ids.shape
            if given.shape[:2] != shape or given.ndim not in (2, 3):
                raise ValueError(
                    f"labels of tokens {list(shape)} are [row, position] or [row, position, concepts], "
                    f"found {list(given.shape)}."
                )
            self.labels = self.source.aligned(given.view(*shape, -1))
            return self.labels.shape[2]
        if (found := getattr(self.labels, "shape", None)) is not None:
            raise ValueError(
                f"labels of a corpus are names of its concepts, found an array of shape {tuple(found)}: arrays go with "
                "arrays and token tensors."
            )
        names = [self.labels] if isinstance(self.labels, str) else list(self.labels)
        known = list(self.source.concepts)
        for name in names:
            if name not in known:
                raise ValueError(unknown(f"corpus {self.source.name!r} labels no", name, known))
        self.labels = names
        return len(names)

    def _labels(self, part: TokenRows, items: Sequence[Item]) -> Tensor:
        if isinstance(self.labels, Tensor):
            return self.labels[torch.tensor(items)[part.documents]].float()
        masks = concept_masks(part, [item for item in items if isinstance(item, Document)])
        none = torch.zeros_like(part.mask)
        return torch.stack([masks.get(name, none) for name in self.labels or ()], -1).float()


def _with_gradients(model: Any, part: TokenRows, hooks: list[str]) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """Activations, and ∂L/∂x of each row's mean cross-entropy L of its next tokens, in the clean model."""
    predicts = part.predicts
    passed = forward(model, part.tokens, hooks, logits=predicts, gradients=True)
    kept = {hook: passed.kept[hook] for hook in hooks}
    if not predicts.any():
        return _detached(kept), {hook: torch.zeros_like(h) for hook, h in kept.items()}
    assert passed.logits is not None
    following = part.tokens.roll(-1, 1)[predicts].to(passed.logits.device)
    losses = F.cross_entropy(passed.logits.float(), following, reduction="none")
    counts = predicts.sum(1, keepdim=True).clamp_min(1).expand_as(predicts)[predicts].to(losses)
    found = torch.autograd.grad((losses / counts).sum(), list(kept.values()))
    return _detached(kept), dict(zip(hooks, found, strict=True))


def _detached(kept: dict[str, Tensor]) -> dict[str, Tensor]:
    return {hook: h.detach() for hook, h in kept.items()}
