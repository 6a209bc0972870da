"""Edit: one change of a model's activations, said in latents of a dictionary or as a vector.

At a site, with h as it arrives in this forward (earlier edits included) and z = encode(h):
h' = h + decode(z') − decode(z).
The error h − decode(z) is kept by construction. A transcoder codes what arrives at the site it reads, z = encode(x),
and changes the site it writes. add: z'_i = z_i + strength · latent_max_i. ablate: z'_i = 0.
With a vector v: h' = h + strength · v.
"""

from __future__ import annotations

import operator
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from saekit_kernels import SparseCodes
from torch import Tensor

from saekit.dictionaries import Dictionary

MODES = ("add", "ablate", "clamp", "minimum", "orthogonal", "project")
READY = ("add", "ablate")


@dataclass(frozen=True, eq=False)
class Edit:
    """What is changed, by how much, at which tokens.

    source:   a dictionary (one site read, one written), or a vector [d] added to the activation.
    latent:   the latent or latents of a dictionary.
    mode:     "add" or "ablate"; "clamp", "minimum", "orthogonal" and "project" are not there yet.
    strength: of "add", in multiples of the latent's maximum (``latent_max``), or of the vector.
    tokens:   "all", "prompt", "generated", or positions in the sequence as the model sees it, BOS and padding included;
              negative ones count from the prompt's end. Generate with a KV cache (the default): without one, every
              step's whole sequence is a prompt.
    site:     where; default the site the dictionary writes.
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
        if not isinstance(self.tokens, str):
            _integers(self.tokens, "a position")
        if isinstance(self.source, Dictionary):
            if len(self.source.reads) > 1 or len(self.source.writes) > 1:
                raise NotImplementedError(
                    f"edits through dictionaries of several sites are not there yet; this one reads "
                    f"{', '.join(self.source.reads)} and writes {', '.join(self.source.writes)}."
                )
            if self.latent is None:
                raise ValueError("an edit through a dictionary needs a latent.")
            wrong = [i for i in self.latents if not 0 <= i < self.source.d_sae]
            if wrong:
                raise ValueError(f"latent {wrong[0]} is not in 0 … {self.source.d_sae - 1}.")
            twice = [i for i in self.latents if self.latents.count(i) > 1]
            if twice:
                raise ValueError(f"latent {twice[0]} is named twice in one edit.")
            if self.mode == "add" and bool(torch.isnan(self.source.latent_max[self.latents]).any()):
                raise ValueError(
                    "a strength is in multiples of latent_max, which this dictionary lacks: measure it with "
                    "sk.measure_latent_max(model, sae, corpus)."
                )
        else:
            if not isinstance(self.source, Tensor):
                raise ValueError(f"source is a dictionary or a vector (a torch tensor), found {type(self.source)}.")
            if self.latent is not None or self.mode != "add":
                raise ValueError("a vector can only be added, and has no latent.")
            if self.site is None:
                raise ValueError("an edit by a vector needs a site.")

    @property
    def latents(self) -> list[int]:
        return [] if self.latent is None else _integers(self.latent, "a latent")

    @property
    def positions(self) -> list[int]:
        """The positions in ``tokens``; none where it is a word."""
        return [] if isinstance(self.tokens, str) else _integers(self.tokens, "a position")

    @property
    def where(self) -> str:
        """The site the edit is made at."""
        if self.site is not None:
            return self.site
        assert isinstance(self.source, Dictionary)
        return self.source.writes[0]

    @property
    def read(self) -> str | None:
        """The site that a transcoder reads; None where z = encode(h)."""
        if isinstance(self.source, Dictionary) and self.source.reads != self.source.writes:
            return self.source.reads[0]
        return None

    def change(self, h: Tensor, x: Tensor | None = None) -> Tensor:
        """h' − h at every token of h [..., d_out]; x [..., d_in] is what the dictionary reads where that is not h."""
        if not isinstance(self.source, Dictionary):
            return (self.strength * self.source.to(h)).expand_as(h)
        sae = self.source
        codes = sae.encode((h if x is None else x).to(sae.decoder_directions))
        before, after = sae.decode(codes), sae.decode(self.edit_codes(codes))
        assert isinstance(before, Tensor) and isinstance(after, Tensor)
        return (after - before).to(h)

    def edit_codes(self, codes: SparseCodes) -> SparseCodes:
        """z' from z."""
        assert isinstance(self.source, Dictionary)
        old = codes.latent(self.latents)
        if self.mode == "ablate":
            new = torch.zeros_like(old)
        else:
            new = old + self.strength * self.source.latent_max[self.latents].to(old)
        return codes.set_latents(self.latents, new)


def _integers(value: Any, what: str) -> list[int]:
    """One integer or several, as Python's; NumPy's and torch's are taken too."""
    try:
        return [operator.index(value)]
    except TypeError:
        pass
    try:
        return [operator.index(i) for i in value]
    except TypeError as error:
        raise ValueError(f"{what} is an integer (or a sequence of them), found {value!r}.") from error
