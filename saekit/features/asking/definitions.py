"""What the panels of a browser mean: the words behind each "?", with the numbers of the store at hand.

Each says what the thing is, over which tokens, and what was left out.
"""

from __future__ import annotations

from typing import Any

from saekit.features.building.choosing import SAME_AFTER, SAME_BEFORE
from saekit.features.building.neighbours import COACTIVE_TOKENS
from saekit.features.building.reading import NEAR_TOKENS
from saekit.metrics.labelled import MINIMUM

KINDS = {
    "top": f"Top: strongest first, one a document; the same text (from {SAME_BEFORE} tokens before the peak to "
    f"{SAME_AFTER} after) once.",
    "interval": "Intervals: firings drawn from five equal parts of (0, strongest], by |z|.",
    "quantile": "Quantiles: firings drawn from five parts of equal count, by |z|.",
    "random": "Random +: drawn from all firings: what it mostly does.",
    "near": "Near misses: silent tokens where it nearly fired, one a document, among about the first "
    f"{NEAR_TOKENS:,} tokens; the number is the pre-activation minus that of its weakest firing there.",
}
"""What examples of each kind are. Strength is |z|, the strongest the largest of them."""


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
            "One row a latent. Density: share of counted tokens on which it fires (z ≠ 0). Max: its largest |z|. "
            "Where there is no label: the commonest tokens at the peaks of its top examples. Latents that never fire "
            f"are left out until asked for. {over}",
            "store.latents()",
        ),
        "density": ("Density", f"Share of counted tokens with z ≠ 0. {over}", "store.latents().density"),
        "maximum": (
            "Max",
            "Its strongest activation, max |z|; of codes with a sign its range, from lowest to highest z. List, "
            f"filter and colours go by max |z|. {over}",
            'store.latents()[["min_activation", "max_activation"]]',
        ),
        "concept": (
            "Concept",
            "The labelled concept that it finds best, at token level: predicted where z > t. The concept and t (tenths "
            "of its maximum) were chosen on every second document, F1, precision and recall are of the others; the "
            f"share is of all its firings there, whatever t. Concepts of fewer than {MINIMUM} tokens are left out. "
            f"{over}",
            "store.concepts({latent})",
        ),
        "loss_effect": (
            "Loss effect",
            "Nats that a firing saves: loss of the next token without the latent minus loss with it, the latent "
            "removed from every counted token of the row and the model run on. Mean over up to "
            f"{settings['loss_examples']} firings drawn at random; the underline of a token is its own. A firing at "
            f"the end of a row has no next token and is left out. {over}",
            "store.loss_effect({latent})",
        ),
        "examples": (
            "Examples",
            f"{' '.join(KINDS.values())} Background: |z| as a share of the strongest. {over}",
            'store.examples({latent}, kind="top")',
        ),
        "histogram": (
            "Activation histogram",
            f"Activations z in 40 equal bins, zeros left out; heights are logarithmic. {over}",
            "store.histogram({latent})",
        ),
        "logits": (
            "Top and bottom logits",
            (
                f"At its maximum: {output}. Over no token of the corpus but the whole vocabulary; later layers are "
                "left out."
                if output
                else "There is no direct path from this site to the logits. Over no token; everything is left out."
            ),
            "store.logits({latent})",
        ),
        "neighbours": (
            "Neighbours",
            "cos: cosine of decoder rows over the whole dictionary, over no token. φ: correlation of “both fire on "
            f"this token” over the first {min(counted, COACTIVE_TOKENS):,} counted tokens or a little more, – where "
            "one of the two fires never or always. The nearest by either are shown; left out: the latent itself, φ "
            "not above 0. Two questions, two numbers.",
            "store.neighbours({latent})",
        ),
        "prompt": (
            "Your prompt",
            "The features that fire on each token, over the tokens of your prompt, the strongest relative to their "
            "max |z| in the store first; one that never fired there comes first of all, in full colour. The "
            "beginning-of-text token is shown and not counted; what passes the model's context is left out, and said.",
            "sk.features_on(model, sae, prompt)",
        ),
        "explanations": (
            "Explanations",
            "Detection: balanced accuracy of telling windows in which it fires from windows in which it does not. "
            "Fuzzing: the same, of rightly from wrongly marked tokens. Over held-out windows of counted tokens; left "
            "out: documents that an example here shows (2410.13928).",
            "store.explain({latent}, explanation)",
        ),
    }
    return {name: dict(zip(("title", "text", "code"), words, strict=True)) for name, words in texts.items()}
