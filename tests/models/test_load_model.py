"""load_model: unprocessed weights, device and dtype, and what it says of names and folders that are no model."""

from __future__ import annotations

import json
import shutil
import socket
import time
from pathlib import Path

import pytest
import torch

from saekit.models import load_model
from saekit.models.load import stored_dtype


@pytest.fixture
def copy(tiny_llama_folder, tmp_path) -> Path:
    """A copy of the tiny Llama that may be damaged."""
    return Path(shutil.copytree(tiny_llama_folder, tmp_path / "copy"))


@pytest.fixture
def offline(monkeypatch, tmp_path) -> None:
    """No Hub, an empty cache, and an error from whoever tries to connect all the same."""
    import huggingface_hub.constants as constants

    def refuse(*_):
        raise AssertionError("offline, and yet a connection was opened")

    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(socket.socket, "connect", refuse)


def plain_logits(folder: Path, tokens: torch.Tensor) -> torch.Tensor:
    from transformers import AutoModelForCausalLM

    with torch.no_grad():
        return AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).eval()(tokens).logits


@pytest.mark.parametrize("name", ["tiny_gpt2_folder", "tiny_llama_folder", "real"])
def test_logits_equal_a_plain_transformers_forward(request, name):
    folder = request.getfixturevalue("real_folder") / "stories260K" if name == "real" else request.getfixturevalue(name)
    tokens = torch.randint(3, 290, (3, 30), generator=torch.Generator().manual_seed(0))
    model = load_model(folder, device="cpu")
    with torch.no_grad():
        found = model(tokens)
    expected = plain_logits(folder, tokens)
    assert (found - expected).norm() / expected.norm() < 1e-5


@pytest.mark.parametrize("name", ["tiny_gpt2_folder", "tiny_llama_folder"])
def test_weights_are_as_stored(request, name):
    """No folding into the norms, no centring: every stored tensor is a parameter of the model, bit for bit."""
    from safetensors.torch import load_file

    folder = request.getfixturevalue(name)
    model = load_model(folder, device="cpu")
    held = [p.detach() for p in model.original_model.parameters()]
    for stored_name, stored in load_file(folder / "model.safetensors").items():
        assert any(p.shape == stored.shape and torch.equal(p, stored) for p in held), stored_name


def test_what_the_bridge_carries(tiny_llama_folder):
    model = load_model(str(tiny_llama_folder), device=torch.device("cpu"))
    assert model.model_name == str(tiny_llama_folder) and model.processing == "none" and len(model.model_hash) == 64
    assert not model.training and not any(p.requires_grad for p in model.parameters())
    assert model.tokenizer.bos_token == "<s>"


@pytest.mark.parametrize("dtype", [None, torch.float64, torch.bfloat16])
def test_dtype(copy, dtype):
    """float32 on a CPU even where the checkpoint holds float16."""
    from safetensors.torch import load_file, save_file

    half = {name: tensor.half() for name, tensor in load_file(copy / "model.safetensors").items()}
    save_file(half, copy / "model.safetensors", metadata={"format": "pt"})
    config = json.loads((copy / "config.json").read_text(encoding="utf-8")) | {"dtype": "float16"}
    (copy / "config.json").write_text(json.dumps(config), encoding="utf-8")
    model = load_model(copy, device="cpu", dtype=dtype)
    assert {p.dtype for p in model.original_model.parameters()} == {dtype or torch.float32}
    assert {p.device.type for p in model.parameters()} == {"cpu"}
    assert model(torch.tensor([[0, 5]])).dtype == (dtype or torch.float32)
    assert stored_dtype(copy) == torch.float16  # what a GPU would be given


def test_the_stored_dtype_of_older_and_of_silent_configurations(tmp_path):
    for text, expected in [
        ('{"torch_dtype": "bfloat16"}', torch.bfloat16),
        ('{"dtype": null}', torch.float32),
        ("{}", torch.float32),
    ]:
        (tmp_path / "config.json").write_text(text, encoding="utf-8")
        assert stored_dtype(tmp_path) == expected


@pytest.mark.timeout(60)
def test_a_name_close_to_an_embedded_one_names_it(offline):
    for name in ("mikro", "micr0"):
        with pytest.raises(
            FileNotFoundError, match=f"no model '{name}': .*of the models that ship the only one is 'micro'"
        ):
            load_model(name)


@pytest.mark.timeout(60)
@pytest.mark.parametrize("name", ["gpt2", "google/gemma-2-2b", "no such model!", "a--b"])
def test_a_hub_name_without_a_network_is_one_clear_error(offline, name):
    begun = time.monotonic()
    with pytest.raises(
        FileNotFoundError, match=r"not embedded, not a folder here, .* of the models that ship the only one is 'micro'"
    ):
        load_model(name)
    assert time.monotonic() - begun < 20


@pytest.mark.timeout(120)
def test_a_hub_name_whose_connection_is_refused_does_not_hang(monkeypatch, tmp_path):
    import huggingface_hub.constants as constants

    def refuse(*_):
        raise ConnectionRefusedError("no network in this test")

    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(socket, "getaddrinfo", refuse)
    monkeypatch.setattr(socket.socket, "connect", refuse)
    begun = time.monotonic()
    with pytest.raises(FileNotFoundError, match="no model 'gpt2'"):
        load_model("gpt2")
    assert time.monotonic() - begun < 60


@pytest.mark.parametrize("name", ["./nowhere", "/nowhere/at/all", "~/nowhere-at-all", "a/b/c"])
def test_a_folder_that_is_not_there(offline, name):
    with pytest.raises(FileNotFoundError, match=f"there is no folder {name}"):
        load_model(name)


def test_a_file_instead_of_its_folder(copy, monkeypatch, offline):
    with pytest.raises(ValueError, match=r"model.safetensors is a file: .* its folder"):
        load_model(copy / "model.safetensors")
    monkeypatch.chdir(copy)
    with pytest.raises(ValueError, match=r"model.safetensors is a file"):
        load_model("model.safetensors")


def test_a_folder_without_a_configuration_or_without_weights(copy):
    (copy / "model.safetensors").unlink()
    with pytest.raises(FileNotFoundError, match=r"holds no model.safetensors and no pytorch_model.bin"):
        load_model(copy)
    (copy / "config.json").unlink()
    with pytest.raises(ValueError, match=r"is not a Hugging Face model folder: it has no config.json"):
        load_model(copy)


@pytest.mark.parametrize("kept", [0, 7, 500, -1])
def test_a_truncated_file(copy, kept):
    file = copy / "model.safetensors"
    file.write_bytes(file.read_bytes()[:kept])
    with pytest.raises(ValueError, match=r"model.safetensors is not a whole safetensors file .*again"):
        load_model(copy)


@pytest.mark.parametrize("name", ["model.safetensors", "pytorch_model.bin"])
def test_a_foreign_file(copy, name):
    (copy / "model.safetensors").unlink()
    (copy / name).write_text("<!DOCTYPE html> 404: this page is not a model at all\n" * 20, encoding="utf-8")
    with pytest.raises(ValueError, match=f"{name} is not a whole"):
        load_model(copy)


@pytest.mark.parametrize("text", ["", "{", '{"weight_map": 3}', "[]"])
def test_a_damaged_index_of_shards(copy, text):
    (copy / "model.safetensors.index.json").write_text(text, encoding="utf-8")
    with pytest.raises(ValueError, match=r"model.safetensors.index.json .*weight_map"):
        load_model(copy)


def test_a_missing_shard_is_named(copy):
    index = {"weight_map": {"lm_head.weight": "model-00002-of-00002.safetensors"}}
    (copy / "model.safetensors.index.json").write_text(json.dumps(index), encoding="utf-8")
    with pytest.raises(ValueError, match=r"model-00002-of-00002.safetensors"):
        load_model(copy)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "config.json is not JSON"),
        ("{", "config.json is not JSON"),
        ("[1, 2]", "config.json describes no model: it holds a list"),
        ('{"model_type": "no-such-type"}', "no-such-type"),
    ],
)
def test_a_damaged_configuration(copy, text, words):
    (copy / "config.json").write_text(text, encoding="utf-8")
    with pytest.raises(ValueError, match=words):
        load_model(copy)
