"""Train again what a run's config.json says, with one process or several:

    python -m saekit.training runs/first/config.json --out runs/second
    torchrun --nproc-per-node 8 -m saekit.training runs/first/config.json --out runs/second

Without --out the run goes on in its own folder (a finished one is left as it is). Several processes give the weights of
one: each runs the model on its share of the texts and takes its share of every batch (NCCL on GPUs, gloo on CPUs). They
must see one folder.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
from pathlib import Path
from typing import Any

import torch

from saekit.corpora import Corpus, load_corpus
from saekit.corpora.load import NAMES
from saekit.dictionaries import Method, Wiring
from saekit.engines import processes
from saekit.models import load_model
from saekit.training.folder import of_contract_1, written_config
from saekit.training.loop import train
from saekit.training.run import TIMES


def main(arguments: list[str] | None = None) -> None:
    """The command line. Exits with 130 where the run was stopped before its end."""
    parser = argparse.ArgumentParser(prog="python -m saekit.training", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("config", type=Path, help="the config.json that a run wrote")
    parser.add_argument("--out", type=Path, help="the folder of the new run (default: that of the config)")
    parser.add_argument("--device", help="default: cuda where there is one, a GPU a process; else cpu")
    given = parser.parse_args(arguments)
    config = read_config(given.config)
    device = given.device or ("cuda" if torch.cuda.is_available() else "cpu")
    together = int(os.environ.get("WORLD_SIZE", "1")) > 1
    if together:
        if device == "cuda":
            device = f"cuda:{os.environ['LOCAL_RANK']}"
            torch.cuda.set_device(device)
        torch.distributed.init_process_group("nccl" if device.startswith("cuda") else "gloo")
    try:
        run = train_config(config, given.out or given.config.parent, device)
    finally:
        if together:
            torch.distributed.destroy_process_group()
    if not run.finished:
        sys.exit(130)
    if processes.first() and run.records:
        last = {key: value for key, value in run.records[-1].items() if key not in TIMES}
        print(f"{run.out}: " + ", ".join(f"{key} {value:.4g}" for key, value in last.items()))


def read_config(path: Path) -> dict[str, Any]:
    """Raises ValueError where it is no config of a run that can be made again from it."""
    try:
        config = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ValueError(f"{path} is not a run's config.json ({error}).") from error
    if isinstance(config, dict) and "contract" not in config and "sites" in config:
        config = of_contract_1(config)
    wanted = ("configuration", "wiring", "tokens", "batch_size", "lr", "seed", "dtype", "source")
    missing = [key for key in wanted if not isinstance(config, dict) or key not in config]
    if missing:
        raise ValueError(f"{path} is not a run's config.json: it lacks {', '.join(missing)}.")
    source = config["source"]
    if source.get("model") is None or "corpus" not in source or "array" in source:
        raise ValueError(
            f"{path} is of a run on an array or token tensor of one's own, which it does not hold: call sk.train there."
        )
    return config


def train_config(config: dict[str, Any], out: Path, device: str):
    """The run that a config describes, in the folder `out`."""
    source, described = config["source"], config["configuration"]
    if config.get("gone_on_at") and written_config(out).get("gone_on_at") != config["gone_on_at"]:
        raise ValueError(
            f"this run went on at {config['gone_on_at'][-1]:,} tokens, which one call does not do again: call sk.train "
            "with these tokens first, and then with all of them."
        )
    several = isinstance(described, list)
    methods = [Method.from_json(each) for each in (described if several else [described])]
    names = source["model"]
    if isinstance(names, dict):
        model: Any = {name: load_model(each, device=device) for name, each in names.items()}
    else:
        model = load_model(names, device=device)
    return train(
        model,
        Wiring(**config["wiring"]),
        methods if several else methods[0],
        corpus_of(source["corpus"]),
        tokens=config["tokens"],
        out=out,
        batch_size=config["batch_size"],
        lr=one_for_all(config["lr"]),
        dead_after=one_for_all(config["dead_after"]),
        **{name: config[name] for name in ("warm_up", "decay", "labels", "exclude", "context")},
        max_norm_multiple=config.get("max_norm_multiple"),
        dtype=getattr(torch, config["dtype"]),
        device=device,
        seed=config["seed"],
    )


def one_for_all(value: Any) -> Any:
    """Of several dictionaries the defaults differ; what was given is the same for each. None: the defaults."""
    if not isinstance(value, list):
        return value
    return value[0] if len(set(value)) == 1 else None


def corpus_of(described: dict[str, Any]) -> Corpus:
    """The corpus of a provenance. Raises ValueError where a name does not bring it back, or brings another."""
    name = described["name"]
    if name in NAMES:
        arguments = {key: described[key] for key in ("split", "seed", "kinds", "n")}
    else:
        columns = described.get("columns", ())
        arguments = {"n": described["n"], "column": columns[0] if len(columns) == 1 else None}
    try:
        corpus = load_corpus(name, **arguments)
    except (ValueError, OSError) as error:
        raise ValueError(f"the corpus {name!r} of this run cannot be read again by its name ({error}).") from error
    if corpus.fingerprint != described["fingerprint"]:
        raise ValueError(
            f"the corpus {name!r} is not the one of this run: fingerprint {corpus.fingerprint[:12]} here, "
            f"{described['fingerprint'][:12]} there. What was changed has to be given to sk.train."
        )
    return corpus


if __name__ == "__main__":
    main()
