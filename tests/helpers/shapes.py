"""What jaxtyping checks saekit with while it is tested: shapes and dtypes of tensors. Other types are mypy's matter;
tests hand over stand-ins for many of them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, get_args

from beartype import beartype
from jaxtyping import AbstractArray

OUTPUT = "ret0"  # how jaxtyping names what came out


def checked(function: Callable[..., Any]) -> Callable[..., Any]:
    """beartype on what `function` annotates with a shape. jaxtyping asks twice: before the call, and after it with what
    came out beside what went in. The second is enough, and leaves it to a function to refuse in its own words."""
    if OUTPUT not in function.__code__.co_varnames:
        return function
    shaped = {name: hint for name, hint in function.__annotations__.items() if has_shape(hint)}
    if not shaped:
        return function
    function.__annotations__ = shaped
    return beartype(function)


def has_shape(hint: Any) -> bool:
    """Whether an annotation is a shape, or holds one."""
    if isinstance(hint, type) and issubclass(hint, AbstractArray):
        return True
    return any(has_shape(part) for part in get_args(hint))
