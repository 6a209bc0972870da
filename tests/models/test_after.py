"""What the numbers shown for a latent owe to what a model does with its logits after the unembedding, in float64."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor

import saekit as sk
from saekit.activations import tokenize
from saekit.features.building.output_path import OutputPath, writes_residual
from saekit.models import load_model
from saekit.models.after import mean_slope, slope_at_zero

GROUPED, WIDE = {"num_key_value_heads": 2}, {"num_key_value_heads": 2, "head_dim": 4}
# name → configuration, settings, and what the model makes of its logits: a factor, or the place of a soft cap
MODELS: dict[str, tuple[str, dict[str, Any], Callable[[Tensor], Tensor]]] = {
    "llama": ("LlamaConfig", GROUPED, lambda raw: raw),
    "phi": ("PhiConfig", GROUPED, lambda raw: raw),  # a bias at the head
    "cohere": ("CohereConfig", {"logit_scale": 0.0625}, lambda raw: raw * 0.0625),
    "granite": ("GraniteConfig", GROUPED | {"logits_scaling": 8.0, "residual_multiplier": 0.3}, lambda raw: raw / 8),
    "gemma2": ("Gemma2Config", WIDE | {"final_logit_softcapping": 3.0}, lambda raw: 3 * torch.tanh(raw / 3)),
    "gemma3": ("Gemma3TextConfig", WIDE | {"final_logit_softcapping": 2.0}, lambda raw: 2 * torch.tanh(raw / 2)),
    "nanochat": ("NanoChatConfig", GROUPED, lambda raw: 15 * torch.tanh(raw / 15)),
}
TEXTS = ["the cat sat on the mat and the dog ran", "in the house", "of the sea and the sand"]


@pytest.fixture(scope="module", params=MODELS)
def case(request, save_tiny_model, tiny_shape, tmp_path_factory) -> tuple[Any, Any, Callable[[Tensor], Tensor]]:
    """The model, Hugging Face's own in float64, and what it makes of its logits."""
    import transformers

    kind, settings, after = MODELS[request.param]
    config = getattr(transformers, kind)(**tiny_shape | settings)
    folder = save_tiny_model(config, tmp_path_factory.mktemp("after") / request.param)
    plain = transformers.AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float64).eval()
    return load_model(folder, device="cpu"), plain, after


def oracle(plain: Any, after: Callable[[Tensor], Tensor], rows: Any, d: Tensor) -> Tensor:
    """Derivative of the model's own output along d at the end of the residual stream, in float64, the norm's scale held
    at its mean: by finite differences of what follows the norm, whose linear part is W_U γ ⊙ C(d) / s."""
    norm, head = plain.base_model.norm if hasattr(plain.base_model, "norm") else None, plain.get_output_embeddings()
    norm = plain.base_model.final_layernorm if norm is None else norm
    seen: list[Tensor] = []
    handle = norm.register_forward_pre_hook(lambda module, given: seen.append(given[0]))
    slopes, sizes = [], []
    centred = type(norm).__name__ in ("LayerNorm", "CohereLayerNorm")
    for row, mask in zip(rows.tokens, rows.mask, strict=True):
        with torch.no_grad():
            plain(row[None])
            h = seen.pop()[0][mask]
        raw = head(norm(h)).detach().requires_grad_()
        out = after(raw)
        (slope,) = torch.autograd.grad(out.sum(), raw)
        slopes.append(slope)
        sizes.append(((h - h.mean(-1, keepdim=True)) if centred else h).pow(2).mean(-1).sqrt())
    handle.remove()
    s = torch.cat(sizes).mean()
    c = d.double() - d.double().mean(-1, keepdim=True) if centred else d.double()
    big = c * 1e6 / c.pow(2).mean(-1, keepdim=True).sqrt()  # the norm's epsilon is nothing to it
    with torch.no_grad():
        gamma = (norm(big) - norm(torch.zeros_like(big))) * c.pow(2).mean(-1, keepdim=True).sqrt()
        linear = head(gamma / s) - head(torch.zeros_like(gamma))
    return linear * torch.cat(slopes).mean(0)


def test_the_logits_of_a_latent_are_the_derivative_of_the_models_own_output(case):
    model, plain, after = case
    rows = tokenize(model, TEXTS)
    d = torch.randn(4, 16, generator=torch.Generator().manual_seed(1))
    path = OutputPath.of(model, rows)
    assert path is not None
    expected = oracle(plain, after, rows, d)
    with torch.no_grad():  # what is said of the model here is what it does
        head = plain.get_output_embeddings()
        kept: list[Tensor] = []
        handle = head.register_forward_hook(lambda module, given, out: kept.append(out))
        assert torch.allclose(plain(rows.tokens[:1]).logits, after(kept[0]))
        handle.remove()
    found = path(d)
    assert (found - expected).abs().max() <= 1e-4 * expected.abs().max()


def test_the_logit_lens_is_the_derivative_where_the_logits_are_zero(case):
    model, plain, after = case
    site = "blocks.1.hook_resid_post"
    sae = sk.TopK(d_sae=6, k=2).build(sk.Wiring(site), {site: 16})
    zero = torch.zeros(300, dtype=torch.float64, requires_grad=True)
    (slope,) = torch.autograd.grad(after(zero).sum(), zero)
    expected = sae.decoder_directions.double() @ plain.get_output_embeddings().weight.T * slope
    lens = sk.metrics.logit_lens(model, sae, list(range(6)), count=3)
    assert ("scale of its logits" in lens.definition) == bool((slope != 1).any())
    best = expected.detach().topk(3).values
    found = torch.tensor([row["logit"] for row in lens.rows if row["side"] == "promoted"]).view(6, 3)
    assert torch.allclose(found.double(), best, atol=6e-4)


def test_a_slope_that_is_the_same_everywhere_is_found_on_one_row(case, monkeypatch):
    model, _, after = case
    rows = tokenize(model, TEXTS)
    slope = mean_slope(model, rows.tokens, rows.mask)
    assert slope is not None and slope.shape == (300,)
    scale = float(after(torch.ones(1, dtype=torch.float64)))
    if scale in (1, 0.0625, 0.125):
        assert (slope == scale).all()
        assert torch.equal(slope_at_zero(model), slope)
    else:
        assert (slope < 1).any() and (slope > 0).all()
        assert torch.allclose(slope_at_zero(model), torch.ones(300))


def test_a_head_with_more_than_a_norm_before_it_has_no_logits_to_show(save_tiny_model, tiny_shape, tmp_path):
    """ModernBERT's decoder has another layer there: its numbers would be of another model."""
    from transformers import ModernBertDecoderConfig

    model = load_model(save_tiny_model(ModernBertDecoderConfig(**tiny_shape), tmp_path / "model"), device="cpu")
    assert OutputPath.of(model, tokenize(model, TEXTS)) is None


def test_logits_that_depend_on_each_other_have_no_slope(tiny_llama_folder):
    model = load_model(tiny_llama_folder, device="cpu")
    model.original_model.register_forward_hook(
        lambda module, given, out: setattr(out, "logits", out.logits.log_softmax(-1))
    )
    rows = tokenize(model, TEXTS)
    assert mean_slope(model, rows.tokens, rows.mask) is None and slope_at_zero(model) is None
    assert OutputPath.of(model, rows) is None


def test_what_an_mlp_gives_is_the_residual_streams_where_nothing_lies_between(case):
    model, plain, _ = case
    between = any(word in type(plain).__name__ for word in ("Gemma", "Granite"))
    assert writes_residual(model, "blocks.1.mlp.hook_out") != between
    assert writes_residual(model, "blocks.1.hook_mlp_out") and writes_residual(model, "blocks.0.hook_resid_pre")
    assert not writes_residual(model, "blocks.1.attn.hook_z") and not writes_residual(model, "hook_embed")
