"""How fast is harvest? Tokens a second beside the plain model cut off at the same layer, equality checked first.

    python kernels/benchmarks/harvest.py [FOLDER]

FOLDER: a Hugging Face model (default: ../shared/real/stories260K). The peer is transformers' own forward with fused
attention, ended by an exception after the wanted block, on the same rows of tokens.
"""

from __future__ import annotations

import statistics
import sys
import time
from pathlib import Path

import torch

import saekit as sk
from saekit.models import forward
from saekit.models.bridge import through_bridge

REAL = Path(__file__).resolve().parents[3] / "shared" / "real"
ROWS, LENGTH, ROUNDS = 16, 256, 9


class Enough(Exception):
    pass


def plain(model: torch.nn.Module, block: torch.nn.Module, tokens: torch.Tensor) -> torch.Tensor:
    seen = []

    def keep(module, given, out):
        seen.append(out[0] if isinstance(out, tuple) else out)
        raise Enough

    handle = block.register_forward_hook(keep)
    try:
        with torch.no_grad():
            model(tokens, use_cache=False)
    except Enough:
        pass
    finally:
        handle.remove()
    return seen[0]


def main(folder: Path) -> None:
    from transformers import AutoModelForCausalLM

    torch.set_num_threads(2)
    bridge = sk.load_model(folder, device="cpu")
    peer = AutoModelForCausalLM.from_pretrained(folder, attn_implementation="sdpa", dtype=torch.float32).eval()
    blocks = next(m for m in peer.modules() if isinstance(m, torch.nn.ModuleList))
    tokens = torch.randint(3, bridge.cfg.d_vocab, (ROWS, min(LENGTH, bridge.cfg.n_ctx)))
    print("| site | harvest | plain, cut off | ratio | bridge |\n|---|---|---|---|---|")
    for layer in (0, bridge.cfg.n_layers // 2, bridge.cfg.n_layers - 1):
        site = f"blocks.{layer}.hook_resid_post"
        ways = {
            "harvest": lambda site=site: forward(bridge, tokens, site).kept[site],
            "plain": lambda layer=layer: plain(peer, blocks[layer], tokens),
            "bridge": lambda site=site: through_bridge(bridge, tokens, [site]).kept[site],
        }
        results = {name: way() for name, way in ways.items()}
        largest = results["plain"].abs().max()
        assert all((x - results["plain"]).abs().max() < 1e-5 * largest for x in results.values()), site
        seconds: dict[str, list[float]] = {name: [] for name in ways}
        for _ in range(ROUNDS):  # in turn, so that a slow moment falls on all
            for name, way in ways.items():
                began = time.perf_counter()
                way()
                seconds[name].append(time.perf_counter() - began)
        rate = {name: tokens.numel() / statistics.median(each) for name, each in seconds.items()}
        ratio = rate["harvest"] / rate["plain"]
        print(f"| {site} | {rate['harvest']:,.0f} | {rate['plain']:,.0f} | {ratio:.2f} | {rate['bridge']:,.0f} |")


if __name__ == "__main__":
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else REAL / "stories260K")
