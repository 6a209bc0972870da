"""evaluate: the numbers of a dictionary on a corpus, as a Report that says how each is defined."""

from __future__ import annotations

import copy
import warnings
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, cast

from saekit.activations.given import GivenTokens
from saekit.activations.read import spoken_rows
from saekit.activations.source import Readable
from saekit.corpora.load import NAMES
from saekit.dictionaries import Dictionary, check_model, check_one_site
from saekit.dictionaries.provenance import check_named, installed_versions, spoken_model
from saekit.dictionaries.wanted import dictionary_of
from saekit.files.arguments import whole
from saekit.files.roles import ACTIVATIONS, CORPUS, DICTIONARY, MODEL, MODELS, RUN, check_roles, role_of
from saekit.files.stopping import stopped_with
from saekit.metrics.concepts import ConceptMatch, Concepts
from saekit.metrics.metric import Metric, Number
from saekit.metrics.reading import Reading
from saekit.metrics.recovery import Recovered, Recovery
from saekit.metrics.report import Report
from saekit.metrics.running import run, run_on_arrays
from saekit.metrics.scale import Shrinkage
from saekit.metrics.sparsity import Sparse, Sparsity
from saekit.metrics.variance import ExplainedVariance, SiteVariance
from saekit.models import by_model, can_be_edited, together

if TYPE_CHECKING:
    from transformer_lens.model_bridge import TransformerBridge


@stopped_with("stopped; what was measured by then is not kept.")
def evaluate(
    model: TransformerBridge | Any,
    dictionary: Dictionary | Any,
    corpus: Readable = None,
    tokens: int | str | None = "auto",
    *,
    metrics: Iterable[Metric | type[Metric]] = (),
    ablation: str = "zero",
    ce_tokens: int | None = 20_000,
    exclude: Sequence[str] | str = (),
    context: int | None = None,
) -> Report:
    """Explained variance, L0, density, dead latents, CE and KL recovered, shrinkage and concept match of a dictionary.

    One pass of the text, in memory that does not grow with the activations; codes are kept in a temporary folder where
    concepts are matched. ``sk.evaluate(x, sae)``, with activations [n, d] in place of the model (a tensor or array, an
    .npy file, a mapping by site, what ``harvest`` gave) and no corpus, gives the numbers that need no model.

    model:     what the dictionary was made on; of one over several models all of them by the names they had then,
               ``{"a": model, "b": copy}``: CE and KL recovered are each one's then, ``report["CE recovered of b"]``.
    corpus: what ``load_corpus`` gives, a list of strings, or token ids.
    dictionary: or the run that trained it.
    tokens:    counted ones that are read, from the beginning; "auto": 40,000, or all where there are fewer; None: all.
    metrics:   further ones, as objects or classes, measured in the same pass; an object is left as it is.
    ablation:  "zero" or "mean", what CE and KL recovered are measured against.
    ce_tokens: CE and KL come from the first so many predictions (on these rows the model runs three times); None: from
               all.
    exclude:   special tokens that are not counted, by their text; "special": all that the tokenizer has.
    context:   tokens in a row at most, BOS included; default what the model can.
    Returns a ``Report``: print it, draw it, ``report["L0"]``, ``report.frame()``, ``report.concepts.frame()``. For
    example ``sk.evaluate(model, sae, sk.load_corpus("microworld", split="heldout"), tokens=40_000)``.
    Raises ValueError for a dictionary of another model (naming both hashes), an empty corpus, an endless one without
    ``tokens``, NaN or infinite activations; TypeError for a metric that is none, and arguments in another order.
    """
    call = "sk.evaluate(model, dictionary, corpus), or sk.evaluate(activations, dictionary)"
    check_roles(
        call,
        model=(model, (MODEL, MODELS, ACTIVATIONS)),
        dictionary=(dictionary, (DICTIONARY, RUN)),
        corpus=(corpus, CORPUS),
    )
    dictionary = dictionary_of(dictionary)
    own = [_made(metric) for metric in metrics]
    if role_of(model) not in (MODEL, MODELS):
        if corpus is not None:
            raise TypeError(f"model is a model where there is a corpus, found a {type(model).__name__}: {call}.")
        return _of_arrays(model, dictionary, own)
    if corpus is None:
        raise TypeError(f"there is no corpus to evaluate on: {call}.")
    model = together(model)
    check_model(dictionary, model)
    check_named(dictionary)
    check_one_site(dictionary)
    sparsity, concepts = Sparsity(), Concepts()
    ce_tokens = None if ce_tokens is None else whole("ce_tokens", ce_tokens)
    recovery = [
        Recovery(ablation, ce_tokens, written.name or None)
        for written in by_model(model, dictionary.writes)
        if all(can_be_edited(model, site) for site in written.hooks)
    ]
    every: list[Metric] = [ExplainedVariance(), SiteVariance(), sparsity, Shrinkage(), *recovery, concepts, *own]
    reading, results = run(model, dictionary, corpus, tokens, every, exclude=exclude, context=context)
    recovered = {metric.of: cast("Recovered", results[every.index(metric)]) for metric in recovery}
    counted = Number("tokens", reading.counted, f"counted tokens; left out: {dict(reading.excluded)}")
    sparse, matched = (results[every.index(metric)] for metric in (sparsity, concepts))
    results.insert(every.index(concepts), counted)
    return Report(
        results=[result for result in results if result is not None],
        sparse=cast("Sparse", sparse),
        recovered=recovered.get(None),
        recovered_of={name: of_one for name, of_one in recovered.items() if name is not None},
        concepts=cast("ConceptMatch | None", matched),
        tokens=reading.counted,
        excluded=dict(reading.excluded),
        header=_header(dictionary, reading),
    )


def _of_arrays(x: Any, dictionary: Dictionary, own: Sequence[Metric]) -> Report:
    """The report of activations without a model."""
    sparsity = Sparsity()
    every: list[Metric] = [ExplainedVariance(), SiteVariance(), sparsity, Shrinkage(), *own]
    rows, results = run_on_arrays(x, dictionary, every)
    sparse = cast("Sparse", results[every.index(sparsity)])
    header = {"activations": f"{rows:,} rows, without a model", "dictionary": dictionary.method}
    return Report(
        results=[result for result in results if result is not None],
        sparse=sparse,
        recovered=None,
        concepts=None,
        tokens=rows,
        excluded={},
        header=header | {"site": _sites(dictionary)} | installed_versions(),
    )


def _made(metric: Metric | type[Metric]) -> Metric:
    """A metric of this call's own."""
    made = metric() if isinstance(metric, type) else copy.deepcopy(metric)
    if not isinstance(made, Metric):
        raise TypeError(f"metrics are saekit.metrics.Metric, objects or classes, found {made!r}.")
    return made


def _header(dictionary: Dictionary, reading: Reading) -> dict[str, Any]:
    """What reproduces the numbers."""
    made, header = reading.provenance, dict[str, Any]()
    if corpus := made.get("corpus"):
        header["corpus"] = f"{corpus['name']}/{corpus['split']}"
        if corpus["name"] in NAMES and corpus["split"] == "train":
            header["corpus"] += ", the split that dictionaries are trained on"
            warnings.warn(
                f"these numbers are of the train split of {corpus['name']!r}, which dictionaries are trained on: "
                f"load_corpus({corpus['name']!r}, split='heldout') gives other text.",
                stacklevel=3,
            )
        header["seed"] = corpus["seed"]
        header["fingerprint"] = corpus["fingerprint"][:12]
    elif isinstance(reading.source, GivenTokens):
        header["token ids"] = f"fingerprint {reading.source.fingerprint[:12]}"
    if isinstance(model := made["model"], Mapping):
        header["models"] = spoken_model(model, made["model_hash"])
    else:
        header |= {"model": model, "model_hash": (made["model_hash"] or "none")[:12]}
    header |= {"dictionary": dictionary.method, "site": _sites(dictionary)}
    if made_on := dictionary.provenance.made_on:  # a view for another model than its own
        header["made on"] = spoken_model(made_on["model"], made_on["model_hash"])
    header["tokens"] = reading.spoken
    header["rows"] = spoken_rows(reading.read)
    header["left out"] = ", ".join(f"{count:,} {reason}" for reason, count in reading.excluded.items())
    return header | installed_versions()


def _sites(dictionary: Dictionary) -> str:
    return " → ".join(dict.fromkeys([", ".join(dictionary.reads), ", ".join(dictionary.writes)]))
