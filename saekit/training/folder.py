"""A run's folder: config.json, what decides its result, held against the one that is there."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from saekit.activations import ArrayStream, ShuffledStream, StoreStream
from saekit.activations.given import GivenTokens
from saekit.dictionaries import Method
from saekit.files import make_folder, remove_leftovers
from saekit.files.arguments import whole
from saekit.files.manifests import GIVEN, check_same, warn_of_unknown, write_json
from saekit.models.hashing import fingerprint_model
from saekit.training.learners import GradientLearner
from saekit.training.run import is_finished, places
from saekit.training.session import Session
from saekit.training.settings import Settings
from saekit.training.sources import Source, Stream

CHECKPOINT, END = "checkpoint.safetensors", "end.safetensors"
"""The state that an interrupted run goes on from, and the one that a finished run was left in."""
AT_ONCE = 2**16  # rows that are hashed at a time
CONTRACT = 2
"""Of methods, dictionaries and checkpoints. 1: before encoders and decoders were modules."""
CHUNK = "chunk_tokens"
"""The entry of a config that says how many tokens are shuffled at a time; None for arrays and rows of texts."""
FORMERLY = 2**15, 2**27
"""Tokens, and bytes in float32, that a chunk held at most before it stood in a config."""
THREADS = "threads"
"""The entry of a config that says how many there were; another number gives the same run."""


def describe(session: Session, source: Source, settings: Settings, methods: Sequence[Method], several: bool) -> Any:
    """The CONFIG of a run: everything that decides its result. settings: also those of another number of steps."""
    described = [method.to_json() for method in methods]
    rates = [
        settings.rate(learner.dictionary.method.d_sae) if isinstance(learner, GradientLearner) else None
        for learner in session.learners
    ]
    windows = [settings.dead_window(method.wanted_density) for method in methods]
    return {
        "contract": CONTRACT,
        "configuration": described if several else described[0],
        "wiring": session.wiring.to_json(),
        "tokens": session.tokens,
        "batch_size": session.batch_size,
        "lr": rates if several else rates[0],
        **settings.lengths(),
        "dead_after": windows if len(set(windows)) > 1 else windows[0],
        "labels": _named(source.labels),
        "exclude": source.exclude if isinstance(source.exclude, str) else list(source.exclude),
        "context": source.context,
        "max_norm_multiple": session.stream.max_norm_multiple,
        CHUNK: getattr(session.stream, CHUNK, None),
        "seed": session.seed,
        "dtype": str(settings.dtype).removeprefix("torch."),
        THREADS: session.threads,
        "source": _described(session.stream),
        GIVEN: _given(session.stream),
    }


def _named(labels: Any) -> Any:
    """Concepts by name, an array by its hash."""
    if labels is None or isinstance(labels, str):
        return labels
    if isinstance(labels, Sequence) and all(isinstance(name, str) for name in labels):
        return list(labels)
    return _digest(torch.as_tensor(labels))


def _described(stream: Stream) -> dict[str, Any]:
    """The stream's provenance; for arrays or token ids, which have no name, their hash."""
    if isinstance(stream, ArrayStream):
        named = {site: _digest(array) for site, array in stream.arrays.items()}
        return stream.provenance | {"array": named["x"] if list(named) == ["x"] else named}
    source = getattr(stream, "source", None)
    return stream.provenance | ({"array": source.fingerprint} if isinstance(source, GivenTokens) else {})


def _given(stream: Stream) -> dict[str, Any]:
    """Fingerprints of what is read: the models as they are now, a store as it lies there."""
    if isinstance(stream, StoreStream):
        return {"store": stream.store.fingerprint}
    models = {name: fingerprint_model(model) for name, model in (stream.models or {}).items()}
    return {"model": models[""]} if list(models) == [""] else {"models": models}


def _digest(array: Tensor) -> str:
    """SHA-256 over shape, dtype and every value."""
    digest = hashlib.sha256(f"{list(array.shape)} {array.dtype}".encode())
    for rows in array.detach().split(AT_ONCE):
        digest.update(rows.cpu().contiguous().view(torch.uint8).numpy().data)
    return digest.hexdigest()


def written_config(folder: Path) -> dict[str, Any]:
    """The config.json that is there; {} where there is none."""
    file = folder / "config.json"
    return json.loads(file.read_text(encoding="utf-8")) if file.is_file() else {}


def as_begun(settings: Settings, folder: Path) -> Settings:
    """With the dead_after of the run that a folder holds, where that is of these tokens and began when the default was
    a twentieth of the run, whatever the method, and none is given now."""
    there = written_config(folder)
    same = max(1, there.get("tokens", 0) // settings.batch_size) == settings.steps
    if (
        settings.dead_after is None
        and there
        and same
        and there.get("dead_after", settings.twentieth) == settings.twentieth
    ):
        return replace(settings, dead_after=settings.twentieth)
    return settings


def keep_chunks(folder: Path, stream: Stream) -> None:
    """A run goes on in chunks as large as it began with: what its config says, and where that says nothing as large as
    they were then."""
    config = written_config(folder)
    if not config or not isinstance(stream, ShuffledStream):
        return
    tokens, size = FORMERLY
    formerly = max(stream.batch_size, min(tokens, size // (4 * sum(stream.widths.values()))))
    stream.chunk_tokens = whole(CHUNK, config.get(CHUNK) or formerly)


def former_ends(folder: Path, tokens: int) -> list[int]:
    """The tokens at which the run of a folder had ended and went on, or will where it is to have more tokens now."""
    config = written_config(folder)
    ends = list(config.get("gone_on_at", []))
    if not (folder / END).is_file() or config["tokens"] // config["batch_size"] >= tokens // config["batch_size"]:
        return ends
    return [*ends, config["tokens"]]


def open_folder(folder: Path, config: dict[str, Any], resume: bool, count: int) -> bool:
    """Write config.json, or hold it against the one that is there; does the folder hold a finished run?

    config: with "gone_on_at" where the run goes on from a former end, whose files then step aside."""
    file, dictionaries = folder / "config.json", places(folder, count)
    if file.is_file() and resume:
        before, now = written_config(folder), config
        finished = is_finished(folder, before, dictionaries)
        if before.get("contract", 1) != CONTRACT:
            before = of_contract_1(before)
            if not finished:
                raise ValueError(
                    f"{folder} was begun by a saekit whose checkpoints this one cannot read (contract "
                    f"{before['contract']}, here {CONTRACT}): finish it with that version, or begin in another out=."
                )
            now = now | {"contract": before["contract"]}
        # One that was begun before tokens were left out has left none out; see keep_chunks.
        before = {"max_norm_multiple": now["max_norm_multiple"] if finished else None, CHUNK: now[CHUNK]} | before
        if GIVEN not in before:
            warn_of_unknown(folder, before)
            before, now = _without_hashes(before), _without_hashes(now)
        now = {name: value for name, value in now.items() if name != THREADS}
        check_same(folder, "run", before, now, "another out=")
        if finished:
            return True
    elif file.is_file() or any(place.exists() for place in dictionaries):
        raise ValueError(f"{folder} holds a run already and resume=False would overwrite it: choose another out=.")
    for place in (folder, *dictionaries):
        remove_leftovers(place)
    write_json(file, config)
    return False


def _without_hashes(config: dict[str, Any]) -> dict[str, Any]:
    """Before all of what goes in was fingerprinted, hashes of arrays were of some of their rows."""
    source = {name: value for name, value in config["source"].items() if name not in ("array", "prepend_bos")}
    hashed = isinstance(config["labels"], str) and len(config["labels"]) == hashlib.sha256().digest_size * 2
    return config | {"source": source, "labels": None if hashed else config["labels"]}


def go_on(folder: Path, config: dict[str, Any], shorter: dict[str, Any], count: int) -> bool:
    """Where a finished run is to have more tokens than ``shorter``, its own config, make of it one that is not
    finished: ``config`` takes the place of ``shorter``, its dictionary goes to ends/<tokens>, its last state is the
    checkpoint. Whether that was so; a call that was killed in it is gone on with."""
    there, places_of_it = written_config(folder), places(folder, count)
    begins = there.get("tokens") == shorter["tokens"]
    if not (folder / END).is_file() or not (begins or not is_finished(folder, there, places_of_it)):
        return False
    if begins:
        open_folder(folder, shorter, True, count)  # what else differs is an error
        write_json(folder / "config.json", config)
    aside = folder / "ends" / str(shorter["tokens"])
    make_folder(aside)
    for name in ("dictionary", "dictionaries"):
        if (folder / name).exists():
            os.replace(folder / name, aside / name)
    os.replace(folder / END, folder / CHECKPOINT)
    return True


def of_contract_1(before: dict[str, Any]) -> dict[str, Any]:
    """An old config in today's words: what it did not know yet had the value that is the default now."""
    before = {"contract": 1} | before
    sites = before.pop("sites", [])
    wiring = {"reads": sites, "writes": sites, "each": False}
    old = before["configuration"]
    several = isinstance(old, list)
    methods = [Method.from_json(each).to_json() for each in (old if several else [old])]
    unknown = Settings(max(1, before["tokens"] // before["batch_size"]), before["batch_size"])
    former: dict[str, Any] = {**unknown.lengths(), "dead_after": unknown.twentieth}
    former |= {"wiring": wiring, "labels": None, "exclude": [], "context": None} | before
    return former | {"configuration": methods if several else methods[0]}
