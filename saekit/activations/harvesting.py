"""harvest: the activations of a model at one or several sites, in memory, with the provenance of each token."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Literal, overload

import torch
from jaxtyping import Float
from torch import Tensor, nn

from saekit.activations.finite import check_finite
from saekit.activations.given import GivenTokens
from saekit.activations.model_worker import read_parts
from saekit.activations.modules import ModuleActivations, harvest_module
from saekit.activations.read import spoken_read, what_was_read
from saekit.activations.source import Readable, read_source
from saekit.activations.tokens import TokenRows, tokenize
from saekit.engines import check_engine
from saekit.engines.threads import products_of, threads_for, working_with
from saekit.files.arguments import whole
from saekit.files.choices import unknown
from saekit.files.durations import spoken_bytes
from saekit.files.memory import room_on, saying_what_fits
from saekit.files.progress import Bar
from saekit.files.roles import ACTIVATIONS, CORPUS, MODEL, MODELS, SITE, check_roles, role_of
from saekit.files.stopping import stopped_with
from saekit.models import ROWS_AT_ONCE, SeveralModels, check_site, describe_model, joined, together
from saekit.models.site import as_names

if TYPE_CHECKING:
    from transformer_lens.model_bridge import TransformerBridge


@dataclass(frozen=True, eq=False)
class Activations(Mapping[str, Tensor]):
    """Activations by hook name: ``acts[hook]`` is [row, position, d]; ``acts.flat(hook)`` [n, d], counted tokens only.
    At ``attn.hook_q``, ``_k``, ``_v`` and ``_z`` they are [row, position, heads, d_head], and flat [n, heads · d_head].

    rows:       the tokens, their mask and where they came from (``acts.tokens`` and ``acts.mask`` for short).
    provenance: model, model_hash, processing, corpus and its fingerprint, counted tokens, what was excluded, and
                ``read``, what was read in rows, tokens and BOS.
    sites: the tensors by hook name. provenance: model, corpus, tokens and what was read.
    """

    role: ClassVar[str] = ACTIVATIONS
    sites: dict[str, Float[Tensor, "row position *d"]]
    rows: TokenRows
    provenance: dict[str, Any]

    @property
    def tokens(self) -> Tensor:
        """As the model got them, [row, position]."""
        return self.rows.tokens

    @property
    def mask(self) -> Tensor:
        """True at counted tokens, [row, position]."""
        return self.rows.mask

    def flat(self, hook: str) -> Float[Tensor, "n d"]:
        """Counted tokens only, row after row."""
        return joined(self[hook], hook)[self.mask]

    def __getitem__(self, hook: str) -> Tensor:
        if hook not in self.sites:
            raise KeyError(unknown("there is nothing harvested at", hook, self.sites))
        return self.sites[hook]

    def __iter__(self) -> Iterator[str]:
        return iter(self.sites)

    def __len__(self) -> int:
        return len(self.sites)

    def __repr__(self) -> str:
        shapes = ", ".join(f"{hook}: {list(x.shape)}" for hook, x in self.sites.items())
        return f"Activations({shapes}; {spoken_read(self.provenance['read'])})"


@overload
def harvest(  # type: ignore[overload-overlap]  # a bridge is a module too
    model: TransformerBridge | Mapping[str, TransformerBridge],
    source: Readable,
    hooks: Sequence[str] | str,
    *,
    tokens: int | None = None,
    long: Literal["window", "cut"] = "window",
    exclude: Sequence[str] | str = (),
    context: int | None = None,
    bos: bool | None = None,
    engine: Literal["local", "ray"] = "local",
    workers: int = 2,
) -> Activations: ...


@overload
def harvest(
    model: nn.Module, source: Tensor, hooks: Sequence[str] | str, *, batch_size: int = ..., channels: int = -1
) -> ModuleActivations: ...


@stopped_with("stopped; what was harvested by then is not kept.")
def harvest(
    model: Any,
    source: Any,
    hooks: Sequence[str] | str,
    *,
    tokens: int | None = None,
    long: Literal["window", "cut"] = "window",
    exclude: Sequence[str] | str = (),
    context: int | None = None,
    bos: bool | None = None,
    engine: Literal["local", "ray"] = "local",
    workers: int = 2,
    **of_modules: int,
) -> Activations | ModuleActivations:
    """Run the model over texts or tokens and keep its activations at ``hooks``, stopping after the last layer needed.

    model:   what ``load_model`` gives; or several that read the same tokens, ``{"a": model, "b": copy}``.
    hooks:   a site or several, as ``sk.models.sites_of(model)`` lists them; of several models "a:…" and "b:…".
    source:  a corpus, a list of strings, or token ids (a tensor [row, position], lists, a mapping or data set with
             input_ids and attention_mask), which are taken as they are, nothing added.
    tokens:  stop once this many tokens are counted (needed for an endless corpus).
    long:    what passes the context goes on in a further row ("window") or is dropped ("cut").
    exclude: special tokens that are not counted, by their text; "special": all that the tokenizer has.
    context: tokens in a row at most, BOS included; default what the model can.
    bos:     whether rows begin with BOS; None: as ``saekit.models.bos`` says of the model.
    engine:  "local", or "ray": on `workers` processes of a Ray cluster, each of which loads the model by its name (the
             activations are the same).
    Returns Activations: ``acts[hook]`` [row, position, d], ``acts.flat(hook)`` [counted token, d], ``acts.mask``. For
    example ``sk.activations.harvest(model, ["Anna went home"], "blocks.2.hook_resid_post")``.
    Any other ``torch.nn.Module`` is read too, on a tensor of inputs [n, …], at the names of its submodules: see
    ``harvest_module``, which takes batch_size= and channels=.
    Raises ValueError for an unknown hook (naming the closest), an empty source, an endless one without ``tokens``, and
    NaN or infinite activations (naming the batch).
    """
    if isinstance(model, nn.Module) and not hasattr(model, "hook_dict") and role_of(model) is None:
        return harvest_module(model, source, hooks, **of_modules)
    if of_modules:
        raise TypeError(f"{', '.join(of_modules)} is for modules without hooks; this model has them.")
    call = "sk.activations.harvest(model, corpus, hooks)"
    check_roles(call, model=(model, (MODEL, MODELS)), source=(source, CORPUS), hooks=(hooks, SITE))
    hooks, model = as_names(hooks), together(model)
    for hook in hooks:
        check_site(model, hook)
    check_engine(engine)
    rows, provenance = read_rows(model, source, tokens, long=long, exclude=exclude, context=context, bos=bos)
    kept: dict[str, Tensor] = {}
    starts = range(0, len(rows), ROWS_AT_ONCE)
    read = read_parts(model, rows.split(ROWS_AT_ONCE), hooks, engine, workers, padding=True)
    bar = Bar(starts, "harvest", leave=False, unit=" batch", disable=len(starts) < 50)
    with working_with(threads_for(products_of(model), str(model.cfg.device))):
        for start, found in zip(bar, read, strict=True):
            part = slice(start, start + ROWS_AT_ONCE)
            for hook, h in found.items():
                check_finite(h, hook, start // ROWS_AT_ONCE)
                if hook not in kept:
                    kept[hook] = _room_for(h, hook, rows)
                kept[hook][part] = h.cpu()
    provenance |= {"sites": hooks}
    return Activations(kept, rows, provenance)


def _room_for(h: Tensor, hook: str, rows: TokenRows) -> Tensor:
    """Zeros for the activations of all rows. Raises MemoryError, which says how many tokens would have fitted."""
    shape = (len(rows), *h.shape[1:])
    size, counted = math.prod(shape) * h.itemsize, int(rows.mask.sum())

    def what_fits() -> str:
        room = room_on(torch.device("cpu"))
        free = "" if room is None else f", and {spoken_bytes(room.free)} are free"
        most = "fewer tokens" if room is None else f"tokens={int(counted * min(0.5, room.free / size)):,}"
        return (
            f"the activations {list(shape)} at {hook!r} take {spoken_bytes(size)}{free}: take {most}, or let "
            "sk.activations.ActivationStore.build write them to a folder."
        )

    with saying_what_fits(what_fits):
        return h.new_zeros(shape, device="cpu")


def read_rows(
    model: TransformerBridge | SeveralModels,
    source: Readable,
    tokens: int | None = None,
    **how: Any,
) -> tuple[TokenRows, dict[str, Any]]:
    """Tokenize a whole source, or its first ``tokens`` counted tokens, and say where it comes from. how: as in
    ``tokenize``."""
    tokens = None if tokens is None else whole("tokens", tokens)
    provenance: dict[str, Any] = describe_model(model)
    read_from = read_source(source, model, how.get("context"))
    if isinstance(read_from, GivenTokens):
        rows = tokenize(model, read_from, **how)
    else:
        if read_from.endless and tokens is None:
            raise ValueError(f"corpus {read_from.name!r} has no end: say how many tokens, for example tokens=100_000.")
        provenance |= {"corpus": read_from.provenance}
        texts, counted, documents = [], 0, iter(read_from)
        while chunk := [document.text for document in itertools.islice(documents, 64)]:
            texts += chunk
            if tokens is not None:
                counted += int(tokenize(model, chunk, **how).mask.sum())
                if counted >= tokens:
                    break
        rows = tokenize(model, texts, **how)
    if tokens is not None and rows.mask.any():
        if not isinstance(read_from, GivenTokens):  # no document past those that are needed: `excluded` is about these
            last = int(rows.first(tokens).documents[-1])
            rows = tokenize(model, texts[: last + 1], **how)
        rows = rows.first(tokens)
    if not rows.mask.any():
        raise ValueError("there is no token to count: the corpus is empty or everything in it is excluded.")
    read = what_was_read(model, len(rows), int(rows.mask.sum()), rows.excluded, how.get("bos"))
    return rows, provenance | {"tokens": read["tokens"], "excluded": rows.excluded, "read": read}
