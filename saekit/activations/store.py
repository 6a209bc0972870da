"""ActivationStore: activations kept on disk, for training several times on one reading of the model.

A folder of safetensors shards, each one's activations [n, d] at every site with the document, position and id of their
tokens, and manifest.json, which says what they are and lists the shards with their SHA-256. A shard appears whole, then
the manifest names it: whatever moment the process is killed at, the store goes on from its last whole shard.
"""

from __future__ import annotations

import hashlib
import json
import warnings
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from saekit.activations.finite import check_finite
from saekit.activations.given import GivenTokens
from saekit.activations.model_worker import read_parts
from saekit.activations.read import spoken_read, what_was_read
from saekit.activations.source import Readable, in_parts, read_source, texts_of
from saekit.activations.tokens import TokenRows, tokenize
from saekit.corpora import Document
from saekit.engines import check_engine
from saekit.engines.threads import products_of, threads_for, working_with
from saekit.files import make_folder, remove_leftovers, write_atomically
from saekit.files.arguments import whole
from saekit.files.durations import LONG, TimeLeft, spoken_bytes, spoken_duration
from saekit.files.locks import writing_in
from saekit.files.manifests import GIVEN, check_same, warn_of_unknown, write_json
from saekit.files.paths import resolved, shown
from saekit.files.progress import Bar, say
from saekit.files.roles import ACTIVATIONS, CORPUS, MODEL, SITE, check_roles
from saekit.files.stopping import interrupted
from saekit.models import ROWS_AT_ONCE, as_dtype, check_site, describe_model, joined, joined_width
from saekit.models.hashing import fingerprint_model
from saekit.models.site import as_names

if TYPE_CHECKING:
    from transformer_lens.model_bridge import TransformerBridge

FORMAT, VERSION = "saekit.activations", 1
SHARD_TOKENS = 2**16
AT_FIRST: dict[str, Any] = {"exclude": [], "context": None}  # of stores from before these could be said
PER_TOKEN = ("document", "position", "token")  # int32, beside the activations


class ActivationStore:
    """An opened store: ``manifest``, and its shards one after the other. ``sk.train(store, site, …)`` trains on it.

    folder: where it lies."""

    role: ClassVar[str] = ACTIVATIONS

    def __init__(self, folder: Path, manifest: dict[str, Any]) -> None:
        self.folder, self.manifest = folder, manifest
        self.widths: dict[str, int] = manifest["widths"]
        self.shards: list[dict[str, Any]] = manifest["shards"]

    @property
    def sites(self) -> list[str]:
        """The sites it holds."""
        return list(self.widths)

    @property
    def finished(self) -> bool:
        """Whether it holds the tokens that were wanted."""
        return len(self) >= self.manifest["wanted"]

    @property
    def provenance(self) -> dict[str, Any]:
        """Of the model and the corpus it was read from."""
        read = self.manifest.get("read")
        return self.manifest["provenance"] | ({} if read is None else {"prepend_bos": read["bos"] is not None})

    @property
    def fingerprint(self) -> str:
        """SHA-256 over its sites and the digests of its shards."""
        told = [self.manifest["dtype"], self.widths, [shard["sha256"] for shard in self.shards]]
        return hashlib.sha256(json.dumps(told, sort_keys=True).encode()).hexdigest()

    def __len__(self) -> int:
        """Tokens in the store."""
        return sum(shard["tokens"] for shard in self.shards)

    def __repr__(self) -> str:
        size = f"{len(self):,} tokens in {len(self.shards)} shards"
        read = f"; {spoken_read(self.manifest['read'])}" if "read" in self.manifest else ""
        return f"ActivationStore({shown(self.folder)!r}, {self.sites}, {size}, {self.manifest['dtype']}{read})"

    def shard(self, number: int, names: Sequence[str] | None = None) -> dict[str, Tensor]:
        """One shard's tensors by site and by "document", "position", "token", mapped from the disk.

        number: from 0. names: those alone.
        Raises ValueError naming the shard when it is missing or cut."""
        path = self.folder / self.shards[number]["file"]
        try:
            with safe_open(path, framework="pt") as opened:
                return {name: opened.get_tensor(name) for name in names or [*self.sites, *PER_TOKEN]}
        except (SafetensorError, OSError) as error:
            raise ValueError(
                f"shard {path} is missing or damaged ({error}): open the store with skip_damaged=True, or "
                "build it again."
            ) from error

    def damaged(self) -> list[str]:
        """The files of shards that are missing or whose bytes are not those that were written; reads everything."""
        return [shard["file"] for shard in self.shards if _digest(self.folder / shard["file"]) != shard["sha256"]]

    @classmethod
    def open(cls, folder: str | Path, skip_damaged: bool = False) -> ActivationStore:
        """Open a store. skip_damaged: read it all, and leave out shards that are missing or changed, with a warning.

        Raises ValueError for a folder that is no store."""
        folder = resolved(folder)
        try:
            manifest = json.loads((folder / "manifest.json").read_text(encoding="utf-8"))
        except (OSError, ValueError) as error:
            raise ValueError(f"{folder} is no activation store: its manifest.json cannot be read ({error}).") from error
        if manifest.get("format") != FORMAT or manifest.get("version") != VERSION:
            found = f"{manifest.get('format')!r}, version {manifest.get('version')!r}"
            raise ValueError(f"{folder} should hold {FORMAT!r}, version {VERSION}, found {found}.")
        warn_of_unknown(folder, manifest)
        store = cls(folder, manifest)
        if skip_damaged and (bad := store.damaged()):
            warnings.warn(f"left out of {folder}: {', '.join(bad)}", stacklevel=2)
            store.shards = [shard for shard in store.shards if shard["file"] not in bad]
            if not store.shards:
                raise ValueError(f"no shard of {folder} is whole: build it again.")
        return store

    @classmethod
    def build(
        cls,
        model: TransformerBridge,
        source: Readable,
        sites: Sequence[str] | str,
        folder: str | Path,
        *,
        tokens: int,
        dtype: str | torch.dtype = torch.float16,
        shard_tokens: int = SHARD_TOKENS,
        exclude: Sequence[str] | str = (),
        context: int | None = None,
        engine: Literal["local", "ray"] = "local",
        workers: int = 2,
    ) -> ActivationStore:
        """Read the model on text and keep its activations; the same call on an unfinished store goes on with it.

        tokens: counted tokens, at least so many; a finite corpus that holds fewer is read once.
        exclude, context: as in ``harvest``.
        engine: "local", or "ray": each shard is read on `workers` processes of a Ray cluster (see harvest).
        source: a corpus, a list of strings, or token ids. sites: one or several. shard_tokens: tokens a file.
        Raises ValueError for a folder that holds another store (naming the fields: the text, the model as it is now and
        every setting are held against it), NaN or infinite activations, and values that the dtype cannot hold."""
        check_roles(
            "ActivationStore.build(model, source, sites, folder, tokens=…)",
            model=(model, MODEL),
            source=(source, CORPUS),
            sites=(sites, SITE),
        )
        check_engine(engine)
        dtype = as_dtype(dtype)
        sites = as_names(sites)
        tokens = whole("tokens", tokens)
        corpus = read_source(source, model, context)
        named = {} if isinstance(corpus, GivenTokens) else {"corpus": corpus.provenance}
        widths = {check_site(model, site): joined_width(model, site) for site in sites}
        described = {
            "format": FORMAT,
            "version": VERSION,
            "provenance": describe_model(model) | named,
            "widths": widths,
            "dtype": str(dtype).removeprefix("torch."),
            "shard_tokens": shard_tokens,
            "wanted": tokens,
            "exclude": exclude if isinstance(exclude, str) else list(exclude),
            "context": context,
            GIVEN: {"text": corpus.fingerprint, "model": fingerprint_model(model)},
        }
        folder = resolved(folder)
        make_folder(folder)
        with writing_in(folder, "activation store"):
            return cls._build(model, corpus, folder, described, engine, workers)

    @classmethod
    def _build(
        cls,
        model: Any,
        corpus: Any,
        folder: Path,
        described: dict[str, Any],
        engine: Any,
        workers: int,
    ) -> ActivationStore:
        tokens, widths = described["wanted"], described["widths"]
        dtype = getattr(torch, described["dtype"])
        manifest: dict[str, Any] = described | {"documents": 0, "shards": [], "read": what_was_read(model, 0, 0, {})}
        if (folder / "manifest.json").is_file():
            manifest = cls.open(folder).manifest
            manifest |= {name: value for name, value in AT_FIRST.items() if name not in manifest}
            check_same(folder, "store", manifest, {key: described[key] for key in described if key != "wanted"})
            manifest["wanted"] = tokens
        remove_leftovers(folder)
        store = cls(folder, manifest)
        each = sum(widths.values()) * dtype.itemsize + 4 * len(PER_TOKEN)
        say(f"{tokens:,} tokens of {each:,} bytes: {spoken_bytes(tokens * each)} in {folder}")
        bar = Bar(total=tokens, initial=len(store), desc="store", unit=" token", unit_scale=True)
        time_left = TimeLeft(tokens)

        def told(counted: int) -> None:
            bar.update(counted)
            if (seconds := time_left.after(bar.n)) and seconds >= LONG:
                say(spoken_duration(seconds))

        try:
            with bar, working_with(threads_for(products_of(model), str(model.cfg.device))):
                parts = in_parts(corpus, ROWS_AT_ONCE, manifest["documents"])
                while not store.finished and (batches := store._tokenize(model, parts)):
                    found = read_parts(model, batches, store.sites, engine, workers)
                    store._add(store._read(batches, found, dtype, told))
        except KeyboardInterrupt:
            if not store.shards:
                raise interrupted(f"stopped before a shard was full; {shown(folder)} keeps nothing.") from None
            say(f"stopped; {shown(folder)} keeps {len(store):,} of {tokens:,} tokens, and the same call goes on.")
            return cls.open(folder)
        if not store.shards:
            raise ValueError("there is no token to keep: the corpus is empty.")
        manifest["wanted"] = min(tokens, len(store))
        store._write_manifest()
        return store

    def _tokenize(self, model: TransformerBridge, parts: Iterator[list[Document] | GivenTokens]) -> list[TokenRows]:
        """The batches of one shard: whole documents until it is full; [] where there are no more."""
        batches: list[TokenRows] = []
        counted = 0
        exclude, context = self.manifest["exclude"], self.manifest["context"]
        while counted < self.manifest["shard_tokens"] and counted + len(self) < self.manifest["wanted"]:
            part = next(parts, None)
            if part is None:
                break
            first = self.manifest["documents"]
            rows = tokenize(model, texts_of(part), first_document=first, exclude=exclude, context=context)
            self.manifest["documents"] += len(part)
            self._note(rows)
            counted += int(rows.mask.sum())
            batches += [part for part in rows.split(ROWS_AT_ONCE) if part.mask.any()]
        return batches

    def _note(self, rows: TokenRows) -> None:
        """Count what was read."""
        if (read := self.manifest.get("read")) is None:  # begun before this was counted
            return
        read["rows"] += len(rows)
        read["tokens"] += int(rows.mask.sum())
        read["excluded"] = dict(Counter(read["excluded"]) + Counter(rows.excluded))

    def _read(
        self,
        batches: list[TokenRows],
        found: Iterator[dict[str, Tensor]],
        dtype: torch.dtype,
        told: Callable[[int], object],
    ) -> dict[str, Tensor]:
        """The tensors of one shard."""
        parts: dict[str, list[Tensor]] = {name: [] for name in (*self.sites, *PER_TOKEN)}
        for rows, activations in zip(batches, found, strict=True):
            mask = rows.mask
            for site, h in activations.items():
                check_finite(h, site, int(rows.documents[0]) // ROWS_AT_ONCE)
                kept = joined(h, site).cpu()[mask].to(dtype)
                if not bool(torch.isfinite(kept).all()):
                    raise ValueError(f"activations at {site!r} are too large for {dtype}: give dtype=torch.bfloat16.")
                parts[site].append(kept)
            where = rows.documents[:, None].expand_as(mask)
            for name, values in (("document", where), ("position", rows.positions), ("token", rows.tokens)):
                parts[name].append(values[mask].int())
            told(int(mask.sum()))
        return {name: torch.cat(part) for name, part in parts.items()}

    def _add(self, tensors: dict[str, Tensor]) -> None:
        """Write a shard, then name it in the manifest."""
        file = f"shard-{len(self.shards):05d}.safetensors"
        write_atomically(self.folder / file, lambda path: save_file(tensors, path))
        self.shards.append({"file": file, "tokens": len(tensors["document"]), "sha256": _digest(self.folder / file)})
        self._write_manifest()

    def _write_manifest(self) -> None:
        write_json(self.folder / "manifest.json", self.manifest)


def _digest(path: Path) -> str:
    if not path.is_file():
        return ""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
