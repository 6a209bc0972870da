"""model_hash, worked out here from the bytes of the file by the format's own description."""

from __future__ import annotations

import hashlib
import json
import shutil
from pathlib import Path

import pytest
import torch

from saekit.models import hash_checkpoint, load_model

DTYPES = {"F32": "float32", "F16": "float16", "BF16": "bfloat16", "I64": "int64", "BOOL": "bool"}


def by_hand(*files: Path) -> str:
    """SHA-256 over name, dtype, shape and bytes of every tensor, by name; safetensors is a length, JSON, then bytes."""
    found = {}
    for file in files:
        content = file.read_bytes()
        length = int.from_bytes(content[:8], "little")
        header = json.loads(content[8 : 8 + length])
        header.pop("__metadata__", None)
        for name, entry in header.items():
            begin, end = entry["data_offsets"]
            found[name] = (DTYPES[entry["dtype"]], entry["shape"], content[8 + length + begin : 8 + length + end])
    digest = hashlib.sha256()
    for name in sorted(found):
        dtype, shape, data = found[name]
        digest.update(f"{name} {dtype} {shape}\n".encode() + data)
    return digest.hexdigest()


@pytest.fixture
def copy(tiny_gpt2_folder, tmp_path) -> Path:
    return Path(shutil.copytree(tiny_gpt2_folder, tmp_path / "copy"))


def test_equals_the_computation_by_hand(tiny_gpt2, tiny_gpt2_folder, tiny_llama, tiny_llama_folder):
    assert tiny_gpt2.model_hash == by_hand(tiny_gpt2_folder / "model.safetensors")
    assert tiny_llama.model_hash == by_hand(tiny_llama_folder / "model.safetensors") != tiny_gpt2.model_hash


def test_of_the_real_model(real_folder):
    folder = real_folder / "stories260K"
    assert load_model(folder, device="cpu").model_hash == by_hand(folder / "model.safetensors")


def test_does_not_depend_on_the_dtype_it_runs_in(tiny_gpt2, tiny_gpt2_folder):
    assert load_model(tiny_gpt2_folder, device="cpu", dtype=torch.bfloat16).model_hash == tiny_gpt2.model_hash


def test_does_not_depend_on_shards_or_the_order_in_a_file(tiny_gpt2, tiny_gpt2_folder, copy):
    from safetensors.torch import load_file, save_file

    tensors = load_file(copy / "model.safetensors")
    (copy / "model.safetensors").unlink()
    names = sorted(tensors)
    weight_map = {}
    for shard in range(3):
        file = f"model-{shard}.safetensors"
        part = {name: tensors[name] for name in reversed(names[shard::3])}
        save_file(part, copy / file, metadata={"format": "pt"})
        weight_map |= dict.fromkeys(part, file)
    (copy / "model.safetensors.index.json").write_text(json.dumps({"metadata": {}, "weight_map": weight_map}))
    assert hash_checkpoint(copy) == tiny_gpt2.model_hash == by_hand(*sorted(copy.glob("model-*.safetensors")))
    model = load_model(copy, device="cpu")
    tokens = torch.tensor([[0, 5, 6]])
    with torch.no_grad():
        assert model.model_hash == tiny_gpt2.model_hash and torch.equal(model(tokens), tiny_gpt2(tokens))


def test_is_the_same_for_the_older_kind_of_file(tiny_gpt2, copy):
    from safetensors.torch import load_file

    torch.save(load_file(copy / "model.safetensors"), copy / "pytorch_model.bin")
    (copy / "model.safetensors").unlink()
    assert hash_checkpoint(copy) == tiny_gpt2.model_hash


@pytest.mark.parametrize("place", [0.0, 0.5, 1.0])
def test_changes_with_any_bit_of_any_weight(tiny_gpt2, copy, place):
    file = copy / "model.safetensors"
    content = bytearray(file.read_bytes())
    begin = 8 + int.from_bytes(content[:8], "little")
    content[begin + int(place * (len(content) - 1 - begin))] ^= 1
    file.write_bytes(content)
    assert hash_checkpoint(copy) == by_hand(file) != tiny_gpt2.model_hash


def test_changes_with_a_name_a_shape_or_a_dtype_over_the_same_bytes(tmp_path):
    from safetensors.torch import save_file

    x = torch.arange(6, dtype=torch.int64)
    hashes = []
    for n, tensors in enumerate(
        [{"a": x}, {"b": x}, {"a": x.view(2, 3)}, {"a": x.view(torch.float32)}, {"a": x[:3], "b": x[3:]}, {}]
    ):
        folder = tmp_path / str(n)
        folder.mkdir()
        save_file({name: tensor.clone() for name, tensor in tensors.items()}, folder / "model.safetensors")
        hashes.append(hash_checkpoint(folder))
        assert hashes[-1] == by_hand(folder / "model.safetensors")
    assert len(set(hashes)) == 6


def test_odd_tensors(tmp_path):
    """A scalar, an empty one, bool, bfloat16."""
    from safetensors.torch import save_file

    odd = {"s": torch.tensor(3.0), "e": torch.zeros(0, 4), "b": torch.tensor([True]), "h": torch.ones(3).bfloat16()}
    save_file(odd, tmp_path / "model.safetensors")
    assert hash_checkpoint(tmp_path) == by_hand(tmp_path / "model.safetensors")
