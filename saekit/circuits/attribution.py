"""attribute: which features, tokens and errors made a model say what it said (attribution graphs; Ameisen et al. 2025,
"Circuit tracing", transformer-circuits.pub)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from saekit.activations import TokenRows, token_strings, tokenize
from saekit.circuits.columns import Edges
from saekit.circuits.frozen import FrozenModel
from saekit.circuits.graph import Graph
from saekit.circuits.replacement import LayerTranscoder, layer_transcoders
from saekit.circuits.targets import ENOUGH, MOST, read_outs
from saekit.circuits.tracing import traced
from saekit.dictionaries import stored
from saekit.files.arguments import brief, whole
from saekit.files.roles import DICTIONARY, MODEL, RUN, check_roles
from saekit.models import describe_model
from saekit.models.hashing import hash_tensors

if TYPE_CHECKING:
    from transformer_lens.model_bridge import TransformerBridge

MAX_NODES, BATCH = 7500, 256


def attribute(
    model: TransformerBridge,
    transcoders: Any,
    prompt: str | Sequence[int] | torch.Tensor,
    *,
    targets: Any = None,
    max_nodes: int = MAX_NODES,
    exclude: Sequence[str] | str = (),
    batch_size: int = BATCH,
) -> Graph:
    """The attribution graph of a prompt: what each feature, error and token adds to each feature and logit.

    Attention patterns and norm scales are held as they were on the prompt, and each MLP is its transcoder and an error:
    mlp^m = Σ_s z_s d_s^m + b^m (+ W_skip x^m) + ε^m. Everything between two transcoders is then linear, and

        A[t, s] = z_s · Σ_m W_dec^m[s] · (path from layer m to t's) · W_enc[t],      m: the layers that s writes

    is what s adds to the pre-activation of t. A token adds its embedding, an error ε; a logit reads
    W_U[:, y] − mean_v W_U[:, v]. What reaches t from none of them (biases of norms, attention, transcoders and W_enc,
    learned positions) is its ``bias``: Σ_s A[t, s] + bias_t is its pre-activation in the frozen forward.

    model:       as ``sk.load_model`` gives it.
    transcoders: one a layer, in any order, with or without a skip; a cross-layer one; "micro": the four that ship; or
                 names and folders, as ``sk.load_dictionary`` takes them. Latents have the numbers of their dictionary.
    prompt:      a text, or token ids, to which nothing is added.
    targets:     None: the likeliest tokens at the last position, at most 10, until .95 of the probability; or one or a
                 list of: a token by its id or text, a pair (a, b) for logit_a − logit_b, and a
                 ``sk.circuits.Target``, for a vector or another position.
    max_nodes:   of tokens, errors, targets and features together. Where there are more, features are taken in the order
                 of their influence on the targets, which is ranked again as their own edges become known; those left
                 out are in the error of their layer and position, so that nothing is missing.
    exclude:     special tokens that are not counted, by their text; "special": all that the tokenizer has. BOS never
                 is. Where a token is not counted there are no features, and all that the MLP adds is its error.
    batch_size:  targets in one backward pass.

    Returns a Graph. For example ``sk.attribute(model, "micro", "The keys to the cabinet")``.
    Raises ValueError for transcoders of another model, layers without one, an empty prompt and one over the context.
    """
    roles = (DICTIONARY, RUN)
    call = "sk.attribute(model, transcoders, prompt)"
    check_roles(call, model=(model, MODEL), transcoders=(transcoders, roles), prompt=(prompt, "a text"))
    max_nodes, batch_size = whole("max_nodes", max_nodes), whole("batch_size", batch_size)
    parts = layer_transcoders(model, transcoders)
    rows = _row(model, prompt, parts, exclude)
    frozen = FrozenModel.recorded(model, rows.tokens, [part.reads.beside("hook_mlp_out") for part in parts])
    aims = read_outs(model, targets, frozen.logits[0])
    found = traced(frozen, parts, rows.mask[0], aims, max_nodes, batch_size)
    text = token_strings(model, rows.tokens[0].tolist())
    about = describe_model(model) | {
        "prompt": prompt if isinstance(prompt, str) else "".join(text),
        "dictionaries": [_described(part) for part in parts if part.first == 0],
        "not_counted": (~rows.mask[0]).nonzero()[:, 0].tolist(),
        "left_out": found.left_out,
        "settings": {"max_n_logits": MOST, "desired_logit_prob": ENOUGH, "max_nodes": max_nodes},
    }
    return Graph(
        found.nodes,
        Edges.of(found.source, found.target, found.weight.astype(np.float32)),
        found.target_weights.astype(np.float32),
        rows.tokens[0].numpy(),
        text,
        about,
        found.bias.astype(np.float32),
        target_strings=dict(zip(found.nodes.ids[len(found.nodes) - len(aims) :], (a.text for a in aims), strict=True)),
    )


def _row(model: TransformerBridge, prompt: Any, parts: Sequence[LayerTranscoder], exclude: Any) -> TokenRows:
    """The prompt as one row of tokens. Raises ValueError where it is none, or more."""
    if isinstance(prompt, str):
        begins = {part.whole.provenance.prepend_bos for part in parts}
        if len(begins) > 1:
            raise ValueError(
                "some of the transcoders were made on rows that begin with BOS, others not: give token ids."
            )
        rows = tokenize(model, [prompt], exclude=exclude, bos=begins.pop())
    else:
        if not isinstance(prompt, torch.Tensor | np.ndarray | list | tuple) or any(isinstance(i, str) for i in prompt):
            raise TypeError(f"prompt is a text, or a row of token ids, found {brief(prompt)}.")
        ids = prompt if isinstance(prompt, torch.Tensor | np.ndarray) else list(prompt)
        if len(ids) == 0:
            raise ValueError("attribution needs a prompt, at least one token, found none.")
        rows = tokenize(model, ids if getattr(ids, "ndim", 1) == 2 else [ids], exclude=exclude)
        if len(rows.tokens) > 1:
            raise ValueError(
                f"attribution takes one prompt, found {len(rows.tokens)} rows of tokens: take one of them."
            )
    if not bool(rows.mask.any()):
        raise ValueError(f"attribution needs a prompt of at least one token that counts, found {brief(prompt)}.")
    if len(rows.tokens) > 1:
        length = int((rows.positions >= 0).sum()) + int(rows.excluded["bos"] > 0)
        raise ValueError(
            f"the prompt has {length:,} tokens, BOS included, and the model's context is {model.cfg.n_ctx:,}: cut it."
        )
    return rows


def _described(part: LayerTranscoder) -> dict[str, Any]:
    """What a dictionary is, as a graph's file says it."""
    whole_one = part.whole
    state = stored(whole_one)
    return {
        "reads": list(map(str, whole_one.reads)),
        "writes": list(map(str, whole_one.writes)),
        "method": type(whole_one.method).__name__,
        "d_sae": whole_one.d_sae,
        "fingerprint": hash_tensors(list(state), lambda name: state[name]),
    }
