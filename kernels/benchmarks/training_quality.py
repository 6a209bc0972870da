"""How good are the defaults? Prints a table; what it printed last stands in training_quality.md.

    python kernels/benchmarks/training_quality.py [stories] [toy] [engine] [auxk]

stories: three sites of stories260K, a real language model, with `sk.train`'s defaults, beside a sweep of six runs
         (learning rates 1e-3, 3e-3, 6e-3 × batches of 512 and 1,024 tokens). 900 stories to train on, 1M tokens; held
         out the first 511 tokens of each of 100 others, BOS not counted.
toy:     256 planted features in 64 dimensions (see saekit.corpora.planted), ReLU, one λ for all, chosen on a sixth
         seed; MCC of five seeds.
engine:  the fast path beside plain torch, and products in bfloat16 beside float32, at equal tokens and seed.
auxk:    AuxK on every fourth token and a part of the dead, and the default dead window, beside AuxK on all of them and
         5 % of the run: the same tokens, three seeds each.
"""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path

import torch

import saekit as sk
from saekit.corpora.planted import superposition
from saekit.metrics import explained_variance, mcc
from saekit.objectives import reconstruction

REAL = Path(__file__).resolve().parents[3] / "shared" / "real"
SITES = {
    "blocks.3.hook_resid_post": sk.TopK(d_sae=1024, k=16),
    "blocks.1.hook_resid_post": sk.TopK(d_sae=512, k=8),
    "blocks.3.hook_mlp_out": sk.TopK(d_sae=1024, k=16),
}
EVERY, PART = reconstruction.AUXK_EVERY, reconstruction.AUXK_DEAD
RATES, BATCHES = (1e-3, 3e-3, 6e-3), (512, 1024)


def quiet(progress: sk.training.Progress) -> None:
    pass


def stories() -> tuple[list[str], list[str]]:
    texts = json.loads((REAL / "tinystories" / "tinystories_1000.json").read_text(encoding="utf-8"))
    texts = [text if isinstance(text, str) else text["text"] for text in texts]
    return texts[:900], texts[-100:]


def judged(dictionary: sk.Dictionary, held_out: torch.Tensor) -> tuple[float, float]:
    """Explained variance, and the share of latents that never fire."""
    codes = dictionary.encode(held_out)
    return explained_variance(held_out, dictionary.decode(codes)), sk.metrics.dead(codes)


def on_stories(sweep: bool = True) -> None:
    model = sk.load_model(REAL / "stories260K", device="cpu")
    train_texts, held_texts = stories()
    print("| site | dictionary | run | explained variance | never firing | seconds |\n|---|---|---|---|---|---|")
    for site, method in SITES.items():
        held_out = sk.activations.harvest(model, held_texts, site, long="cut").flat(site)
        runs: list[tuple[str, dict[str, float]]] = [("defaults", {})]
        if sweep:
            runs += [
                (f"lr {lr:g}, batch {batch}", {"lr": lr, "batch_size": batch}) for lr in RATES for batch in BATCHES
            ]
        for name, settings in runs:
            began = time.perf_counter()
            run = sk.train(model, site, method, train_texts, tokens=1_000_000, seed=0, callback=quiet, **settings)
            variance, dead = judged(run.dictionary, held_out)
            print(
                f"| {site} | {method.d_sae}/{method.k} | {name} | {variance:.4f} | {dead:.3f} | "
                f"{time.perf_counter() - began:.0f} |",
                flush=True,
            )
    print(f"\n{len(held_out):,} held-out tokens")


def on_engine(tokens: int = 300_000) -> None:
    print("| model, site | way | explained variance | seconds |\n|---|---|---|---|")
    train_texts, held_texts = stories()
    cases = {
        "stories260K": (sk.load_model(REAL / "stories260K", device="cpu"), train_texts, held_texts),
        "micro": (sk.load_model("micro"), sk.load_corpus("microworld"), None),
    }
    for name, (model, texts, held_out) in cases.items():
        site = "blocks.2.hook_resid_post"
        if held_out is None:
            x = sk.activations.harvest(model, sk.load_corpus("microworld", split="heldout"), site, tokens=40_000)
        else:
            x = sk.activations.harvest(model, held_out, site, long="cut")
        ways = {
            "fast, float32": {"dtype": torch.float32},
            "plain torch, float32": {"dtype": torch.float32, "kernels": "reference"},
            "fast, products in bfloat16": {"dtype": torch.bfloat16},
        }
        for way, settings in ways.items():
            began = time.perf_counter()
            run = sk.train(model, site, sk.TopK(d_sae=1024, k=16), texts, tokens=tokens, callback=quiet, **settings)
            seconds = time.perf_counter() - began
            variance, _ = judged(run.dictionary, x.flat(site))
            print(f"| {name}, {site} | {way} | {variance:.4f} | {seconds:.0f} |", flush=True)


AUXK = {
    "stories260K": ("blocks.3.hook_resid_post", [(1024, 16, 390), (4096, 8, 300), (4096, 4, 60)]),
    "micro": ("blocks.2.hook_resid_post", [(2048, 16, 290), (4096, 8, 290)]),
}
"""By model: its site, and d_sae, k and steps of 1,024 tokens. With 8 and 4 active ones many latents die."""


def on_auxk(seeds: int = 3) -> None:
    train_texts, held_texts = stories()
    model, held = sk.load_model(REAL / "stories260K", device="cpu"), sk.load_corpus("microworld", split="heldout")
    site = AUXK["stories260K"][0]
    tokens = {"stories260K": [sk.activations.harvest(model, texts, site) for texts in (train_texts, held_texts)]}
    model, texts, site = sk.load_model("micro", device="cpu"), sk.load_corpus("microworld"), AUXK["micro"][0]
    tokens["micro"] = [
        sk.activations.harvest(model, texts, site, tokens=300_000),
        sk.activations.harvest(model, held, site, tokens=40_000),
    ]
    print("| model, d_sae/k, steps | way | explained variance | never firing | dead in training | each seed |")
    print("|---|---|---|---|---|---|")
    for name, (site, cases) in AUXK.items():
        x, held_out = (each.flat(site) for each in tokens[name])
        for d_sae, k, steps in cases:
            former = {"dead_after": max(1024, steps * 1024 // 20)}
            for way, every, part, settings in (("before", 1, d_sae, former), ("after", EVERY, PART, {})):
                reconstruction.AUXK_EVERY, reconstruction.AUXK_DEAD = every, part
                found = []
                for seed in range(seeds):
                    method = sk.TopK(d_sae=d_sae, k=k)
                    given = {"tokens": steps * 1024, "seed": seed, "dtype": torch.float32, "callback": quiet}
                    run = sk.train(x, None, method, **given, **settings)
                    dying = [record["dead"] / d_sae for record in run.records]
                    found.append((*judged(run.dictionary, held_out), sum(dying) / len(dying)))
                variance, never, dying = (sum(each) / seeds for each in zip(*found, strict=True))
                each = ", ".join(f"{a:.4f}/{b:.4f}" for a, b, _ in found)
                print(
                    f"| {name}, {d_sae}/{k}, {steps} | {way} | {variance:.4f} | {never:.4f} | {dying:.3f} | {each} |",
                    flush=True,
                )
    reconstruction.AUXK_EVERY, reconstruction.AUXK_DEAD = EVERY, PART


def toy_mcc(seed: int, weight: float, samples: int = 3_000_000) -> float:
    world = superposition(seed=seed)
    x = world.sample(min(samples, 1_000_000), seed=seed)
    method = sk.ReLU(d_sae=256, sparsity_weight=weight)
    own = seed + 1  # the world's seed drew the true directions, and must not draw where training begins
    run = sk.train(x, None, method, tokens=samples, lr=3e-2, seed=own, callback=quiet)
    return mcc(world.directions, run.dictionary.decoder_directions)


def on_toy() -> None:
    chosen = max((toy_mcc(5, weight), weight) for weight in (0.05, 0.1, 0.15, 0.2, 0.3))
    print(f"λ {chosen[1]} chosen on seed 5 (MCC {chosen[0]:.3f})\n\n| seed | MCC |\n|---|---|")
    scores = []
    for seed in range(5):
        scores.append(toy_mcc(seed, chosen[1]))
        print(f"| {seed} | {scores[-1]:.3f} |", flush=True)
    print(f"\nmean {sum(scores) / 5:.3f}")


if __name__ == "__main__":
    torch.set_num_threads(2)
    wanted = sys.argv[1:] or ["stories", "toy", "engine", "auxk"]
    if "stories" in wanted:
        on_stories()
    if "toy" in wanted:
        on_toy()
    if "engine" in wanted:
        on_engine()
    if "auxk" in wanted:
        on_auxk()
