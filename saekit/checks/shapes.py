"""Checks of 02_shapes_of_dictionaries."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor


def check_share(share: Callable[[Tensor, Tensor], Any]) -> str:
    """Is ``share(a, b)`` s_i = ‖b_i‖ / (‖a_i‖ + ‖b_i‖), a number a latent? Praise, or a diagnosis raised.

    share: takes the decoder's rows in the first model and in the second, each [d_sae, d]."""
    a = torch.tensor([[3.0, 4.0, 0.0], [0.0, 0.0, 0.0], [1.0, -2.0, 2.0], [0.0, 1.0, 0.0]])
    b = torch.tensor([[0.0, 0.0, 0.0], [0.0, 2.0, 0.0], [0.0, -6.0, 8.0], [0.6, 0.0, 0.8]])
    n_a, n_b = a.norm(dim=1), b.norm(dim=1)
    mistakes = [
        (n_a / (n_a + n_b), "this is the share of the first model: 1 should mean the second alone"),
        (n_b.square() / (n_a.square() + n_b.square()), "these are squares of the norms: take the root first"),
        (
            n_b / torch.cat([a, b], 1).norm(dim=1),
            "divide by the sum of the two norms, not by the norm of both together",
        ),
        (b.sum(1) / (a.sum(1) + b.sum(1)), "these are sums of the entries, in which signs cancel: take the norm"),
        (n_b / n_a, "this is a ratio, which has no upper end: divide by the sum of the two norms"),
    ]
    return _compared("share", share(a, b), n_b / (n_a + n_b), mistakes, "a number a latent") + (
        " Near ½ both models have the latent, near 1 the second alone."
    )


def check_by_head(by_head: Callable[[Tensor, Tensor, int], Any]) -> str:
    """Is ``by_head(z, row, heads)`` what each head brings to a latent, ⟨z_k, W_i[k]⟩? Praise, or a diagnosis raised.

    by_head: takes the heads' results [heads · d_head], one head after the other, the latent's encoder row, of the same
        form, and the number of heads; gives [heads]."""
    z = torch.tensor([1.0, 2.0, 0.0, -1.0, 3.0, 0.5])
    row = torch.tensor([2.0, 1.0, 5.0, 1.0, 1.0, -4.0])
    product = z * row
    mistakes = [
        (product.view(3, 2).sum(1), "there are as many numbers as a head has dimensions: which axis are the heads?"),
        (
            product.view(3, 2).sum(0),
            "a head's numbers lie beside each other: unflatten to [heads, d_head], heads first",
        ),
        (product.view(2, 3).mean(1), "this is the mean over a head's dimensions: a product is their sum"),
        (product.view(2, 3).abs().sum(1), "a head may also bring less than nothing: leave out the absolute values"),
        (product.view(2, 3).sum(1) / product.sum(), "these are shares of the sum: asked is what each head brings"),
        (z.view(2, 3).sum(1), "this is what the heads give, whoever reads it: multiply by the latent's own row"),
    ]
    return _compared("by_head", by_head(z, row, 2), product.view(2, 3).sum(1), mistakes, "a number a head") + (
        " Summed over heads, and with the bias, they are the pre-activation."
    )


def _compared(name: str, given: Any, right: Tensor, mistakes: list[tuple[Tensor, str]], wanted: str) -> str:
    """Praise, or the mistake that gives the same numbers, raised."""
    if given is None:
        raise AssertionError(f"{name} returned None: did you forget to return the numbers?")
    found = torch.as_tensor(given).cpu().double()
    for wrong, diagnosis in [(right, ""), *mistakes]:
        if found.shape == wrong.shape and torch.allclose(found, wrong.cpu().double(), atol=1e-5, equal_nan=True):
            if diagnosis:
                raise AssertionError(f"{[round(float(each), 2) for each in found]} is not it: {diagnosis}.")
            return "Right."
    if found.shape != right.shape:
        raise AssertionError(f"{name} should give {wanted}, shape {list(right.shape)}; found {list(found.shape)}.")
    raise AssertionError(
        f"here it is {[round(float(each), 2) for each in right]}, your function says {found.tolist()}."
    )
