"""Predicates over labelled tokens: as objects, as text (``parse``) and as JSON (``from_json``)."""

from __future__ import annotations

from saekit.corpora.predicates.grammar import parse
from saekit.corpora.predicates.predicate import After, And, Before, Concept, Not, Or, Predicate, Tokens, from_json

__all__ = ["After", "And", "Before", "Concept", "Not", "Or", "Predicate", "Tokens", "from_json", "parse"]
