"""The other libraries' training step, each in an environment of its own, timed on demand.

    python peers.py NAME N D F K [best]     (started by cpu.py and gpu.py with the peer's Python; DEVICE is cpu or cuda)

Reads a line, makes one training step on a batch [N, D] with 5 % of the latents held dead, and answers with its
milliseconds as JSON; so several peers can be timed in turns, and a slow moment of the machine falls on all of them.
best: TF32 products where any are left in float32, and bfloat16 autocast where the library has no setting of its own
(sparsify autocasts by itself on a GPU, SAELens has the name "SAELens, autocast"). PEERS=FOLDER: see peers_site.py.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

REQUIREMENTS = {
    "SAELens": "sae-lens==6.54.0",
    "SAELens, autocast": "sae-lens==6.54.0",
    "dictionary_learning": "dictionary-learning==0.1.0",
    "sparsify": "eai-sparsify==1.3.3",
}
FOLDER = Path(__file__).resolve().parents[2] / "build" / "peers"
DEAD = 0.05
DEVICE = os.environ.get("DEVICE", "cpu")


class Peer:
    """A peer's process: ``step()`` makes it take one training step and returns the milliseconds."""

    def __init__(self, name: str, shape: tuple[int, int, int, int], device: str = "cpu") -> None:
        command = [environment(name), __file__, name, *map(str, shape)]
        self.process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env={**os.environ, "DEVICE": device}
        )
        self.step()  # the first one allocates

    def step(self) -> float:
        assert self.process.stdin is not None and self.process.stdout is not None
        self.process.stdin.write("step\n")
        self.process.stdin.flush()
        for line in self.process.stdout:
            if line.startswith("{"):
                return float(json.loads(line)["ms"])
        raise RuntimeError("the peer's process ended; what it said is above.")

    def close(self) -> None:
        self.process.kill()
        self.process.wait()


def environment(name: str) -> str:
    """The Python of a peer's environment, made with uv where it is not there yet."""
    requirement = REQUIREMENTS[name]
    folder = FOLDER / requirement.split("==")[0]
    python = folder / "bin" / "python"
    if not (folder / "done").is_file():
        uv = str(Path(sys.executable).parent / "uv")
        subprocess.run([uv, "venv", "--quiet", "--clear", "--python", sys.executable, str(folder)], check=True)
        install = [uv, "pip", "install", "--quiet", "--python", str(python), "torch==2.13.0", requirement]
        subprocess.run(install, check=True)
        (folder / "done").touch()
    return str(python)


def saelens(n: int, d: int, f: int, k: int, autocast: bool = False) -> Callable[[], object]:
    import torch
    from sae_lens.config import LoggingConfig, SAETrainerConfig
    from sae_lens.saes.topk_sae import TopKTrainingSAE, TopKTrainingSAEConfig
    from sae_lens.training.sae_trainer import SAETrainer

    sae = TopKTrainingSAE(TopKTrainingSAEConfig(d_in=d, d_sae=f, k=k, device=DEVICE))
    x = torch.randn(n, d, device=DEVICE)
    config = SAETrainerConfig(
        total_training_samples=10**9,
        train_batch_size_samples=n,
        device=DEVICE,
        lr_end=3e-5,
        autocast=autocast,
        logger=LoggingConfig(log_to_wandb=False),
    )
    trainer = SAETrainer(config, sae, iter(lambda: x, None))

    def step() -> None:
        trainer.n_forward_passes_since_fired[: int(DEAD * f)] = 10**6
        trainer.step(x)

    return step


def dictionary_learning(n: int, d: int, f: int, k: int, autocast: bool = False) -> Callable[[], object]:
    import torch
    from dictionary_learning.trainers.top_k import TopKTrainer

    trainer = TopKTrainer(10**5, d, f, k, layer=0, lm_name="none", device=DEVICE)
    x = torch.randn(n, d, device=DEVICE)

    def step() -> None:
        trainer.num_tokens_since_fired[: int(DEAD * f)] = 10**9
        with torch.autocast(DEVICE, torch.bfloat16, enabled=autocast):
            trainer.update(1, x)

    return step


def sparsify(n: int, d: int, f: int, k: int) -> Callable[[], object]:
    import torch
    from sparsify import SparseCoder, SparseCoderConfig

    sae = SparseCoder(d, SparseCoderConfig(num_latents=f, k=k), device=DEVICE)
    optimizer = torch.optim.Adam(sae.parameters(), lr=1e-4)
    x = torch.randn(n, d, device=DEVICE)
    dead = torch.arange(f, device=DEVICE) < int(DEAD * f)

    def step() -> None:
        out = sae(x, dead_mask=dead)
        (out.fvu + out.auxk_loss / 32).backward()
        sae.remove_gradient_parallel_to_decoder_directions()
        optimizer.step()
        optimizer.zero_grad()
        sae.set_decoder_norm_to_unit_norm()

    return step


def main(name: str, shape: list[int], best: bool) -> None:
    if DEVICE == "cpu":
        os.environ["SPARSIFY_DISABLE_TRITON"] = "1"  # its Triton kernels need a GPU
    if os.environ.get("PEERS"):
        from peers_site import use

        use(os.environ["PEERS"])
    import torch

    torch.set_num_threads(int(os.environ.get("THREADS", "2")))
    torch.manual_seed(0)
    if best:
        torch.set_float32_matmul_precision("high")
    makers = {
        "SAELens": saelens,
        "SAELens, autocast": lambda *s: saelens(*s, autocast=True),
        "dictionary_learning": lambda *s: dictionary_learning(*s, autocast=best),
        "sparsify": sparsify,
    }
    step = makers[name](*shape)
    batch = 4 * shape[0] * shape[1]
    held = 0 if DEVICE == "cpu" else torch.cuda.memory_allocated() - batch  # the weights; Adam's moments are twice that
    for _ in sys.stdin:
        if DEVICE != "cpu":
            torch.cuda.reset_peak_memory_stats()
        began = time.perf_counter()
        step()
        said = {}
        if DEVICE != "cpu":
            torch.cuda.synchronize()
            said["MiB beside states"] = (torch.cuda.max_memory_allocated() - 3 * held - batch) / 2**20
        print(json.dumps({"ms": 1000 * (time.perf_counter() - began), **said}), flush=True)


if __name__ == "__main__":
    main(sys.argv[1], [int(argument) for argument in sys.argv[2:6]], "best" in sys.argv[6:])
