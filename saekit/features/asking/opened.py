"""An opened store: its tables, its dictionary, its labels, and what they say of all latents at once."""

from __future__ import annotations

from collections.abc import Iterable
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import duckdb
import numpy as np

from saekit.activations.read import spoken_read
from saekit.dictionaries import Dictionary, check_model
from saekit.dictionaries.latent_number import latent_number
from saekit.dictionaries.reading import read_dictionary
from saekit.features import schema
from saekit.features.asking.database import Database, check_question, unanswered
from saekit.features.asking.definitions import left_out
from saekit.features.asking.manifest import half_built, opened_manifest
from saekit.features.labels.labels import Labels
from saekit.files.paths import resolved, shown
from saekit.files.roles import STORE

if TYPE_CHECKING:
    import pandas
    from transformer_lens.model_bridge import TransformerBridge


class OpenedStore:
    """`manifest`: what it was made from and how; `labels`: labels, stars, notes and explanations."""

    role: ClassVar[str] = STORE

    def __init__(self, folder: str | Path) -> None:
        folder = resolved(folder)
        manifest = opened_manifest(folder)
        self.folder, self.manifest = folder, manifest
        self.finished: bool = manifest["finished"]  # False: what was read and made until the building was stopped
        self.d_sae: int = manifest["dictionary"]["d_sae"] if self.finished else manifest["parts"][-1][1]
        self.labels = Labels(folder / "labels.sqlite", self.d_sae, manifest["dictionary"]["fingerprint"])
        self.tokens: int = manifest["progress"]["counted"]
        self.database = Database(folder, schema.files_of(folder, manifest))
        self.made: dict[Any, np.ndarray] = {}  # what the functions of columns gave, by column

    def __repr__(self) -> str:
        half = "" if self.finished else f", {half_built(self.manifest)}"
        return f"<{type(self).__name__} {shown(self.folder)}{half}: {self.d_sae:,} latents; {self._read}>"

    @property
    def _read(self) -> str:
        """What was read, and what of it was not counted."""
        if schema.over_arrays(self.manifest):
            return f"{self.tokens:,} rows"
        read = self.manifest.get("what_was_read")
        if read is not None:
            return spoken_read(read)
        return f"{self.tokens:,} counted tokens; left out: {left_out(self.manifest)}"

    @cached_property
    def dictionary(self) -> Dictionary:
        """The dictionary it was made from, which it carries."""
        return read_dictionary(self.folder / "dictionary")

    @property
    def window(self) -> tuple[int, int]:
        """Tokens before and after a peak that the store keeps the numbers of, as far as its row goes."""
        kept = self.manifest.get("windows", schema.WINDOW)
        return kept["before"], kept["after"]

    def check_model(self, model: TransformerBridge) -> None:
        """Raise ValueError naming both when the store was made on another model."""
        if schema.over_arrays(self.manifest):
            raise ValueError(f"{shown(self.folder)} is a store over arrays, which have no model: leave model= out.")
        name, ours = (self.manifest["provenance"][key] for key in ("model", "model_hash"))
        if not hasattr(model, "hook_dict"):
            raise ValueError(f"a model is what sk.load_model({name!r}) gives, found {type(model).__name__}.")
        theirs = getattr(model, "model_hash", None)
        if ours is None or theirs is None:
            check_model(self.dictionary, model)
        elif ours != theirs:  # known without reading the dictionary, which may be large
            raise ValueError(f"the store was made on {name!r} (model_hash {ours}), this model has {theirs}.")

    def sql(self, query: str, parameters: Any = ()) -> pandas.DataFrame:
        """Ask the tables latents, examples, activations, tokens, concepts, documents, vocabulary, heads, sources and
        labels, in DuckDB's SQL; `?` stand for parameters, NumPy's numbers among them.

        Raises ValueError for what is no question, since the tables are only read, and for one that cannot be answered,
        in DuckDB's words."""
        check_question(query)
        if isinstance(parameters, str) or not isinstance(parameters, Iterable):  # one alone
            parameters = [parameters]
        parameters = [value.item() if isinstance(value, np.generic) else value for value in parameters]
        try:
            return self.database.frame(query, parameters, {"labels": self.labels.frame()})
        except duckdb.Error as error:
            raise ValueError(unanswered(error)) from error

    def row(self, latent: int) -> dict[str, Any]:
        """The row of one latent in the table latents. Raises NoSuchLatent where there is none."""
        return self.database.rows("select * from latents where latent = ?", [self.number(latent)])[0]

    def number(self, latent: int) -> int:
        """The latent as a plain int, NumPy's too. Raises NoSuchLatent, an IndexError and a ValueError, for others."""
        return latent_number(latent, self.d_sae)

    # -- loss effects -------------------------------------------------------------------------------------------------

    def measurable(self, row: dict[str, Any]) -> bool:
        """Whether the loss effect of a latent, given as its row, was not measured yet and can be, with the model."""
        settings = self.manifest["settings"]
        if (
            not self.finished
            or settings.get("loss_effects") != "opened"
            or not settings["loss_examples"]
            or not self.manifest["editable"]
        ):
            return False
        return bool(row["firings"]) and row["loss_effect"] is None and not self.was_measured(row["latent"])

    def was_measured(self, latent: int) -> bool:
        """Whether somebody measured it after the store was built, whatever came out."""
        return bool(self.database.rows("select 1 from effects where latent = ?", [latent]))

    def next_alive(self, latent: int) -> int | None:
        """The next latent that fires, from the beginning again after the last."""
        query = "select latent from latents where firings > 0 order by latent <= ?, latent limit 1"
        return next((row["latent"] for row in self.database.rows(query, [self.number(latent)])), None)

    @cached_property
    def _vocabulary(self) -> list[bytes]:
        return [row["bytes"] for row in self.database.rows("select bytes from vocabulary order by token")]

    def bytes_of(self, token: int) -> bytes:
        """The bytes of a token id."""
        return self._vocabulary[token]

    @cached_property
    def _texts(self) -> list[str]:
        return [own.decode("utf-8", "replace") for own in self._vocabulary]

    def text_of(self, token: int) -> str:
        """A token alone; bytes that are no character show as �."""
        return self._texts[token]

    @cached_property
    def _ids(self) -> dict[bytes, list[int]]:
        found: dict[bytes, list[int]] = {}
        for token, own in enumerate(self._vocabulary):
            found.setdefault(own, []).append(token)
        return found

    def tokens_of(self, text: str) -> list[int]:
        """The ids of the tokens that are this text, to the letter; none where it is no token."""
        return self._ids.get(text.encode("utf-8", "replace"), [])

    @cached_property
    def strongest(self) -> np.ndarray:
        """The largest |z| of each latent."""
        columns = self.database.columns("select max_activation, min_activation from latents order by latent")
        found = np.maximum(columns["max_activation"], np.abs(columns["min_activation"]))  # no −0
        missing = self.manifest["dictionary"]["d_sae"] - self.d_sae
        return np.pad(found, (0, missing), constant_values=np.inf)  # of a store that is half built: these come last
