"""How fast is a shuffled store read again? Tokens a second beside a plain copy of the same bytes, equality first.

    python kernels/benchmarks/store.py

The peer is a memory-mapped array of the same numbers in one file, copied into an array in memory in pieces of a batch,
in order: no shuffling, no float32. Both read from the disk's cache after the first pass.
"""

from __future__ import annotations

import statistics
import tempfile
import time
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import save_file

from saekit.activations.store import FORMAT, PER_TOKEN, SHARD_TOKENS, VERSION, ActivationStore
from saekit.activations.store_stream import StoreStream

SITE, TOKENS, WIDTH, BATCH, ROUNDS = "x", 6 * SHARD_TOKENS, 128, 1024, 5


def made(folder: Path) -> ActivationStore:
    """A store of random numbers, as build writes it."""
    shards = []
    for number in range(TOKENS // SHARD_TOKENS):
        generator = torch.Generator().manual_seed(number)
        x = torch.randn(SHARD_TOKENS, WIDTH, generator=generator).half()
        tensors = {SITE: x} | {name: torch.zeros(SHARD_TOKENS, dtype=torch.int32) for name in PER_TOKEN}
        file = f"shard-{number:05d}.safetensors"
        save_file(tensors, folder / file)
        shards.append({"file": file, "tokens": SHARD_TOKENS, "sha256": ""})
    manifest = {"format": FORMAT, "version": VERSION, "widths": {SITE: WIDTH}, "wanted": TOKENS, "shards": shards}
    return ActivationStore(folder, manifest | {"provenance": {}, "dtype": "float16"})


def plain(file: Path, memory: np.ndarray) -> int:
    array = np.memmap(file, np.float16, "r").reshape(memory.shape)
    for start in range(0, len(array), BATCH):
        memory[start : start + BATCH] = array[start : start + BATCH]
    return len(array)


def shuffled(store: ActivationStore) -> int:
    return sum(
        len(batch[SITE]) for batch, _ in zip(StoreStream(store, [SITE], BATCH), range(TOKENS // BATCH), strict=False)
    )


def main() -> None:
    torch.set_num_threads(1)  # as the peer
    with tempfile.TemporaryDirectory() as folder:
        store, file = made(Path(folder)), Path(folder) / "plain"
        whole = torch.cat([store.shard(number, [SITE])[SITE] for number in range(len(store.shards))]).numpy()
        whole.tofile(file)
        stream = zip(StoreStream(store, [SITE], BATCH), range(TOKENS // BATCH), strict=False)
        read = torch.cat([batch[SITE] for batch, _ in stream]).half().numpy()
        rows = f"V{2 * WIDTH}"  # each row as one value, so that they can be sorted
        assert not np.array_equal(read, whole), "the stream is shuffled"
        assert np.array_equal(np.sort(read.view(rows), 0).view(np.uint8), np.sort(whole.view(rows), 0).view(np.uint8))
        memory = np.zeros_like(whole)
        ways = {"plain": lambda: plain(file, memory), "shuffled": lambda: shuffled(store)}
        seconds: dict[str, list[float]] = {name: [] for name in ways}
        for _ in range(ROUNDS):  # in turn, so that a slow moment falls on both
            for name, way in ways.items():
                began = time.perf_counter()
                assert way() == TOKENS
                seconds[name].append(time.perf_counter() - began)
    rate = {name: TOKENS / statistics.median(each) for name, each in seconds.items()}
    print("| tokens × width | shuffled, float32 | plain copy, float16 | ratio |\n|---|---|---|---|")
    ratio = rate["shuffled"] / rate["plain"]
    print(f"| {TOKENS:,} × {WIDTH} | {rate['shuffled']:,.0f} | {rate['plain']:,.0f} | {ratio:.2f} |")


if __name__ == "__main__":
    main()
