"""before_and_after: what edits do to one prompt, beside the model without them."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape
from typing import TYPE_CHECKING, Any

import torch
from jaxtyping import Float, Int
from torch import Tensor

from saekit.activations import token_strings, tokenize
from saekit.files.arguments import whole
from saekit.files.roles import EDIT, MODEL, check_roles
from saekit.interventions.edit import Edit
from saekit.interventions.editing import edited

if TYPE_CHECKING:
    import pandas
    from transformer_lens.model_bridge import TransformerBridge

DEFINITION = (
    "Next-token probabilities p without the edits, p′ with them. KL(p ‖ p′) in nats after each token of the prompt; "
    "cost: its mean over the tokens that are counted. Texts go on greedily, the likeliest token each time."
)
HIGH_COST = 2.0
"""nats a token: what a mild edit costs is some tenths, and at this the text tells of damage."""
NO_CHANGE = 1e-6  # nats: rounding alone
CHANGED, DRAWN = 50, 8


@dataclass(frozen=True, eq=False, repr=False)
class BeforeAndAfter:
    """A prompt of t tokens, without and with edits; a notebook draws it.

    tokens:  [t] token ids, BOS first where the model has one. strings: their text.
    before, after: [vocabulary] probabilities of the token after the prompt.
    kl:      [t] KL(before ‖ after) in nats of the prediction after each token.
    cost:    its mean over counted tokens, nats a token.
    without, with_edits: the text that each goes on with.
    changed: the tokens whose probability after the prompt changed most, the most changed first: text, before, after.
    definition: what the numbers are.
    """

    tokens: Int[Tensor, " t"]
    strings: Sequence[str]
    before: Float[Tensor, " vocabulary"]
    after: Float[Tensor, " vocabulary"]
    kl: Float[Tensor, " t"]
    cost: float
    without: str
    with_edits: str
    changed: Sequence[tuple[str, float, float]]
    definition: str = DEFINITION

    @property
    def note(self) -> str:
        """What must be known before this is believed; empty where nothing must."""
        if float(self.kl.max()) < NO_CHANGE:
            return (
                "No prediction changed: none of the edited latents does anything on this prompt; "
                "sk.features_on(model, sae, prompt) shows which latents fire on it."
            )
        if self.cost > HIGH_COST:
            chance = f"a guess at random: {math.log(len(self.before)):.1f} at most"
            return (
                f"The edits change every prediction by {self.cost:.1f} nats on average ({chance}): what follows shows "
                "a damaged model more than what a latent means."
            )
        return ""

    def frame(self) -> pandas.DataFrame:
        """A row a token, the most changed first: token, before, after (probabilities)."""
        import pandas

        return pandas.DataFrame(list(self.changed), columns=["token", "before", "after"])

    @property
    def chart(self) -> Any:
        """The predictions that changed most, as an Altair chart."""
        from saekit.plots import next_token_change

        return next_token_change(self.frame(), top=DRAWN, title="The next token, before and after")

    @property
    def _lines(self) -> list[tuple[str, str]]:
        lines = [("without", self.without), ("with", self.with_edits)]
        lines += [("KL", f"{float(self.kl[-1]):.3g} nats at the end, {self.cost:.3g} a token on average")]
        return [*lines, ("note", self.note)] if self.note else lines

    def __repr__(self) -> str:
        from saekit.plots import shown

        changes = [f"{shown(token):<14} {before:7.1%} → {after:.1%}" for token, before, after in self.changed[:5]]
        return "\n".join([*(f"{name:<8} {shown(text)}" for name, text in self._lines), *changes])

    def _repr_html_(self) -> str:
        from saekit.plots import shown, tokens_view
        from saekit.plots.renderer import svg

        lines = "".join(f"<tr><th>{escape(name)}</th><td>{escape(shown(text))}</td></tr>" for name, text in self._lines)
        # The colour says where in the prompt predictions changed, so the largest of them is the fullest.
        where = tokens_view(self.strings, self.kl.clamp_min(0).tolist())
        return f"{STYLE}<div class='saekit-edit'>{where.html}<table>{lines}</table>{svg(self.chart.to_dict())}</div>"


STYLE = """<style>
.saekit-edit{color:var(--jp-content-font-color1,#1f1f1f);font:13px/20px var(--jp-ui-font-family,system-ui,sans-serif)}
.saekit-edit.saekit-edit table{border-collapse:collapse;margin:6px 0 10px;border:0}
.saekit-edit tr{background:none!important}
.saekit-edit.saekit-edit th,.saekit-edit.saekit-edit td{padding:1px 14px 1px 0;text-align:left;vertical-align:top;
border:0;background:none;font-size:13px;max-width:80ch;white-space:pre-wrap}
.saekit-edit.saekit-edit th{font-weight:400;font-size:11px;color:color-mix(in srgb,currentColor 70%,transparent)}
.saekit-edit svg{max-width:100%;height:auto}
</style>"""


def before_and_after(
    model: TransformerBridge, edits: Edit | Sequence[Edit], prompt: str, *, new_tokens: int = 12
) -> BeforeAndAfter:
    """What edits change on a prompt: the next token, the predictions on the way, and the text that follows, greedily.

    edits:      one or several, as ``sk.edited`` takes them.
    prompt:     a text of at least one token.
    new_tokens: how many tokens each text goes on, fewer where the model's context ends.

    Its ``note`` says where nothing changed, and where the edits cost so much that the text tells of damage.
    Example: ``sk.before_and_after(model, sk.Edit(sae, latent=3, mode="ablate"), "The keys to the cabinet")``.
    Raises ValueError for an empty prompt and one beyond the model's context, and what ``sk.edited`` raises.
    """
    call = "sk.before_and_after(model, edits, prompt)"
    check_roles(call, model=(model, MODEL), edits=(edits, EDIT), prompt=(prompt, "a text"))
    new_tokens = whole("new_tokens", new_tokens)
    if not isinstance(prompt, str) or not prompt:
        raise ValueError(f"prompt is a text of at least one token, found {prompt!r}.")
    edits = [edits] if isinstance(edits, Edit) else list(edits)
    rows = tokenize(model, [prompt], bos=_begins(edits))
    if len(rows) != 1:
        longest = model.cfg.n_ctx
        raise ValueError(f"the prompt passes the model's context of {longest} tokens: give a shorter one.")
    tokens, counted = rows.tokens.to(model.cfg.device), rows.mask[0]
    new_tokens = min(new_tokens, model.cfg.n_ctx - tokens.shape[1])
    with torch.no_grad():
        p, without = _run(model, tokens, new_tokens)
        with edited(model, edits):
            q, with_edits = _run(model, tokens, new_tokens)
    kl = (p.exp() * (p - q)).sum(-1)
    before, after = p[-1].exp(), q[-1].exp()
    most = (after - before).abs().topk(min(CHANGED, len(before))).indices
    texts = token_strings(model, most.tolist())
    return BeforeAndAfter(
        tokens=tokens[0].cpu(),
        strings=token_strings(model, tokens[0]),
        before=before,
        after=after,
        kl=kl,
        cost=float(kl[counted].mean()),
        without=without,
        with_edits=with_edits,
        changed=list(zip(texts, before[most].tolist(), after[most].tolist(), strict=True)),
    )


def _run(model: TransformerBridge, tokens: Tensor, new_tokens: int) -> tuple[Tensor, str]:
    """Log probabilities [t, vocabulary] after each token, and the text that follows."""
    logits = model(tokens)[0].float().log_softmax(-1).cpu()
    if not new_tokens:
        return logits, ""
    made: Any = model.generate(tokens, max_new_tokens=new_tokens, do_sample=False, verbose=False)
    return logits, str(model.tokenizer.decode(made[0, tokens.shape[1] :]))


def _begins(edits: Sequence[Any]) -> bool | None:
    """What the dictionaries' files say of BOS; None where they say nothing."""
    said = [d.provenance.prepend_bos for edit in edits if isinstance(edit, Edit) for d in edit.dictionaries]
    return next((one for one in said if one is not None), None)
