"""before_and_after: its numbers beside a plain model with torch's own hooks, and what it says when nothing happens."""

from __future__ import annotations

import math

import pytest
import torch
from saekit_kernels import SparseCodes

import saekit as sk
from saekit.interventions.comparing import HIGH_COST

SITE = "blocks.2.hook_resid_post"
PROMPT = "When Anna and Peter went to the park, Anna gave the book to"


def on_peter(model, sae) -> list[int]:
    """The three strongest latents there."""
    fires = sk.features_on(model, sae, PROMPT).frame()
    return fires[fires.token == " Peter"].latent[:3].tolist()


def test_its_numbers_are_those_of_the_formula(model, sae):
    """h + decode(z′) − decode(z) put in by a hook of torch's own, log-softmax and KL in float64."""
    latents = on_peter(model, sae)
    found = sk.before_and_after(model, sk.Edit(sae, latent=latents, mode="ablate"), PROMPT)
    tokens = model.to_tokens(PROMPT)

    def hook(module, args, out):
        h = out[0] if isinstance(out, tuple) else out
        z = sae.encode_dense(h)
        without = z.clone()
        without[..., latents] = 0
        change = sae.decode(SparseCodes.from_dense(without)) - sae.decode(SparseCodes.from_dense(z))
        return (h + change, *out[1:]) if isinstance(out, tuple) else h + change

    plain = model.original_model
    block = plain.transformer.h[2] if hasattr(plain, "transformer") else plain.model.layers[2]
    with torch.no_grad():
        p = plain(tokens).logits[0].double().log_softmax(-1)
        handle = block.register_forward_hook(hook)
        try:
            q = plain(tokens).logits[0].double().log_softmax(-1)
        finally:
            handle.remove()
    kl = (p.exp() * (p - q)).sum(-1)
    torch.testing.assert_close(found.kl.double(), kl, atol=1e-4, rtol=1e-3)
    assert found.cost == pytest.approx(float(kl[1:].mean()), rel=1e-3), "BOS is not counted"
    torch.testing.assert_close(found.after.double(), q[-1].exp(), atol=1e-5, rtol=1e-3)
    assert float(found.kl[-1]) > 0.1, "these latents matter"


def test_it_goes_on_greedily(model, sae):
    edit = sk.Edit(sae, latent=on_peter(model, sae), mode="clamp", strength=3)
    found = sk.before_and_after(model, edit, PROMPT, new_tokens=3)
    for text, edits in ((found.without, []), (found.with_edits, [edit])):
        tokens = model.to_tokens(PROMPT)
        for _ in range(3):
            with torch.no_grad(), sk.edited(model, edits):
                tokens = torch.cat([tokens, model(tokens)[:, -1].argmax(-1, keepdim=True)], 1)
        assert text == model.tokenizer.decode(tokens[0, -3:])
    assert found.without != found.with_edits
    assert sk.before_and_after(model, edit, PROMPT, new_tokens=3).with_edits == found.with_edits, "nothing is drawn"


def test_the_most_changed_tokens(model, sae):
    found = sk.before_and_after(model, sk.Edit(sae, latent=on_peter(model, sae), mode="ablate"), PROMPT)
    frame = found.frame()
    assert list(frame.columns) == ["token", "before", "after"] and len(frame) == 50
    change = (frame.after - frame.before).abs()
    assert change.is_monotonic_decreasing and frame.token[0] == " Peter" and frame.after[0] < frame.before[0]
    assert float((found.after - found.before).abs().max()) == pytest.approx(float(change[0]))


def test_an_edit_that_does_nothing_is_said(model, sae):
    silent = next(i for i in range(sae.d_sae) if i not in set(sk.features_on(model, sae, PROMPT).latents.tolist()))
    found = sk.before_and_after(model, sk.Edit(sae, latent=silent, mode="ablate"), PROMPT)
    assert found.note.startswith("No prediction changed: none of the edited latents does anything on this prompt")
    assert (
        found.with_edits == found.without
        and found.note in repr(found)
        and "No prediction changed" in found._repr_html_()
    )
    none = sk.before_and_after(model, [], PROMPT)
    assert float(none.kl.abs().max()) == 0


def test_an_edit_that_breaks_the_model_is_said(model, sae):
    latent = on_peter(model, sae)[0]
    mild, absurd = (
        sk.before_and_after(model, sk.Edit(sae, latent=latent, mode="add", strength=s), PROMPT) for s in (0.02, 8)
    )
    assert mild.cost < HIGH_COST < absurd.cost and mild.note == ""
    assert f"{absurd.cost:.1f} nats on average" in absurd.note and f"{math.log(4096):.1f}" in absurd.note


def test_what_is_refused(model, sae):
    edit = sk.Edit(sae, latent=3, mode="ablate")
    with pytest.raises(ValueError, match="prompt is a text of at least one token, found ''"):
        sk.before_and_after(model, edit, "")
    with pytest.raises(ValueError, match=f"passes the model's context of {model.cfg.n_ctx} tokens"):
        sk.before_and_after(model, edit, "the cat sat " * model.cfg.n_ctx)
    with pytest.raises(TypeError, match=r"sk\.before_and_after\(model, edits, prompt\)"):
        sk.before_and_after(edit, model, PROMPT)
    with pytest.raises(ValueError, match="new_tokens must be at least 1, found 0"):
        sk.before_and_after(model, edit, PROMPT, new_tokens=0)


def test_it_is_drawn_and_text_is_escaped(model, sae):
    found = sk.before_and_after(model, sk.Edit(sae, latent=3, mode="ablate"), "<script>x</script> & so", new_tokens=2)
    html = found._repr_html_()
    assert "<script" not in html and "&lt;</span>" in html and "<svg" in html
    lines = repr(found).splitlines()
    assert lines[0].startswith("without ") and lines[1].startswith("with ") and max(map(len, lines)) <= 200
