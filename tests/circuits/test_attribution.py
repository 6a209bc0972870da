"""Edges are what the frozen forward does when a source is changed; nothing is missing; what cannot be is said."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
import pytest
import torch
from frozen_again import KINDS, FrozenAgain, transcoders
from torch import Tensor

import saekit as sk
from saekit.circuits import Target, attribute
from saekit.circuits.columns import ERROR, FEATURE, LOGIT, TOKEN
from saekit.circuits.frozen import FrozenModel
from saekit.circuits.replacement import layer_transcoders
from saekit.circuits.targets import read_outs
from saekit.circuits.tracing import Traced, traced
from saekit.models import load_model

MODELS: dict[str, tuple[str, dict[str, Any]]] = {
    "layer norm": ("GPT2Config", {"n_embd": 16, "n_layer": 3, "n_head": 4, "n_positions": 32}),
    "rms norm, grouped queries": ("LlamaConfig", {"num_key_value_heads": 2}),
    "post-norm": ("Gemma2Config", {"num_key_value_heads": 2, "head_dim": 8, "sliding_window": 4}),
    "parallel, biased unembedding": ("PhiConfig", {}),
}
ROW = [0, 70, 80, 75, 260, 90, 71, 99, 270, 61]


@pytest.fixture(scope="module")
def tiny(save_tiny_model: Any, tiny_shape: Any, tmp_path_factory: Any, one_thread: None) -> Callable[..., Any]:
    """tiny(name, dtype) → a random model of three layers; do not change it."""
    import transformers

    folders: dict[str, Any] = {}
    made: dict[tuple[str, str], Any] = {}

    def load(name: str, dtype: str = "float64") -> Any:
        if name not in folders:
            kind, settings = MODELS[name]
            config = getattr(transformers, kind)(**tiny_shape | {"num_hidden_layers": 3} | settings)
            folders[name] = save_tiny_model(config, tmp_path_factory.mktemp("circuits") / "model")
        if (name, dtype) not in made:
            made[name, dtype] = load_model(folders[name], device="cpu", dtype=dtype)
        return made[name, dtype]

    return load


class Case(NamedTuple):
    """What was traced, and the same model frozen a second time."""

    model: Any
    given: list[sk.Dictionary]
    again: FrozenAgain
    found: Traced


def case(model: Any, given: list[sk.Dictionary], targets: Any = None, **settings: int) -> Case:
    tokens = torch.tensor([ROW])
    counted = tokens[0] != 0
    parts = layer_transcoders(model, given)
    frozen = FrozenModel.recorded(model, tokens, [part.reads.beside("hook_mlp_out") for part in parts])
    aims = read_outs(model, targets, frozen.logits[0])
    found = traced(frozen, parts, counted, aims, **({"max_nodes": 7500, "batch_size": 64} | settings))
    skips = [part.own.decoder.skip for part in parts if part.skip is not None]
    return Case(model, given, FrozenAgain(model, tokens, skips, counted), found)


class Written(NamedTuple):
    """What the sources of a graph write: [node, t, d] at the embedding and at each MLP."""

    embedding: Tensor
    outs: list[Tensor]


def written(given: list[sk.Dictionary], again: FrozenAgain, found: Traced) -> Written:
    """By dense codes and loops over nodes."""
    x = again(again.embedding, without_skip(again))
    z, x_hat = by_hand(given, again, x)
    nodes, shape = found.nodes, again.embedding.shape[1:]
    embedding = torch.zeros(len(nodes), *shape, dtype=again.embedding.dtype)
    outs = [torch.zeros_like(embedding) for _ in again.outs]
    constant = without_skip(again)
    for i in range(len(nodes)):
        kind, layer, position, number = (int(c[i]) for c in (nodes.kind, nodes.layer, nodes.position, nodes.number))
        if kind == TOKEN:
            embedding[i, position] = again.embedding[0, position]
        elif kind == ERROR:
            outs[layer][i, position] = (constant[layer] - x_hat[layer])[0, position]
        elif kind == FEATURE:
            for m, site in enumerate(again.writes):
                rows = directions(given, site)
                if rows is not None and number < len(rows[layer]):
                    outs[m][i, position] = z[layer][position, number] * rows[layer][number]
    return Written(embedding, outs)


def directions(given: list[sk.Dictionary], site: str) -> list[Tensor]:
    """Of each layer what its latents, by their numbers in their dictionary, write at a site."""
    layers = range(3)
    if len(given) == 1:
        return [given[0].decoder_directions_at(site)] * 3
    return [given[n].decoder_directions_at(site) if site in given[n].writes else torch.zeros(0, 16) for n in layers]


def without_skip(again: FrozenAgain) -> list[Tensor]:
    """What each MLP adds, less W_skip x where tokens are counted, found layer by layer."""
    outs = [out.clone() for out in again.outs]
    for layer, skip in enumerate(again.skips):
        x = again(again.embedding, outs)[layer]  # of layers before
        outs[layer] = again.outs[layer] - (x @ skip.T) * again.counted[:, None]
    return outs


def by_hand(given: list[sk.Dictionary], again: FrozenAgain, x: list[Tensor]) -> tuple[list[Tensor], list[Tensor]]:
    """z [t, d_sae] of each layer and Σ z d + b (without a skip) of each MLP, both 0 where tokens are not counted."""
    mask = again.counted[:, None]
    if len(given) == 1:
        dense = given[0].encode({site: h[0] for site, h in zip(given[0].reads, x, strict=False)}).to_dense() * mask
        biases = given[0].decoder_bias.split(16)
        rows = [given[0].decoder_directions_at(site) for site in again.writes]
        return [dense] * 3, [((dense @ d + b) * mask)[None] for d, b in zip(rows, biases, strict=True)]
    z = [each.encode(h[0]).to_dense() * mask for each, h in zip(given, x, strict=False)]
    pairs = zip(z, given, strict=True)
    return z, [((codes @ own.decoder_directions + own.decoder_bias) * mask)[None] for codes, own in pairs]


def pre_activations(c: Case, x: list[Tensor], targets: list[tuple[Tensor, Tensor]]) -> Tensor:
    """[row, node]: what each node reads, NaN where it reads nothing."""
    nodes, rows = c.found.nodes, len(x[0])
    read = torch.full((rows, len(nodes)), torch.nan, dtype=x[0].dtype)
    logits = iter(targets)
    for i in range(len(nodes)):
        kind, layer, position, number = (int(a[i]) for a in (nodes.kind, nodes.layer, nodes.position, nodes.number))
        if kind == FEATURE:
            one = c.given[0].layers[layer] if len(c.given) == 1 else c.given[layer]
            own = number - 40 * layer if len(c.given) == 1 else number
            read[:, i] = x[layer][:, position] @ one.encoder_directions[own] + one.encoder_bias[own]
        elif kind == LOGIT:
            direction, constant = next(logits)
            read[:, i] = x[3][:, position] @ direction + constant
    return read


def centred(model: Any, tokens: np.ndarray) -> list[tuple[Tensor, Tensor]]:
    u, b = model.W_U, model.b_U
    return [(u[:, token] - u.mean(1), b[token] - b.mean()) for token in tokens]


def matrix(found: Traced) -> np.ndarray:
    dense = np.zeros((len(found.nodes), len(found.nodes)))
    np.add.at(dense, (found.target, found.source), found.weight)
    return dense


def check_truth(c: Case, targets: list[tuple[Tensor, Tensor]], tolerance: float = 1e-10) -> int:
    """Every edge against the change that its source makes in the frozen forward; completeness; how many there are."""
    constant = without_skip(c.again)
    sources = written(c.given, c.again, c.found)
    embedding = c.again.embedding + 0.01 * sources.embedding
    changed = c.again(embedding, [out + 0.01 * own for out, own in zip(constant, sources.outs, strict=True)])
    clean = pre_activations(c, c.again(c.again.embedding, constant), targets)
    measured = ((pre_activations(c, changed, targets) - clean) / 0.01).T.numpy()  # [target, source]
    reads = ~np.isnan(clean[0].numpy())
    assert (np.isin(c.found.nodes.kind, (FEATURE, LOGIT)) == reads).all()
    edges = matrix(c.found)
    assert not edges[~reads].any()
    largest = np.abs(measured[reads]).max()
    assert np.abs(edges - measured)[reads].max() < tolerance * largest
    whole = edges.sum(1) + c.found.bias
    assert np.abs(whole - clean[0].numpy())[reads].max() < 1e-8
    assert np.abs(c.found.pre_activations - clean[0].numpy())[reads].max() < 1e-8
    return int((np.abs(measured[reads]) > 1e-9 * largest).sum())


@pytest.mark.parametrize("name", MODELS)
@pytest.mark.parametrize("kind", KINDS)
def test_every_edge_is_what_a_change_of_its_source_does_and_nothing_is_missing(tiny, name, kind):
    model = tiny(name)
    c = case(model, transcoders(model, kind))
    logits = c.found.nodes.number[c.found.nodes.kind == LOGIT]
    many = check_truth(c, centred(model, logits))
    assert many >= 1000, many
    raw = c.again.raw[0, -1] - c.again.raw[0, -1].mean()
    told = c.found.pre_activations[c.found.nodes.kind == LOGIT]
    assert np.abs(told - raw[torch.from_numpy(logits)].numpy()).max() < 1e-5  # Hugging Face's RMSNorm is of float32


def test_the_truth_test_itself_catches(tiny):
    model = tiny("layer norm")
    c = case(model, transcoders(model, "transcoders"))
    c.found.weight[5] *= 1 + 1e-6
    with pytest.raises(AssertionError):
        check_truth(c, centred(model, c.found.nodes.number[c.found.nodes.kind == LOGIT]))


METHODS = [sk.JumpReLU(d_sae=40), sk.Gated(d_sae=40), sk.ReLU(d_sae=40), sk.BatchTopK(d_sae=40, k=6)]


@pytest.mark.parametrize("method", METHODS, ids=lambda method: type(method).__name__)
def test_every_linear_method_is_taken(tiny, method):
    model = tiny("rms norm, grouped queries")
    c = case(model, transcoders(model, "transcoders", method))
    check_truth(c, centred(model, c.found.nodes.number[c.found.nodes.kind == LOGIT]))


def test_float32_is_float64_to_five_digits(tiny):
    cases = [tiny("rms norm, grouped queries", dtype) for dtype in ("float32", "float64")]
    found = [case(model, transcoders(model, "skip")).found for model in cases]
    assert [each.weight.dtype for each in found] == [np.float32, np.float64]
    single, double = (matrix(each) for each in found)
    assert (found[0].nodes.number == found[1].nodes.number).all()
    assert np.abs(single - double).max() < 1e-5 * np.abs(double).max()


def test_batches_of_any_size_give_the_same(tiny):
    model = tiny("layer norm")
    one, many = (case(model, transcoders(model, "cross-layer"), batch_size=size).found for size in (1, 64))
    assert np.allclose(matrix(one), matrix(many), rtol=0, atol=1e-12)


# -- targets -----------------------------------------------------------------------------------------------------------


def test_targets_of_every_kind_are_what_they_say(tiny):
    model = tiny("parallel, biased unembedding")
    vector = torch.randn(16, generator=torch.Generator().manual_seed(3)).double()
    targets = [70, " the", (" the", 71), Target(vector, 4, "mine"), Target(71, -2)]
    c = case(model, transcoders(model, "transcoders"), targets)
    the = model.tokenizer(" the", add_special_tokens=False)["input_ids"][0]
    (a, b, other), u, bias = centred(model, np.array([70, the, 71])), model.W_U, model.b_U
    pair = (u[:, the] - u[:, 71], bias[the] - bias[71])
    check_truth(c, [a, b, pair, (vector, torch.tensor(0.0)), other])
    nodes, raw = c.found.nodes, c.again.raw[0]
    last = nodes.kind == LOGIT
    assert nodes.position[last].tolist() == [9, 9, 9, 4, 8]
    assert nodes.number[last].tolist() == [70, the, 302, 303, 71]
    assert nodes.layer[last].tolist() == [3] * 5
    assert abs(c.found.pre_activations[last][2] - float(raw[9, the] - raw[9, 71])) < 1e-9
    p = raw.softmax(-1)
    assert np.allclose(c.found.target_weights[last], [p[9, 70], p[9, the], 1, 1, p[8, 71]])
    assert np.allclose(nodes.activation[last], [p[9, 70], p[9, the], np.nan, np.nan, p[8, 71]], equal_nan=True)
    assert not c.found.target_weights[~last].any()


@pytest.mark.parametrize(("scale", "expected"), [(1.0, 10), (40.0, 3)])
def test_by_default_the_likeliest_tokens_until_there_is_enough(tiny, scale, expected):
    model = tiny("layer norm")
    logits = torch.zeros(2, 300, dtype=torch.float64)
    logits[1, [5, 6, 7, 8]] = scale * torch.tensor([1.0, 1.0, 0.99, 0.94]).double()
    found = read_outs(model, None, logits)  # e^−0.4 and e^−2.4 beside two ones: .36 .36 .24 .03
    assert len(found) == expected
    assert [each.number for each in found][:3] == [5, 6, 7] and {each.position for each in found} == {1}


# -- the budget --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", KINDS)
def test_what_has_no_room_is_in_the_error_of_its_layer_and_position(tiny, kind):
    model = tiny("layer norm")
    given = transcoders(model, kind)
    whole = case(model, given).found
    fixed = int((whole.nodes.kind != FEATURE).sum())
    some = case(model, given, max_nodes=fixed + 50, batch_size=4).found
    assert len(some.nodes) == fixed + 50 and some.left_out == len(whole.nodes) - fixed - 50

    def keys(found: Traced) -> list[tuple[int, ...]]:
        nodes = found.nodes
        return list(zip(*(c.tolist() for c in (nodes.kind, nodes.layer, nodes.position, nodes.number)), strict=True))

    place = {key: i for i, key in enumerate(keys(some))}
    merged = [place.get(key, place.get((ERROR, *key[1:3], -1), -1)) for key in keys(whole)]
    expected = np.zeros((len(whole.nodes), len(some.nodes)))
    np.add.at(expected.T, np.array(merged), matrix(whole).T)
    rows = [i for i, key in enumerate(keys(whole)) if key in place]
    assert np.allclose(matrix(some), expected[rows], rtol=0, atol=1e-12)
    has = ~np.isnan(some.pre_activations)
    assert np.abs(matrix(some).sum(1) + some.bias - some.pre_activations)[has].max() < 1e-10


def test_features_come_in_the_order_of_their_influence(tiny):
    """Those of the largest influence, where a ranking of everything says so: with room for one at a time, each is the
    best by the edges known then."""
    model = tiny("layer norm")
    given = transcoders(model, "transcoders")
    whole = case(model, given).found
    dense = np.abs(matrix(whole))
    share = dense / np.maximum(dense.sum(1, keepdims=True), 1e-300)
    features = np.flatnonzero(whole.nodes.kind == FEATURE)
    known = set(np.flatnonzero(whole.nodes.kind == LOGIT).tolist())
    chosen: list[int] = []
    for _ in range(6):
        rows = share * np.isin(np.arange(len(share)), list(known))[:, None]
        reached, total = whole.target_weights, np.zeros(len(share))
        while reached.any():
            reached = reached @ rows
            total = total + reached
        best = max((i for i in features.tolist() if i not in chosen), key=lambda i: total[i])
        chosen.append(best)
        known.add(best)
    import saekit.circuits.tracing as tracing

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(tracing, "AGAIN", 1)
        fixed = len(whole.nodes) - len(features)
        some = case(model, given, max_nodes=fixed + 6, batch_size=1).found.nodes
    of = some.kind == FEATURE
    found = set(zip(some.layer[of].tolist(), some.position[of].tolist(), some.number[of].tolist(), strict=True))
    columns = whole.nodes
    assert found == {(int(columns.layer[i]), int(columns.position[i]), int(columns.number[i])) for i in chosen}


# -- sk.attribute ------------------------------------------------------------------------------------------------------


def test_a_graph_is_what_was_traced_and_says_what_it_is_of(tiny):
    model = tiny("layer norm")
    given = transcoders(model, "cross-layer")
    graph = attribute(model, given[0], ROW)
    found = case(model, given).found
    assert np.allclose(graph.edge_columns.weight, matrix(found)[graph.edge_columns.target, graph.edge_columns.source])
    assert len(graph.edge_columns) == len(found.weight)
    assert np.allclose(graph.bias, found.bias, atol=1e-6)
    assert graph.tokens.tolist() == ROW and len(graph.strings) == len(ROW)
    about = graph.about
    assert about["model_hash"] == model.model_hash and about["not_counted"] == [0] and about["left_out"] == 0
    assert [each["d_sae"] for each in about["dictionaries"]] == [120]
    assert len(about["dictionaries"][0]["fingerprint"]) == 64
    assert not (graph.node_columns.position[graph.node_columns.kind == FEATURE] == 0).any()
    logits = [each for each, kind in zip(graph.ids, graph.node_columns.kind, strict=True) if kind == LOGIT]
    texts = sk.activations.token_strings(model, [int(each.split("_")[1]) for each in logits])
    assert graph.target_strings == dict(zip(logits, texts, strict=True))
    again = attribute(model, given, torch.tensor(ROW))
    assert (again.edge_columns.weight == graph.edge_columns.weight).all()


def test_a_graph_is_pruned_scored_and_kept_in_a_file(tiny, tmp_path):
    model = tiny("rms norm, grouped queries")
    graph = attribute(model, transcoders(model, "transcoders"), ROW, targets=[(70, 71), 75])
    pruned = graph.prune(nodes=0.5, edges=0.9)
    assert 0 < len(pruned.edge_columns) < len(graph.edge_columns)
    assert 0 < graph.scores.replacement < 1 and 0 < graph.scores.completeness < 1
    again = sk.Graph.from_json(graph.to_json(tmp_path / "graph.json"))
    assert again.ids == graph.ids and again.target_strings == graph.target_strings
    assert (again.edge_columns.weight == graph.edge_columns.weight).all()
    assert again.about["dictionaries"] == graph.about["dictionaries"]


def test_the_model_is_as_it_was(tiny):
    model = tiny("rms norm, grouped queries")
    before = model(torch.tensor([ROW]))
    attribute(model, transcoders(model, "skip"), ROW)
    assert torch.equal(model(torch.tensor([ROW])), before)
    assert not any(point.fwd_hooks or point.bwd_hooks for point in model.hook_dict.values())


def test_excluded_tokens_have_no_features(tiny):
    model = tiny("layer norm")
    row = [*ROW, 3, 70]
    graph = attribute(model, transcoders(model, "transcoders"), row, exclude="special")
    assert graph.about["not_counted"] == [0, 10]
    at = graph.node_columns.position[graph.node_columns.kind == FEATURE]
    assert set(at.tolist()) == {*range(1, 10), 11}


def bad(tiny: Any) -> dict[str, tuple[Callable[[], Any], str]]:
    model = tiny("layer norm")
    other = transcoders(tiny("post-norm"), "transcoders")
    given = transcoders(model, "transcoders")
    opaque = transcoders(model, "transcoders")
    opaque[1].pre_activations = lambda x, latents=None: None
    residual = [sk.TopK(d_sae=8, k=2).build(sk.Wiring("blocks.0.hook_resid_post"), {"blocks.0.hook_resid_post": 16})]
    calls: dict[str, tuple[Callable[[], Any], str]] = {
        "another model's": (lambda: attribute(model, other, ROW), "the dictionary was made on .* this model is"),
        "another's that ship": (lambda: attribute(model, "micro", ROW), "the dictionary was made on 'micro'"),
        "missing layers": (lambda: attribute(model, given[1:2], ROW), r"layers 0, 2 of this model's 3 .*found: 1"),
        "two of a layer": (lambda: attribute(model, [*given, given[1]], ROW), "two of those given read layer 1"),
        "none": (lambda: attribute(model, [], ROW), "needs a transcoder for each layer"),
        "not linear": (lambda: attribute(model, opaque, ROW), "needs a linear encoder and decoder"),
        "no transcoder": (lambda: attribute(model, residual, ROW), "attribution takes transcoders"),
        "empty prompt": (lambda: attribute(model, given, ""), "at least one token"),
        "no tokens": (lambda: attribute(model, given, []), "at least one token"),
        "BOS alone": (lambda: attribute(model, given, [0]), "at least one token that counts"),
        "long text": (lambda: attribute(model, given, "a b c d " * 20), r"has \d+ tokens, BOS included, .*is 32"),
        "long row": (lambda: attribute(model, given, [70] * 40), "rows of 40 tokens pass the model's context of 32"),
        "two rows": (lambda: attribute(model, given, torch.tensor([ROW, ROW])), "one prompt, found 2 rows"),
        "no room": (lambda: attribute(model, given, ROW, max_nodes=20), r"no room for a feature.*at least 51"),
        "two tokens": (lambda: attribute(model, given, ROW, targets="the cat sat"), "a target is one token"),
        "no such id": (lambda: attribute(model, given, ROW, targets=300), "0 … 299, found 300"),
        "no such place": (lambda: attribute(model, given, ROW, targets=Target(5, 10)), "−10|-10 … 9"),
        "wide vector": (lambda: attribute(model, given, ROW, targets=torch.ones(4)), r"the shape \[16\], found \[4\]"),
        "a triple": (lambda: attribute(model, given, ROW, targets=(1, 2, 3)), "a pair of tokens is"),
        "twice": (lambda: attribute(model, given, ROW, targets=[5, 5]), "found token 5 twice at position 9"),
        "no target": (lambda: attribute(model, given, ROW, targets=[]), "at least one target"),
    }
    return calls


def test_what_cannot_be_is_one_sentence(tiny):
    for name, (call, expected) in bad(tiny).items():
        with pytest.raises(ValueError, match=expected) as error:
            call()
        assert "\n" not in str(error.value), name


def test_swapped_arguments_are_told(tiny):
    model = tiny("layer norm")
    with pytest.raises(TypeError, match=r"the call is sk.attribute\(model, transcoders, prompt\)"):
        attribute(transcoders(model, "transcoders"), model, ROW)
    with pytest.raises(TypeError, match="prompt is a text, or a row of token ids, found"):
        attribute(model, transcoders(model, "transcoders"), ["a text"])
    with pytest.raises(TypeError, match="a target is a token id"):
        attribute(model, transcoders(model, "transcoders"), ROW, targets=1.5)


@pytest.mark.timing
def test_ten_tokens_of_micro_take_a_second(one_thread):
    model = load_model("micro")
    prompt = "The keys to the old cabinet near the"
    seconds = []
    for _ in range(4):
        began = time.perf_counter()
        graph = attribute(model, "micro", prompt)
        seconds.append(time.perf_counter() - began)
    print(f"attribution of {len(graph.tokens)} tokens, {len(graph.edge_columns):,} edges: {min(seconds):.2f} s")
    assert min(seconds) < 3 * 1.0
