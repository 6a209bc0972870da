"""All latents of a store at once, as a browser lists, filters and searches them."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import numpy as np
from saekit_widgets.protocols import Listing

from saekit.features import schema
from saekit.features.asking.definitions import definitions, usual_order
from saekit.features.asking.hints import hints
from saekit.features.asking.manifest import half_built
from saekit.features.asking.numbers import numbers
from saekit.features.asking.opened import OpenedStore
from saekit.features.columns import columns_of


def listing(store: OpenedStore) -> Listing:
    """What a browser needs of all latents at once."""
    query, tables = numbers(store)
    found = store.database.columns(f"{query} order by latent", tables=tables)
    names = sorted(set(found["best"]) - {""})
    number = {name: i for i, name in enumerate(names)} | {"": -1}
    made, sae = store.manifest["provenance"], store.manifest["dictionary"]
    about = [column.words for column in columns_of(store.manifest)]
    said = Listing(
        store=_identity(store),
        title=str(store.folder),
        model=_model(made["model"]),
        site=" → ".join(dict.fromkeys([*sae["reads"], *sae["writes"]])),
        facts=facts(store.manifest),
        d_sae=store.d_sae,
        about=about,
        columns={one["name"]: np.asarray(found[one["name"]], dtype="<f4") for one in about},
        usual=np.asarray(found["usual"], dtype="<i4"),
        order=usual_order(store.manifest),
        dead=np.asarray(found["dead"], dtype=bool),
        concept=np.array([number[name] for name in found["best"]], dtype="<i2"),
        concepts=names,
        hints=hints(store),
        labels=store.labels.all(),
        definitions=definitions(store.manifest),
    )
    if schema.over_arrays(store.manifest):
        said["no_prompt"] = "The store is over an array: there is no model to read a prompt."
    return said


def _model(name: Any) -> str:
    """The name of a model; of several each, of those in folders without the way there."""
    if not isinstance(name, dict):
        return str(name or "")
    return ", ".join(f"{given}: {Path(own).name if Path(own).is_absolute() else own}" for given, own in name.items())


def _identity(store: OpenedStore) -> str:
    """A hash of where the store lies, what it was made from and when: of no other store it is the same."""
    made = (store.folder / "manifest.json").stat().st_mtime_ns
    return hashlib.sha256(f"{store.folder}\n{store.labels.dictionary}\n{made}".encode()).hexdigest()


def facts(manifest: dict[str, Any]) -> str:
    """Such as "TopK k = 32 · 500,000 tokens of microworld/train"."""
    configuration = manifest["dictionary"]["configuration"]
    method = configuration["method"] + (f" k = {configuration['k']}" if configuration.get("k") else "")
    corpus = manifest["provenance"]["corpus"]
    of = f" of {corpus['name']}/{corpus['split']}" if corpus else ""
    half = "" if manifest["finished"] else f" · {half_built(manifest)}"
    counted = f"{manifest['progress']['counted']:,} {'rows' if schema.over_arrays(manifest) else 'tokens'}"
    return f"{method} · {counted}{of}{half}"
