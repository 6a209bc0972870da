"""The plain model below a bridge: a copy on the same parameters, and the modules in it where a site may be."""

from __future__ import annotations

import copy
from typing import TYPE_CHECKING, Any

from torch import Tensor, nn

from saekit.models.site import Site

if TYPE_CHECKING:
    from transformer_lens.model_bridge import TransformerBridge

LAYER, ATTENTION, MLP = ("",), ("self_attn", "attn", "attention", "self_attention"), ("mlp", "feed_forward", "ffn")
# kind of site → the modules of a block whose input or output it may be, the first that gives the bridge's numbers
PLACES: dict[str, tuple[tuple[tuple[str, ...], str], ...]] = {
    "hook_resid_pre": ((LAYER, "in"),),
    "hook_in": ((LAYER, "in"),),
    "hook_resid_post": ((LAYER, "out"),),
    "hook_out": ((LAYER, "out"),),
    "hook_attn_out": ((ATTENTION, "out"), (("post_attention_layernorm",), "out")),
    "mlp.hook_in": ((MLP, "in"),),
    "hook_mlp_out": ((MLP, "out"), (("post_feedforward_layernorm",), "out")),
    "mlp.hook_out": ((MLP, "out"),),
}


def candidates(blocks: nn.ModuleList, site: Site) -> list[tuple[nn.Module, str]]:
    """Modules whose "in" or "out" may be the site, the likeliest first."""
    if site.layer is None:
        return []
    block, found = blocks[site.layer], []
    for names, end in PLACES.get(site.kind, ()):
        found += [(getattr(block, n) if n else block, end) for n in names if not n or hasattr(block, n)]
    return found


def plain_copy(model: TransformerBridge, attention: str | None = None) -> nn.Module:
    """The Hugging Face model on the bridge's own parameters and buffers, with fused attention or the kind named."""
    from accelerate import init_empty_weights
    from transformers import AutoModelForCausalLM

    original = model.original_model
    config: Any = copy.deepcopy(original.config)
    # The bridge asks for patterns, which some fused attention answers with another computation.
    config.output_attentions = False
    # Fused attention leaves out the soft cap that Gemma 2 puts on its scores.
    attention = attention or ("eager" if getattr(config, "attn_logit_softcapping", None) else "sdpa")
    with init_empty_weights(include_buffers=False):
        plain = AutoModelForCausalLM.from_config(config, attn_implementation=attention, dtype=original.dtype)
    ours: dict[str, Tensor] = {}
    for name, tensor in (
        *original.named_parameters(remove_duplicate=False),
        *original.named_buffers(remove_duplicate=False),
    ):
        ours.setdefault(name.replace("._original_component", ""), tensor)
    wanted = [name for name, _ in plain.named_parameters(remove_duplicate=False)]
    for name, parameter in plain.named_parameters(remove_duplicate=False):
        parameter.requires_grad_(ours[name].requires_grad)  # or those that are put there would be made to learn
    plain.load_state_dict({name: ours[name] for name in wanted}, assign=True, strict=False)
    for path, module in plain.named_modules():
        for name, buffer in list(module.named_buffers(recurse=False)):
            own = ours.get(f"{path}.{name}" if path else name)
            setattr(module, name, buffer.to(model.cfg.device) if own is None or own.shape != buffer.shape else own)
    return plain.eval()
