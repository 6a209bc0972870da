"""What a graph explains: logits, the difference of two, or any direction of what the unembedding reads."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from saekit.activations import token_strings
from saekit.files.arguments import brief

if TYPE_CHECKING:
    from transformer_lens.model_bridge import TransformerBridge

MOST, ENOUGH = 10, 0.95


@dataclass(frozen=True, eq=False)
class Target:
    """One thing that a graph explains.

    of:       a token, by its id or as a string that is one token: its logit less the mean of all; a pair (a, b) of
              them: logit_a − logit_b; or a vector [d_model], read where the unembedding reads, behind the last norm.
    position: where in the prompt, counted from its end where negative.
    name:     what it is called, where it is no token.
    """

    of: Any
    position: int = -1
    name: str = ""


@dataclass(frozen=True, eq=False)
class ReadOut:
    """A target as a direction: it is worth direction · x + constant, x what the unembedding reads at its position.

    number: id of the token, or from the size of the vocabulary on. weight: the token's probability, 1 of others.
    """

    direction: Float[Tensor, " d_model"]
    constant: float
    position: int
    number: int
    weight: float
    probability: float
    text: str


def read_outs(
    model: TransformerBridge, targets: Any, logits: Float[Tensor, "t d_vocab"], most: int = MOST, enough: float = ENOUGH
) -> list[ReadOut]:
    """Targets as directions.

    targets: None for the likeliest tokens at the last position, until their probabilities sum to ``enough`` or there
    are ``most``; or a target or a list of them: a ``Target``, or what its ``of`` may be.
    logits: the model's own. A logit is the unembedding's output, before a scale or a soft cap that some families have
    behind it. Raises ValueError for a string that is not one token, an id or a position that is not there, and a
    vector of another width; TypeError for what is no target."""
    wanted = _wanted(targets, logits, most, enough)
    precision = torch.promote_types(model.cfg.dtype, torch.float32)
    unembedding, bias = model.W_U.detach(), model.b_U.detach().to(precision)
    mean, mean_bias = unembedding.mean(1, dtype=precision), bias.mean()
    found = []
    for number, target in enumerate(wanted):
        position = _position(target.position, len(logits))
        virtual = model.cfg.d_vocab + number
        if isinstance(target.of, tuple):
            if len(target.of) != 2:
                raise ValueError(f"a pair of tokens is (a, b), for logit_a − logit_b, found {brief(target.of)}.")
            a, b = (_token(model, each) for each in target.of)
            texts = token_strings(model, [a, b])
            direction, constant = (unembedding[:, a] - unembedding[:, b]).to(mean), float(bias[a] - bias[b])
            name = target.name or f"{texts[0]} − {texts[1]}"
            found.append(ReadOut(direction, constant, position, virtual, 1.0, float("nan"), name))
        elif isinstance(target.of, int | np.integer | str):
            token = _token(model, target.of)
            probability = float(logits[position].cpu().double().softmax(-1)[token])
            direction, constant = unembedding[:, token] - mean, float(bias[token] - mean_bias)
            text = token_strings(model, [token])[0]
            found.append(ReadOut(direction, constant, position, token, probability, probability, text))
        else:
            vector = _vector(target.of, mean)
            name = target.name or f"direction {number}"
            found.append(ReadOut(vector, 0.0, position, virtual, 1.0, float("nan"), name))
    places = [(each.number, each.position) for each in found]
    if twice := [place for place in places if places.count(place) > 1]:
        raise ValueError(f"each target is given once, found token {twice[0][0]} twice at position {twice[0][1]}.")
    return found


def _wanted(targets: Any, logits: Tensor, most: int, enough: float) -> list[Target]:
    if targets is None:
        likely = logits[-1].float().softmax(-1).sort(descending=True)
        before = likely.values.cumsum(0) - likely.values
        return [Target(token) for token in likely.indices[:most][before[:most] < enough].tolist()]
    several = list(targets) if isinstance(targets, list) else [targets]
    if not several:
        raise ValueError("a graph explains at least one target, found an empty list: None takes the likeliest tokens.")
    return [each if isinstance(each, Target) else Target(each) for each in several]


def _token(model: TransformerBridge, given: Any) -> int:
    if isinstance(given, str):
        ids: Sequence[int] = model.tokenizer(given, add_special_tokens=False)["input_ids"]
        if len(ids) != 1:
            pieces = ", ".join(map(repr, token_strings(model, ids))) or "none"
            raise ValueError(
                f"a target is one token, and {given!r} is {len(ids)} ({pieces}): mind the leading space, or take one."
            )
        return int(ids[0])
    if isinstance(given, bool) or not isinstance(given, int | np.integer):
        raise TypeError(f"a target token is an id or a string, found {brief(given)}.")
    if not 0 <= given < model.cfg.d_vocab:
        raise ValueError(f"target tokens are 0 … {model.cfg.d_vocab - 1:,}, found {int(given):,}.")
    return int(given)


def _vector(given: Any, like: Float[Tensor, " d_model"]) -> Float[Tensor, " d_model"]:
    if not isinstance(given, Tensor | np.ndarray):
        raise TypeError(
            f"a target is a token id, a string, a pair of them or a vector [{len(like)}], found {brief(given)}."
        )
    vector = torch.as_tensor(given).to(like)
    if vector.shape != like.shape:
        raise ValueError(f"a target vector has the shape [{len(like)}], found {list(vector.shape)}.")
    return vector


def _position(given: int, length: int) -> int:
    if not -length <= given < length:
        raise ValueError(f"a target's position is {-length} … {length - 1} in this prompt, found {given}.")
    return given % length
