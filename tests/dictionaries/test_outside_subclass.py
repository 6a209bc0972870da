"""Methods that nobody told saekit about, defined here: they build, train, stop, go on, save, load and edit.

The notebook's promise to a researcher with a method of her own. Three: a ReLU SAE with its own objective, a transcoder,
and a crosscoder whose gate does not scale with its input and whose decoder rows are free.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import torch
from saekit_kernels import SparseCodes
from torch import Tensor, nn

import saekit as sk
from saekit.dictionaries import Dictionary, LinearDecoder, LinearEncoder, Method
from saekit.objectives import Batch, Loss, State
from saekit.training import Progress

SITES = ("blocks.0.hook_resid_post", "blocks.1.hook_resid_post")
MLP = ("blocks.1.hook_resid_mid", "blocks.1.hook_mlp_out")
TEXTS = [f"the cat sat on {a} and the {b} saw it in the other room" for a in "abcdefgh" for b in ("dog", "bat", "hen")]


@dataclass(frozen=True)
class OutsideReLU(Method):
    l1: float = 0.05

    def build(self, wiring: sk.Wiring, widths: Mapping[str, int]) -> Dictionary:
        encoder = LinearEncoder.random(self.d_sae, [widths[site] for site in wiring.reads])
        decoder = LinearDecoder.random(self.d_sae, [widths[site] for site in wiring.writes])
        return OutsideReLUDictionary(self, wiring, widths, encoder, decoder)


class OutsideReLUDictionary(Dictionary):
    def encode(self, x: Any) -> SparseCodes:
        u = self.join_reads(x) @ self.encoder_directions.T + self.encoder_bias
        return SparseCodes.from_dense(u.relu())

    def loss(self, batch: Batch, state: State) -> Loss:
        codes = self.encode(batch.reads)
        error = (self.join_writes(batch.writes) - self.join_writes(self.decode(codes))).square().sum(-1)
        l1 = codes.values.abs().sum() / len(error)
        return Loss(error.mean() + self.method.l1 * l1, error.detach(), codes)


@dataclass(frozen=True)
class OutsideCrosscoder(Method):
    """z = ReLU(u) where the gate σ(g + 1) passes it; ``powers`` is a tuple, which JSON does not know."""

    powers: tuple[int, ...] = (1, 2)

    def build(self, wiring: sk.Wiring, widths: Mapping[str, int]) -> Dictionary:
        each = [widths[site] for site in wiring.reads]
        encoder, decoder = (
            LinearEncoder.random(self.d_sae, each),
            LinearDecoder.random(self.d_sae, each, unit_norm=False),
        )
        return OutsideCrosscoderDictionary(self, wiring, widths, encoder, decoder)


class OutsideCrosscoderDictionary(Dictionary):
    calls: Tensor

    def __init__(self, method: Any, *given: Any) -> None:
        super().__init__(method, *given)
        self.gate = nn.Parameter(torch.zeros(method.d_sae))
        self.register_buffer("calls", torch.zeros((), dtype=torch.int64))

    def encode(self, x: Any) -> SparseCodes:
        if self.gate.requires_grad and self.training:  # in training alone
            self.calls.add_(1)
        u = self.join_reads(x) @ self.encoder_directions.T + self.encoder_bias
        return SparseCodes.from_dense(u.relu() * torch.sigmoid(self.gate + 1))


METHODS: dict[str, tuple[Method, Any]] = {
    "relu": (OutsideReLU(d_sae=24), SITES[0]),
    "transcoder": (OutsideReLU(d_sae=24, l1=0.0), sk.Wiring(*MLP)),
    "crosscoder": (OutsideCrosscoder(d_sae=24, powers=(3, 4)), SITES),
}
TRAINING = {"tokens": 4096, "batch_size": 128, "seed": 3}


def quiet(progress: Progress) -> None: ...


def stop(progress: Progress) -> None:
    if progress.tokens > 2000:
        raise KeyboardInterrupt


def equal(a: Dictionary, b: Dictionary) -> bool:
    one, two = a.state_dict(), b.state_dict()
    return list(one) == list(two) and all(torch.equal(one[name], two[name]) for name in one)


@pytest.fixture(scope="module", autouse=True)
def small_chunks(one_thread: None) -> Iterator[None]:
    """Shuffle within 1,024 tokens, so that a run crosses chunks and reads the texts again."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("saekit.activations.shuffled.CHUNK_TOKENS", 1024)
        yield


@pytest.fixture(scope="module")
def trained(small_chunks: None, tiny_gpt2: Any) -> dict[str, sk.Run]:
    return {
        name: sk.train(tiny_gpt2, sites, configuration, TEXTS, callback=quiet, **TRAINING)  # type: ignore[arg-type]
        for name, (configuration, sites) in METHODS.items()
    }


def test_on_an_array() -> None:
    """Twelve directions, two of them on at a time: the error falls, and the scale is folded back."""
    generator = torch.Generator().manual_seed(0)
    on = torch.rand(4096, 12, generator=generator) * (torch.rand(4096, 12, generator=generator) < 0.15)
    x = 5 * on @ torch.randn(12, 8, generator=generator) + 2
    run = sk.train(x, None, OutsideReLU(d_sae=24, l1=0.01), tokens=40_000, batch_size=256, callback=quiet)
    sae = run.dictionary
    assert isinstance(sae, OutsideReLUDictionary) and sae.reads == sae.writes == ("x",)
    assert run.metrics["explained_variance"].iloc[-1] > 0.9 > run.metrics["explained_variance"].iloc[0]
    error = (x - sae(x)).square().sum() / (x - x.mean(0)).square().sum()
    assert error < 0.1
    assert torch.equal(sae.latent_max, sae.encode_dense(x).max(0).values)
    assert torch.allclose(sae.decoder_directions.norm(dim=1), torch.ones(24), atol=1e-5)


@pytest.mark.parametrize("name", METHODS)
def test_trains_on_a_model(trained: dict[str, sk.Run], tiny_gpt2: Any, name: str) -> None:
    run, (configuration, _) = trained[name], METHODS[name]
    sae = run.dictionary
    assert sae.method == configuration and sae.provenance.model_hash == tiny_gpt2.model_hash
    expected = {"relu": ((SITES[0],), (SITES[0],)), "transcoder": ((MLP[0],), (MLP[1],)), "crosscoder": (SITES, SITES)}
    assert (sae.reads, sae.writes) == expected[name]
    assert run.metrics["explained_variance"].iloc[-1] > run.metrics["explained_variance"].iloc[0]
    acts = sk.activations.harvest(tiny_gpt2, TEXTS, list(sae.wiring.sites))
    x = {site: acts.flat(site) for site in sae.reads}
    target = sae.join_writes({site: acts.flat(site) for site in sae.writes})
    share = (target - sae.join_writes(sae(x))).square().sum() / (target - target.mean(0)).square().sum()
    assert abs(1 - share - run.metrics["explained_variance"].iloc[-1]) < 0.1
    assert torch.allclose(sae.latent_max, sae.encode_dense(x).max(0).values)
    unit = torch.allclose(sae.decoder_directions.norm(dim=1), torch.ones(24), atol=1e-5)
    assert unit == (name != "crosscoder")


@pytest.mark.parametrize("name", METHODS)
def test_saves_and_loads(trained: dict[str, sk.Run], name: str, tmp_path: Path) -> None:
    sae = trained[name].dictionary
    loaded = sk.load_dictionary(sae.save(tmp_path))
    assert type(loaded) is type(sae) and equal(loaded, sae)
    assert loaded.method == sae.method and hash(loaded.method) == hash(sae.method)
    assert (loaded.read_widths, loaded.write_widths) == (sae.read_widths, sae.write_widths)
    assert loaded.provenance == sae.provenance


@pytest.mark.parametrize("name", METHODS)
def test_resumes_to_the_same_numbers(trained: dict[str, sk.Run], tiny_gpt2: Any, name: str, tmp_path: Path) -> None:
    configuration, sites = METHODS[name]

    def train(callback: Any) -> sk.Run:
        return sk.train(tiny_gpt2, sites, configuration, TEXTS, out=tmp_path, callback=callback, **TRAINING)  # type: ignore[arg-type]

    stopped = train(stop)
    assert not stopped.finished and (tmp_path / "checkpoint.safetensors").is_file()
    resumed = train(quiet)
    assert resumed.finished and equal(resumed.dictionary, trained[name].dictionary)
    again = train(stop)  # finished: it is returned, and nothing runs
    assert equal(again.dictionary, resumed.dictionary)


@pytest.mark.parametrize("name", ["relu", "transcoder"])
def test_edits(trained: dict[str, sk.Run], tiny_gpt2: Any, name: str) -> None:
    """h' = h + decode(z') − decode(z) at the site written, z from the site read, as the edits leave it."""
    sae = trained[name].dictionary
    read, write = sae.reads[0], sae.writes[0]
    tokens = torch.arange(10, 22)[None]
    seen: dict[str, Tensor] = {}
    keep = [(site, lambda h, hook, site=site: seen.__setitem__(site, h)) for site in {read, write}]
    before = sk.Edit(torch.linspace(-1, 1, 16), site="blocks.0.hook_mlp_out")
    with sk.edited(tiny_gpt2, before), tiny_gpt2.hooks(fwd_hooks=keep):
        tiny_gpt2(tokens)
    plain = dict(seen)
    z = sae.encode_dense(plain[read])
    latents = z[0].max(0).values.topk(2).indices
    assert bool((z[0][:, latents] > 0).any(0).all())
    edits = [
        sk.Edit(sae, latent=int(latents[0]), mode="ablate"),
        sk.Edit(sae, latent=int(latents[1]), strength=-2.0),
    ]
    changed = torch.zeros_like(z)
    changed[..., latents[0]] = -z[..., latents[0]]
    changed[..., latents[1]] = -2 * sae.latent_max[latents[1]]
    with sk.edited(tiny_gpt2, [before, *edits[:1]]), tiny_gpt2.hooks(fwd_hooks=keep):
        tiny_gpt2(tokens)
    one = torch.where(torch.arange(24) == latents[0], changed, 0) @ sae.decoder_directions
    assert torch.allclose(seen[write], plain[write] + one, atol=1e-5)
    if name == "transcoder":  # what it reads is not moved by its own edits, so that they add up
        with sk.edited(tiny_gpt2, [*edits, before]), tiny_gpt2.hooks(fwd_hooks=keep):
            tiny_gpt2(tokens)
        assert torch.allclose(seen[write], plain[write] + changed @ sae.decoder_directions, atol=1e-5)


def test_edits_through_several_sites(trained: dict[str, sk.Run], tiny_gpt2: Any) -> None:
    """h'_w = h_w + decode(z')_w − decode(z)_w at each site, or at the one that is named, z of the unedited pass."""
    sae = trained["crosscoder"].dictionary
    tokens = torch.arange(10, 22)[None]
    x = {site: sk.models.forward(tiny_gpt2, tokens, site).kept[site] for site in SITES}
    z = sae.encode_dense(x)
    latent = int(z[0].amax(0).argmax())
    moves = {site: -z[..., latent, None] * sae.decoder_directions_at(site)[latent].detach() for site in SITES}
    for site in (None, *SITES):
        changes = {s: lambda h, kept, s=s: h + moves[s] for s in SITES if site in (None, s)}
        expected = sk.models.forward(tiny_gpt2, tokens, replace=changes, logits=True).logits
        with sk.edited(tiny_gpt2, sk.Edit(sae, latent=latent, mode="ablate", site=site)):
            found = tiny_gpt2(tokens)
        assert torch.allclose(found, expected, atol=1e-4) and not torch.allclose(found, tiny_gpt2(tokens), atol=1e-2)


def test_a_method_that_was_not_imported(trained: dict[str, sk.Run], tmp_path: Path) -> None:
    folder = trained["relu"].dictionary.save(tmp_path)
    known = Method.known.pop("OutsideReLU")
    try:
        with pytest.raises(ValueError, match=r"'OutsideReLU' is not known here .* import the module that defines it"):
            sk.load_dictionary(folder)
    finally:
        Method.known["OutsideReLU"] = known


def test_a_method_may_not_take_the_name_of_one_of_saekits():
    with pytest.raises(TypeError, match="saekit has a method 'TopK'"):
        dataclass(frozen=True)(type("TopK", (sk.Method,), {"__module__": __name__}))
    assert sk.Method.known["TopK"] is sk.TopK


def test_old_names_are_answered_with_the_new_ones():
    with pytest.raises(ImportError, match="DictionaryConfiguration is called Method now"):
        _ = sk.DictionaryConfiguration
    with pytest.raises(ImportError, match="DictionaryConfiguration is called Method now"):
        from saekit.dictionaries import DictionaryConfiguration  # noqa: F401
    with pytest.raises(ImportError, match=r"objectives by name are gone: .* a loss\(batch, state\) of its own"):
        from saekit.training import objective  # noqa: F401
    with pytest.raises(TypeError, match=r"objective= is gone: give the dictionary that Lost builds a loss\(batch,"):
        type("Lost", (sk.TopK,), {"__module__": __name__, "objective": "reconstruction"})
    with pytest.raises(TypeError, match="train's configuration= is called method now"):
        sk.train(torch.randn(64, 4), None, configuration=sk.TopK(d_sae=8, k=2))
    sae = sk.TopK(d_sae=8, k=2).build(sk.Wiring("x"), {"x": 4})
    with pytest.raises(AttributeError, match=r"called method now: sae\.method"):
        _ = sae.configuration
    with pytest.raises(ImportError, match=r"fit is gone: sk\.train\(x, None, PCA"):
        from saekit.dictionaries import fit  # noqa: F401
