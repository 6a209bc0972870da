"""What the panels of a browser mean: the words behind each "?", with the numbers of the store at hand."""

from __future__ import annotations

from typing import Any

from saekit.features.choosing import SAME_AFTER, SAME_BEFORE
from saekit.features.neighbours import COACTIVE_TOKENS
from saekit.features.reading import NEAR_TOKENS

KINDS = {
    "top": f"Top: strongest first, one a document; the same text (from {SAME_BEFORE} tokens before the peak to "
    f"{SAME_AFTER} after) once.",
    "interval": "Intervals: firings drawn from five equal parts of (0, max].",
    "quantile": "Quantiles: firings drawn from five parts of equal count.",
    "random": "Random +: drawn from all firings: what it mostly does.",
    "near": "Near misses: silent tokens where it nearly fired, one a document, among about the first "
    f"{NEAR_TOKENS:,} tokens; the number is the pre-activation minus that of its weakest firing there.",
}
"""What examples of each kind are."""


def definitions(manifest: dict[str, Any]) -> dict[str, dict[str, str]]:
    """Panel → title, text, code."""
    counted = manifest["progress"]["counted"]
    excluded = manifest["progress"]["excluded"]
    left_out = ", ".join(f"{count:,} {why}" for why, count in excluded.items() if count) or "nothing"
    over = f"Over {counted:,} counted tokens; left out: {left_out}."
    settings = manifest["settings"]
    output = manifest.get("output_path")
    texts = {
        "list": (
            "Features",
            "One row a latent. Density: share of counted tokens on which it fires (z ≠ 0). Max: its largest "
            f"activation. Where there is no label: the commonest tokens at the peaks of its top examples. {over}",
            "store.latents()",
        ),
        "density": ("Density", f"Share of counted tokens with z ≠ 0. {over}", "store.latents().density"),
        "maximum": ("Max", f"The largest z. {over}", "store.latents().max_activation"),
        "concept": (
            "Concept",
            "The labelled concept that it finds best, at token level: predicted where z > t. The concept and t (tenths "
            "of its maximum) were chosen on every second document, F1, precision and recall are of the others; the "
            "share is of all its firings there, whatever t.",
            "store.concepts({latent})",
        ),
        "loss_effect": (
            "Loss effect",
            "Nats that a firing saves: loss of the next token without the latent minus loss with it, the latent "
            "removed from every counted token of the row and the model run on. Mean over up to "
            f"{settings['loss_examples']} firings drawn at random; the underline of a token is its own.",
            "store.loss_effect({latent})",
        ),
        "examples": (
            "Examples",
            f"{' '.join(KINDS.values())} Background: z as a share of the maximum.",
            'store.examples({latent}, kind="top")',
        ),
        "histogram": (
            "Activation histogram",
            f"Non-zero activations in 40 equal bins; heights are logarithmic. {over}",
            "store.histogram({latent})",
        ),
        "logits": (
            "Top and bottom logits",
            f"At its maximum: {output}." if output else "There is no direct path from this site to the logits.",
            "store.logits({latent})",
        ),
        "neighbours": (
            "Neighbours",
            "cos: cosine of decoder rows over the whole dictionary. φ: correlation of “both fire on this token” over "
            f"{min(counted, COACTIVE_TOKENS):,} counted tokens or a little more. Two questions, two numbers.",
            "store.neighbours({latent})",
        ),
        "prompt": (
            "Your prompt",
            "The features that fire on each token, the strongest relative to their maximum in the store first. The "
            "beginning-of-text token is shown and not counted; what passes the model's context is cut.",
            "sk.features_on(model, sae, prompt)",
        ),
        "explanations": (
            "Explanations",
            "Detection: balanced accuracy of telling windows in which it fires from windows in which it does not. "
            "Fuzzing: the same, of rightly from wrongly marked tokens. On windows that share no document with the "
            "examples shown here (2410.13928).",
            "store.explain({latent}, explanation)",
        ),
    }
    return {name: dict(zip(("title", "text", "code"), words, strict=True)) for name, words in texts.items()}
