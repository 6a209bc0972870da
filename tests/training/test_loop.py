"""The loop on planted sparse data: it learns, repeats itself to the bit, counts in tokens, folds the scale."""

from __future__ import annotations

import functools
import json

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

import saekit as sk
from saekit.activations import ArrayStream
from saekit.metrics import explained_variance
from saekit.objectives import reconstruction
from saekit.training.learners import make_learner
from saekit.training.run import TIMES
from saekit.training.session import Session
from saekit.training.settings import Settings, default_rate

WIDTH, PLANTED, ACTIVE = 16, 32, 2
CONFIGURATION = sk.TopK(d_sae=48, k=ACTIVE)
TOKENS = 64_000
train = functools.partial(sk.train, callback=lambda progress: None, batch_size=256)


def unit(n: int, seed: int) -> torch.Tensor:
    rows = torch.randn(n, WIDTH, generator=torch.Generator().manual_seed(seed))
    return rows / rows.norm(dim=1, keepdim=True)


@pytest.fixture(scope="module")
def x():
    """Two of 32 planted directions a token, strengths 0.5 to 1.5."""
    generator = torch.Generator().manual_seed(0)
    latents = torch.rand(8000, PLANTED, generator=generator).topk(ACTIVE).indices
    strengths = torch.rand(8000, ACTIVE, generator=generator) + 0.5
    return torch.zeros(8000, PLANTED).scatter(1, latents, strengths) @ unit(PLANTED, 100)


@pytest.fixture(scope="module")
def run(x):
    return train(x, None, CONFIGURATION, tokens=TOKENS, batch_size=128)


def recovered(directions: torch.Tensor) -> float:
    """Mean over planted directions of the largest cosine."""
    return float((unit(PLANTED, 100) @ directions.T).amax(1).mean())


def parameters_equal(a, b) -> bool:
    return all(torch.equal(p, q) for p, q in zip(a.state_dict().values(), b.state_dict().values(), strict=True))


def trainer(x, configuration=CONFIGURATION, tokens=25_600, batch_size=256, lr=1e-2, seed=0):
    stream = ArrayStream(x, batch_size, seed)
    settings = Settings(max(1, tokens // batch_size), batch_size, lr, seed=seed)
    learner = make_learner(configuration, sk.Wiring("x"), stream.widths, settings)
    return Session(stream, [learner], tokens, batch_size, seed)


# -- it learns -------------------------------------------------------------------------------------------------------


def test_planted_directions_are_recovered(run, x):
    assert run.finished and run.metrics["loss"].iloc[-1] < run.metrics["loss"].iloc[0] / 3
    assert explained_variance(x, run.dictionary(x)) > 0.93
    assert recovered(run.dictionary.decoder_directions) > 0.97
    assert recovered(unit(PLANTED, 3)) < 0.6, "random directions come nowhere near"


def test_decoder_rows_have_norm_one_and_codes_are_sparse(run, x):
    assert torch.allclose(run.dictionary.decoder_directions.norm(dim=1), torch.ones(48), atol=1e-6)
    codes = run.dictionary.encode(x)
    assert codes.k == ACTIVE and 1.5 < sk.metrics.l0(codes) <= 2
    assert torch.equal(run.dictionary.latent_max, run.dictionary.encode_dense(x).amax(0))
    assert run.dictionary.provenance.tokens == TOKENS and run.dictionary.provenance.seed == 0
    assert not any(p.requires_grad for p in run.dictionary.parameters())


def test_same_seed_same_bits_and_another_seed_differs(x):
    random_state = torch.get_rng_state()
    one, two, other = (train(x, None, CONFIGURATION, tokens=5_120, seed=seed) for seed in (0, 0, 1))
    assert torch.equal(torch.get_rng_state(), random_state), "training leaves the global generator alone"
    assert parameters_equal(one.dictionary, two.dictionary)
    assert not torch.equal(one.dictionary.decoder_directions, other.dictionary.decoder_directions)
    begun = [trainer(x, seed=seed).learners[0].dictionary.decoder_directions for seed in (0, 1)]
    assert not torch.equal(*begun), "the weights are drawn with the seed too, not the order alone"


@pytest.mark.parametrize("factor", [1024.0, 2.0**-10])
def test_the_scale_is_folded_back(run, x, factor):
    """Training sees inputs of mean square one, so a power of two in front changes no digit but the codes' unit."""
    scaled = train(factor * x, None, CONFIGURATION, tokens=TOKENS, batch_size=128)
    assert explained_variance(factor * x, scaled.dictionary(factor * x)) == pytest.approx(
        explained_variance(x, run.dictionary(x)), abs=1e-5
    )
    codes = scaled.dictionary.encode_dense(factor * x) / factor
    assert torch.allclose(codes, run.dictionary.encode_dense(x), atol=1e-4)
    assert torch.allclose(scaled.dictionary.latent_max / factor, run.dictionary.latent_max, atol=1e-4)
    assert scaled.records[-1]["loss"] == pytest.approx(run.records[-1]["loss"], rel=1e-4)


def test_a_large_mean_is_taken_up_by_the_bias(x):
    shifted = train(x + 100, None, CONFIGURATION, tokens=25_600)
    assert explained_variance(x + 100, shifted.dictionary(x + 100)) > 0.8


BUILD = sk.TopK.build


def mostly_dead(self, wiring, widths):
    dictionary = BUILD(self, wiring, widths)
    with torch.no_grad():
        dictionary.encoder_bias[16:] = -0.5
        dictionary.encoder_directions[16:] *= 0.3
    return dictionary


def test_dead_latents_are_revived_by_auxk(x, monkeypatch):
    """64 of 80 latents begin too low to be chosen; with AuxK almost all come back, without it none of them."""
    monkeypatch.setattr(sk.TopK, "build", mostly_dead)
    wide = sk.TopK(d_sae=80, k=2)
    aided = train(x, None, wide, tokens=102_400, lr=3e-3)
    plain = train(x, None, sk.TopK(d_sae=80, k=2, auxk_weight=0), tokens=102_400, lr=3e-3)
    share = {name: sk.metrics.dead(r.dictionary.encode(x)) for name, r in (("auxk", aided), ("plain", plain))}
    assert aided.records[6]["dead"] >= 55
    assert share["plain"] > 0.6 and share["auxk"] < share["plain"] - 0.2
    assert explained_variance(x, aided.dictionary(x)) > explained_variance(x, plain.dictionary(x)) + 0.1


def test_they_are_revived_in_turn(x, monkeypatch):
    """By every fourth token, 16 of 64 dead in a step: most come back, where without turns 48 of 80 would not."""
    monkeypatch.setattr(sk.TopK, "build", mostly_dead)
    monkeypatch.setattr(reconstruction, "AUXK_DEAD", 2)  # k_aux is 8
    run = train(x, None, sk.TopK(d_sae=80, k=2), tokens=204_800, batch_size=1024, lr=3e-3)
    assert max(record["dead"] for record in run.records) >= 55
    assert sk.metrics.dead(run.dictionary.encode(x)) < 0.45 and explained_variance(x, run.dictionary(x)) > 0.8


# -- what it counts --------------------------------------------------------------------------------------------------


def test_schedule_by_hand(x):
    """100 steps: 5 of warm-up (a twentieth), the last 20 (a fifth) fall to nothing."""
    schedule = trainer(x).learners[0].settings.schedule
    steps = {0: 1 / 5, 1: 2 / 5, 4: 1.0, 5: 1.0, 79: 1.0, 80: 1.0, 81: 19 / 20, 90: 1 / 2, 99: 1 / 20}
    assert {step: schedule(step) for step in steps} == pytest.approx(steps)
    long = trainer(x, tokens=256 * 10_000).learners[0].settings.schedule
    assert (long(0), long(199), long(9_000)) == pytest.approx((1 / 200, 1.0, 1 / 2)), "at most 200 steps of warm-up"
    assert trainer(x, tokens=256).learners[0].settings.schedule(0) == 1.0


def test_the_optimizer_follows_the_schedule(x):
    state = trainer(x)
    for step, batch in zip(range(3), state.stream, strict=False):
        state.update(batch, False)
        state.step += 1
        assert state.learners[0].optimizer.param_groups[0]["lr"] == pytest.approx(1e-2 * (step + 1) / 5)


def test_the_default_rate_by_hand():
    """3e-3 at 1,024 latents in long runs, twice that in runs of 2,500 steps, three times in shorter ones at most."""
    wanted = {(1024, 10_000): 3e-3, (1024, 10**6): 3e-3, (4096, 20_000): 1.5e-3, (1024, 2_500): 6e-3, (1024, 100): 9e-3}
    for (d_sae, steps), rate in wanted.items():
        assert default_rate(d_sae, steps) == pytest.approx(rate)


def test_the_step_along_a_decoder_row_is_removed(x, monkeypatch):
    """Adam must not see it: rows are brought back to norm 1, so that it would only swell the moments."""
    state, seen = trainer(x), []
    right = state.learners[0].optimizer.step

    def step():
        rows, gradient = (
            state.learners[0].dictionary.decoder_directions.detach(),
            state.learners[0].dictionary.decoder_directions.grad,
        )
        seen.append((float((gradient * rows).sum(1).abs().max()), float(gradient.norm(dim=1).max())))
        return right()

    monkeypatch.setattr(state.learners[0].optimizer, "step", step)
    for _, batch in zip(range(5), state.stream, strict=False):
        state.update(batch, False)
        state.step += 1
    assert len(seen) == 5 and all(along < 1e-5 * size for along, size in seen)


def test_dead_is_counted_in_tokens(x):
    state = trainer(x, sk.TopK(d_sae=8, k=2), tokens=20 * 2560)
    assert state.learners[0].dead_window == 2560, "a twentieth of the run"
    assert trainer(x, tokens=1000).learners[0].dead_window == 256, "but a batch at least"
    assert trainer(x, tokens=10**10).learners[0].dead_window == 10_000_000
    with torch.no_grad():
        state.learners[0].dictionary.encoder_bias[3] = -1000.0
    dead = []
    for _, batch in zip(range(12), state.stream, strict=False):
        dead.append(state.update(batch, True)[0]["dead"])
        state.step += 1
        assert int(state.learners[0].since_fired[3]) == 256 * state.step
    assert bool((state.learners[0].since_fired[[0, 1, 2, 4, 5, 6, 7]] == 0).all())
    assert dead == [0] * 10 + [1] * 2, "dead only when it has been silent for more than 2,560 tokens"


def test_no_float64_tensor_is_made(x):
    """MPS has no float64; a run there would stop at its first measurement."""

    class NoFloat64(TorchDispatchMode):
        def __torch_dispatch__(self, function, types, args=(), keywords=None):
            result = function(*args, **(keywords or {}))
            assert not (isinstance(result, torch.Tensor) and result.dtype == torch.float64), function
            return result

    with NoFloat64():
        train(x, None, CONFIGURATION, tokens=1024)


# -- what it leaves --------------------------------------------------------------------------------------------------


def test_the_folder_of_a_run(x, tmp_path):
    seen = []
    run = train(x, None, CONFIGURATION, tokens=5_130, out=tmp_path / "deep" / "run", callback=seen.append)
    out = tmp_path / "deep" / "run"
    lines = [json.loads(line) for line in (out / "metrics.jsonl").read_text().splitlines()]
    assert lines == run.records == run.metrics.to_dict("records")
    assert [line["tokens"] for line in lines] == list(range(256, 5121, 256))
    assert set(lines[0]) == {"tokens", *TIMES, "loss", "explained_variance", "l0", "dead"}
    assert [(p.tokens, p.total_tokens, p.finished) for p in seen[-2:]] == [(4864, 5130, False), (5120, 5120, True)]
    assert dict(seen[3].metrics).items() <= lines[3].items()
    config = json.loads((out / "config.json").read_text())
    assert config["configuration"] == {"method": "TopK", "d_sae": 48, "skip": False, "k": ACTIVE, "auxk_weight": 1 / 32}
    assert (config["warm_up"], config["decay"], config["dead_after"]) == (256, 4 * 256, 1106)
    assert config["wiring"] == {"reads": ["x"], "writes": ["x"], "each": False} and config["contract"] == 2
    assert (config["tokens"], config["batch_size"], config["seed"]) == (5_130, 256, 0)
    seen_there = sorted(path.name for path in out.iterdir())
    assert seen_there == [".lock", "config.json", "dictionary", "end.safetensors", "metrics.jsonl"]
    loaded = sk.load_dictionary(out / "dictionary")
    assert parameters_equal(loaded, run.dictionary) and loaded.provenance == run.dictionary.provenance


def test_a_long_run_is_measured_a_hundred_times(x):
    records = train(x, None, CONFIGURATION, tokens=250 * 32, batch_size=32).records
    assert len(records) == 126 and records[-1]["tokens"] == 8000
