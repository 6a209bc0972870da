"""Numbers as people give them."""

import numpy as np
import pytest
import torch

from saekit.files.arguments import number, whole


@pytest.mark.parametrize("value", [2000, 2e3, np.int64(2000), np.float32(2000), torch.tensor(2000), "2e3"])
def test_a_whole_number_is_taken_however_it_is_written_but_as_a_string(value):
    if isinstance(value, str):
        with pytest.raises(TypeError, match=r"tokens is a whole number from 1, found '2e3', a string: write 2000\."):
            whole("tokens", value)
        return
    found = whole("tokens", value)
    assert found == 2000
    assert type(found) is int


@pytest.mark.parametrize(
    ("value", "sentence"),
    [
        (0, "tokens must be at least 1, found 0."),
        (2.5, "tokens is a whole number from 1, found 2.5; the nearest is 2."),
        (float("nan"), "tokens is a whole number from 1, found nan."),
        (float("inf"), "tokens is a whole number from 1, found inf."),
        (True, "tokens is a whole number from 1, found True."),
        ([3], "tokens is a whole number from 1, found [3] (a list)."),
        ("many", "tokens is a whole number from 1, found 'many', a string."),
    ],
)
def test_what_is_none_is_one_sentence(value, sentence):
    with pytest.raises((TypeError, ValueError)) as error:
        whole("tokens", value)
    assert str(error.value) == sentence


def test_numbers_have_bounds():
    assert number("lr", np.float32(0.5), above=0) == 0.5
    for value, sentence in (
        ("1e-3", "lr is a number above 0, found '1e-3', a string: write 0.001."),
        (0, "lr is a number above 0, found 0."),
        (float("nan"), "lr is a number above 0, found nan."),
        (None, "lr is a number above 0, found None (a NoneType)."),
    ):
        with pytest.raises((TypeError, ValueError)) as error:
            number("lr", value, above=0)
        assert str(error.value) == sentence
