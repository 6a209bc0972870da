"""A feature in Neuronpedia's feature JSON, which circuit-tracer's front end reads too.

{transcoder_id, index, examples_quantiles: [{quantile_name, examples: [{tokens, tokens_acts_list, train_token_ind,
is_repeated_datapoint}]}], top_logits, bottom_logits, act_min, act_max, quantile_values, histogram,
activation_frequency}

A token there is a piece here: the tokens of one character are one entry, which those front ends would merge as well.
is_repeated_datapoint is true where the corpus has the same text again, which the view counts as copies. Numbers are
those of the view. What the view lacks is an empty list.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from saekit.features.asking.opened import OpenedStore
from saekit.features.asking.view import feature_view
from saekit.files import make_folder, write_atomically
from saekit.files.paths import resolved
from saekit.models import Site

if TYPE_CHECKING:
    from saekit_widgets.protocols import Example, FeatureView


def neuronpedia_feature(view: FeatureView, dictionary: str = "", layer: int | None = None) -> dict[str, Any]:
    """The feature as plain Python that `json.dumps(…, allow_nan=False)` takes.

    dictionary: its name, which goes into transcoder_id.
    layer: with it `index` is that of circuit-tracer's files, one number for layer and latent (Cantor's pairing);
        without it `index` is the latent.

    Raises ValueError naming the field for a number that JSON does not have (NaN, infinity), and where the examples of
    the view could not be read."""
    if view["firings"] and "examples" in view["absent"]:
        raise ValueError(view["absent"]["examples"])
    latent, examples = int(view["latent"]), view["examples"]
    groups = [("Top activations", examples.get("top", []))]
    intervals = examples.get("interval", [])  # the strongest first
    groups += [(f"Subsample interval {len(intervals) - 1 - i}", band["examples"]) for i, band in enumerate(intervals)]
    histogram, logits = view["histogram"], view["logits"]
    return {
        "transcoder_id": dictionary,
        "index": latent if layer is None else _cantor(layer, latent),
        "examples_quantiles": [
            {"quantile_name": name, "examples": [_example(example) for example in found]}
            for name, found in groups
            if found
        ],
        "top_logits": [str(piece) for piece, _ in logits["top"]] if logits else [],
        "bottom_logits": [str(piece) for piece, _ in logits["bottom"]] if logits else [],
        "act_min": _finite([view["minimum"]], "minimum")[0],
        "act_max": _finite([view["maximum"]], "maximum")[0],
        "quantile_values": _quantiles(view),
        "histogram": _finite(histogram["counts"], "histogram") if histogram else [],
        "activation_frequency": _finite([view["density"]], "density")[0],
    }


def _example(example: Example) -> dict[str, Any]:
    return {
        "tokens": [str(piece) for piece in example["pieces"]],
        "tokens_acts_list": _finite(example["values"], "values of an example"),
        "train_token_ind": int(example["peak"]),
        "is_repeated_datapoint": bool(example["copies"]),
    }


def _quantiles(view: FeatureView) -> list[float]:
    """Strengths at 0, 20 … 100 % of the firings, as far as the view has them."""
    bands = view["examples"].get("quantile", [])[::-1]
    return _finite([*(band["low"] for band in bands), *(band["high"] for band in bands[-1:])], "quantiles")


def _cantor(layer: int, latent: int) -> int:
    return (layer + latent) * (layer + latent + 1) // 2 + latent


def _finite(numbers: Iterable[float], name: str) -> list[float]:
    """Plain Python floats, of NumPy's too."""
    found = [float(number) for number in numbers]
    for number in found:
        if not math.isfinite(number):
            raise ValueError(f"the feature cannot be written as JSON: its {name} has the value {number}.")
    return found


def write_neuronpedia(store: OpenedStore, folder: str | Path, latents: Sequence[int] | None = None) -> Path:
    """One JSON a latent, named by its number, and nothing where a latent never fires. The folder is made.

    Raises NoSuchLatent for a latent that is not there, NotWritten where the folder or a file cannot be made."""
    if latents is None:
        latents = [row["latent"] for row in store.database.rows("select latent from latents where firings > 0")]
    latents = [store.number(latent) for latent in latents]  # before anything is written
    folder = resolved(folder)
    make_folder(folder)
    layer = Site(store.manifest["dictionary"]["reads"][0]).layer
    for latent in latents:
        feature = neuronpedia_feature(feature_view(store, latent), str(store.folder.name), layer)
        text = json.dumps(feature, ensure_ascii=False, allow_nan=False)
        write_atomically(folder / f"{latent}.json", partial(_put, text=text))
    return folder


def _put(path: Path, text: str) -> None:
    path.write_text(text, encoding="utf-8")
