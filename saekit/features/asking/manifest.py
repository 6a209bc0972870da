"""The manifest of a store that is opened, or one sentence on why there is none to open."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from saekit.features import schema
from saekit.files.choices import offered
from saekit.files.locks import writer_in
from saekit.files.manifests import warn_of_unknown


def opened_manifest(folder: Path) -> dict[str, Any]:
    """Of a store that is finished, or was stopped after some latents were made. Raises ValueError for a folder that
    holds none, is being built, has nothing to open yet, or is of another version."""
    try:
        manifest = json.loads((folder / "manifest.json").read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ValueError(_no_store(folder, error)) from error
    found = manifest.get("format") if isinstance(manifest, dict) else None
    if found != schema.FORMAT:
        raise ValueError(f"{folder} should hold {schema.FORMAT!r}, found {found!r}.")
    if manifest.get("version") != schema.VERSION:
        raise ValueError(
            f"{folder} has schema version {manifest.get('version')}, this saekit reads {schema.VERSION}: build it "
            "again in an empty folder, with the same call."
        )
    if not manifest["finished"] and (not manifest["parts"] or writer_in(folder) is not None):
        half = f"{manifest['progress']['counted']:,} tokens read, {len(manifest['parts'])} parts written"
        if (writer := writer_in(folder)) is not None:
            raise ValueError(f"{folder} is being built ({half}) by {writer}: open it when that is done.")
        raise ValueError(
            f"{folder} is half built ({half}): call FeatureStore.build again as before, and it goes on from there."
        )
    warn_of_unknown(folder, manifest)
    return manifest


def half_built(manifest: dict[str, Any]) -> str:
    """What there is of a store that is not finished, such as "half built (40,960 of 61,700 tokens)"."""
    wanted, d_sae = manifest["settings"]["tokens"], manifest["dictionary"]["d_sae"]
    if manifest["read"]:
        return f"half built ({manifest['parts'][-1][1]:,} of {d_sae:,} latents)"
    of = "" if wanted is None else f" of {wanted:,}"
    return f"half built ({manifest['progress']['counted']:,}{of} tokens)"


def _no_store(folder: Path, error: Exception) -> str:
    if (writer := writer_in(folder)) is not None:
        return f"{folder} is being built by {writer}: open it when that is done."
    if folder.is_dir():
        return f"{folder} is no feature store: its manifest.json cannot be read ({error})."
    beside = [file.parent.name for file in folder.parent.glob("*/manifest.json")]
    hint = f"; beside it {offered(folder.name, sorted(beside))}" if beside else ""
    return f"{folder} is no feature store: there is no such folder{hint}."
