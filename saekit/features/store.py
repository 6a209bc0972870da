"""FeatureStore: what a dictionary's latents do on a corpus, in a folder of Parquet files that opens alone.

`FeatureStore.build` reads the corpus; `FeatureStore.open` needs neither model nor corpus. Tables are asked through
DuckDB (`store.sql`); their columns are described in saekit.features.schema. Labels, stars and notes are kept in SQLite,
so that two notebooks can write at once.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from saekit.dictionaries import Dictionary, check_model
from saekit.dictionaries.storage import read_dictionary
from saekit.features import schema
from saekit.features.build import Build
from saekit.features.choosing import Wanted
from saekit.features.database import Database
from saekit.features.labels import Labels

if TYPE_CHECKING:
    import pandas
    from torch import Tensor
    from transformer_lens.model_bridge import TransformerBridge

    from saekit.corpora import Corpus


class FeatureStore:
    """An opened store. `manifest`: what it was made from and how; `labels`: labels, stars, notes and explanations."""

    def __init__(self, folder: Path, manifest: dict[str, Any]) -> None:
        self.folder, self.manifest = folder, manifest
        self.labels = Labels(folder / "labels.sqlite")
        self.d_sae: int = manifest["dictionary"]["d_sae"]
        self.tokens: int = manifest["progress"]["counted"]
        self.database = Database(folder)

    @classmethod
    def build(
        cls,
        model: TransformerBridge,
        dictionary: Dictionary,
        source: Corpus | Sequence[str] | Tensor,
        folder: str | Path,
        tokens: int | None = None,
        *,
        top: int = 20,
        per_band: int = 4,
        random: int = 10,
        loss_examples: int = 4,
        most_firings: int = 10_000,
        exclude: Sequence[str] = (),
        seed: int = 0,
        engine: Literal["local", "ray"] = "local",
        workers: int = 2,
    ) -> FeatureStore:
        """Read a corpus and keep what every latent does on it; the same call on an unfinished store goes on with it.

        tokens:        counted tokens to read; None reads a finite corpus once.
        top, random:   how many examples of these kinds a latent gets; per_band of each of five intervals and quantiles.
        loss_examples: so many of the top and of the random examples are run again without the latent; 0 leaves loss
                       effects out, which is most of the time a store takes.
        most_firings:  a latent that fires more often keeps a random sample of so many firings, and those that its
                       examples show; its numbers are of all.
        exclude:       special tokens that are not counted, by their text; "special": all that the tokenizer has.
        engine:        "local", or "ray": the model is read on `workers` processes of a Ray cluster; the same store.
        Raises ValueError for a folder that holds another store (naming the fields), a dictionary of another model, an
        endless corpus without `tokens`, NaN or infinite activations.
        """
        settings = {"wanted": Wanted(top, per_band, random), "loss_examples": loss_examples, "tokens": tokens}
        settings |= {"most_firings": most_firings, "exclude": exclude, "seed": seed}
        Build(model, dictionary, source, folder, engine=engine, workers=workers, **settings).run()  # type: ignore[arg-type]
        return cls.open(folder)

    @classmethod
    def open(cls, folder: str | Path) -> FeatureStore:
        """Open a finished store. Raises ValueError for a folder that is none, is half built, or of another version."""
        folder = Path(folder)
        try:
            manifest = json.loads((folder / "manifest.json").read_text(encoding="utf-8"))
        except (OSError, ValueError) as error:
            raise ValueError(f"{folder} is no feature store: its manifest.json cannot be read ({error}).") from error
        found = manifest.get("format") if isinstance(manifest, dict) else None
        if found != schema.FORMAT:
            raise ValueError(f"{folder} should hold {schema.FORMAT!r}, found {found!r}.")
        if manifest.get("version") != schema.VERSION:
            raise ValueError(
                f"{folder} has schema version {manifest.get('version')}, this saekit reads {schema.VERSION}: build it "
                "again in an empty folder, with the same call."
            )
        if not manifest["finished"]:
            read, parts = manifest["progress"]["counted"], len(manifest["parts"])
            raise ValueError(
                f"{folder} is half built ({read:,} tokens read, {parts} parts written): call FeatureStore.build again "
                "as before, and it goes on from there."
            )
        return cls(folder, manifest)

    @cached_property
    def dictionary(self) -> Dictionary:
        """The dictionary it was made from, which it carries."""
        return read_dictionary(self.folder / "dictionary")

    def check_model(self, model: TransformerBridge) -> None:
        """Raise ValueError naming both when the store was made on another model."""
        check_model(self.dictionary, model)
        ours, theirs = self.manifest["provenance"]["model_hash"], getattr(model, "model_hash", None)
        if ours is not None and theirs is not None and ours != theirs:
            name = self.manifest["provenance"]["model"]
            raise ValueError(f"the store was made on {name!r} (model_hash {ours}), this model has {theirs}.")

    # -- asking ------------------------------------------------------------------------------------------------------

    def sql(self, query: str, parameters: Sequence[Any] = ()) -> pandas.DataFrame:
        """Ask the tables latents, examples, activations, tokens, concepts, documents, vocabulary and labels, in
        DuckDB's SQL; `?` stand for parameters. Errors are DuckDB's own."""
        return self.database.frame(query, parameters, {"labels": self.labels.frame()})

    def latents(self) -> pandas.DataFrame:
        """A row a latent, with its label, star and note where it has them; tokens as text."""
        frame = self.sql(
            "select latents.*, labels.label, coalesce(labels.star, false) as star, labels.note "
            "from latents left join labels using (latent) order by latent"
        )
        for column in ("peak_tokens", "top_tokens", "bottom_tokens"):
            frame[column] = [None if ids is None else [self.text_of(int(i)) for i in ids] for ids in frame[column]]
        return frame

    def row(self, latent: int) -> dict[str, Any]:
        """The row of one latent in the table latents. Raises IndexError where there is none."""
        if not 0 <= latent < self.d_sae:
            raise IndexError(f"latent {latent} is not in 0 … {self.d_sae - 1}.")
        return self.database.rows("select * from latents where latent = ?", [latent])[0]

    def next_alive(self, latent: int) -> int | None:
        """The next latent that fires, from the beginning again after the last."""
        query = "select latent from latents where firings > 0 order by latent <= ?, latent limit 1"
        return next((row["latent"] for row in self.database.rows(query, [latent])), None)

    @cached_property
    def _vocabulary(self) -> list[bytes]:
        return [row["bytes"] for row in self.database.rows("select bytes from vocabulary order by token")]

    def bytes_of(self, token: int) -> bytes:
        return self._vocabulary[token]

    def text_of(self, token: int) -> str:
        """A token alone; bytes that are no character show as �."""
        return self.bytes_of(token).decode("utf-8", "replace")
