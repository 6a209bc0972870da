"""A feature as a store would hand it over, made by hand."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

WORDS = [
    (["Once", " upon", " a", " time", ",", " a", " boy", " named"], [" Tim", " and"], [" Jack", ".", " They", " ran"]),
    (["\n", " there", " was", " a", " girl", " named"], [" Бори", "с"], [".", " Борис", " had", " a", " 🐻", "."]),
    ([" a", " <script>", "alert(1)", " named"], [" O", "liver"], [" flew", " down", " from", " a", " tall", " tree"]),
]


def example(before: list[str], peak: list[str], after: list[str], value: float) -> dict[str, Any]:
    """An example whose peak is the first piece of `peak`; the second fires at half of it."""
    pieces = [*before, *peak, *after]
    values = [0.0] * len(before) + [value, value / 2] + [0.0] * len(after)
    return {
        "value": value,
        "document": 3,
        "position": len(before),
        "peak": len(before),
        "pieces": pieces,
        "tokens": [[100 + i] for i in range(len(pieces))],
        "values": values,
        "logit_effect": [None] * len(pieces),
        "loss_effect": [None] * len(pieces),
        "copies": 0,
    }


@pytest.fixture
def make_view() -> Callable[..., Any]:
    """make_view(**changes): the view of feature 4217, which fires on names; 20 firings among 4,000 tokens."""

    def make(**changes: Any) -> Any:
        top = [example(*WORDS[i % 3], 8.0 - i / 2) for i in range(8)]
        bands = [
            {"low": low, "high": low + 1.6, "count": 4, "examples": [example(*WORDS[0], low + 1)]}
            for low in (6.4, 4.8, 3.2, 1.6, 0.0)
        ]
        view = {
            "latent": 4217,
            "firings": 20,
            "density": 0.005,
            "maximum": 8.0,
            "minimum": 0.0,
            "mean": 3.5,
            "std": 1.25,
            "skewness": 0.5,
            "kurtosis": 2.5,
            "decoder_norm": 1.0,
            "numbers": {
                "density": {"value": 0.005, "more": "It fired on 20 tokens."},
                "max": {"value": 8.0},
                "f1": {"value": 0.83, "what": "intro.name", "aside": "62% of its firings", "more": "Precision .90."},
                "loss_effect": {"value": 0.117, "more": "Mean over 12 firings drawn at random."},
            },
            "concepts": [
                {
                    "concept": "intro.name",
                    "f1": 0.83,
                    "precision": 0.9,
                    "recall": 0.77,
                    "threshold": 0.8,
                    "share": 0.62,
                },
                {
                    "concept": "entity.person",
                    "f1": 0.41,
                    "precision": 0.5,
                    "recall": 0.35,
                    "threshold": 0.0,
                    "share": 0.5,
                },
            ],
            "histogram": {"edges": [0.0, 2.0, 4.0, 6.0, 8.0], "counts": [9, 6, 0, 5]},
            "logits": {
                "top": [[" Lily", 2.31], [" Tim", 2.2], ["</b>", 1.5], ["\n", 0.25]],
                "bottom": [[" the", -1.42], ["<|endoftext|>", -1.0], [" very", -0.5], [" went", -0.25]],
                "edges": [-2.0, -1.0, 0.0, 1.0, 2.0, 3.0],
                "counts": [3, 40, 60, 8, 2],
            },
            "neighbours": [
                {"latent": 9034, "cosine": 0.71, "phi": 0.18},
                {"latent": 188, "cosine": -0.44, "phi": None},
            ],
            "examples": {"top": top, "random": top[:2], "near": [], "interval": bands, "quantile": bands},
            "explanations": [],
            "next_alive": None,
            "absent": {},
        }
        assert set(changes) <= set(view), "a misspelt change would change nothing"
        return {**view, **changes}

    return make
