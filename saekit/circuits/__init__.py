"""Circuits: which features made a model say what it said, as graphs that are pruned, scored, written and read."""

from __future__ import annotations

from saekit.circuits.attribution import attribute
from saekit.circuits.columns import KINDS, Edges, Nodes
from saekit.circuits.graph import Graph
from saekit.circuits.pruning import Scores
from saekit.circuits.several import GraphComparison, compared, summed
from saekit.circuits.targets import Target

__all__ = [
    "KINDS",
    "Edges",
    "Graph",
    "GraphComparison",
    "Nodes",
    "Scores",
    "Target",
    "attribute",
    "compared",
    "summed",
]


def __dir__() -> list[str]:
    return [*__all__]
