"""harvest: the activations of a model at one or several sites, in memory, with the provenance of each token."""

from __future__ import annotations

import itertools
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import torch
from jaxtyping import Float
from torch import Tensor
from tqdm.std import tqdm

from saekit.activations.fast import fast_path
from saekit.activations.tokens import TokenRows, tokenize
from saekit.corpora import Corpus, load_corpus
from saekit.models import check_site, load_model, site_layer

if TYPE_CHECKING:
    from transformer_lens.model_bridge import TransformerBridge

ROWS_AT_ONCE = 16
"""Rows in one forward pass: on a CPU larger batches are no faster, since rows are padded to the longest."""


@dataclass(frozen=True, eq=False)
class Activations(Mapping[str, Tensor]):
    """Activations by hook name: ``acts[hook]`` is [row, position, d]; ``acts.flat(hook)`` [n, d], counted tokens only.

    rows:       the tokens, their mask and where they came from (``acts.tokens`` and ``acts.mask`` for short).
    provenance: model, model_hash, processing, corpus and its fingerprint, counted tokens and what was excluded.
    """

    sites: dict[str, Float[Tensor, "row position d"]]
    rows: TokenRows
    provenance: dict[str, Any]

    @property
    def tokens(self) -> Tensor:
        return self.rows.tokens

    @property
    def mask(self) -> Tensor:
        return self.rows.mask

    def flat(self, hook: str) -> Float[Tensor, "n d"]:
        """Counted tokens only, row after row."""
        return self[hook][self.mask]

    def __getitem__(self, hook: str) -> Tensor:
        if hook not in self.sites:
            raise KeyError(f"{hook!r} was not harvested; there are {', '.join(self.sites)}.")
        return self.sites[hook]

    def __iter__(self) -> Iterator[str]:
        return iter(self.sites)

    def __len__(self) -> int:
        return len(self.sites)

    def __repr__(self) -> str:
        shapes = ", ".join(f"{hook}: {list(x.shape)}" for hook, x in self.sites.items())
        return f"Activations({shapes}; {int(self.mask.sum())} counted tokens)"


def harvest(
    model: TransformerBridge,
    source: Corpus | Sequence[str] | Tensor,
    hooks: Sequence[str] | str,
    *,
    tokens: int | None = None,
    long: Literal["window", "cut"] = "window",
    exclude: Sequence[str] = (),
    engine: Literal["local", "ray"] = "local",
    workers: int = 2,
) -> Activations:
    """Run the model over texts or tokens and keep its activations at ``hooks``, stopping after the last layer needed.

    source:  a corpus, a list of strings, or a token tensor [row, position] (taken as it is, nothing added).
    tokens:  stop once this many tokens are counted (needed for an endless corpus).
    long:    what passes the context goes on in a further row ("window") or is dropped ("cut").
    exclude: special tokens that are not counted, by their text; "special": all that the tokenizer has.
    engine:  "local", or "ray": on `workers` processes of a Ray cluster, each of which loads the model by its name (the
             activations are the same).
    Raises ValueError for an unknown hook (naming the closest), an empty source, an endless one without ``tokens``, and
    NaN or infinite activations (naming the batch).
    """
    hooks = [hooks] if isinstance(hooks, str) else list(hooks)
    for hook in hooks:
        check_site(model, hook)
    if engine not in ("local", "ray"):
        raise ValueError(f"engine is 'local' or 'ray', found {engine!r}.")
    rows, provenance = read_rows(model, source, tokens, long, exclude)
    kept: dict[str, Tensor] = {}
    starts = range(0, len(rows), ROWS_AT_ONCE)
    parts = [rows.tokens[start : start + ROWS_AT_ONCE] for start in starts]
    read = (
        read_with_ray(model, parts, hooks, workers) if engine == "ray" else (forward_to(model, p, hooks) for p in parts)
    )
    bar = tqdm(starts, "harvest", leave=False, file=sys.stdout, unit="batch", disable=len(starts) < 50, delay=2)
    for start, found in zip(bar, read, strict=True):
        part = slice(start, start + ROWS_AT_ONCE)
        for hook, h in found.items():
            check_finite(h, hook, start // ROWS_AT_ONCE)
            if hook not in kept:
                kept[hook] = h.new_zeros(len(rows), *h.shape[1:], device="cpu")
            kept[hook][part] = h.cpu()
    provenance |= {"sites": hooks}
    return Activations(kept, rows, provenance)


def read_rows(
    model: TransformerBridge,
    source: Corpus | Sequence[str] | Tensor,
    tokens: int | None = None,
    long: Literal["window", "cut"] = "window",
    exclude: Sequence[str] = (),
) -> tuple[TokenRows, dict[str, Any]]:
    """Tokenize a whole source, or its first ``tokens`` counted tokens, and say where it comes from."""
    if tokens is not None and tokens < 1:
        raise ValueError(f"tokens must be at least 1, found {tokens}.")
    provenance: dict[str, Any] = describe_model(model)
    if isinstance(source, Tensor):
        rows = tokenize(model, source, exclude=exclude)
    else:
        corpus = source if isinstance(source, Corpus) else load_corpus(source)
        if corpus.endless and tokens is None:
            raise ValueError(f"corpus {corpus.name!r} has no end: say how many tokens, for example tokens=100_000.")
        provenance |= {"corpus": corpus.provenance}
        texts, counted, documents = [], 0, iter(corpus)
        while chunk := [document.text for document in itertools.islice(documents, 64)]:
            texts += chunk
            if tokens is not None:
                counted += int(tokenize(model, chunk, long=long, exclude=exclude).mask.sum())
                if counted >= tokens:
                    break
        rows = tokenize(model, texts, long=long, exclude=exclude)
    if tokens is not None and rows.mask.any():
        if not isinstance(source, Tensor):  # no document past those that are needed, so that `excluded` is about these
            last = int(_first(rows, tokens).documents[-1])
            rows = tokenize(model, texts[: last + 1], long=long, exclude=exclude)
        rows = _first(rows, tokens)
    if not rows.mask.any():
        raise ValueError("there is no token to count: the corpus is empty or everything in it is excluded.")
    return rows, provenance | {"tokens": int(rows.mask.sum()), "excluded": rows.excluded}


def _first(rows: TokenRows, tokens: int) -> TokenRows:
    """The first rows, as few as hold ``tokens`` counted tokens; the surplus of the last row is not counted."""
    order = rows.mask.reshape(-1).cumsum(0).view(rows.mask.shape)
    needed = int((order[:, 0] - rows.mask[:, 0].long() < tokens).sum())
    part = slice(0, needed)
    mask = rows.mask[part] & (order[part] <= tokens)
    spans = None if rows.spans is None else rows.spans[part]
    positions = rows.positions[part]
    bos = int((positions[:, 0] < 0).sum()) if rows.excluded["bos"] else 0
    special = int(((positions >= 0) & ~rows.mask[part]).sum())
    excluded = {"bos": bos, "special": special, "cut": rows.excluded["cut"]}
    return TokenRows(rows.tokens[part], mask, rows.documents[part], positions, spans, excluded)


def forward_to(model: TransformerBridge, tokens: Tensor, hooks: Sequence[str]) -> dict[str, Tensor]:
    """One forward pass that keeps the activations at ``hooks`` and stops after the last layer they need; on the fast
    path where it gives the same."""
    path = fast_path(model, hooks, through_bridge)
    return through_bridge(model, tokens, hooks) if path is None else path.read(tokens.to(model.cfg.device), hooks)


def read_with_ray(
    model: TransformerBridge, parts: Sequence[Tensor], hooks: Sequence[str], workers: int
) -> Iterator[dict[str, Tensor]]:
    """forward_to on a Ray cluster, the results in order."""
    from saekit.engines.cluster import on_cluster

    described = describe_model(model)
    if described["model_hash"] is None:
        raise ValueError("engine='ray' loads the model by its name in each worker: load it with sk.load_model first.")
    dtype = model.cfg.dtype
    arguments = {
        "name": described["model"],
        "model_hash": described["model_hash"],
        "dtype": dtype,
        "hooks": list(hooks),
    }
    for item in on_cluster([{"tokens": part.numpy()} for part in parts], RayReader, arguments, workers):
        yield {hook: torch.from_numpy(item[hook].copy()).to(dtype) for hook in hooks}


class RayReader:
    """What a worker of the cluster does: load the model once, read batches of tokens."""

    def __init__(self, name: str, model_hash: str, dtype: torch.dtype, hooks: list[str]) -> None:
        self.model, self.hooks = load_model(name, dtype=dtype), hooks
        if self.model.model_hash != model_hash:
            raise ValueError(f"the worker's {name!r} has model_hash {self.model.model_hash}, not {model_hash}.")

    def __call__(self, item: dict[str, Any]) -> dict[str, Any]:
        read = forward_to(self.model, torch.from_numpy(item["tokens"].copy()), self.hooks)
        return {hook: h.float().cpu().numpy() for hook, h in read.items()}  # numpy has no bfloat16


def through_bridge(model: TransformerBridge, tokens: Tensor, hooks: Sequence[str]) -> dict[str, Tensor]:
    seen: dict[str, Tensor] = {}

    def keep(name: str):
        return lambda h, hook: seen.__setitem__(name, h.detach())

    layers = [site_layer(hook) for hook in hooks]
    last = max((layer for layer in layers if layer is not None), default=0)
    inside = all(layer is not None for layer in layers) and last + 1 < model.cfg.n_layers
    with evaluation(model), torch.no_grad(), model.hooks(fwd_hooks=[(hook, keep(hook)) for hook in hooks]):
        model(tokens.to(model.cfg.device), return_type=None, stop_at_layer=last + 1 if inside else None)
    for hook in hooks:
        if hook not in seen:
            raise ValueError(f"hook {hook!r} did not fire in a forward pass of this model: choose another one.")
    return {hook: seen[hook] for hook in hooks}


def describe_model(model: TransformerBridge) -> dict[str, Any]:
    """Name, hash and processing of a model, as they stand in every provenance; None where it was not loaded here."""
    name = getattr(model, "model_name", None) or model.cfg.model_name
    return {
        "model": name,
        "model_hash": getattr(model, "model_hash", None),
        "processing": getattr(model, "processing", "none"),
    }


def check_finite(h: Tensor, site: str, batch: int) -> None:
    """Raise ValueError naming the batch when an activation is NaN or infinite."""
    if not bool(torch.isfinite(h).all()):
        kind = "NaN" if bool(torch.isnan(h).any()) else "infinite"
        raise ValueError(
            f"{kind} activations at {site!r} in batch {batch}: check the model's dtype (float16 overflows; bfloat16 or "
            f"float32 do not) and its weights."
        )


@contextmanager
def evaluation(model: TransformerBridge) -> Iterator[None]:
    """Dropout off while we read; the model's mode is put back."""
    was = model.training
    model.eval()
    try:
        yield
    finally:
        model.train(was)
