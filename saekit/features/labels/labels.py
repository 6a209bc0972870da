"""Labels, stars, notes and explanations of latents, which several notebooks can write at once.

A row is never deleted: one that was cleared keeps its version, so that whoever has the store open learns of it.
"""

from __future__ import annotations

import json
import math
import sqlite3
from collections.abc import Iterable
from datetime import datetime
from numbers import Real
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from saekit.dictionaries.latent_number import latent_number
from saekit.files.paths import resolved, shown
from saekit.files.sqlite import SqliteFile

if TYPE_CHECKING:
    import pandas

VERSION = 1
TABLES = (
    "CREATE TABLE IF NOT EXISTS labels (latent INTEGER PRIMARY KEY, label TEXT NOT NULL, star INTEGER NOT NULL, "
    "note TEXT NOT NULL, saved TEXT NOT NULL, version INTEGER NOT NULL)",
    "CREATE INDEX IF NOT EXISTS labels_by_version ON labels (version)",
    "CREATE TABLE IF NOT EXISTS explanations (number INTEGER PRIMARY KEY, latent INTEGER NOT NULL, text TEXT NOT NULL, "
    "predicate TEXT, author TEXT NOT NULL, detection REAL, fuzzing REAL, saved TEXT NOT NULL)",
)
EXPLANATION = ("latent", "text", "predicate", "author", "detection", "fuzzing", "saved")
_SELECT = "SELECT latent, label, star, note, saved FROM labels "
_NEXT = "(SELECT coalesce(max(version), 0) + 1 FROM labels)"
_UPSERT = (
    "INSERT INTO labels VALUES (:latent, coalesce(:label, ''), coalesce(:star, 0), coalesce(:note, ''), :saved, "
    f"{_NEXT}) ON CONFLICT (latent) DO UPDATE SET "
    "label = coalesce(:label, label), star = coalesce(:star, star), note = coalesce(:note, note), saved = :saved, "
    "version = excluded.version"
)
_TOUCH = (
    f"INSERT INTO labels VALUES (?, '', 0, '', '', {_NEXT}) "
    "ON CONFLICT (latent) DO UPDATE SET version = excluded.version"
)
SAID = 300  # characters of an explanation that stand where there is no label
_BEST = (
    f"SELECT latent, substr(text, 1, {SAID}) AS text, detection FROM (SELECT latent, text, detection, row_number() "
    "OVER (PARTITION BY latent ORDER BY detection IS NULL, detection DESC, number DESC) AS place FROM explanations) "
    "WHERE place = 1"
)
_SINCE = (
    "SELECT labels.latent, label, star, note, saved, version, best.latent, best.detection, best.text FROM labels "
    f"LEFT JOIN ({_BEST}) AS best ON best.latent = labels.latent WHERE version > ? ORDER BY labels.latent"
)
_EXPLANATIONS = f"SELECT {', '.join(EXPLANATION)} FROM explanations "
_SAME = "DELETE FROM explanations WHERE latent = :latent AND text = :text AND author = :author"
_ADD = f"INSERT INTO explanations ({', '.join(EXPLANATION)}) VALUES ({', '.join(':' + name for name in EXPLANATION)})"


class Labels:
    """What people and programs said of the latents of one dictionary.

    path:       the SQLite file; made by the first write. Without it there are no labels.
    d_sae:      number of latents; a number outside 0 … d_sae − 1 is an error.
    dictionary: fingerprint of the dictionary, written into exports and compared by imports; None does neither.

    Any call may raise PermissionError (nothing can be written there), TimeoutError (another program holds the file for
    longer than 30 seconds), and ValueError (the file is damaged, or of a later version).
    """

    def __init__(self, path: str | Path, d_sae: int, dictionary: str | None = None) -> None:
        self.file, self.d_sae, self.dictionary = (
            SqliteFile(resolved(path, "path"), "labels", TABLES, VERSION),
            d_sae,
            dictionary,
        )

    def __repr__(self) -> str:
        return f"<Labels of {self.d_sae:,} latents in {shown(self.file.path)}>"

    def set(
        self, latent: int, label: str | None = None, star: bool | None = None, note: str | None = None
    ) -> dict[str, Any]:
        """Change what is given, keep the rest; "" clears a text. Returns what is now stored, as `get` does.

        latent: its number. label, note: text. star: True or False."""
        number = self.checked(latent)
        row = {"latent": number, "label": text_of(label, "label"), "note": text_of(note, "note"), "saved": now()}
        switch = None if star is None else _switch(star)
        with self.file.writing() as connection:
            put(connection, {**row, "star": switch})
            return _rows(connection.execute(_SELECT + "WHERE latent = ?", (number,)))[number]

    def get(self, latent: int) -> dict[str, Any]:
        """label, star, note and saved (ISO 8601, local time with its offset; "" if nothing was ever saved).

        latent: its number."""
        nothing = {"label": "", "star": False, "note": "", "saved": ""}
        return self._labels("WHERE latent = ?", self.checked(latent)).get(latent, nothing)

    def all(self) -> dict[int, dict[str, Any]]:
        """Latents with a label, star or note, in order: latent → label, star, note, saved."""
        return self._labels("WHERE label != '' OR star OR note != '' ORDER BY latent")

    def since(self, version: int) -> tuple[int, dict[int, dict[str, Any]]]:
        """The version now, and what anybody changed after `version` (0: everything), cleared labels and new
        explanations included: label, star, note, saved; of explained ones explanation, the text of the best (its
        beginning), and detection, its score (None: no score).

        Every change raises the version, so ask again with the number that came back."""
        with self.file.reading() as connection:
            if connection is None:
                return version, {}
            # One statement sees one state of the file: the version cannot pass a change that is not returned.
            found = connection.execute(_SINCE, (version,)).fetchall()
        entries = _rows(row[:5] for row in found)
        for *_, explained, detection, text in found:
            if explained is not None:
                entries[explained] |= {"detection": detection, "explanation": text}
        return max([version, *(row[5] for row in found)]), entries

    def add_explanation(
        self,
        latent: int,
        text: str,
        predicate_json: str | None,
        author: str,
        detection: float | None = None,
        fuzzing: float | None = None,
    ) -> None:
        """Keep an explanation of a latent with its scores; None where a score was not measured. The same text by the
        same author takes the place of the earlier one.

        predicate_json: what of the explanation a program can apply, as JSON. Raises ValueError if it is not JSON, or
        for a score that is not finite.
        detection, fuzzing: its scores."""
        self.add_explanations([(latent, text, predicate_json, author, detection, fuzzing)])

    def add_explanations(self, rows: Iterable[tuple[Any, ...]]) -> None:
        """Keep several at once, each what add_explanation takes, in its order."""
        checked = [self.checked_explanation(dict(zip(EXPLANATION, (*row, now()), strict=True))) for row in rows]
        with self.file.writing() as connection:
            for row in checked:
                put_explanation(connection, row)

    def explanations(self, latent: int | None = None) -> list[dict[str, Any]]:
        """Explanations of a latent, or of all, oldest first: latent, text, predicate (JSON or None), author, detection,
        fuzzing, saved."""
        number = None if latent is None else self.checked(latent)
        with self.file.reading() as connection:
            return [] if connection is None else stored_explanations(connection, number)

    def best_explanations(self) -> dict[int, tuple[str, float | None]]:
        """Of each latent that has explanations the one with the best detection, of equal ones the latest: its text (the
        beginning, as far as it stands for a label) and its score."""
        with self.file.reading() as connection:
            found = [] if connection is None else connection.execute(_BEST).fetchall()
        return {latent: (text, detection) for latent, text, detection in found}

    def frame(self) -> pandas.DataFrame:
        """A row a latent that has a label, star or note: latent, label, star, note, saved."""
        import pandas

        rows = [{"latent": latent, **row} for latent, row in self.all().items()]
        return pandas.DataFrame(rows, columns=["latent", "label", "star", "note", "saved"])

    def checked(self, latent: int) -> int:
        """The latent as a plain int. Raises NoSuchLatent if this dictionary has none of that number."""
        return latent_number(latent, self.d_sae)

    def checked_explanation(self, row: dict[str, Any]) -> dict[str, Any]:
        """The row of an explanation as it is stored. Raises ValueError naming what is wrong."""
        scores = {}
        for name in ("detection", "fuzzing"):
            score = row.get(name)
            if score is not None and (not isinstance(score, Real) or not math.isfinite(score)):
                raise ValueError(f"{name} must be a finite number or None, found {score!r}.")
            scores[name] = None if score is None else float(score)
        predicate = row.get("predicate")
        if predicate is not None:
            try:
                json.loads(text_of(predicate, "predicate") or "")
            except json.JSONDecodeError as error:
                raise ValueError(f"predicate must be JSON ({error}), found {predicate!r}.") from None
        texts = {name: text_of(row[name], name) or "" for name in ("text", "author", "saved")}
        return {"latent": self.checked(row["latent"]), "predicate": predicate, **texts, **scores}

    def _labels(self, where: str, *values: object) -> dict[int, dict[str, Any]]:
        with self.file.reading() as connection:
            return {} if connection is None else _rows(connection.execute(_SELECT + where, values))


def put(connection: sqlite3.Connection, row: dict[str, Any]) -> None:
    """Write a row of labels (latent, label, star, note, saved), under a new version; None keeps what is there."""
    connection.execute(_UPSERT, row)


def put_explanation(connection: sqlite3.Connection, row: dict[str, Any]) -> None:
    """Write a row of explanations, as `checked_explanation` gives it, in place of the same text by the same author."""
    connection.execute(_SAME, row)
    connection.execute(_ADD, row)
    connection.execute(_TOUCH, (row["latent"],))


def stored_labels(connection: sqlite3.Connection) -> dict[int, dict[str, Any]]:
    """latent → label, star, note, saved; cleared ones too."""
    return _rows(connection.execute(_SELECT))


def stored_explanations(connection: sqlite3.Connection, latent: int | None = None) -> list[dict[str, Any]]:
    """Explanations of a latent, or of all, oldest first."""
    where, values = ("", ()) if latent is None else ("WHERE latent = ? ", (latent,))
    found = connection.execute(f"{_EXPLANATIONS}{where}ORDER BY number", values)
    return [dict(zip(EXPLANATION, row, strict=True)) for row in found]


def now() -> str:
    """ISO 8601, local time with its offset, in seconds."""
    return datetime.now().astimezone().isoformat(timespec="seconds")


def text_of(value: str | None, name: str) -> str | None:
    """The text. Raises ValueError for what is not text, or cannot be written as UTF-8."""
    if value is None:
        return None
    if not isinstance(value, str):
        written = f": write {str(value)!r}" if isinstance(value, Real) else ""
        raise ValueError(f"{name} must be text, found {value!r}{written}.")
    try:
        value.encode()
    except UnicodeEncodeError as error:
        raise ValueError(f"{name} has half a character (a lone surrogate) at position {error.start}.") from None
    return value


def _switch(star: Any) -> bool:
    """True or False, NumPy's too; text such as "no" would be True."""
    if not isinstance(star, bool | np.bool_):
        raise ValueError(f"star must be True or False, found {star!r}.")
    return bool(star)


def _rows(found: Iterable[tuple[Any, ...]]) -> dict[int, dict[str, Any]]:
    return {
        latent: {"label": label, "star": bool(star), "note": note, "saved": saved}
        for latent, label, star, note, saved in found
    }
