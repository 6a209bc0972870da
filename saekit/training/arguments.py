"""What sk.train is given, as people give it: methods, numbers, a precision; each taken, or one sentence."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeVar

from saekit.dictionaries import Method
from saekit.files.arguments import number, whole
from saekit.files.choices import closest

T = TypeVar("T")
MEANT = {
    "configuration": "train's configuration= is called method now",
    **dict.fromkeys(("config", "cfg", "sae", "dictionary"), "method"),
    **dict.fromkeys(("hook", "hook_name", "layer", "hook_point"), "site"),
    **dict.fromkeys(("dataset", "data", "texts"), "corpus"),
    **dict.fromkeys(("n_tokens", "num_tokens", "total_tokens", "max_tokens", "training_tokens"), "tokens"),
    **dict.fromkeys(
        ("steps", "n_steps", "num_steps", "epochs", "n_epochs"),
        "tokens= says how long to train, a step is batch_size= tokens",
    ),
    **dict.fromkeys(("learning_rate", "step_size"), "lr"),
    **dict.fromkeys(("lr_decay", "decay_steps"), "decay"),
    **dict.fromkeys(("warmup_steps", "lr_warm_up_steps"), "warm_up"),
    **dict.fromkeys(("output_dir", "save_dir", "folder", "path", "out_dir"), "out"),
    **dict.fromkeys(("context_size", "max_length", "ctx_len"), "context"),
    **dict.fromkeys(("d_sae", "k", "l0", "auxk_weight"), "it belongs to the method, such as sk.TopK(d_sae=1024, k=16)"),
}
"""What other libraries call arguments, and what they are called here."""


def optional(check: Callable[[str, Any], T], name: str, value: Any) -> T | None:
    """None stays None."""
    return None if value is None else check(name, value)


def rate(name: str, value: Any) -> float:
    """A learning rate."""
    found = number(name, value)
    if not (found > 0 and math.isfinite(found)):
        raise ValueError(f"{name} must be above 0, found {value}; leave it out for the default.")
    return found


def length(name: str, value: Any) -> int:
    """A number of tokens from 0."""
    if not isinstance(value, bool | str) and value < 0:
        raise ValueError(f"{name} is a number of tokens from 0, found {value}.")
    return whole(name, value, 0)


def times(name: str, value: Any) -> float:
    """How many times the median norm."""
    return number(name, value, above=1)


def methods_in(given: Any) -> list[Method]:
    """A method, several, or mappings that ``Method.to_json`` gave. Raises ValueError for what is none."""
    each = list(given) if isinstance(given, Sequence) and not isinstance(given, str) else [given]
    each = [Method.from_json(one) if isinstance(one, Mapping) and "method" in one else one for one in each]
    wrong = [one for one in each if not isinstance(one, Method)]
    if wrong or not each:
        found = wrong[0] if wrong else given
        raise ValueError(
            f"train takes a method such as sk.TopK(d_sae=1024, k=16), or a list of them, found {_shown(found)}"
            f"{_instead(found)}."
        )
    return each


def _instead(found: Any) -> str:
    if isinstance(found, type) and issubclass(found, Method):
        return f" (call it: {found.__name__}(d_sae=…))"
    if isinstance(found, Mapping):
        return ' (a mapping names it too: {"method": "TopK", "d_sae": 1024})'
    called = {name.lower(): name for name in Method.known}
    if isinstance(found, str) and (name := closest(found.lower(), called, 0.8)):
        return f" (write sk.{called[name]}(d_sae=…))"
    return ""


def _shown(found: Any) -> str:
    text = repr(found)
    return text if len(text) <= 80 else f"{text[:77]}…"
