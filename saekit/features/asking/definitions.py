"""What the panels of a browser mean: the words behind each "?", with the numbers of the store at hand.

Each says what the thing is, over which tokens, and what was left out.
"""

from __future__ import annotations

from typing import Any

from saekit_widgets.protocols import UsualOrder

from saekit.features import schema
from saekit.features.columns import all_columns
from saekit.features.schema import BINS, COACTIVE_TOKENS, NEAR_TOKENS, SAME_AFTER, SAME_BEFORE, SOURCES_KEPT

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

HEADS = (
    "Decoder: the share of each head k in its decoder row, ‖d_i,[k]‖ / Σ_j ‖d_i,[j]‖. Examples: Σ |u_k| / Σ_j Σ |u_j| "
    "over its top examples, with u_k what head k brings to the pre-activation at the peak. From source token s it "
    "brings A_k[t, s] · ⟨v_k(s), W_i[k]⟩, with the attention pattern as it is; over all heads and sources, with the "
    "constant b_i − ⟨c, W_i⟩, that is the pre-activation. Kept, and marked where the cursor is on a peak, are the "
    f"strongest {SOURCES_KEPT} of each top example (2406.17759)."
)


def usual_order(manifest: dict[str, Any]) -> UsualOrder:
    """What latents are listed by until somebody sorts them (saekit.features.asking.order)."""
    if manifest.get("concepts"):
        return UsualOrder(by="f1", words="by F1, special tokens last")
    return UsualOrder(by="max", words="by max, of densities .05–5 % first")


def definitions(manifest: dict[str, Any]) -> dict[str, dict[str, str]]:
    """Panel → title, text, code."""
    counted = manifest["progress"]["counted"]
    over = f"Over {counted:,} counted tokens; left out: {left_out(manifest)}."
    output = manifest.get("output_path")
    texts = {
        "list": (
            "Features",
            "One row a latent. Density: share of counted tokens on which it fires (z ≠ 0). Max: its largest |z|. "
            "Where there is no label: the commonest words at the peaks of its top examples. Latents that never fire "
            f"are left out until asked for. Until you sort them: {usual_order(manifest)['words']}. {over}",
            "store.latents()",
        ),
        **_of_columns(manifest, over),
        "examples": (
            "Examples",
            f"{' '.join(KINDS.values())} Background: |z| as a share of the strongest. {over}",
            'store.examples({latent}, kind="top")',
        ),
        "histogram": (
            "Activation histogram",
            f"Activations z in {BINS} equal bins, zeros left out; heights are logarithmic. {over}",
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
    if schema.by_heads(manifest):
        texts["sources"] = ("Heads and sources", HEADS, "store.sources({latent})")
    if schema.over_arrays(manifest):
        texts = {name: (title, _of_rows(text), code) for name, (title, text, code) in texts.items()}
    return {name: dict(zip(("title", "text", "code"), words, strict=True)) for name, words in texts.items()}


def left_out(manifest: dict[str, Any]) -> str:
    """What was read and not counted, such as "75 bos, 3 special"; "nothing"."""
    excluded = manifest["progress"]["excluded"]
    return ", ".join(f"{count:,} {why}" for why, count in excluded.items() if count) or "nothing"


def _of_rows(text: str) -> str:
    for token, row in (("counted tokens", "rows"), ("tokens", "rows"), ("token", "row"), (", one a document", "")):
        text = text.replace(token, row)
    return text


def _of_columns(manifest: dict[str, Any], over: str) -> dict[str, tuple[str, str, str]]:
    found = {}
    for column in all_columns():
        if column.of_heads and not schema.by_heads(manifest):
            continue
        said = column.definition if isinstance(column.definition, str) else column.definition(manifest)
        title = column.words["title"]
        code = column.code or f"store.latents().{column.name}"
        found[column.name] = (title[0].upper() + title[1:], said.replace("{over}", over), code)
    return found
