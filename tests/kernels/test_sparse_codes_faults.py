"""What SparseCodes refuses, in one sentence with the value that was found."""

from __future__ import annotations

import pytest
import torch
from saekit_kernels import SparseCodes

CODES = SparseCodes.from_dense(torch.tensor([[0.0, 2.0, 0.0], [1.0, 0.0, 3.0]]))


def test_parts_that_do_not_fit_each_other():
    values, indices = torch.ones(2), torch.zeros(2, dtype=torch.int32)
    with pytest.raises(ValueError, match=r"shape \(2,\) needs 3, found \(2,\)"):
        SparseCodes(values, indices, torch.tensor([0, 2]), 3, (2,))
    with pytest.raises(ValueError, match=r"equally long, found \(2,\) and \(1,\)"):
        SparseCodes(values, indices[:1], torch.tensor([0, 1, 2]), 3, (2,))
    with pytest.raises(ValueError, match="k = 2 in 2 rows needs 4 entries, found 2"):
        SparseCodes(values, indices, torch.tensor([0, 1, 2]), 3, (2,), k=2)


def test_from_topk_with_fewer_indices_than_values():
    with pytest.raises(ValueError, match="found"):
        SparseCodes.from_topk(torch.ones(2, 3), torch.zeros(2, 2, dtype=torch.long), 5)


@pytest.mark.parametrize("latent", [3, -1])
def test_latents_out_of_range(latent):
    with pytest.raises(IndexError, match=rf"latent {latent} is not in 0 … 2"):
        CODES.latent([0, latent])
    with pytest.raises(IndexError, match=rf"latent {latent} is not in 0 … 2"):
        CODES.set_latents([latent], torch.ones(2, 1))


def test_a_latent_set_twice_would_stand_twice_in_its_row():
    with pytest.raises(ValueError, match="latent 1 is named 2 times"):
        CODES.set_latents([1, 0, 1], torch.ones(2, 3))


def test_set_latents_with_values_of_another_shape():
    for wrong in (torch.ones(2), torch.ones(1, 2), torch.ones(2, 2)):
        with pytest.raises(ValueError, match=r"shape \(2, 1\)"):
            CODES.set_latents([1], wrong)


def test_cat_of_nothing_and_of_codes_that_differ():
    with pytest.raises(ValueError, match="at least one part"):
        SparseCodes.cat([])
    with pytest.raises(ValueError, match=r"3 latents and shape \(2,\) do not go with 4 latents"):
        SparseCodes.cat([CODES, SparseCodes.from_dense(torch.ones(2, 4))])
    with pytest.raises(ValueError, match="do not go with"):
        SparseCodes.cat([CODES, SparseCodes.from_dense(torch.ones(2, 2, 3))])


def test_rows_that_are_not_there():
    for key in (2, torch.tensor([5]), torch.tensor([True, False, True])):
        with pytest.raises(IndexError):
            CODES[key]
