"""Lengths in tokens by hand, what of them stands in config.json, and configs that an older saekit wrote."""

from __future__ import annotations

import functools
import json
from pathlib import Path
from typing import Any

import pytest
import torch

import saekit as sk
from saekit.training.__main__ import main, one_for_all
from saekit.training.session import between_checkpoints
from saekit.training.settings import Settings

X = torch.randn(700, 12, generator=torch.Generator().manual_seed(0))
METHOD = sk.TopK(d_sae=24, k=3)
train = functools.partial(sk.train, X, None, METHOD, tokens=2048, batch_size=64, lr=1e-2)
quiet = functools.partial(train, callback=lambda _: None)
BEFORE_CONTRACT_2 = {"contract", "wiring", "warm_up", "decay", "dead_after", "labels", "exclude", "context"}
BEFORE_CONTRACT_2 |= {"max_norm_multiple", "given", "threads", "chunk_tokens"}


def stop(progress: Any) -> None:
    if progress.tokens == 10 * 64:
        raise KeyboardInterrupt


def same(one: Any, other: Any) -> bool:
    return all(torch.equal(t, other.state_dict()[name]) for name, t in one.state_dict().items())


# -- lengths -----------------------------------------------------------------------------------------------------------


def test_the_schedule_by_hand():
    """32 steps of 64 tokens: 256 tokens of warm-up are 4 steps, 512 of decay the last 8; less than one is one."""
    schedule = [Settings(32, 64, warm_up=256, decay=512).schedule(step) for step in range(32)]
    rise, fall = [0.25, 0.5, 0.75], [7 / 8, 6 / 8, 5 / 8, 4 / 8, 3 / 8, 2 / 8, 1 / 8]
    assert schedule == pytest.approx(rise + [1.0] * 22 + fall)
    flat = [Settings(32, 64, warm_up=0, decay=0).schedule(step) for step in range(32)]
    assert flat == [1.0] * 32
    assert Settings(32, 64, warm_up=100).rise == 1 and Settings(32, 64, decay=127).fall == 1


@pytest.mark.parametrize(
    ("steps", "size", "lengths"),
    [
        (32, 64, (64, 6 * 64)),  # a twentieth is 1.6 steps, a fifth 6.4
        (10_000, 1024, (200 * 1024, 2000 * 1024)),  # at most 200 steps of warm-up
        (1, 64, (64, 64)),
    ],
)
def test_the_defaults_in_tokens(steps, size, lengths):
    assert tuple(Settings(steps, size).lengths().values()) == lengths
    given = Settings(steps, size, **Settings(steps, size).lengths())
    assert given.lengths() == Settings(steps, size).lengths(), "what stands in a config gives the same run"
    assert all(given.schedule(step) == Settings(steps, size).schedule(step) for step in range(0, steps, 97))


@pytest.mark.parametrize(
    ("steps", "size", "density", "window"),
    [
        (10_000, 1024, 1 / 256, 512_000),  # a twentieth of the run is more than the 11,790 that a rare latent needs
        (100, 1024, 1 / 256, 11_790),  # 10 · ln 100 · 256 = 11,789.2: more than a twentieth
        (60, 2048, 1 / 1024, 30_720),  # it would be 47,157: a quarter of so short a run
        (32, 64, None, 102),  # no wanted density: a twentieth
        (1, 64, 1 / 8, 64),  # a batch at least
        (10**6, 1024, 1 / 8, 10_000_000),  # at most ten million
        (10**6, 1024, 1e-9, 10_000_000),
    ],
)
def test_the_dead_window_by_hand(steps, size, density, window):
    assert Settings(steps, size).dead_window(density) == window
    assert Settings(steps, size, dead_after=77).dead_window(density) == 77


def test_a_rare_latent_has_fired_before_it_could_be_dead():
    """At a tenth of the wanted density one of a hundred is still silent when the window is over."""
    window = Settings(1000, 64).dead_window(32 / 4096)
    fired = torch.rand(2000, window, generator=torch.Generator().manual_seed(0)) < 0.1 * 32 / 4096
    assert 0.004 < float((~fired.any(1)).float().mean()) < 0.02


@pytest.mark.parametrize(
    ("method", "density"),
    [
        (sk.TopK(d_sae=1024, k=16), 1 / 64),
        (sk.BatchTopK(d_sae=1000, k=2.5), 0.0025),
        (sk.JumpReLU(d_sae=640, l0=64), 0.1),
        (sk.JumpReLU(d_sae=640, l0=None), None),
        (sk.Gated(d_sae=640), None),
        (sk.ReLU(d_sae=640), None),
        (sk.EndToEnd(sk.TopK(d_sae=1024, k=16)), 1 / 64),
    ],
    ids=str,
)
def test_the_density_that_a_method_is_meant_to_have(method, density):
    assert method.wanted_density == density


def test_each_of_several_has_its_own_dead_window(tmp_path):
    """In the config a number where they agree, else one for each; from the command line they come back."""
    x = torch.randn(4000, 12, generator=torch.Generator().manual_seed(0))
    several = [sk.TopK(d_sae=24, k=12), sk.TopK(d_sae=24, k=3), sk.ReLU(d_sae=24)]
    fit = functools.partial(sk.train, x, None, tokens=4096, batch_size=64, callback=lambda _: None)
    fit(several, out=tmp_path / "a")
    assert json.loads((tmp_path / "a" / "config.json").read_text())["dead_after"] == [204, 369, 204]
    fit(several, dead_after=300, out=tmp_path / "b")
    assert json.loads((tmp_path / "b" / "config.json").read_text())["dead_after"] == 300
    assert [one_for_all(value) for value in (300, [204, 369], [5, 5], None)] == [300, None, 5, None]


def test_a_run_that_began_with_a_twentieth_goes_on_with_it(tmp_path):
    """The default was 5 % of every run: one that was interrupted then, and one that is to have more tokens."""
    former = quiet(out=tmp_path / "former", dead_after=102)
    assert quiet(out=tmp_path / "other").records != former.records, "369 is the default now"
    assert not quiet(out=tmp_path / "part", dead_after=102, callback=stop).finished
    again = quiet(out=tmp_path / "part")
    assert same(again.dictionary, former.dictionary)
    assert json.loads((tmp_path / "part" / "config.json").read_text())["dead_after"] == 102
    assert same(quiet(out=tmp_path / "former").dictionary, former.dictionary), "it is returned"
    longer = quiet(out=tmp_path / "former", tokens=4096)
    assert longer.finished and longer.records[: len(former.records)] == former.records
    with pytest.raises(ValueError, match=r"differs in dead_after \(there 102, here 103\)"):
        quiet(out=tmp_path / "part", dead_after=103)
    quiet(out=tmp_path / "own", dead_after=105)
    with pytest.raises(ValueError, match=r"differs in dead_after \(there 105, here 369\)"):
        quiet(out=tmp_path / "own")


def test_dead_after_by_hand(monkeypatch):
    """A latent that cannot fire is dead once it was silent for more than so many tokens: of 200, after 4 batches."""
    build = sk.TopK.build

    def with_a_silent_one(self, wiring, widths):
        dictionary = build(self, wiring, widths)
        with torch.no_grad():
            dictionary.encoder_bias[5] = -1000.0
        return dictionary

    monkeypatch.setattr(sk.TopK, "build", with_a_silent_one)
    few = functools.partial(quiet, tokens=64 * 8, lr=1e-9)
    x = 3 * torch.eye(24).repeat(40, 1)[:, :23]  # every other latent fires in each batch
    run = sk.train(x, None, sk.TopK(d_sae=24, k=23, auxk_weight=0.0), **few.keywords | {"dead_after": 200})
    assert [record["dead"] for record in run.records][:3] == [0, 0, 0]
    assert all(record["dead"] >= 1 for record in run.records[3:]), "4 · 64 > 200"
    never = sk.train(x, None, sk.TopK(d_sae=24, k=23, auxk_weight=0.0), **few.keywords | {"dead_after": 512})
    assert all(record["dead"] == 0 for record in never.records)


def test_they_stand_in_the_config_and_decide_the_run(tmp_path):
    plain = quiet(out=tmp_path / "plain")
    config = json.loads((tmp_path / "plain" / "config.json").read_text())
    assert (config["warm_up"], config["decay"], config["dead_after"]) == (64, 384, 369)
    said = quiet(out=tmp_path / "plain", warm_up=64, decay=384, dead_after=369)
    assert same(said.dictionary, plain.dictionary), "the defaults, said: the run is returned"
    other = quiet(out=tmp_path / "other", warm_up=640, decay=0, dead_after=640)
    config = json.loads((tmp_path / "other" / "config.json").read_text())
    assert (config["warm_up"], config["decay"], config["dead_after"]) == (640, 64, 640)
    assert not same(other.dictionary, plain.dictionary)
    for name, value in (("warm_up", 128), ("decay", 128), ("dead_after", 128)):
        with pytest.raises(ValueError, match=rf"holds another run; it differs in {name} \(there .*, here {value}\)"):
            quiet(out=tmp_path / "plain", **{name: value})


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"warm_up": -1}, "warm_up is a number of tokens from 0, found -1"),
        ({"decay": -1}, "decay is a number of tokens from 0, found -1"),
        ({"dead_after": 0}, "dead_after must be at least 1, found 0"),
    ],
)
def test_refused(settings, message):
    with pytest.raises(ValueError, match=message):
        quiet(**settings)


# -- configs of an older saekit ----------------------------------------------------------------------------------------


def as_of_contract_1(folder: Path) -> None:
    """The config.json as saekit wrote it before encoders and decoders were modules."""
    config = json.loads((folder / "config.json").read_text())
    old = {key: value for key, value in config.items() if key not in BEFORE_CONTRACT_2}
    old["sites"] = config["wiring"]["reads"]
    old["configuration"] = {"method": "TopK", "d_sae": 24, "k": 3}
    assert set(old) == {"configuration", "sites", "tokens", "batch_size", "lr", "seed", "dtype", "source"}
    (folder / "config.json").write_text(json.dumps(old, indent=1))


@pytest.mark.filterwarnings("ignore:.*fingerprints of what went in were kept")
def test_a_finished_run_of_an_older_saekit_is_returned(tmp_path):
    first = quiet(out=tmp_path)
    as_of_contract_1(tmp_path)
    kept = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
    seen: list[Any] = []
    again = train(out=tmp_path, callback=seen.append)
    assert seen == [] and same(again.dictionary, first.dictionary) and again.records == first.records
    assert {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()} == kept
    for name, value in (("seed", 3), ("warm_up", 640)):
        with pytest.raises(ValueError, match=rf"holds another run; it differs in {name} \(there .*, here {value}\)"):
            quiet(out=tmp_path, **{name: value})
    with pytest.raises(ValueError, match="it differs in configuration"):
        sk.train(X, None, sk.TopK(d_sae=24, k=4), tokens=2048, batch_size=64, lr=1e-2, out=tmp_path)


def test_a_half_trained_one_is_refused(tmp_path):
    assert not train(out=tmp_path, callback=stop).finished
    as_of_contract_1(tmp_path)
    kept = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
    sentence = r"was begun by a saekit whose checkpoints this one cannot read \(contract 1, here 2\): finish it"
    with pytest.raises(ValueError, match=sentence):
        quiet(out=tmp_path)
    assert {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()} == kept


def test_an_old_config_trains_again_from_the_command_line(tmp_path, capsys):
    """To the bits of the run that it describes, several methods too; in its own folder it is finished."""
    model, corpus = sk.load_model("micro", device="cpu"), sk.load_corpus("microworld", seed=3)
    site, methods = "blocks.0.hook_resid_post", [METHOD, sk.ReLU(d_sae=24)]
    settings: dict[str, Any] = {"tokens": 256, "batch_size": 64, "callback": lambda _: None}
    with pytest.warns(UserWarning, match="less than the width"):
        first = sk.train(model, site, methods, corpus, out=tmp_path / "first", **settings)
    config = json.loads((tmp_path / "first" / "config.json").read_text())
    old = {key: value for key, value in config.items() if key not in BEFORE_CONTRACT_2} | {"sites": [site]}
    relu = {"method": "ReLU", "d_sae": 24, "sparsity_weight": 0.05, "sparsity": "l1"}
    old["configuration"] = [{"method": "TopK", "d_sae": 24, "k": 3}, relu]
    (tmp_path / "old.json").write_text(json.dumps(old))
    with pytest.warns(UserWarning, match="less than the width"):
        main([str(tmp_path / "old.json"), "--out", str(tmp_path / "again"), "--device", "cpu"])
    assert "again: tokens 256" in capsys.readouterr().out
    for number, dictionary in enumerate(first.dictionaries):
        assert same(sk.load_dictionary(tmp_path / "again" / "dictionaries" / str(number)), dictionary)


def test_checkpoints_take_two_percent_of_the_time_at_most():
    assert [between_checkpoints(cost) for cost in (0.0, 0.4, 1.2)] == [60.0, 60.0, 60.0]
    for cost in (1.3, 6.0, 290.0):
        assert cost / between_checkpoints(cost) == pytest.approx(0.02)


def test_building_a_dictionary_leaves_the_generators_of_the_user(monkeypatch):
    seeded: list[int] = []
    monkeypatch.setattr(torch.cuda, "manual_seed_all", seeded.append)
    before = torch.get_rng_state()
    quiet(seed=3)
    assert torch.equal(torch.get_rng_state(), before) and not seeded, "those of GPUs"
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
    assert seeded == [0], "which this would have seeded"
