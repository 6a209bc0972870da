"""How long does a feature store take, how much memory and how many bytes? Beside plain dense torch and SAEDashboard.

    python kernels/benchmarks/features.py [speed] [loss] [memory] [dashboard]

speed:     a build without loss effects beside the same statistics in plain dense torch (features_dense.py), in turns;
           the peer's outputs must be equal first. Then one without neighbours and near misses: the same work.
loss:      what loss effects add.
memory:    the peak of a build over the number of tokens, each in a process of its own.
dashboard: SAEDashboard (features_peers.py, its own environment in build/peers): seconds, memory, bytes.
The model is ../shared/real/stories260K, its dictionary is trained once and kept in build/features. Other programs'
share of the two cores is measured and waited out for a while. Writes features.json and features.md beside this file.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import resource
import shutil
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any
from unittest.mock import patch

import numpy as np
import torch
from cpu import machine
from features_clock import Clock, cores_busy, wait_for_quiet
from features_dense import AFTER, BEFORE, STATISTICS, dense
from features_peers import dashboard
from features_table import table
from safetensors.torch import save_file

import saekit as sk
from saekit.activations import harvest, model_worker
from saekit.features.building import build, near_misses, part, reading
from saekit.features.building.neighbours import Neighbours
from saekit.features.building.output_path import OutputPath
from saekit.features.building.part import Workbench
from saekit.features.building.statistics import Firings

HERE = Path(__file__).resolve().parent
REAL, FOLDER = HERE.parents[2] / "shared" / "real", HERE.parents[1] / "build" / "features"
SITE, LATENTS, K, TOKENS, ROW = "blocks.3.hook_resid_post", 16384, 16, 200_704, 512
PEER_FEATURES = 256
PARTS: list[tuple[Any, str, str]] = [
    (reading, "tokenize", "tokenizing"),
    (model_worker, "forward", "model"),
    (reading, "_encoded", "encoding"),
    (near_misses.NearMisses, "add", "near misses"),
    (near, "merged", "near misses"),
    (reading, "_by_latent", "sorting by latent"),
    (Firings, "of", "statistics and examples"),
    (Workbench, "_numbers", "statistics and examples"),
    (part, "choose", "statistics and examples"),
    (part, "in_windows", "statistics and examples"),
    (Workbench, "_peaks", "statistics and examples"),
    (OutputPath, "of", "logits"),
    (Workbench, "_logits", "logits"),
    (Neighbours, "__init__", "neighbours"),
    (Workbench, "_neighbours", "neighbours"),
    (Workbench, "_loss_effects", "loss effects"),
    (part, "table", "writing"),
    (build, "write_chunk", "writing"),
    (build, "write_text", "writing"),
    (build, "write_table", "writing"),
]


def stories(times: int = 1) -> list[str]:
    return json.loads((REAL / "tinystories" / "tinystories_1000.json").read_text()) * times


def model_and_dictionary() -> tuple[Any, Any]:
    model = sk.load_model(REAL / "stories260K", device="cpu")
    if not (FOLDER / "dictionary").is_dir():
        method = sk.TopK(d_sae=LATENTS, k=K)
        sk.train(model, SITE, method, stories(), tokens=300_000).dictionary.save(FOLDER / "dictionary")
    return model, sk.load_dictionary(str(FOLDER / "dictionary"))


def built(model: Any, sae: Any, clock: Clock, tokens: int = TOKENS, loss: int = 0, times: int = 1) -> Any:
    shutil.rmtree(FOLDER / "store", ignore_errors=True)
    with contextlib.ExitStack() as stack:
        for owner, name, kind in PARTS:
            stack.enter_context(patch.object(owner, name, clock.timed(getattr(owner, name), kind)))
        return sk.FeatureStore.build(model, sae, stories(times), FOLDER / "store", tokens=tokens, loss_examples=loss)


def built_alike(model: Any, sae: Any, clock: Clock) -> Any:
    """What the dense peer makes, and no more."""
    with patch.object(reading, "NEAR_TOKENS", 0), patch.object(build, "Neighbours", lambda *_: None):
        return built(model, sae, clock)


def check_equal(store: Any, peer: dict[str, Any]) -> dict[str, float]:
    """The largest differences, after asserting that they are rounding.

    Of millions of choices of the k largest, rounding decides a few: the latents of which one fires once more are
    counted, and left out of the rest."""
    ours = store.database.frame("select *, max_activation as maximum from latents order by latent")
    more = np.round(peer["density"].double().numpy() * store.tokens).astype(int) - ours.firings.to_numpy()
    assert np.abs(more).sum() <= 2e-6 * ours.firings.sum(), "firings"
    apart = more != 0
    alive = (ours.firings.to_numpy() > 0) & ~apart
    differ: dict[str, float] = {"ties": float(apart.sum())}
    for name in (*STATISTICS, "top_logits", "bottom_logits"):
        rows = ~apart if ours[name].notna().all() else alive
        a, b = np.stack(ours[name][rows].to_list()).astype(float), peer[name].numpy()[rows].astype(float)
        assert np.array_equal(np.isnan(a), np.isnan(b)), name
        differ[name] = float(np.nanmax(np.abs(a - b) / np.maximum(1, np.abs(b))))
        if name in ("histogram", "intervals"):  # a value on an edge may fall on either side
            assert np.abs(a - b).sum() <= 1e-5 * a.sum(), name
        else:
            assert differ[name] < 2e-5, (name, differ[name])
    top = store.database.columns("select latent, place from examples where kind = 'top' order by latent, rank")
    theirs = {name: peer["top"][name].numpy() for name in ("latent", "place")}
    for name in ("latent", "place"):
        assert np.array_equal(top[name][~apart[top["latent"]]], theirs[name][~apart[theirs["latent"]]]), name
    firings = store.database.columns("select latent, place, value from activations order by latent, place")
    width = store.manifest["progress"]["places"]
    place = peer["top"]["place"][:, None] + torch.arange(-BEFORE, AFTER + 1)
    shown = (peer["top"]["values"] != 0) & ~torch.from_numpy(apart)[peer["top"]["latent"].long()][:, None]
    wanted = (peer["top"]["latent"][:, None] * width + place)[shown].numpy()
    keys = firings["latent"].astype(np.int64) * width + firings["place"]
    at = np.searchsorted(keys, wanted)
    assert np.array_equal(keys[at], wanted), "windows"
    assert np.allclose(firings["value"][at], peer["top"]["values"][shown].numpy(), rtol=1e-4), "windows"
    return differ


def speed(rounds: int, former: dict[str, Any] | None) -> dict[str, Any]:
    """Earlier runs are kept (features.json; delete it to begin anew), so that a quiet moment can be waited for."""
    former = former["runs"] if former else {}
    model, sae = model_and_dictionary()
    runs = former.get(str(torch.get_num_threads()), {"saekit": [], "dense": [], "same": []})
    for _ in range(rounds):  # in turns, so that a slow moment falls on both
        wait_for_quiet()
        clock = Clock()
        peer, run = clock.run(lambda clock=clock: dense(model, sae, stories(), TOKENS, SITE, clock.part))
        runs["dense"].append(run)
        wait_for_quiet()
        clock = Clock()
        store, run = clock.run(lambda clock=clock: built(model, sae, clock))
        runs["saekit"].append(run)
        differ = check_equal(store, peer)
        wait_for_quiet()
        clock = Clock()
        runs["same"].append(clock.run(lambda clock=clock: built_alike(model, sae, clock))[1])
        print({name: (round(r[-1]["seconds"], 1), round(r[-1]["others"], 2)) for name, r in runs.items()}, flush=True)
    store = built(model, sae, Clock())
    files = [file for file in store.folder.rglob("*") if file.is_file() and "dictionary" not in file.parts]
    examples = int(store.sql("select count(*) as n from examples").n[0])
    size = {"bytes": sum(file.stat().st_size for file in files), "features": LATENTS, "examples": examples}
    size |= {"alive": int((store.latents().density > 0).sum()), "firings": int(store.latents().firings.sum())}
    return {"runs": former | {str(torch.get_num_threads()): runs}, "differ": differ, "size": size}


def loss(rounds: int, former: Any) -> dict[str, Any]:
    model, sae = model_and_dictionary()
    wait_for_quiet()
    clock = Clock()
    return clock.run(lambda: built(model, sae, clock, loss=4))[1]


def memory(rounds: int, former: Any) -> list[dict[str, float]]:
    found = []
    for tokens in (TOKENS // 2, TOKENS, 2 * TOKENS):
        code = f"import features; features.measured_alone({tokens})"
        out = subprocess.run([sys.executable, "-c", code], cwd=HERE, capture_output=True, text=True, check=True)
        found.append(json.loads(out.stdout.splitlines()[-1]))
        print(found[-1], flush=True)
    return found


def measured_alone(tokens: int) -> None:
    """Peaks of what this process holds, of which `anonymous` is no file mapped from the disk (Linux)."""
    torch.set_num_threads(2)
    model, sae = model_and_dictionary()
    anonymous, over = [kib("RssAnon")], threading.Event()

    def watch() -> None:
        while not over.wait(0.02):
            anonymous.append(kib("RssAnon"))

    watching = threading.Thread(target=watch)
    watching.start()
    built(model, sae, Clock(), tokens, times=5)
    over.set()
    watching.join()
    peaks = {"peak": kib("VmHWM") / 2**10, "anonymous": max(anonymous) / 2**10, "before": anonymous[0] / 2**10}
    print(json.dumps({"tokens": tokens} | peaks))


def kib(name: str) -> int:
    lines = Path("/proc/self/status").read_text().splitlines()
    return int(next(line for line in lines if line.startswith(name)).split()[1])


def beside_dashboard(rounds: int, former: Any) -> dict[str, Any]:
    model, sae = model_and_dictionary()
    (FOLDER / "model").unlink(missing_ok=True)
    (FOLDER / "model").symlink_to(REAL / "stories260K")
    ids = torch.cat([torch.tensor(text) for text in model.tokenizer(stories(), add_special_tokens=False)["input_ids"]])
    rows = ids[: TOKENS // ROW * (ROW - 1)].view(-1, ROW - 1)
    tokens = torch.cat([torch.full((len(rows), 1), model.tokenizer.bos_token_id), rows], dim=1)
    x = harvest(model, tokens[:1], SITE)[SITE][0]
    with torch.no_grad():
        codes = sae.encode(x).to_dense()
    given = {"tokens": tokens, "x": x, "codes": codes, "W_enc": sae.encoder_directions.T, "b_enc": sae.encoder_bias}
    given |= {"W_dec": sae.decoder_directions, "b_dec": sae.decoder_bias}
    save_file({name: tensor.detach().contiguous() for name, tensor in given.items()}, FOLDER / "given.safetensors")
    (FOLDER / "given.json").write_text(json.dumps({"site": SITE, "k": K}))
    wait_for_quiet()
    busy, began, used = cores_busy(), time.perf_counter(), resource.getrusage(resource.RUSAGE_CHILDREN)
    before = used.ru_utime + used.ru_stime
    found = dashboard(FOLDER, PEER_FEATURES)
    wall = time.perf_counter() - began
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return found | {"others": (cores_busy() - busy - used.ru_utime - used.ru_stime + before) / wall}


def main() -> None:
    ways = {"speed": speed, "loss": loss, "memory": memory, "dashboard": beside_dashboard}
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("parts", nargs="*", default=list(ways))
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--threads", type=int, default=2)
    arguments = parser.parse_args()
    where = machine()
    torch.set_num_threads(arguments.threads)
    FOLDER.mkdir(parents=True, exist_ok=True)
    file = HERE / "features.json"
    results = json.loads(file.read_text()) if file.is_file() else {}
    results["machine"] = where
    for name in arguments.parts:
        results[name] = ways[name](arguments.rounds, results.get(name))
        file.write_text(json.dumps(results, indent=1) + "\n")
        (HERE / "features.md").write_text(table(results))


if __name__ == "__main__":
    main()
