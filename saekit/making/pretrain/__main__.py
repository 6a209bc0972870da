"""`python -m saekit.making.pretrain`: see saekit.making.pretrain.loop."""

from __future__ import annotations

import argparse
from pathlib import Path

import torch

from saekit.making.pretrain import loop
from saekit.making.pretrain.settings import Settings, open_run


def main(arguments: list[str] | None = None) -> None:
    """The command line."""
    parser = argparse.ArgumentParser(
        prog="python -m saekit.making.pretrain", description=(loop.__doc__ or "").splitlines()[0]
    )
    parser.add_argument("out", type=Path, nargs="?", default=Path("runs/micro"), help="the run's folder")
    parser.add_argument("--minutes", type=float, default=20.0, help="how long to train, at --rate")
    parser.add_argument(
        "--rate", type=float, default=6500.0, help="tokens a second that this machine trains (2 cores, AVX2: 6,500)"
    )
    parser.add_argument("--tokens", type=int, help="how many tokens to train on, in place of --minutes")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--width", type=int, default=128)
    parser.add_argument("--layers", type=int, default=4)
    parser.add_argument(
        "--no-compile", action="store_true", help="where torch.compile has no C++ compiler; slower by a third"
    )
    parser.add_argument("--device", help="default: cuda where there is one, else cpu")
    parser.add_argument("--snapshots", action="store_true", help="also keep the model after 1, 2, 4, 8 … steps")
    given = parser.parse_args(arguments)
    torch.set_num_threads(given.threads)
    # --minutes becomes a number of tokens, so that a run depends on no clock and resumes to the same numbers.
    settings = Settings(
        given.tokens or int(given.minutes * 60 * given.rate), given.seed, width=given.width, layers=given.layers
    )
    open_run(given.out, settings)
    loop.train(given.out, settings, not given.no_compile, given.device, given.snapshots)


if __name__ == "__main__":
    main()
