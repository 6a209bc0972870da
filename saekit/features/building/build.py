"""Building a store: read the corpus once in chunks, then make the tables of some latents at a time.

Stopped while it reads, it makes the features of what was read by then, and of these of which there are any it can be
opened. Whatever moment it is interrupted at, the same call goes on from the last chunk or part that the manifest names.
"""

from __future__ import annotations

import json
import shutil
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from saekit.activations.read import what_was_read
from saekit.activations.source import Readable, read_source
from saekit.corpora import Corpus
from saekit.dictionaries import Dictionary, check_model, check_one_site, stored
from saekit.dictionaries.provenance import check_named, installed_versions
from saekit.dictionaries.wanted import dictionary_of
from saekit.engines import check_engine
from saekit.engines.threads import products_of, threads_for, working_with
from saekit.features import schema
from saekit.features.building.array_reading import ArrayReader, is_arrays
from saekit.features.building.chunks import Readings, first_rows, write_chunk
from saekit.features.building.concepts import Concepts
from saekit.features.building.heads import write_heads
from saekit.features.building.neighbours import Neighbours
from saekit.features.building.output_path import Outputs
from saekit.features.building.part import Workbench
from saekit.features.building.reading import ENCODED_AT_ONCE, Progress, Reader
from saekit.features.building.settings import Settings, as_arguments
from saekit.features.building.tables import write_table, write_text
from saekit.features.pieces import vocabulary
from saekit.features.written import Written
from saekit.files import make_folder, remove_leftovers
from saekit.files.locks import writing_in
from saekit.files.manifests import GIVEN, as_read, check_same, write_json
from saekit.files.paths import resolved, shown
from saekit.files.progress import Bar, say
from saekit.files.roles import ACTIVATIONS, CORPUS, DICTIONARY, MODEL, MODELS, RUN, check_roles, role_of
from saekit.files.stopping import Stop, interrupted
from saekit.models import SeveralModels, can_be_edited, check_site, describe_model, joined_width, together
from saekit.models.hashing import fingerprint_model, hash_tensors

if TYPE_CHECKING:
    from transformer_lens.model_bridge import TransformerBridge

LONG = 2.0  # seconds
LATENTS_AT_ONCE, FIRINGS_AT_ONCE = 2048, 2**19
CALL = "sk.FeatureStore.build(model, sae, corpus, folder, tokens=…)"
MOST_THREADS = 4  # each holds a part


class Build:
    """One call of FeatureStore.build; see there for the arguments."""

    def __init__(
        self,
        model: TransformerBridge | Any,
        dictionary: Dictionary,
        source: Readable,
        folder: str | Path,
        settings: Settings,
        engine: str,
        workers: int,
    ) -> None:
        check_roles(
            "FeatureStore.build(model, dictionary, source, folder)",
            model=(model, (MODEL, MODELS, ACTIVATIONS)),
            dictionary=(dictionary, (DICTIONARY, RUN)),
            source=(source, CORPUS),
        )
        check_engine(engine)
        dictionary = dictionary_of(dictionary)
        check_one_site(dictionary)
        self.dictionary, self.folder, self.settings = dictionary.eval(), resolved(folder), settings
        self.model: TransformerBridge | SeveralModels | None = None
        model = together(model) if role_of(model) == MODELS else model
        self.reader: Reader | ArrayReader
        if is_arrays(model):
            if settings.exclude or settings.context is not None or engine != "local":
                raise ValueError("exclude=, context= and engine= are for reading a model: here is none.")
            self.reader = ArrayReader.of(model, dictionary, source, settings.tokens)
            provenance = self.reader.provenance
            given: dict[str, Any] = {"text": provenance["arrays"]["fingerprint"], "model": None}
        else:
            _check(model, dictionary)
            if source is None:
                raise ValueError(f"a model reads a corpus, texts or tokens, found None: {CALL}.")
            corpus = read_source(source, model, settings.context)
            if isinstance(corpus, Corpus) and corpus.endless and settings.tokens is None:
                raise ValueError(f"corpus {corpus.name!r} is endless: give tokens=, the number of tokens to read.")
            self.model = model
            known = list(corpus.concepts) if isinstance(corpus, Corpus) else []
            bos = dictionary.provenance.prepend_bos
            how = {"exclude": settings.exclude, "context": settings.context, "bos": bos}
            self.reader = Reader(model, dictionary, corpus, settings.tokens, known, how, engine, workers)
            provenance = describe_model(model)
            provenance |= {"corpus": corpus.provenance if isinstance(corpus, Corpus) else None}
            given = {"text": corpus.fingerprint, "model": fingerprint_model(model)}
        products = products_of(model, dictionary)
        if self.model is None:
            products = ENCODED_AT_ONCE * sum(dictionary.read_widths.values()) * dictionary.d_sae
        self.threads = threads_for(products, dictionary.latent_max.device)
        state = stored(dictionary)
        self.described: dict[str, Any] = {
            "format": schema.FORMAT,
            "version": schema.VERSION,
            "provenance": provenance,
            "dictionary": {
                "fingerprint": hash_tensors(list(state), lambda name: state[name]),
                "configuration": dictionary.method.to_json(),
                "reads": list(dictionary.reads),
                "writes": list(dictionary.writes),
                "d_sae": dictionary.d_sae,
            },
            "settings": settings.in_manifest(),
            "concepts": list(self.reader.concepts),
            GIVEN: given,
        }

    def run(self) -> None:
        """Do what is left to do, or what there is time for until it is stopped; nothing when the store is finished.
        Raises ValueError when another one is there, InUse where another process builds it, and KeyboardInterrupt where
        it was stopped before there was anything to open."""
        if not (manifest := self._found()).get("finished"):
            make_folder(self.folder)
            with writing_in(self.folder, "store"):
                manifest = self._found() or self._begun()  # a process that was there until now may have finished it
                remove_leftovers(self.folder)
                if not manifest["finished"]:
                    self._go_on(manifest)
        if manifest["finished"]:
            shutil.rmtree(self.folder / "reading", ignore_errors=True)

    def _go_on(self, manifest: dict[str, Any]) -> None:
        began = time.monotonic()
        self._read(manifest)
        try:
            self._finish(manifest)
        except KeyboardInterrupt:
            kept = f"{manifest['progress']['counted']:,} tokens"
            if not manifest["parts"]:
                where = shown(self.folder)
                raise interrupted(f"stopped; {where} keeps {kept}, and the same call goes on from there.") from None
            made = f"{manifest['parts'][-1][1]:,} of {self.dictionary.d_sae:,} latents"
            say(f"stopped at {made} on {kept}; the store opens with these, and the same call goes on.")
        if manifest["finished"]:
            self._tell(manifest, time.monotonic() - began)

    def _tell(self, manifest: dict[str, Any], seconds: float) -> None:
        """After long work: what it cost, and what was left for later."""
        if seconds < LONG:
            return
        later = "; loss effects are measured when a feature is opened with the model"
        waits = manifest["editable"] and not self.settings.effects_now
        read = f"{self.dictionary.d_sae:,} latents on {manifest['progress']['counted']:,} tokens"
        say(f"{shown(self.folder)}: {read} in {seconds:.0f} s{later if waits else ''}")

    def _found(self) -> dict[str, Any]:
        """The manifest of this store where it was begun; nothing in a folder that is new or empty."""
        file = self.folder / "manifest.json"
        if file.is_file():
            manifest: dict[str, Any] = json.loads(file.read_text(encoding="utf-8"))
            there, here = as_arguments(manifest), as_arguments(self.described)
            if there["settings"]["loss_effects"] == "all":  # that store has what this one would, and more
                here["settings"]["loss_effects"] = "all"
            check_same(self.folder, "store", there, here)
            return manifest
        if self.folder.is_file():
            raise ValueError(f"{self.folder} is a file: give the name of a folder that is new or empty.")
        # What a beginning that was cut off leaves, and labels that were brought along.
        ours = ("dictionary", "labels.sqlite", "labels.sqlite-wal", "labels.sqlite-shm")
        others = [path.name for path in self.folder.glob("[!.]*") if path.name not in ours]
        if others:
            raise ValueError(f"{self.folder} holds {min(others)!r} and no store: choose a folder that is new or empty.")
        return {}

    def _begun(self) -> dict[str, Any]:
        self.dictionary.save(self.folder / "dictionary")
        begun = {"progress": asdict(Progress()), "chunks": [], "read": False, "parts": [], "finished": False}
        manifest = as_read(self.described) | {"versions": installed_versions(), "windows": schema.WINDOW} | begun
        manifest["threads"] = self.threads  # for whoever reads it: nothing hangs on them
        self._write(manifest)
        return manifest

    def _read(self, manifest: dict[str, Any]) -> None:
        """Read what is left to read, and name each chunk once it is written; stopped, say so and return. Raises
        KeyboardInterrupt where nothing was read by then."""
        if manifest["read"]:
            return
        self._forget_parts(manifest)
        room = self.folder / "reading"
        room.mkdir(exist_ok=True)
        progress, wanted = Progress(**manifest["progress"]), self.reader.wanted
        with _bar(wanted, progress.counted, "reading", "token") as bar, working_with(self.threads), Stop() as stop:
            try:
                for tensors, now in self.reader.read(progress, bar.update, stop):
                    manifest["chunks"].append(write_chunk(room, len(manifest["chunks"]), tensors))
                    manifest["progress"] = asdict(now)
                    self._write(manifest)
            except KeyboardInterrupt:
                stop.asked = True
            counted = manifest["progress"]["counted"]
            stopped = stop.asked and (wanted is None or counted < wanted)
            bar.stopped = stopped
        if not counted and stopped:
            raise interrupted(f"stopped before a token was read; {shown(self.folder)} keeps nothing.")
        if not counted:
            raise ValueError("there is no token to count: the corpus is empty or everything in it is excluded.")
        done = manifest["progress"]
        if self.model is not None:
            bos = self.dictionary.provenance.prepend_bos
            read = what_was_read(self.model, done["rows"], done["counted"], done["excluded"], bos)
            manifest["what_was_read"] = read
        manifest["read"] = not stopped
        self._write(manifest)
        if stopped:
            of = "" if wanted is None else f" of {wanted:,}"
            say(f"stopped at {counted:,}{of} tokens; the features of these are made now, and the same call goes on.")

    def _forget_parts(self, manifest: dict[str, Any]) -> None:
        """Of a store that was stopped while it was read: what was made of the tokens read by then is made anew."""
        if manifest["parts"]:
            manifest |= {"parts": [], "heads": 0}
            self._write(manifest)
        for name in schema.TABLES:
            shutil.rmtree(self.folder / name, ignore_errors=True)
        (self.folder / "vocabulary.parquet").unlink(missing_ok=True)

    def _finish(self, manifest: dict[str, Any]) -> None:
        progress = Progress(**manifest["progress"])
        room = self.folder / "reading"
        readings = Readings([room / file for file in manifest["chunks"]])
        write_text(self.folder, readings, progress, self.reader.concepts, self._words)
        bench, manifest["output_path"] = self._workbench(readings, progress)
        manifest["editable"] = bench.loss_examples > 0  # at the site that is written, so that loss effects exist
        parts = _divided(readings.starts)
        examples = _examples_to_measure(bench.loss_examples, readings) if self.settings.effects_now else 0
        if examples:
            say(f"the model runs again on {examples:,} examples, each without its latent")
        total = examples or self.dictionary.d_sae
        done = len(manifest["parts"])
        with _bar(total, 0, "features", "example" if examples else "latent") as bar:

            def make(number: int) -> None:
                for name, part in bench.part(*parts[number], bar.update if examples else _nothing).items():
                    write_table(self.folder, name, number, part)

            if not examples:
                bar.update(sum(last - first for first, last in parts[:done]))
            # With loss effects the model is at work, which uses all threads by itself and is nothing to share.
            threads = 1 if examples else min(torch.get_num_threads(), MOST_THREADS)
            for number in _in_turn(make, range(done, len(parts)), threads):
                manifest["parts"].append(list(parts[number]))
                self._write(manifest)
                if not examples:
                    bar.update(parts[number][1] - parts[number][0])
        manifest["heads"] = write_heads(self.folder, self.model, self.dictionary, readings, parts)
        manifest["finished"] = manifest["read"]
        self._write(manifest)

    def _workbench(self, readings: Readings, progress: Progress) -> tuple[Workbench, str | None]:
        sae, model, output, can_be_measured = self.dictionary, self.model, None, False
        written = Written.of(sae)
        if model is not None:
            output = Outputs.of(model, written, first_rows(readings))
            can_be_measured = all(can_be_edited(model, site) for sites in written.sites for site in sites)
        bench = Workbench(
            model=self.model,
            dictionary=sae,
            readings=readings,
            counted=progress.counted,
            settings=self.settings,
            loss_examples=self.settings.loss_examples if can_be_measured else 0,
            neighbours=Neighbours(sae.decoder_rows(slice(None)), readings) if sae.d_sae > 1 else None,
            concepts=Concepts(readings, len(self.reader.concepts)) if self.reader.concepts else None,
            concept_names=list(self.reader.concepts),
            written=written,
            output=output,
            vocabulary=self._words()[0],
        )
        return bench, None if output is None else output.definition

    def _words(self) -> tuple[list[bytes], list[bool]]:
        if isinstance(self.reader, ArrayReader):
            return self.reader.vocabulary()
        return vocabulary(self.reader.model.tokenizer, self.reader.model.cfg.d_vocab)

    def _write(self, manifest: dict[str, Any]) -> None:
        write_json(self.folder / "manifest.json", manifest)


def _check(model: Any, dictionary: Dictionary) -> None:
    """Whether the dictionary goes on the model; raises TypeError or ValueError saying why not."""
    if not isinstance(model, SeveralModels) and not hasattr(model, "hook_dict"):
        raise TypeError(
            f"model is what sk.load_model gives, or an array of activations, found a {type(model).__name__}: {CALL}."
        )
    check_model(dictionary, model)
    check_named(dictionary)
    for site, width in (dictionary.read_widths | dictionary.write_widths).items():
        check_site(model, site)
        if width != (found := joined_width(model, site)):
            raise ValueError(f"the dictionary has {width} values at {str(site)!r}, the model {found}.")


def _examples_to_measure(loss_examples: int, readings: Readings) -> int:
    """About: top and random examples of each latent."""
    return 2 * int(np.minimum(np.diff(readings.starts), loss_examples).sum())


def _divided(starts: np.ndarray) -> list[tuple[int, int]]:
    """Latents in parts of at most LATENTS_AT_ONCE, and of FIRINGS_AT_ONCE firings unless one latent alone has more."""
    parts, first = [], 0
    while first < len(starts) - 1:
        most = int(np.searchsorted(starts, starts[first] + FIRINGS_AT_ONCE, side="right")) - 1
        last = min(max(most, first + 1), first + LATENTS_AT_ONCE, len(starts) - 1)
        parts.append((first, last))
        first = last
    return parts


def _in_turn(make: Callable[[int], object], numbers: Sequence[int], threads: int) -> Iterator[int]:
    """The numbers, in order, each once it is made; at most `threads` are being made or wait to be told of."""
    if threads == 1:
        for number in numbers:
            make(number)
            yield number
        return
    waiting: deque[tuple[int, Future[object]]] = deque()
    with ThreadPoolExecutor(threads) as pool:
        for number in numbers:
            if len(waiting) == threads:
                first, made = waiting.popleft()
                made.result()
                yield first
            waiting.append((number, pool.submit(make, number)))
        for first, made in waiting:
            made.result()
            yield first


def _bar(total: int | None, initial: int, name: str, unit: str) -> Any:
    return Bar(total=total, initial=initial, desc=name, unit=f" {unit}", unit_scale=True)


def _nothing(_: int) -> None:
    """Loss effects are not measured, so nobody waits for them."""
