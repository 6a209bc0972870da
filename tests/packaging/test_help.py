"""help(): every parameter of every public callable is named there; the main ones say what comes back, by an example.

Public is what the table of contents names, and what the parts of it name: functions, and classes with what one calls of
them. What a method takes may be said by the class that it belongs to or by the one that it overrides.
"""

from __future__ import annotations

import inspect
import re
import types
from collections.abc import Callable, Iterator
from typing import Any

import pytest

import saekit as sk

# Written for those who add something: CONTRIBUTING.md and the parts' own pages say the contract.
INSIDE = ("engines", "objectives", "checks")
CONTRACT = (sk.Dictionary, sk.dictionaries.Part, sk.activations.ShuffledStream, sk.activations.StreamState)
MAIN = {
    "sk.train": sk.train,
    "sk.evaluate": sk.evaluate,
    "sk.load_model": sk.load_model,
    "sk.load_corpus": sk.load_corpus,
    "sk.load_pairs": sk.load_pairs,
    "sk.load_dictionary": sk.load_dictionary,
    "sk.export": sk.export,
    "sk.features_on": sk.features_on,
    "sk.measure_latent_max": sk.measure_latent_max,
    "sk.edited": sk.edited,
    "sk.spliced": sk.spliced,
    "sk.Edit": sk.Edit,
    "sk.FeatureStore.build": sk.FeatureStore.build,
    "sk.FeatureStore.open": sk.FeatureStore.open,
    "sk.FeatureBrowser": sk.FeatureBrowser,
    "sk.activations.harvest": sk.activations.harvest,
    "sk.feature_map": sk.feature_map,
    "sk.attribute": sk.attribute,
}


def public() -> Iterator[tuple[str, Any]]:
    """Every public function and class, each once, by the name one calls it by."""
    seen: set[int] = set()
    for name in sk.__all__:
        value = getattr(sk, name)
        if not isinstance(value, types.ModuleType):
            seen.add(id(value))
            yield f"sk.{name}", value
    for name in sk.__all__:
        part = getattr(sk, name)
        if isinstance(part, types.ModuleType) and name not in INSIDE:
            for inner in part.__all__:
                value = getattr(part, inner)
                if (inspect.isfunction(value) or inspect.isclass(value)) and id(value) not in seen:
                    seen.add(id(value))
                    yield f"sk.{name}.{inner}", value


def documented(function: Callable[..., Any], pages: str) -> list[str]:
    """The parameters that no page names."""
    parameters = list(inspect.signature(function).parameters.values())
    names = [p.name for p in parameters if p.kind is not p.VAR_KEYWORD and p.kind is not p.VAR_POSITIONAL]
    return [name for name in names if name != "self" and not re.search(rf"\b{name}\b", pages)]


def page(value: Any) -> str:
    return (value.__doc__ if isinstance(getattr(value, "__doc__", None), str) else "") or ""


def lacking(name: str, value: Any) -> Iterator[str]:
    """Where a parameter is not named: of a function, or of a class and its methods."""
    if not inspect.isclass(value):
        yield from (f"{name}({each}=)" for each in documented(value, page(value)))
        return
    if issubclass(value, CONTRACT) and value is not sk.Dictionary:
        return
    # torch names nothing of ours
    ours = [kind for kind in value.__mro__ if kind.__module__.startswith("saekit") or kind is value]
    of_class = " ".join(page(kind) + page(vars(kind).get("__init__")) for kind in ours)
    if "__init__" in vars(value):
        yield from (f"{name}({each}=)" for each in documented(value, of_class))
    for method, found in vars(value).items():
        function = getattr(found, "__func__", found)
        if method.startswith("_") or not inspect.isfunction(function):
            continue
        inherited = " ".join(page(vars(kind).get(method)) for kind in ours)
        yield from (f"{name}.{method}({each}=)" for each in documented(function, of_class + inherited) if each != "cls")


def test_every_parameter_is_named_in_help() -> None:
    found = [each for name, value in public() for each in lacking(name, value)]
    assert not found, f"{len(found)} parameters:\n" + "\n".join(found)


@pytest.mark.parametrize("name", MAIN)
def test_the_main_calls_say_what_comes_back_and_give_an_example(name: str) -> None:
    text = page(MAIN[name])
    called = name.removeprefix("sk.")
    assert re.search(r"\b(Returns|Gives|Yields)\b", text) or inspect.isclass(MAIN[name]), "what comes back"
    assert re.search(rf"sk\.{re.escape(called)}\(", text), "an example, as one types it"


def test_the_rule_itself_catches() -> None:
    def silent(tokens: int, out: str) -> None:
        """Something with tokens."""

    assert list(lacking("silent", silent)) == ["silent(out=)"]
