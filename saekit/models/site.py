"""Site: the name of a place where a model's activations are read or changed, and what the name alone says about it."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Any

_IN_A_BLOCK = re.compile(r"blocks\.(\d+)\.(.+)")

RESIDUAL = ("hook_resid_pre", "hook_resid_post")
ADDED = ("hook_attn_out", "hook_mlp_out")
HEADS = ("attn.hook_q", "attn.hook_k", "attn.hook_v", "attn.hook_z")
EDITABLE = ("hook_resid_pre", *HEADS, "hook_attn_out", "hook_mlp_out", "hook_resid_post")
"""Kinds where edits may be offered, in the order of a block; check_edit_site finds out whether they are."""


class Site(str):
    """A TransformerLens hook name, such as ``blocks.2.hook_resid_post``; with the model's name and a colon before it,
    ``tuned:blocks.2.hook_resid_post``, where several models are read. It is a string, and equal to it."""

    __slots__ = ()

    @property
    def model(self) -> str | None:
        """The model's name before the colon; None where one model is read."""
        return self.rpartition(":")[0] or None

    @property
    def hook(self) -> str:
        """The TransformerLens name."""
        return self.rpartition(":")[2]

    @property
    def layer(self) -> int | None:
        """The block it lies in: 2 for ``blocks.2.hook_resid_post``, None for sites outside the blocks."""
        match = _IN_A_BLOCK.match(self.hook)
        return int(match[1]) if match else None

    @property
    def kind(self) -> str:
        """What follows the block, ``hook_resid_post`` or ``attn.hook_z``; the whole name outside the blocks."""
        match = _IN_A_BLOCK.match(self.hook)
        return match[2] if match else self.hook

    @property
    def heads(self) -> bool:
        """Whether activations come head by head, [row, position, heads, d_head]."""
        return self.layer is not None and self.kind in HEADS

    @property
    def is_residual(self) -> bool:
        """The residual stream before or after a block."""
        return self.layer is not None and self.kind in RESIDUAL

    @property
    def is_added(self) -> bool:
        """What attention or MLP add to the residual stream (in some families something else: see check_edit_site)."""
        return self.layer is not None and self.kind in ADDED

    @property
    def editable(self) -> bool:
        """Whether edits may be offered at such a site; check_edit_site finds out whether they are in a model."""
        return self.layer is not None and self.kind in EDITABLE

    def beside(self, kind: str) -> Site:
        """Another site of the same block.

        kind: its name after the block's, such as "hook_resid_pre"."""
        if self.layer is None:
            raise ValueError(f"{str(self)!r} lies in no block, so there is no {kind!r} beside it.")
        return Site(f"{self.model}:blocks.{self.layer}.{kind}" if self.model else f"blocks.{self.layer}.{kind}")


def as_names(given: Any) -> list[Any]:
    """One site or several, as a list. Raises TypeError for what is no name, with the one that may be meant."""
    several = list(given) if isinstance(given, Iterable) and not isinstance(given, str) else [given]
    for site in several:
        if not isinstance(site, str):
            layer = site if isinstance(site, int) else 0
            raise TypeError(
                f"a site is the name of a hook, such as 'blocks.{layer}.hook_resid_post', found {site!r} "
                f"(a {type(site).__name__})."
            )
    return several
