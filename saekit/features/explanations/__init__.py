"""Explanations of latents: write one or have some proposed, and score them on windows that were not used to write them.

Offline an explanation is a predicate; free text needs a chat model (`ChatJudge`, `LocalJudge`).
"""

from __future__ import annotations

from saekit.corpora.predicates import After, And, Before, Concept, Not, Or, Predicate, Tokens, from_json, parse
from saekit.features.explanations.chat import ChatJudge
from saekit.features.explanations.judge import Explanation, Judge, MarkedWindow, PredicateJudge
from saekit.features.explanations.local import LocalJudge
from saekit.features.explanations.proposals import Proposal, Proposals, propose
from saekit.features.explanations.scoring import Answers, ExplanationScore, score

__all__ = [
    "After",
    "And",
    "Answers",
    "Before",
    "ChatJudge",
    "Concept",
    "Explanation",
    "ExplanationScore",
    "Judge",
    "LocalJudge",
    "MarkedWindow",
    "Not",
    "Or",
    "Predicate",
    "PredicateJudge",
    "Proposal",
    "Proposals",
    "Tokens",
    "from_json",
    "parse",
    "propose",
    "score",
]
