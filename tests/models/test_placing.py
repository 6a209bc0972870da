"""Devices and kinds of numbers as people give them, everywhere they are taken."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import saekit as sk
from saekit.models import as_device, as_dtype, placing

SITE = "blocks.1.hook_resid_post"


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ("float32", torch.float32),
        (" BF16", torch.bfloat16),
        ("torch.float16", torch.float16),
        ("half", torch.float16),
        ("double", torch.float64),
        (torch.bfloat16, torch.bfloat16),
        (np.float32, torch.float32),
        (np.dtype("float64"), torch.float64),
        (float, torch.float32),
    ],
)
def test_a_dtype_as_people_give_it(given, expected):
    assert as_dtype(given) == expected


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ("flaot32", "dtype cannot be 'flaot32'; the closest is 'float32' .of float16, bfloat16, float32, float64"),
        ("int8", "dtype cannot be 'int8'; the closest is"),
        (torch.int64, "dtype cannot be 'torch.int64'; the closest is 'float64'"),
        (np.int32, "dtype cannot be 'int32'; the closest is 'float32'"),
        (16, "dtype cannot be '16'; the closest is 'float16'"),
        ("", "dtype cannot be ''; the closest is"),
    ],
)
def test_a_dtype_that_there_is_not(given, words):
    with pytest.raises(ValueError, match=words):
        as_dtype(given)
    with pytest.raises(ValueError, match=words.split(";")[0]):
        sk.load_model("micro", dtype=given)
    with pytest.raises(ValueError, match=words.split(";")[0]):
        sk.train(torch.randn(9, 4), None, sk.TopK(d_sae=8, k=2), tokens=9, dtype=given)
    with pytest.raises(ValueError, match=words.split(";")[0]):
        sk.load_dictionary("micro/blocks.1.hook_resid_post", dtype=given)


def test_on_a_machine_with_a_processor_alone(monkeypatch):
    monkeypatch.setattr(placing, "_devices", lambda: ["cpu"])
    assert as_device("cpu") == as_device("CPU") == as_device(torch.device("cpu")) == torch.device("cpu")
    for given in ("gpu", "cuda", "cuda:0", "mps", torch.device("cuda"), "tpu"):
        with pytest.raises(ValueError, match=f"device cannot be '{given}'; this machine has 'cpu'"):
            as_device(given)
        with pytest.raises(ValueError, match=f"device cannot be '{given}'; this machine has 'cpu'"):
            sk.load_model("gpt2", device=given)  # before anything is fetched
        with pytest.raises(ValueError, match=f"device cannot be '{given}'; this machine has 'cpu'"):
            sk.train(torch.randn(9, 4), None, sk.TopK(d_sae=8, k=2), tokens=9, device=given)
        with pytest.raises(ValueError, match=f"device cannot be '{given}'; this machine has 'cpu'"):
            sk.load_dictionary("micro/blocks.1.hook_resid_post", device=given)
    for wrong in (0, ["cpu"]):
        with pytest.raises(TypeError, match="device is a string such as 'cpu', found"):
            as_device(wrong)


def test_on_a_machine_with_two_gpus(monkeypatch):
    monkeypatch.setattr(placing, "_devices", lambda: ["cuda", "cuda:0", "cuda:1", "cpu"])
    assert as_device("cuda:1") == torch.device("cuda:1") and as_device("cpu:0") == torch.device("cpu")
    with pytest.raises(ValueError, match="device cannot be 'gpu'; on this machine it is 'cuda'"):
        as_device("gpu")
    with pytest.raises(ValueError, match=r"device cannot be 'cuda:9'; the closest is 'cuda(:\d)?' \(of cuda, "):
        as_device("cuda:9")


@pytest.mark.parametrize("dtype", ["bf16", np.float64])
def test_strings_and_numpys_reach_every_call(tiny_llama_folder: Path, tmp_path: Path, dtype: Any):
    kind = as_dtype(dtype)
    model = sk.load_model(tiny_llama_folder, device="cpu", dtype=dtype)
    assert next(model.original_model.parameters()).dtype == kind
    run = sk.train(torch.randn(40, 4), None, sk.TopK(d_sae=8, k=2), tokens=40, batch_size=20, dtype=dtype, device="cpu")
    assert run.dictionary.decoder_directions.dtype in (kind, torch.float32)
    run.dictionary.save(tmp_path / "sae")
    assert sk.load_dictionary(tmp_path / "sae", device="cpu", dtype=dtype).decoder_directions.dtype == kind
