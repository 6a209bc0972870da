"""Edit: one change of a model's activations, said in latents of a dictionary or as a vector.

At a site, with h as it arrives in this forward (earlier edits included) and z = encode(h):
h' = h + decode(z') − decode(z).
The error h − decode(z) is kept by construction. A transcoder codes what arrives at the site it reads, z = encode(x),
and changes the site it writes; a dictionary that writes several sites changes each of them. Modes: see ``modes``.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, TypeGuard

import numpy as np
import torch
from torch import Tensor

from saekit.activations.arrays import as_array
from saekit.dictionaries import Dictionary
from saekit.dictionaries.latent_number import latent_number
from saekit.dictionaries.wanted import dictionary_of
from saekit.files.arguments import number, whole
from saekit.files.choices import checked
from saekit.files.roles import EDIT, RUN, role_of
from saekit.interventions.modes import DEFAULT_STRENGTH, MODES, OF_DIRECTIONS, OF_LATENTS
from saekit.interventions.parts import CodesPart, DirectionsPart
from saekit.interventions.standing import Standing
from saekit.models import Site

NEEDS_LATENT_MAX = ("add", "clamp", "minimum", "project")


@dataclass(frozen=True, eq=False, repr=False)
class Edit:
    """What is changed, by how much, at which tokens.

    source:   a dictionary, or a vector [d] in activation space; or several of either: a sequence of dictionaries, a
              matrix [n, d] or a sequence of vectors.
    latent:   the latent or latents of a dictionary; of several dictionaries, a sequence with an entry for each.
    mode:     with s the strength, m_i = latent_max_i, d_i the decoder row and v_i = m_i d_i
              add         z'_i = z_i + s m_i;       of vectors h' = h + s Σ v
              ablate      z'_i = 0
              clamp       z'_i = s m_i
              minimum     z'_i = max(z_i, s m_i)
              orthogonal  h' = (I − P) h + s P h, P the projector onto the span of the d_i, or of the vectors
              project     h' = h + min(0, s ‖v‖ − h · v̂) v̂, a cap on what lies along each v, one after the other
    strength: in multiples of the latent's maximum (``latent_max``), or of the vector; of "orthogonal" a factor on what
              is there. Default 1.0, of "orthogonal" 0.0, which takes the span away. "ablate" has none.
    tokens:   "all", "prompt", "generated", or positions in the sequence as the model sees it, BOS and padding included;
              negative ones count from the prompt's end. Generate with a KV cache (the default): without one, every
              step's whole sequence is a prompt.
    site:     where; default the site or sites the dictionary writes. Of a dictionary that writes several, one of them.
    For example ``sk.Edit(sae, latent=12, strength=4)``, or ``sk.Edit(vector, site="blocks.2.hook_resid_post")``.
    """

    role: ClassVar[str] = EDIT
    source: Dictionary | Tensor | Sequence[Dictionary] | Sequence[Tensor]
    latent: int | Sequence[int] | Sequence[Sequence[int]] | None = None
    mode: str = "add"
    strength: float = None  # type: ignore[assignment]  # 1.0; of "orthogonal" 0.0
    tokens: str | int | Sequence[int] = "all"
    site: str | None = None

    def __post_init__(self) -> None:
        checked("mode", self.mode, MODES)
        strength = DEFAULT_STRENGTH[self.mode] if self.strength is None else number("strength", self.strength)
        object.__setattr__(self, "strength", strength)
        if role_of(self.source) == RUN:
            runs: Any = self.source
            made = [dictionary_of(run) for run in runs] if isinstance(runs, list | tuple) else dictionary_of(runs)
            object.__setattr__(self, "source", made)
        elif isinstance(self.source, np.ndarray):
            object.__setattr__(self, "source", as_array(self.source))
        if isinstance(self.tokens, str) and self.tokens not in ("all", "prompt", "generated"):
            raise ValueError(f"tokens is 'all', 'prompt', 'generated' or positions, found {self.tokens!r}.")
        if not isinstance(self.tokens, str):
            _integers(self.tokens, "a position")
        if self.dictionaries:
            self._check_latents()
        else:
            self._check_vectors()

    def __repr__(self) -> str:
        each = [_source(one) for one in (self.dictionaries or [self.vectors])]
        source = each[0] if len(each) == 1 else f"[{', '.join(each)}]"
        said = [source, *([] if self.latent is None else [f"latent={self.latent!r}"]), f"mode={self.mode!r}"]
        said += [] if self.mode == "ablate" else [f"strength={self.strength:g}"]
        said += [] if self.tokens == "all" else [f"tokens={self.tokens!r}"]
        return f"Edit({', '.join(said)}{'' if self.site is None else f', site={self.site!r}'})"

    # -- what it is made of ------------------------------------------------------------------------------------------

    @property
    def dictionaries(self) -> tuple[Dictionary, ...]:
        """The dictionaries of the source; none where it is a vector or several."""
        if isinstance(self.source, Dictionary):
            return (self.source,)
        return tuple(self.source) if _are_dictionaries(self.source) else ()

    @property
    def vectors(self) -> Tensor:
        """The vectors of the source, [n, d]."""
        v = self.source if isinstance(self.source, Tensor) else torch.stack(list(self.source))  # type: ignore[arg-type]
        return v[None] if v.ndim == 1 else v

    @property
    def latents(self) -> list[int]:
        """Those of all dictionaries, one after the other."""
        return [latent for latents in self._latents() for latent in latents]

    @property
    def positions(self) -> list[int]:
        """The positions in ``tokens``; none where it is a word."""
        return [] if isinstance(self.tokens, str) else _integers(self.tokens, "a position")

    @property
    def where(self) -> str:
        """The site the edit is made at, the first of several."""
        return self.parts[0].writes[0]

    @property
    def read(self) -> str | None:
        """The site that a transcoder reads; None where z = encode(h)."""
        standing = self.parts[0].standing
        return None if standing is None or standing.reads == standing.writes else standing.reads[0]

    @property
    def standings(self) -> list[Standing]:
        """The dictionaries of the source where they stand."""
        return [Standing(dictionary, self.site) for dictionary in self.dictionaries]

    @property
    def parts(self) -> list[CodesPart] | list[DirectionsPart]:
        """The edit as steps that can be made one after the other."""
        if not self.dictionaries:
            return [DirectionsPart({Site(self.site or ""): self.vectors}, self.mode, self.strength)]
        pairs = list(zip(self.standings, self._latents(), strict=True))
        if self.mode in OF_LATENTS:
            return [CodesPart(standing, latents, self.mode, self.strength) for standing, latents in pairs]
        found: dict[Site, list[Tensor]] = {}
        for standing, latents in pairs:
            unit = standing.dictionary.latent_max[latents, None] if self.mode == "project" else 1
            for site in standing.writes:
                found.setdefault(site, []).append(unit * standing.directions(site, latents))
        return [DirectionsPart({site: torch.cat(rows) for site, rows in found.items()}, self.mode, self.strength)]

    def change(self, h: Tensor, x: Tensor | None = None) -> Tensor:
        """h' − h at every token of h [..., d_out], of an edit at one site; x [..., d_in] is what a dictionary reads
        where that is not h."""
        total: Tensor | None = None
        for part in self.parts:
            now = h if total is None else h + total
            read = {} if part.standing is None else {part.standing.reads[0]: now if x is None else x}
            codes = None if part.standing is None else part.standing.encode(read)
            move = part.move(part.writes[0], now, codes, read)
            total = move if total is None else total + move
        return torch.zeros_like(h) if total is None else total

    # -- what is refused ---------------------------------------------------------------------------------------------

    def _latents(self) -> list[list[int]]:
        """Of each dictionary."""
        if self.latent is None or not self.dictionaries:
            return []
        if isinstance(self.source, Dictionary):
            return [_integers(self.latent, "a latent")]
        entries: Any = list(self.latent) if isinstance(self.latent, Sequence | Tensor) else []
        if len(entries) != (n := len(self.dictionaries)):
            raise ValueError(
                f"{n} dictionaries need a sequence of {n}, the latent or latents of each, found {self.latent!r}."
            )
        return [_integers(entry, "a latent") for entry in entries]

    def _check_latents(self) -> None:
        if self.latent is None:
            raise ValueError("an edit through a dictionary needs a latent.")
        for dictionary, latents in zip(self.dictionaries, self._latents(), strict=True):
            for latent in latents:
                latent_number(latent, dictionary.d_sae)
            twice = [i for i in latents if latents.count(i) > 1]
            if twice:
                raise ValueError(f"latent {twice[0]} is named twice in one edit.")
            if self.mode == "project" and dictionary.standardised:
                raise ValueError(
                    "mode 'project' caps a length, which in a dictionary of standardised tokens is another one at each "
                    "token: take 'clamp' or 'orthogonal'."
                )
            self._check_unit(dictionary.latent_max[latents], latents)
        _ = self.standings  # says what is wrong with the site

    def _check_unit(self, unit: Tensor, latents: list[int]) -> None:
        """Raise ValueError where a strength has no unit; 0 of it needs none."""
        if self.mode not in NEEDS_LATENT_MAX or (self.strength == 0 and self.mode != "project"):
            return
        measure = "measure it with sk.measure_latent_max(model, sae, corpus)"
        if bool(torch.isnan(unit).any()):
            raise ValueError(f"a strength is in multiples of latent_max, which this dictionary lacks: {measure}.")
        if bool((unit == 0).any()):
            latent = latents[int((unit == 0).nonzero()[0])]
            raise ValueError(
                f"a strength is in multiples of latent_max, which is 0 for latent {latent}: it never fired on the text "
                f"that was measured, so that {self.mode!r} of any strength would do nothing; {measure} on more text."
            )

    def _check_vectors(self) -> None:
        given: list[Any] = list(self.source) if isinstance(self.source, list | tuple) else [self.source]
        wrong = next((one for one in given if not isinstance(one, Tensor)), None)
        if wrong is not None or not given:
            raise ValueError(
                "source is a dictionary, several of them, several vectors or a vector (a tensor or array), found "
                f"{'nothing' if wrong is None else type(wrong)}."
            )
        if self.latent is not None:
            raise ValueError("a vector has no latent: leave latent out, or give a dictionary.")
        if self.mode not in OF_DIRECTIONS:
            raise ValueError(
                f"mode {self.mode!r} is of latents; a vector can be added ('add'), capped ('project') or taken away "
                "('orthogonal')."
            )
        shapes = {tuple(one.shape) for one in given}
        if len(shapes) > 1 or not 1 <= given[0].ndim <= (2 if isinstance(self.source, Tensor) else 1):
            raise ValueError(f"a vector is [d], several are [n, d] or a sequence of [d], found {sorted(shapes)}.")
        if self.site is None:
            raise ValueError("an edit by a vector needs a site.")


def _source(source: Dictionary | Tensor) -> str:
    """In a few words."""
    if isinstance(source, Tensor):
        return f"vectors {list(source.shape)}" if len(source) > 1 else f"a vector [{source.shape[1]}]"
    return f"{type(source.method).__name__} at {source.wiring}"


def _are_dictionaries(source: Any) -> TypeGuard[Sequence[Dictionary]]:
    return isinstance(source, list | tuple) and bool(source) and all(isinstance(one, Dictionary) for one in source)


def _integers(value: Any, what: str) -> list[int]:
    """One integer or several, as Python's; NumPy's, torch's and whole floats are taken too."""
    single = not hasattr(value, "__iter__") or getattr(value, "ndim", 1) == 0
    try:
        return [whole(what, one, least=-(2**62)) for one in ([value] if single else value)]
    except (TypeError, ValueError) as error:
        raise ValueError(f"{what} is an integer (or a sequence of them), found {value!r}.") from error
