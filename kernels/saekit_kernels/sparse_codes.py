"""SparseCodes: the non-zero latents of every token, in compressed rows.

A token's code z has few non-zeros, so it is kept as (value, latent) pairs, row after row: row r owns the entries
``offsets[r] : offsets[r + 1]`` of ``values`` and ``indices``. Rows may differ in length (JumpReLU, BatchTopK); when all
have k entries, ``k`` is set and ``values.view(n, k)`` is free. An entry may hold a zero; L0 counts non-zeros only.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any, NoReturn

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor


@dataclass(frozen=True, eq=False)
class SparseCodes:
    """Codes of n = prod(shape) tokens over ``d_sae`` latents.

    values:  [entries], autograd flows through them.
    indices: [entries] int32, the latent of each entry, ascending and unique within a row.
    offsets: [n + 1] int64, where each row begins; the last one is the number of entries.
    d_sae:   number of latents.
    shape:   the leading shape, ``(batch, position)`` or ``(n,)``.
    k:       entries per row when every row has the same number, else None.
    """

    values: Float[Tensor, " entries"]
    indices: Int[Tensor, " entries"]
    offsets: Int[Tensor, " rows_and_one"]
    d_sae: int
    shape: tuple[int, ...]
    k: int | None = None

    def __post_init__(self) -> None:
        rows = math.prod(self.shape)
        if self.offsets.shape != (rows + 1,):
            raise ValueError(
                f"offsets must have one entry a row and one more: shape {self.shape} needs {rows + 1}, "
                f"found {tuple(self.offsets.shape)}."
            )
        if self.values.ndim != 1 or self.values.shape != self.indices.shape:
            raise ValueError(
                f"values and indices must be one-dimensional and equally long, found {tuple(self.values.shape)} "
                f"and {tuple(self.indices.shape)}."
            )
        if self.k is not None and rows * self.k != len(self.values):
            raise ValueError(f"k = {self.k} in {rows} rows needs {rows * self.k} entries, found {len(self.values)}.")
        if self.indices.device.type == "cpu":  # a GPU would be waited for; what its kernels decode of such is NaN
            check_latents(self.indices, self.d_sae)

    # -- making ------------------------------------------------------------------------------------------------------

    @classmethod
    def from_dense(cls, dense: Float[Tensor, "*shape d_sae"]) -> SparseCodes:
        """Keep the non-zeros of a dense code; rows are ragged."""
        flat = dense.reshape(-1, dense.shape[-1])
        rows, latents = flat.nonzero(as_tuple=True)  # row-major, so latents ascend within a row
        offsets = offsets_of(rows, len(flat))
        return cls(flat[rows, latents], latents.int(), offsets, dense.shape[-1], tuple(dense.shape[:-1]))

    @classmethod
    def from_topk(cls, values: Float[Tensor, "*shape k"], indices: Int[Tensor, "*shape k"], d_sae: int) -> SparseCodes:
        """From k (value, latent) pairs a row, in any order; every row keeps its k entries, zeros included."""
        if values.shape != indices.shape:
            raise ValueError(
                f"values of shape {tuple(values.shape)} need as many indices, found {tuple(indices.shape)}."
            )
        check_latents(indices, d_sae)
        indices, order = indices.sort(dim=-1)
        return cls.from_sorted(values.gather(-1, order), indices.int(), d_sae)

    @classmethod
    def from_sorted(
        cls, values: Float[Tensor, "*shape k"], indices: Int[Tensor, "*shape k"], d_sae: int
    ) -> SparseCodes:
        """From k (value, latent) pairs a row whose latents ascend already."""
        shape, k = tuple(values.shape[:-1]), values.shape[-1]
        offsets = torch.arange(math.prod(shape) + 1, device=values.device) * k
        return cls(values.reshape(-1), indices.reshape(-1), offsets, d_sae, shape, k)

    @classmethod
    def cat(cls, parts: Sequence[SparseCodes]) -> SparseCodes:
        """Concatenate along the first leading dimension; the other dimensions and ``d_sae`` must agree.

        parts: codes of the same latents."""
        if not parts:
            raise ValueError("SparseCodes.cat needs at least one part, found none.")
        first = parts[0]
        for part in parts[1:]:
            if part.d_sae != first.d_sae or part.shape[1:] != first.shape[1:]:
                raise ValueError(
                    f"codes of {first.d_sae} latents and shape {first.shape} do not go with "
                    f"{part.d_sae} latents and shape {part.shape}."
                )
        counts = torch.cat([part.counts for part in parts])
        same_k = first.k if all(part.k == first.k for part in parts) else None
        return cls(
            torch.cat([part.values for part in parts]),
            torch.cat([part.indices for part in parts]),
            _offsets(counts),
            first.d_sae,
            (sum(part.shape[0] for part in parts), *first.shape[1:]),
            same_k,
        )

    @classmethod
    def together(cls, parts: Sequence[SparseCodes]) -> SparseCodes:
        """Codes of the same tokens whose latents differ, as one.

        parts: the codes to join."""
        if len(parts) == 1:
            return parts[0]
        first = parts[0]
        if any(part.d_sae != first.d_sae or part.shape != first.shape for part in parts):
            raise ValueError(f"codes of the same tokens have one shape, found {[part.shape for part in parts]}.")
        rows, indices = torch.cat([part.rows for part in parts]), torch.cat([part.indices for part in parts])
        order = (rows * first.d_sae + indices).argsort()
        offsets = torch.stack([part.offsets for part in parts]).sum(0)
        ks = [part.k for part in parts if part.k is not None]
        return cls(
            torch.cat([part.values for part in parts])[order],
            indices[order],
            offsets,
            first.d_sae,
            first.shape,
            sum(ks) if len(ks) == len(parts) else None,
        )

    @classmethod
    def beside(cls, parts: Sequence[SparseCodes]) -> SparseCodes:
        """Codes of the same tokens over latents of their own, numbered one part after the other: of d and e latents
        codes over d + e.

        parts: codes of one shape."""
        first = parts[0]
        if any(part.shape != first.shape for part in parts):
            raise ValueError(f"codes of the same tokens have one shape, found {[part.shape for part in parts]}.")
        d_sae, before = sum(part.d_sae for part in parts), 0
        moved = []
        for part in parts:
            moved.append(part.indices + before)
            before += part.d_sae
        if all(part.k is not None for part in parts):
            values = torch.cat([part.values.view(*part.shape, part.k or 0) for part in parts], -1)
            indices = [latents.view(*part.shape, part.k or 0) for latents, part in zip(moved, parts, strict=True)]
            return cls.from_sorted(values, torch.cat(indices, -1), d_sae)
        offsets, placed = torch.stack([part.offsets for part in parts]), []
        whole = offsets.sum(0)
        for number, part in enumerate(parts):  # an entry comes after those of former rows, and of former parts
            ahead = offsets[number + 1 :, :-1].sum(0) + offsets[:number, 1:].sum(0)
            placed.append(torch.arange(len(part.values), device=ahead.device) + ahead[part.rows.long()])
        order = torch.cat(placed).argsort()
        return cls(torch.cat([p.values for p in parts])[order], torch.cat(moved)[order], whole, d_sae, first.shape)

    # -- reading -----------------------------------------------------------------------------------------------------

    @property
    def counts(self) -> Int[Tensor, " rows"]:
        """Entries in each row, stored zeros included."""
        return self.offsets.diff()

    @property
    def rows(self) -> Int[Tensor, " entries"]:
        """The row of each entry."""
        return rows_of(self.offsets, len(self.values))

    @property
    def l0(self) -> Int[Tensor, "*shape"]:
        """Non-zero latents of each token; negative values count, stored zeros do not."""
        count = torch.zeros(len(self.offsets) - 1, dtype=torch.int64, device=self.values.device)
        count.index_add_(0, self.rows, (self.values.detach() != 0).long())
        return count.view(self.shape)

    def to_dense(self) -> Float[Tensor, "*shape d_sae"]:
        """The whole code with its zeros, [..., d_sae]: large, on request only."""
        dense = self.values.new_zeros(len(self.offsets) - 1, self.d_sae)
        dense = dense.index_put((self.rows, self.indices.long()), self.values)
        return dense.view(*self.shape, self.d_sae)

    def latent(self, latents: Sequence[int] | Tensor) -> Float[Tensor, "*shape m"]:
        """Dense activations of a few latents, [..., m], in the order asked for."""
        wanted = self._latents(latents)
        match = self.indices[:, None] == wanted[None, :]
        entry, column = match.nonzero(as_tuple=True)
        dense = self.values.new_zeros(len(self.offsets) - 1, len(wanted))
        return dense.index_put((self.rows[entry], column), self.values[entry]).view(*self.shape, len(wanted))

    def __getitem__(self, key: Any) -> SparseCodes:
        """Tokens by their place in the leading shape, as of a tensor of that shape: slices, indices, positions, masks,
        several of them in a tuple. Raises IndexError for a place that is not there."""
        places = torch.arange(len(self.offsets) - 1, device=self.offsets.device).view(self.shape)
        if isinstance(key, slice) and key.step is not None and key.step < 0:  # which torch does not know
            key = list(range(*key.indices(len(self))))
        if isinstance(key, list):
            key = torch.tensor(key, device=places.device)
        elif isinstance(key, tuple) and sum(part is not None and part is not ... for part in key) > len(self.shape):
            raise IndexError(
                f"codes of shape {self.shape} are indexed by token, found {key}: latents are picked by z.latent([…])."
            )
        picked = places[key]
        rows = picked.reshape(-1)
        counts = self.counts[rows]
        offsets = _offsets(counts)
        entries = torch.arange(int(offsets[-1]), device=rows.device)
        entries = entries + torch.repeat_interleave(self.offsets[rows] - offsets[:-1], counts)
        shape = tuple(picked.shape)
        return replace(self, values=self.values[entries], indices=self.indices[entries], offsets=offsets, shape=shape)

    def __iter__(self) -> Iterator[SparseCodes]:
        return (self[i] for i in range(len(self)))

    def __len__(self) -> int:
        if not self.shape:
            raise TypeError("the code of one token has no length; a tensor of codes is given by z.to_dense().")
        return self.shape[0]

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> Any:
        """The whole code with its zeros, as NumPy asks for it: large. Raises ValueError where no copy is wanted."""
        if copy is False:
            raise ValueError("codes become a dense array by a copy: leave copy=False out.")
        dense = self.to_dense().detach().cpu()
        dense = dense.float() if dense.dtype == torch.bfloat16 else dense  # which NumPy does not know
        return dense.numpy() if dtype is None else dense.numpy().astype(dtype)

    def keep(self, entries: Bool[Tensor, " entries"]) -> SparseCodes:
        """The same rows with those entries alone for which the mask is true."""
        offsets = offsets_of(self.rows[entries], len(self.offsets) - 1)
        return replace(self, values=self.values[entries], indices=self.indices[entries], offsets=offsets, k=None)

    def between(self, first: int, last: int) -> SparseCodes:
        """The entries of the latents first … last − 1, numbered from 0.

        first, last: latents."""
        kept = self.keep((self.indices >= first) & (self.indices < last))
        return replace(kept, indices=kept.indices - first, d_sae=last - first)

    # -- changing ----------------------------------------------------------------------------------------------------

    def set_latents(self, latents: Sequence[int] | Tensor, values: Float[Tensor, "*shape m"]) -> SparseCodes:
        """The same codes with the given latents set to ``values`` at every token; rows stay sorted, zeros stay.

        Raises IndexError for a latent that is not there, ValueError for one named twice or values of another shape.
        """
        wanted = self._latents(latents)
        n, m = len(self.offsets) - 1, len(wanted)
        named, times = wanted.unique(return_counts=True)
        if len(named) < m:
            twice = times.argmax()
            raise ValueError(f"latent {int(named[twice])} is named {int(times[twice])} times: set it once.")
        if values.shape != (*self.shape, m):
            raise ValueError(
                f"{m} latents of codes of shape {self.shape} need values of shape {(*self.shape, m)}, "
                f"found {tuple(values.shape)}."
            )
        keep = ~torch.isin(self.indices, wanted.int())
        rows = torch.cat([self.rows[keep], torch.arange(n, device=wanted.device).repeat_interleave(m)])
        indices = torch.cat([self.indices[keep].long(), wanted.repeat(n)])
        entries = torch.cat([self.values[keep], values.reshape(-1).to(self.values.dtype)])
        order = (rows * self.d_sae + indices).argsort()
        offsets = offsets_of(rows, n)
        return replace(self, values=entries[order], indices=indices[order].int(), offsets=offsets, k=None)

    def view(self, *shape: int) -> SparseCodes:
        """The same rows under another leading shape."""
        if math.prod(shape) != math.prod(self.shape):
            raise ValueError(f"{math.prod(self.shape)} rows cannot be viewed as {shape}.")
        return replace(self, shape=tuple(shape))

    def detach(self) -> SparseCodes:
        """The same codes, through whose values no gradient flows."""
        return replace(self, values=self.values.detach())

    def to(self, device: torch.device | str | None = None, dtype: torch.dtype | None = None) -> SparseCodes:
        """Move to a device; ``dtype`` is that of the values."""
        return replace(
            self,
            values=self.values.to(device=device, dtype=dtype),
            indices=self.indices.to(device=device),
            offsets=self.offsets.to(device=device),
        )

    def _no_operator(self, *other: Any) -> NoReturn:
        raise TypeError(
            "codes are compared and computed with by their entries, z.values > 1, or as the dense tensor z.to_dense()."
        )

    __lt__ = __le__ = __gt__ = __ge__ = __add__ = __radd__ = __sub__ = __rsub__ = __mul__ = __rmul__ = _no_operator
    __truediv__ = __matmul__ = __neg__ = __abs__ = __bool__ = _no_operator
    __hash__ = object.__hash__

    def __eq__(self, other: object) -> bool:
        if isinstance(other, int | float | Tensor):
            self._no_operator()
        return self is other

    def __repr__(self) -> str:
        rows = "ragged" if self.k is None else f"k={self.k}"
        return f"SparseCodes(shape={self.shape}, d_sae={self.d_sae}, {rows}, entries={len(self.values)})"

    def _latents(self, latents: Sequence[int] | Tensor) -> Tensor:
        wanted = torch.as_tensor(latents, dtype=torch.int64, device=self.values.device).reshape(-1)
        wrong = wanted[(wanted < 0) | (wanted >= self.d_sae)]
        if len(wrong):
            raise IndexError(f"latent {int(wrong[0])} is not in 0 … {self.d_sae - 1}.")
        return wanted


def check_latents(indices: Int[Tensor, "*entries"], d_sae: int) -> None:
    """Raise IndexError for latents that are not in 0 … d_sae − 1: decoding would read what is no decoder."""
    if torch.compiler.is_compiling() or not indices.numel():
        return
    least, most = (int(end) for end in indices.aminmax())
    if not 0 <= least <= most < d_sae:
        raise IndexError(f"latent {least if least < 0 else most} is not in 0 … {d_sae - 1}.")


def rows_of(offsets: Int[Tensor, " rows_and_one"], entries: int) -> Int[Tensor, " entries"]:
    """The row of each entry; their number is given so that a GPU need not be asked."""
    return torch.repeat_interleave(offsets.diff(), output_size=entries)


def offsets_of(rows: Int[Tensor, " entries"], n: int) -> Int[Tensor, " rows_and_one"]:
    """Where each of n rows begins, from the row of each entry."""
    return _offsets(torch.bincount(rows, minlength=n))


def _offsets(counts: Tensor) -> Tensor:
    return torch.cat([counts.new_zeros(1), counts.cumsum(0)]).long()
