"""Whatever is given where a dictionary is wanted: a run gives its own."""

from __future__ import annotations

from typing import Any

from saekit.dictionaries.dictionary import Dictionary


def dictionary_of(given: Any) -> Dictionary:
    """A dictionary, or the one that a run trained. Raises TypeError for anything else, ValueError for a run of several,
    naming how many."""
    if isinstance(given, Dictionary):
        return given
    if hasattr(given, "dictionaries") and hasattr(given, "dictionary"):
        return given.dictionary
    hint = f"sk.load_dictionary({given!r})" if isinstance(given, str) else "sk.load_dictionary, or a run's .dictionary"
    raise TypeError(f"a dictionary is wanted, such as {hint}, found {_shown(given)}.")


def _shown(given: Any) -> str:
    return repr(given) if isinstance(given, str) else f"a {type(given).__name__}"
