"""A small deterministic feature source for tests of the browser: no model, awkward text, every kind of gap."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas
from plain_list import passing
from saekit_widgets.protocols import Band, ColumnWords, Example, Fact, FeatureView, Listing, PromptView

DEAD, NASTY, ABSENT, BROKEN, SIGNED, LINES = 5, 7, 8, 9, 11, 16
CONTEXT = 12  # tokens of a prompt
LONG = "long " * 2000  # 10,000 characters
PIECES = [" the", " little", " girl", " named", " Борис", " 🐻", ",", " who", "\n\n", "\t", "<script>alert(1)</script>"]
PIECES += [" said", "\u202eevil\u202c", " café", "x\u200by", " 你好", "."]
CONCEPTS = ["intro.name", "code.bracket", "syntax.question"]
NAMES = ["a name is introduced", "past tense of a motion verb", "closing bracket of a call", "sharing with a friend"]
PANELS = {
    "list": ("Feature list", "All latents of the dictionary.", "store.latents()"),
    "examples": ("Examples", "Background: activation. Underline: loss effect.", "store.examples({latent})"),
    "histogram": ("Activation histogram", "Non-zero activations; counts on a log scale.", "store.histogram({latent})"),
    "logits": ("Top and bottom logits", "Decoder direction through the output path.", "store.logits({latent})"),
    "neighbours": ("Neighbours", "cos: decoder rows. φ: firing together.", "store.neighbours({latent})"),
    "prompt": ("Your prompt", "Runs the model on your text.", "store.on_prompt(model, text)"),
    "density": ("Density", "Share of counted tokens with z ≠ 0.", "store.view({latent})"),
    "max": ("Maximum", "The largest |z|; its range where codes have a sign.", "store.view({latent})"),
    "f1": ("Matched concept", "The concept that it predicts best.", "store.concepts({latent})"),
    "loss_effect": ("Loss effect", "Rise of cross-entropy when it is removed.", "store.loss_effect({latent})"),
    "explanations": ("Explanations", "Sentences, and how well they predict firing.", "store.explanations({latent})"),
}
ABOUT = [
    # name, title, head, of, scale, format, unit, in_header
    ("density", "density", "density", "", "log", "percent", "%", True),
    ("max", "max", "max", "", "linear", "fixed", "", True),
    ("f1", "concept F1", "F1", "concept", "linear", "share", "", True),
    ("loss_effect", "loss effect", "loss effect", "", "linear", "signed", "nats", True),
    ("detection", "detection", "detection", "", "linear", "share", "", False),
]


def column_of(
    name: str, title: str, head: str, of: str, scale: str, format: str, unit: str, in_header: bool
) -> ColumnWords:
    return {
        "name": name,
        "title": title,
        "head": head,
        "of": of,
        "scale": scale,
        "format": format,
        "unit": unit,
        "filterable": True,
        "in_header": in_header,
    }


class FakeStore:
    """A FeatureSource of `size` latents; `signed` lets the codes of every latent go below zero. The lowest of SIGNED is
    further from zero than its highest."""

    def __init__(
        self, size: int = 400, *, signed: bool = False, title: str = "stores/first", read_only: bool = False
    ) -> None:
        self.size, self.signed, self.title, self.read_only = size, signed, title, read_only
        random = np.random.default_rng(0)
        self.density = (10 ** (-3.05 + 0.5 * random.standard_normal(size))).clip(1e-6, 0.4).astype("f4")
        self.maximum = (2 + 9 * random.random(size) + 5 * random.random(size) ** 3).astype("f4")
        dead = random.random(size) < 0.05
        dead[[ABSENT, SIGNED, NASTY, BROKEN, LINES]] = False
        dead[DEAD] = True
        self.density[dead] = self.maximum[dead] = 0
        self.minimum = -0.7 * self.maximum if signed else np.zeros(size, "f4")
        self.minimum[SIGNED] = -1.25 * self.maximum[SIGNED]
        self.strongest = np.maximum(self.maximum, -self.minimum)
        self.scores: dict[int, float] = {}  # detection
        self.said: dict[int, str] = {}  # explanations
        self.f1 = (random.random(size) ** 3).astype("f4")
        self.effect = np.where(random.random(size) < 0.3, np.nan, 0.2 * random.standard_normal(size)).astype("f4")
        self.concept = np.where(self.f1 > 0.2, random.integers(0, 3, size), -1).astype("i2")
        self.labels: dict[int, dict[str, Any]] = {
            latent: {"label": NAMES[latent % 4], "star": False, "note": "", "saved": "2026-01-02T14:02:00"}
            for latent in range(0, min(size, 1500), 3)
        }
        self.labels[NASTY] = {"label": "<img src=x onerror=alert(1)>\u202egnp.exe", "star": True, "note": "<b>n</b>"}
        self.labels[SIGNED] = {"label": LONG, "star": False, "note": ""}
        self.labels[LINES] = {"label": "a\nb", "star": False, "note": "x\r\ny"}
        self.log = list(self.labels)  # every change of a label, the latent; its length is the version
        self.views = 0
        self.waits: set[int] = set()  # for the model, with their loss effects

    @property
    def columns(self) -> dict[str, np.ndarray]:
        detection = np.array([self.scores.get(i, np.nan) for i in range(self.size)], "f4")
        found = {"density": self.density, "max": self.strongest, "f1": self.f1, "loss_effect": self.effect}
        return found | {"detection": detection}

    @property
    def usual(self) -> np.ndarray:
        """The strongest first."""
        place = np.empty(self.size, np.int32)
        place[np.argsort(-self.strongest, kind="stable")] = np.arange(self.size)
        return place

    @property
    def hints(self) -> list[str]:
        hints = [" ".join("␣" + PIECES[(i * k) % 6].strip() for k in (1, 2, 3)) for i in range(self.size)]
        hints[1] = "␣dragon ␣egg\0\u202e ␣<i>"
        return hints

    def matching(self, filter: Mapping[str, Any], sort: Sequence[Any] | None) -> list[int]:
        kept = (self.columns, self.usual, self.density == 0, self.concept, CONCEPTS, self.hints, self.labels)
        return passing(*kept, filter, sort, self.firing_on(filter.get("search", "")))

    def latents(self, filter: Mapping[str, Any], sort: Sequence[Any] | None, *, all: bool = False) -> pandas.DataFrame:
        order = self.matching(filter, sort)
        return pandas.DataFrame({"latent": order, **{name: values[order] for name, values in self.columns.items()}})

    def listing(self) -> Listing:
        return {
            "store": f"fake {self.title}",
            "title": self.title,
            "model": "micro",
            "site": "blocks.2.hook_resid_post",
            "facts": "TopK k = 32 · 500,000 tokens of microworld/train",
            "d_sae": self.size,
            "about": [column_of(*words) for words in ABOUT],
            "columns": self.columns,
            "usual": self.usual,
            "order": {"by": "max", "words": "by max"},
            "dead": self.density == 0,
            "concept": self.concept,
            "concepts": CONCEPTS,
            "hints": self.hints,
            "labels": dict(self.labels),
            "definitions": {
                name: dict(zip(("title", "text", "code"), text, strict=True)) for name, text in PANELS.items()
            },
        }

    def firing_on(self, search: str) -> list[int]:
        return [12, 20] if search.strip() == "Zig" else []

    def example(self, latent: int, value: float, at: int, *, silent: bool = False) -> Example:
        random = np.random.default_rng(1000 * latent + at)
        count = int(random.integers(12, 44))
        pieces = [PIECES[int(k)] for k in random.integers(0, len(PIECES), count)]
        peak = int(random.integers(0, count))
        pieces[peak] = [" Zig", " Борис", " <script>", " 🐻"][at % 4]
        values = [0.0] * count
        effects: list[float | None] = [None] * count
        if not silent:
            for i, part in ((peak, 1.0), (peak + 1, 0.6), (peak - 1, 0.45), (peak + 6, 0.05)):
                if 0 <= i < count:
                    values[i] = value * part
                    effects[i] = round(0.3 * part * (1 if i % 3 else -0.5), 3)
        return {
            "value": -0.1 - 0.05 * at if silent else value,
            "document": 30 + at,
            "position": 100 + peak,
            "peak": peak,
            "pieces": pieces,
            "tokens": [[7, 8, 9] if piece == " 🐻" else [300 + len(piece)] for piece in pieces],
            "values": values,
            "logit_effect": [0.05 * v if v else None for v in values],
            "loss_effect": effects,
            "copies": 3 if at == 1 else 0,
        }

    def numbers(self, latent: int, *, absent: bool) -> dict[str, Fact]:
        low, dead = float(self.minimum[latent]), self.density[latent] == 0
        most: Fact = {"value": float(self.maximum[latent])}
        density: Fact = {"value": float(self.density[latent]), "more": "It fired on some tokens."}
        if absent or dead:
            f1: Fact = {"value": None}
            effect: Fact = {"value": None, "more": "The store was built without loss_effect."}
        else:
            f1 = {"value": 0.83, "what": "intro.name", "more": "Precision .79, recall .88."}
            effect = {"value": 0.117, "more": "Mean over 128 firings drawn at random."}
        if latent in self.waits:
            effect = {"value": None, "more": "Not measured yet.", "later": True}
        return {"density": density, "max": most | ({"low": low} if low < 0 else {}), "f1": f1, "loss_effect": effect}

    def view(self, latent: int) -> FeatureView:
        self.views += 1
        if latent == BROKEN:
            raise ValueError(f"{self.title}/part-0007.parquet ends after 1.2 MB of 3.8 MB; rebuild that part.")
        top = float(self.maximum[latent])
        low, most = float(self.minimum[latent]), float(self.strongest[latent])
        dead = self.density[latent] == 0
        edges = np.linspace(low, top, 25) if not dead else np.array([])
        counts = [int(3 + 330 * math.exp(-abs(e) / top * 4)) for e in edges[:-1]]
        signs = [low / top if low < 0 and k % 3 == 1 else 1.0 for k in range(12)]

        def some(shares: list[float], start: int) -> list[Example]:
            return [self.example(latent, top * s * signs[k % 12], start + k) for k, s in enumerate(shares)]

        def bands(kind: int) -> list[Band]:
            cuts = [most * (k / 5 if kind else (k / 5) ** 2) for k in range(6)]
            return [
                {"low": cuts[k], "high": cuts[k + 1], "count": 480, "examples": some([(k + 0.5) / 5] * 3, 40 + 3 * k)}
                for k in reversed(range(5))
            ]

        absent = {}
        if latent == ABSENT:
            absent = {
                panel: f"The store was built without {panel}."
                for panel in ("histogram", "logits", "neighbours", "examples", "loss_effect", "concepts")
            }
        examples: dict[str, Any] = {"top": [], "random": [], "near": [], "interval": [], "quantile": []}
        if not dead and not absent:
            examples = {
                "top": some([1 - 0.01 * k for k in range(14)], 0),
                "random": some([(0.77 * k + 0.3) % 1 for k in range(10)], 20),
                "near": [self.example(latent, 0, 60 + k, silent=True) for k in range(8)],
                "interval": bands(1),
                "quantile": bands(0),
            }
        elif dead:
            examples["near"] = [self.example(latent, 0, 60 + k, silent=True) for k in range(8)]
        scale = max(top, 1.0) / 5
        plain = not dead and not absent
        return {
            "latent": latent,
            "firings": int(500_000 * self.density[latent]),
            "density": float(self.density[latent]),
            "maximum": top,
            "minimum": low,
            "mean": 0.3 * top if not dead else None,
            "std": 0.2 * top if not dead else None,
            "skewness": float("nan") if dead else 0.9,
            "kurtosis": None if dead else 3.2,
            "decoder_norm": 1.0,
            "numbers": self.numbers(latent, absent=bool(absent)),
            "concepts": [
                {
                    "concept": "intro.name",
                    "f1": 0.83,
                    "precision": 0.79,
                    "recall": 0.88,
                    "threshold": 0.9,
                    "share": 0.62,
                },
            ]
            if plain
            else [],
            "histogram": {"edges": edges.tolist(), "counts": counts} if plain else None,
            "logits": None
            if absent
            else {
                "top": [
                    [p, scale * v]
                    for p, v in zip(
                        [" Lily", " Tim", " Борис", "<|eot|>", " 🐻", "\u202e"],
                        (2.31, 2.2, 1.96, 1.88, 1.7, 1.5),
                        strict=True,
                    )
                ],
                "bottom": [
                    [p, -scale * v]
                    for p, v in zip(
                        [" the", "\n\n", " very", "\t", "<b>", " went"], (1.42, 1.37, 1.1, 0.9, 0.8, 0.7), strict=True
                    )
                ],
                "edges": np.linspace(-2, 3, 61).tolist(),
                "counts": [int(400 * math.exp(-((k - 24) ** 2) / 90)) for k in range(60)],
            },
            "neighbours": []
            if absent
            else [
                {
                    "latent": (latent * 7 + 13 * k) % self.size,
                    "cosine": 0.71 - 0.12 * k,
                    "phi": None if dead else 0.1 + 0.09 * ((k * 5) % 7),
                }
                for k in range(7)
            ],
            "examples": examples,
            "explanations": [
                {
                    "text": "names of <b>people</b> after a verb of naming",
                    "author": "rule",
                    "detection": 0.93,
                    "fuzzing": 0.88,
                }
            ]
            if latent % 2 == 0 and plain
            else [],
            "next_alive": latent + 1 if dead else None,
            "absent": absent,
        }

    def measured(self, model: Any, latent: int) -> dict[str, float | None]:
        if latent == NASTY:
            raise ValueError("the model is out of memory")
        self.waits.discard(latent)
        return {"loss_effect": 0.117}

    def measure_loss_effects(self, model: Any, latents: Sequence[int]) -> int:
        new = self.waits & set(latents)
        self.effect[list(new)] = 0.117
        self.waits -= new
        return len(new)

    def on_prompt(self, model: Any, text: str) -> PromptView:
        self.check_model(model)
        if text == "fail":
            raise RuntimeError("the model is out of memory")
        pieces = ["<s>", *(f" {word}" if k else word for k, word in enumerate(text.split(" ")))]
        cut, pieces = max(0, len(pieces) - CONTEXT), pieces[:CONTEXT]
        latents = [latent for latent in (12, 3, 20, SIGNED, NASTY) if latent < self.size]
        if "dead" in text:
            latents = [DEAD, *latents]  # silent in the store
        values = np.zeros((len(latents), len(pieces)), "f4")
        for row, latent in enumerate(latents):
            values[row, 1 + row % max(1, len(pieces) - 1)] = (self.maximum[latent] or 1) * (0.9 - 0.15 * row)
            values[row, -1] = -1.5 if latent == SIGNED else 0.7
        return {
            "pieces": pieces,
            "counted": [k > 0 for k in range(len(pieces))],
            "latents": latents,
            "values": values,
            "maxima": [float(self.strongest[latent]) for latent in latents],
            "cut": cut,
            "seconds": 0.038,
        }

    def set_label(
        self, latent: int, *, label: str | None = None, star: bool | None = None, note: str | None = None
    ) -> dict[str, Any]:
        if self.read_only:
            raise PermissionError("nothing can be written there")
        if label == "refuse":
            raise OSError("the disk is full")
        entry = dict(self.labels.get(latent, {"label": "", "star": False, "note": ""}))
        given = {"label": label, "star": star, "note": note}
        entry.update({key: value for key, value in given.items() if value is not None}, saved="2026-01-02T15:04:05")
        self.labels[latent] = entry
        self.log.append(latent)
        return dict(entry)

    def labels_since(self, version: int) -> tuple[int, dict[int, dict[str, Any]]]:
        found = {latent: dict(self.labels.get(latent, {})) for latent in self.log[version:]}
        for latent in found.keys() & self.scores.keys():
            found[latent]["detection"] = self.scores[latent]
        for latent in found.keys() & self.said.keys():
            found[latent] |= {"explanation": self.said[latent], "detection": None}
        return len(self.log), found

    def explain(self, latent: int, text: str) -> None:
        """As another notebook does that explains it."""
        self.said[latent] = text
        self.log.append(latent)

    def score(self, latent: int, detection: float) -> None:
        """As another notebook does that scores an explanation."""
        self.scores[latent] = detection
        self.log.append(latent)

    def check_model(self, model: Any) -> None:
        if model == "other":
            raise ValueError("the dictionary was made on 'micro' (model_hash 12ab), this model is 'other' (ffff).")

    def card(self, latent: int) -> str:
        return f"<div>feature {latent}</div>"
