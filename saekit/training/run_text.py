"""A run in a few lines: what was trained, on what, how far, and how good the last measured step was."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from saekit.dictionaries import Dictionary
from saekit.files.paths import shown

MOST = 5  # dictionaries that are listed


def run_text(
    dictionaries: Sequence[Dictionary], records: Sequence[Mapping[str, float]], out: Path | None, finished: bool
) -> str:
    """At most 15 lines. Where no dictionary is there yet, its records alone."""
    where = "" if out is None else f"\nin {shown(out)}"
    state = "Run" if finished else "Run, not finished (the same call of sk.train goes on)"
    if not dictionaries:
        tokens = f" up to {records[-1]['tokens']:,} tokens" if records else ""
        return f"{state}: {len(records):,} measured steps{tokens}{where}"
    made = dictionaries[0].provenance
    of = f" of {made.corpus['name']}/{made.corpus['split']}" if made.corpus else ""
    what = "counted tokens" if made.model is not None else "rows"
    bos = {None: "", True: ", each row from BOS on", False: ", no BOS"}[made.prepend_bos]
    seed = "" if made.seed is None else f", seed {made.seed}"
    lines = [f"{state}: {made.tokens or 0:,} {what}{of}{bos}{seed}{where}"]
    for number, dictionary in enumerate(dictionaries[:MOST]):
        own = [record for record in records if record.get("dictionary", 0) == number]
        lines.append(f"{dictionary.method!r} at {dictionary.wiring}")
        lines += [f"    last step: {_measured(own[-1], dictionary.d_sae)}"] * bool(own)
    more = len(dictionaries) - MOST
    lines += [f"… {more} more dictionaries"] * (more > 0)
    which = "run.dictionary" if len(dictionaries) == 1 else "run.dictionaries"
    lines.append(f"{which} to use it; run.metrics: its {len(records):,} measured steps")
    return "\n".join(lines)


def _measured(record: Mapping[str, float], d_sae: int) -> str:
    """A measured step, of text that it was trained on."""
    names = {"explained_variance": "explained variance", "l0": "L0", "loss": "loss"}
    said = [f"{words} {record[name]:.3g}" for name, words in names.items() if name in record]
    if "dead" in record:
        said.append(f"dead {record['dead']:,.0f} of {d_sae:,} ({100 * record['dead'] / d_sae:.1f} %)")
    return ", ".join(said)
