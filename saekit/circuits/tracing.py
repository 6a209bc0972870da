"""Everything of an attribution graph, in the precision of the model: which nodes there are, and edges into those that
have room."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from saekit.circuits.backward import Backward, Collected
from saekit.circuits.columns import ERROR, FEATURE, LOGIT, TOKEN, Nodes
from saekit.circuits.frozen import FINAL, FrozenModel
from saekit.circuits.pruning import flow
from saekit.circuits.replacement import LayerTranscoder
from saekit.circuits.sources import Sources, sources_of, written
from saekit.circuits.targets import ReadOut

AGAIN = 4  # batches of features between two rankings, where not all have room
LINEAR = 1e-3  # of all that reaches a node, what may be rounding; in lower precision ten roundings


@dataclass(frozen=True, eq=False)
class Traced:
    """Nodes and edges: features by layer, position and latent, errors by layer and position, tokens, targets.

    source, target, weight: of each edge, by target and then source. bias: what reaches a node from no other; 0 of those
    without edges into them. pre_activations: in the frozen forward, NaN of nodes without. left_out: features without
    room.
    """

    nodes: Nodes
    source: Int[np.ndarray, " edges"]
    target: Int[np.ndarray, " edges"]
    weight: Float[np.ndarray, " edges"]
    target_weights: Float[np.ndarray, " nodes"]
    bias: Float[np.ndarray, " nodes"]
    pre_activations: Float[np.ndarray, " nodes"]
    left_out: int = 0


def traced(
    frozen: FrozenModel,
    parts: Sequence[LayerTranscoder],
    counted: Bool[Tensor, " t"],
    aims: Sequence[ReadOut],
    max_nodes: int,
    batch_size: int,
) -> Traced:
    """Everything of a graph.

    parts: of all layers, in order. counted: where there are features. aims: its targets. max_nodes, batch_size: as of
    ``attribute``. Raises ValueError where max_nodes leaves no room for a feature, and for a model that is not linear
    when patterns and scales are held."""
    sources = sources_of(frozen, parts, counted)
    n, columns = len(sources.z), len(sources)
    room = max_nodes - (columns - n) - len(aims)
    if room < 1:
        raise ValueError(
            f"max_nodes={max_nodes:,} leaves no room for a feature: errors, tokens and targets of this prompt are "
            f"{columns - n + len(aims):,}, so give at least {columns - n + len(aims) + 1:,}."
        )
    nodes = _nodes(frozen, parts, sources, aims)
    weights = np.zeros(len(nodes))
    weights[columns:] = [aim.weight for aim in aims]
    most = max(len(aims), *(len(rows) for rows in sources.encoder))
    backward, found = Backward(frozen, parts, counted, sources, min(batch_size, most)), Collected()
    for group in torch.arange(len(aims)).split(backward.rows):
        some = [aims[number] for number in group.tolist()]
        at = torch.tensor([aim.position for aim in some], device=sources.z.device)
        found.add(columns + group, backward.into(len(parts), at, torch.stack([aim.direction for aim in some])))
    chosen = torch.zeros(n, dtype=torch.bool)
    while (taken := int(chosen.sum())) < min(n, room):
        best = torch.arange(n)
        if n > room:
            influence = torch.from_numpy(flow(nodes, found.edges(), weights).influence[:n])
            influence[chosen] = -1
            best = influence.argsort(descending=True, stable=True)[: min(AGAIN * batch_size, room - taken)]
        chosen[best] = True
        _add_features(backward, found, best.sort().values)
    has = torch.cat([chosen, torch.ones(len(aims), dtype=torch.bool)]).numpy()
    bias, pre_activations = np.zeros(len(nodes)), np.full(len(nodes), np.nan)
    reading = np.concatenate([np.arange(n), columns + np.arange(len(aims))])
    without, whole = _read(frozen, parts, counted, sources, aims, backward)
    bias[reading[has]], pre_activations[reading[has]] = without[has], whole[has]
    graph = Traced(nodes, *found.sorted(), weights, bias, pre_activations)
    _check_linear(graph, frozen.logits.dtype)
    return graph if bool(chosen.all()) else _merged(graph, chosen.numpy(), len(frozen.embedding[0]))


def _add_features(backward: Backward, found: Collected, some: Int[Tensor, " m"]) -> None:
    """Edges into some features, by their columns, ascending."""
    sources, first = backward.sources, 0
    of_layer = sources.layer.cpu()[some]
    for layer, encoder in enumerate(sources.encoder):
        here = some[of_layer == layer]
        for group in here.split(backward.rows) if len(here) else ():
            where = group.to(encoder.device)
            found.add(group, backward.into(layer, sources.position[where], encoder[where - first]))
        first += len(encoder)


def _nodes(frozen: FrozenModel, parts: Sequence[LayerTranscoder], sources: Sources, aims: Sequence[ReadOut]) -> Nodes:
    """Of all columns, and the targets."""
    layers, t = len(parts), len(sources.embedding)
    layer, position, latent, z = (
        each.cpu().numpy() for each in (sources.layer, sources.position, sources.latent, sources.z)
    )
    first = np.repeat([part.first for part in parts], [len(rows) for rows in sources.encoder])
    counts, unknown = [len(z), layers * t, t, len(aims)], np.full((layers + 1) * t, np.nan)
    tokens, no_number = frozen.tokens[0].cpu().numpy(), np.full(layers * t, -1)
    at = np.tile(np.arange(t), layers + 1)
    of_layer = np.concatenate([layer, np.repeat([*range(layers), -1], t), np.full(len(aims), layers)])
    number = np.concatenate([latent + first, no_number, tokens, [aim.number for aim in aims]])
    return Nodes(
        kind=np.repeat(np.array([FEATURE, ERROR, TOKEN, LOGIT], dtype=np.int8), counts),
        layer=of_layer.astype(np.int16),
        position=np.concatenate([position, at, [aim.position for aim in aims]]).astype(np.int32),
        number=number.astype(np.int64),
        activation=np.concatenate([z, unknown, [aim.probability for aim in aims]]).astype(np.float32),
    )


@torch.no_grad()
def _read(
    frozen: FrozenModel,
    parts: Sequence[LayerTranscoder],
    counted: Bool[Tensor, " t"],
    sources: Sources,
    aims: Sequence[ReadOut],
    backward: Backward,
) -> tuple[Float[np.ndarray, " readers"], Float[np.ndarray, " readers"]]:
    """Pre-activations of features and targets where every feature, error and token is 0, and as they are."""
    nothing, base = torch.zeros_like(frozen.embedding), {site: b[None] for site, b in sources.base.items()}
    x = frozen.run(nothing, written(parts, counted, base), [part.reads for part in parts])
    without = []
    for part in parts:
        here = sources.layer == part.layer
        u = part.pre_activations(x[part.reads][0]).to(sources.u)
        without.append(u[sources.position[here], sources.latent[here]])

    def worth(final: Float[Tensor, "t d"]) -> Float[Tensor, " aims"]:
        return torch.stack([final[aim.position].to(aim.direction) @ aim.direction + aim.constant for aim in aims])

    both = torch.cat([*without, worth(x[FINAL][0])]), torch.cat([sources.u, worth(backward.read[-1][0])])
    return both[0].cpu().numpy(), both[1].cpu().numpy()


def _check_linear(graph: Traced, dtype: torch.dtype) -> None:
    """Raise ValueError where incoming edges and bias are not the pre-activation: something is not linear.

    dtype: the precision of the model."""
    n, size = len(graph.nodes), np.abs(graph.weight)
    gap = np.bincount(graph.target, graph.weight, n) + graph.bias - graph.pre_activations
    scale = np.bincount(graph.target, size, n) + np.abs(graph.bias)
    share = np.nanmax(np.abs(gap) / np.maximum(scale, np.finfo(np.float32).tiny))
    if not share <= max(LINEAR, 10 * torch.finfo(dtype).eps):
        raise ValueError(
            "attribution is offered where a model is linear once attention patterns and norm scales are held, and in "
            f"this one {share:.1%} of what reaches a feature or target is not accounted for."
        )


def _merged(graph: Traced, chosen: Bool[np.ndarray, " features"], t: int) -> Traced:
    """The graph of some features; what others add is in the error of their layer and position.

    t: positions of the prompt."""
    n, kept = len(chosen), int(chosen.sum())
    keep = np.ones(len(graph.nodes), dtype=bool)
    keep[:n] = chosen
    place = np.cumsum(keep) - 1
    left = np.flatnonzero(~keep)
    place[left] = kept + graph.nodes.layer[left].astype(np.int64) * t + graph.nodes.position[left]
    nodes = graph.nodes[keep]
    keys, at = np.unique(place[graph.target] * len(nodes) + place[graph.source], return_inverse=True)
    weight = np.bincount(at, graph.weight, len(keys)).astype(graph.weight.dtype)
    source, target = (keys % len(nodes)).astype(np.int32), (keys // len(nodes)).astype(np.int32)
    of_nodes = graph.target_weights[keep], graph.bias[keep], graph.pre_activations[keep]
    return Traced(nodes, source, target, weight, *of_nodes, n - kept)
