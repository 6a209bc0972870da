"""Edit: one change of a model's activations, said in latents of a dictionary or as a vector.

At a site, with h as it arrives in this forward (earlier edits included) and z = encode(h):
h' = h + decode(z') − decode(z).
The error h − decode(z) is kept by construction. add: z'_i = z_i + strength · latent_max_i. ablate: z'_i = 0.
With a vector v: h' = h + strength · v.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from saekit_kernels import SparseCodes
from torch import Tensor

from saekit.dictionaries import Dictionary

MODES = ("add", "ablate", "clamp", "minimum", "orthogonal", "project")
READY = ("add", "ablate")


@dataclass(frozen=True, eq=False)
class Edit:
    """What is changed, by how much, at which tokens.

    source:   a dictionary, or a vector [d] added to the activation.
    latent:   the latent or latents of a dictionary.
    mode:     "add" or "ablate"; "clamp", "minimum", "orthogonal" and "project" are not there yet.
    strength: of "add", in multiples of the latent's maximum (``latent_max``), or of the vector.
    tokens:   "all", "prompt", "generated" (with a KV cache, the default of generate), or positions in the sequence as
              the model sees it, BOS included; negative ones count from the prompt's end.
    site:     where; default the dictionary's own site.
    """

    source: Dictionary | Tensor
    latent: int | Sequence[int] | None = None
    mode: str = "add"
    strength: float = 1.0
    tokens: str | int | Sequence[int] = "all"
    site: str | None = None

    def __post_init__(self) -> None:
        if self.mode not in MODES:
            raise ValueError(f"mode is one of {', '.join(MODES)}, found {self.mode!r}.")
        if self.mode not in READY:
            raise NotImplementedError(f"mode {self.mode!r} is not there yet; {' and '.join(READY)} are.")
        if isinstance(self.tokens, str) and self.tokens not in ("all", "prompt", "generated"):
            raise ValueError(f"tokens is 'all', 'prompt', 'generated' or positions, found {self.tokens!r}.")
        if isinstance(self.source, Dictionary):
            if self.latent is None:
                raise ValueError("an edit through a dictionary needs a latent.")
            wrong = [i for i in self.latents if not 0 <= i < self.source.d_sae]
            if wrong:
                raise ValueError(f"latent {wrong[0]} is not in 0 … {self.source.d_sae - 1}.")
            if self.mode == "add" and bool(torch.isnan(self.source.latent_max[self.latents]).any()):
                raise ValueError(
                    "a strength is in multiples of latent_max, which this dictionary lacks: measure it with "
                    "sk.measure_latent_max(model, sae, corpus)."
                )
        else:
            if self.latent is not None or self.mode != "add":
                raise ValueError("a vector can only be added, and has no latent.")
            if self.site is None:
                raise ValueError("an edit by a vector needs a site.")

    @property
    def latents(self) -> list[int]:
        if self.latent is None:
            return []
        return [self.latent] if isinstance(self.latent, int) else [int(i) for i in self.latent]

    @property
    def where(self) -> str:
        """The site the edit is made at."""
        if self.site is not None:
            return self.site
        assert isinstance(self.source, Dictionary)
        return self.source.site

    def change(self, h: Tensor) -> Tensor:
        """h' − h at every token of h [..., d]."""
        if not isinstance(self.source, Dictionary):
            return (self.strength * self.source.to(h)).expand_as(h)
        sae = self.source
        x = h.to(sae.decoder_directions.dtype)
        codes = sae.encode(x)
        before, after = sae.decode(codes), sae.decode(self.edit_codes(codes))
        if isinstance(before, Mapping) or isinstance(after, Mapping):
            raise ValueError("edits through dictionaries that write several sites are not there yet.")
        return (after - before).to(h.dtype)

    def edit_codes(self, codes: SparseCodes) -> SparseCodes:
        """z' from z."""
        assert isinstance(self.source, Dictionary)
        old = codes.latent(self.latents)
        if self.mode == "ablate":
            new = torch.zeros_like(old)
        else:
            new = old + self.strength * self.source.latent_max[self.latents].to(old)
        return codes.set_latents(self.latents, new)
