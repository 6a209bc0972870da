"""What each argument of a call is: swapped arguments are one sentence that gives the call, before anything is begun.

A class of the kit says by its attribute ``role`` what its objects are, such as "a dictionary"; what has ``hook_dict``
is a model; where every string of an argument is a hook of the model, it is a site. Anything else has no role, and
passes.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Any

MODEL, SITE, METHOD, DICTIONARY, RUN, STORE, CORPUS, EDIT = (
    "a model",
    "a site",
    "a method",
    "a dictionary",
    "a run",
    "a store",
    "a corpus",
    "an edit",
)
ACTIVATIONS, MODELS = "activations", "several models by their names"


def role_of(value: Any, hooks: Collection[str] = ()) -> str | None:
    """What a value is; None where that cannot be told. Of several of a kind, what each is."""
    if isinstance(value, str):
        return SITE if value in hooks else None
    if isinstance(value, list | tuple) and value:
        roles = {role_of(one, hooks) for one in value}
        return roles.pop() if len(roles) == 1 else None
    if isinstance(value, Mapping) and any(hasattr(one, "hook_dict") for one in value.values()):
        return MODELS
    if hasattr(value, "hook_dict"):
        return MODEL
    role = getattr(value, "role", None)
    return role if isinstance(role, str) else None


def check_roles(call: str, **arguments: tuple[Any, str | Sequence[str]]) -> None:
    """Raise TypeError where an argument is something else than what stands in its place.

    call: as it should be, such as "sk.evaluate(model, dictionary, corpus)"; arguments: each value, and the roles that
    it may have, the usual one first."""
    values = [value for value, _ in arguments.values()]
    hooks: set[str] = set()
    for value in values:
        hooks |= set(getattr(value, "hook_dict", ()))
    for name, (value, allowed) in arguments.items():
        allowed = [allowed] if isinstance(allowed, str) else list(allowed)
        found = role_of(value, hooks)
        if set(allowed) <= {MODEL, MODELS} and isinstance(value, str):
            raise TypeError(f"{name} is a model, found {value!r}: sk.load_model({value!r}) loads one by its name.")
        if found is not None and found not in allowed:
            shown = f" ({value!r})" if isinstance(value, str) else ""
            raise TypeError(f"{name} is {allowed[0]}, found {found}{shown}: the call is {call}.")
