"""A layer's part of a run's state, where each layer has as many latents, numbered one layer after the other."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace

from saekit.objectives.batch import State


@contextmanager
def of_layer(state: State, number: int, d_sae: int, dead: Sequence[int] | None = None) -> Iterator[State]:
    """The state of layer ``number`` with d_sae latents; what is remembered in it goes back under the layer's number.

    dead: how many of each layer are, where the host knows it."""
    own, prefix = slice(number * d_sae, (number + 1) * d_sae), f"{number}/"
    memory = {name.removeprefix(prefix): x for name, x in state.memory.items() if name.startswith(prefix)}
    yield replace(
        state,
        dead=None if state.dead is None else state.dead[own],
        n_dead=None if dead is None else dead[number],
        density=None if state.density is None else state.density[own],
        memory=memory,
        row_gradient=False,
    )
    state.memory.update({prefix + name: x for name, x in memory.items()})
