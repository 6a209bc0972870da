"""Cross-layer dictionaries: a layer's latents read it alone and write it and what comes after."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from saekit_kernels import SparseCodes
from torch import Tensor, nn

import saekit as sk
from saekit.dictionaries.cross_layer import CrossLayerDictionary, built
from saekit.objectives import Batch, State
from saekit.training.memory import memory_needed

D, F, READS, WRITES = 12, 20, ["r0", "r1", "r2"], ["w0", "w1", "w2"]
WIRING = sk.Wiring(READS, WRITES, layerwise=True)
WIDTHS = dict.fromkeys(READS + WRITES, D)
METHODS = [
    sk.TopK(d_sae=F, k=3),
    sk.BatchTopK(d_sae=F, k=2.5),
    sk.ReLU(d_sae=F),
    sk.JumpReLU(d_sae=F, l0=3),
    sk.Gated(d_sae=F, l0=3),
]


def made(method: Any = METHODS[0], seed: int = 0) -> Any:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        sae = built(method, WIRING, WIDTHS).double()
        for parameter in sae.parameters():
            if parameter.requires_grad:
                parameter.data += 0.1 * torch.randn_like(parameter)
    return sae


def activations(n: int = 40, seed: int = 1) -> dict[str, Tensor]:
    random = torch.Generator().manual_seed(seed)
    return {site: torch.randn(n, D, generator=random, dtype=torch.float64) for site in READS + WRITES}


def by_hand(sae: Any, x: dict[str, Tensor], z: Tensor | None = None) -> dict[str, Tensor]:
    """x̂ of TopK, dense and site by site."""
    found = {}
    for m, write in enumerate(WRITES):
        found[write] = sae.layers[0].decoder_bias.split(D)[m]
        for n in range(m + 1):
            layer = sae.layers[n]
            if z is None:
                u = x[READS[n]] @ layer.encoder.directions.T + layer.encoder.bias
                kept = u.topk(3, dim=-1)
                own = torch.zeros_like(u).scatter(-1, kept.indices, kept.values.relu())
            else:
                own = z[:, n * F : (n + 1) * F]
            found[write] = found[write] + own @ layer.decoder.directions[:, (m - n) * D : (m - n + 1) * D]
    return found


# -- what it computes --------------------------------------------------------------------------------------------------


def test_by_hand_and_a_layer_at_a_time() -> None:
    sae, x = made(), activations()
    reads = {site: x[site] for site in READS}
    expected, found = by_hand(sae, x), sae(reads)
    codes = sae.encode(reads)
    assert sae.d_sae == codes.d_sae == 3 * F and codes.k == 9
    apart = SparseCodes.together([sae.encode_at(x[site], site) for site in READS])
    torch.testing.assert_close(apart.to_dense(), codes.to_dense())
    for m, write in enumerate(WRITES):
        torch.testing.assert_close(found[write], expected[write])
        so_far = SparseCodes.together([sae.encode_at(x[site], site) for site in READS[: m + 1]])
        torch.testing.assert_close(sae.decode_at(so_far, write), expected[write])


@pytest.mark.parametrize("method", METHODS, ids=lambda method: type(method).__name__)
def test_each_layer_is_the_methods_own_dictionary(method: Any) -> None:
    sae, x = made(method).eval(), activations()
    codes = sae.encode({site: x[site] for site in READS}).to_dense()
    for number, (layer, site) in enumerate(zip(sae.layers, READS, strict=True)):
        assert type(layer) is type(method.build(sk.Wiring("a", "b"), {"a": D, "b": D}))
        torch.testing.assert_close(codes[:, number * F : (number + 1) * F], layer.encode(x[site]).to_dense())
    for write, x_hat in sae.decode(SparseCodes.from_dense(codes)).items():
        torch.testing.assert_close(x_hat, by_hand(sae, x, codes)[write])


def test_the_decoder_is_a_triangle_and_no_encoder_reads_two_layers() -> None:
    sae = made()
    assert [list(layer.encoder.directions.shape) for layer in sae.layers] == [[F, D]] * 3
    assert [list(layer.decoder.directions.shape) for layer in sae.layers] == [[F, 3 * D], [F, 2 * D], [F, D]]
    rows = sae.decoder_rows(slice(None))
    for m, write in enumerate(WRITES):
        torch.testing.assert_close(sae.decoder_directions_at(write), rows[:, m * D : (m + 1) * D])
        assert not rows[(m + 1) * F :, m * D : (m + 1) * D].any()
    some = torch.tensor([45, 3, 22, 21, 59])
    torch.testing.assert_close(sae.decoder_rows(some), rows[some])
    assert sae.decoder_directions is None and list(sae.encoder_directions.shape) == [3 * F, D]


def test_pre_activations_of_some_latents_in_any_order() -> None:
    sae, x = made(), activations()
    reads = {site: x[site] for site in READS}
    u, some = sae.pre_activations(reads), torch.tensor([45, 3, 22, 21, 59, 0])
    assert list(u.shape) == [40, 3 * F]
    torch.testing.assert_close(sae.pre_activations(reads, some), u[:, some])
    torch.testing.assert_close(
        u[:, F : 2 * F], x["r1"] @ sae.layers[1].encoder.directions.T + sae.layers[1].encoder.bias
    )


# -- its loss ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kernels", ["auto", "reference"])
def test_the_gradient_is_that_of_the_joint_squared_error(kernels: str) -> None:
    from saekit_kernels import using

    sae, x = made(sk.TopK(d_sae=F, k=3, auxk_weight=0)).float(), activations()
    x = {site: h.float() for site, h in x.items()}
    batch = Batch({site: x[site] for site in READS}, {site: x[site] for site in WRITES})
    with using(kernels):
        loss = sae.loss(batch, State())
        loss.total.backward()
    learned = {name: p.grad.clone() for name, p in sae.named_parameters() if p.requires_grad}
    sae.zero_grad()
    x_hat = by_hand(sae, x)
    errors = torch.stack([(x[write] - x_hat[write]).square().sum(-1) for write in WRITES]).sum(0)
    (errors.mean() / (3 * D)).backward()
    torch.testing.assert_close(loss.error, errors.detach())
    assert len(learned) == 3 * 4 - 2  # the later layers' decoders have no bias of their own
    for name, p in sae.named_parameters():
        if name in learned:
            torch.testing.assert_close(learned[name], p.grad, rtol=2e-4, atol=1e-7)


def test_dead_latents_of_a_layer_learn_what_all_layers_miss() -> None:
    """AuxK by hand: of each layer its own dead latents, with the residual of all together."""
    method = sk.TopK(d_sae=F, k=3, auxk_weight=0.5)
    sae, x = made(method), activations()
    batch = Batch({site: x[site] for site in READS}, {site: x[site] for site in WRITES})
    dead = torch.zeros(3 * F, dtype=torch.bool)
    dead[[1, 5, F + 2, 2 * F, 2 * F + 7]] = True
    total = float(sae.loss(batch, State(dead=dead, n_dead=5)).total.detach())
    sae.requires_grad_(False)
    x_hat, expected = by_hand(sae, x), 0.0
    for n, layer in enumerate(sae.layers):
        e = torch.cat([x[write] - x_hat[write] for write in WRITES[n:]], -1)
        own = dead[n * F : (n + 1) * F].nonzero()[:, 0]
        k = 2 ** round(e.shape[1] / 2).bit_length() // 2
        u = (x[READS[n]] @ layer.encoder.directions.T + layer.encoder.bias)[:, own].relu()
        missed = (e - u @ layer.decoder.directions[own]).square().sum(-1).mean() / e.shape[1]
        share = 0.5 * min(len(own) / k, 1.0)
        expected += float((e.square().sum(-1).mean() / e.shape[1] + share * missed) * e.shape[1] / (3 * D))
    assert total == pytest.approx(expected, rel=1e-9)


# -- trained, kept, used -----------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def planted() -> dict[str, Tensor]:
    """What layer 0 reads comes back at all later sites: sparse features, of which each site writes its own image."""
    random = torch.Generator().manual_seed(0)
    rows = {site: torch.randn(16, D, generator=random) for site in READS + WRITES}
    on = (torch.rand(20_000, 16, generator=random) < 0.06) * torch.rand(20_000, 16, generator=random)
    x = {site: on @ rows[site] for site in READS[:1] + WRITES}
    return x | {site: 0.1 * torch.randn(20_000, D, generator=random) for site in READS[1:]}


def trained(x: Any, method: Any, **more: Any) -> sk.Run:
    settings = {"tokens": 30_000, "batch_size": 256, "seed": 0, "callback": lambda progress: None}
    return sk.train(x, WIRING, method, **settings | more)


def test_what_one_layer_writes_to_all_is_learned_once(planted: Any) -> None:
    """16 features of the first layer explain all sites; a later layer's latents see noise."""
    run = trained(planted, sk.TopK(d_sae=24, k=3), tokens=100_000)
    sae = run.dictionary
    assert run.metrics["explained_variance"].iloc[-1] > 0.9
    norms = sae.decoder_rows(slice(None)).norm(dim=1) * torch.nan_to_num(sae.latent_max)
    assert float(norms[:24].sum()) > 10 * float(norms[24:].sum())
    x_hat = sae({site: planted[site] for site in READS})
    for write in WRITES:
        assert sk.metrics.explained_variance(planted[write], x_hat[write]) > 0.9


@pytest.mark.parametrize("method", METHODS, ids=lambda method: type(method).__name__)
def test_saved_loaded_resumed(method: Any, planted: Any, tmp_path: Path) -> None:
    whole = trained(planted, method, out=tmp_path / "whole").dictionary

    def stops(progress: Any) -> None:
        if progress.tokens >= 15_000 and not progress.finished:
            raise KeyboardInterrupt

    trained(planted, method, out=tmp_path / "parts", callback=stops)
    assert not sk.Run.open(tmp_path / "parts").finished
    resumed = trained(planted, method, out=tmp_path / "parts").dictionary
    for other in (resumed, sk.load_dictionary(whole.save(tmp_path / "saved"))):
        assert isinstance(other, CrossLayerDictionary) and other.wiring == WIRING
        for (name, ours), theirs in zip(whole.state_dict().items(), other.state_dict().values(), strict=True):
            assert torch.equal(ours, theirs), name
    x = {site: planted[site][:50] for site in READS}
    assert torch.equal(sk.load_dictionary(tmp_path / "saved")(x)["w2"], whole(x)["w2"])
    assert not torch.isnan(whole.latent_max).any() and bool((whole.latent_max.view(3, F).amax(1) > 0).all())


def test_another_k_is_a_view() -> None:
    sae, x = made(), activations()
    reads = {site: x[site] for site in READS}
    view = sae.at(k=1)
    assert view.encode(reads).k == 3 and sae.encode(reads).k == 9
    assert view.layers[0].encoder.directions is sae.layers[0].encoder.directions
    with pytest.raises(ValueError, match="there is none at 'r0'"):
        sae.at(site="r0")


def test_as_many_parameters_as_are_said_before() -> None:
    needed = memory_needed(METHODS[0], WIDTHS, 64, wiring=WIRING, dtype="float32")
    learned = sum(p.numel() for p in made().parameters() if p.requires_grad)
    assert needed.states == 4 * 4 * learned + 3 * F * (4 + 12 + 4) + 4 * 3 * D  # latent_max twice, and frozen biases


# -- in a model --------------------------------------------------------------------------------------------------------

TEXTS = ["the cat sat on the mat and ran", "a dog in the house is on the mat", "the man ran to the house"] * 6
QUIET: dict[str, Any] = {"tokens": 512, "batch_size": 64, "seed": 0, "callback": lambda progress: None}


@pytest.fixture(scope="module")
def in_model(tiny_gpt2: Any) -> Any:
    method = sk.TopK(d_sae=24, k=3)
    return sk.train(tiny_gpt2, sk.Wiring.cross_layer([0, 1]), method, TEXTS, **QUIET).dictionary


def test_spliced_edited_judged_browsed_on_a_model(tiny_gpt2: Any, in_model: Any, tmp_path: Path) -> None:
    sae, tokens = in_model, tiny_gpt2.to_tokens(TEXTS[0])
    with torch.no_grad():
        clean = tiny_gpt2(tokens)
        with sk.spliced(tiny_gpt2, sae, error=True):
            torch.testing.assert_close(tiny_gpt2(tokens), clean)
        with sk.spliced(tiny_gpt2, sae):
            assert not torch.allclose(tiny_gpt2(tokens), clean)
        latent = int(
            sae.encode_at(
                sk.activations.harvest(tiny_gpt2, TEXTS[:1], sae.reads[0]).flat(sae.reads[0]), sae.reads[0]
            ).indices[0]
        )
        with sk.edited(tiny_gpt2, [sk.Edit(sae, latent=latent, strength=4.0)]):
            assert not torch.allclose(tiny_gpt2(tokens), clean)
    report = sk.evaluate(tiny_gpt2, sae, TEXTS, tokens=100)
    assert report["L0"] <= 6 and "cross-layer" not in str(report["CE recovered"])
    store = sk.FeatureStore.build(tiny_gpt2, sae, TEXTS, tmp_path / "store")
    frame = store.latents()
    assert len(frame) == 48 and store.feature(latent)._repr_html_()
    assert isinstance(sk.FeatureStore.open(tmp_path / "store").dictionary, CrossLayerDictionary)
    assert len(sk.features_on(tiny_gpt2, sae, TEXTS[0]).frame())


def test_end_to_end_around_it(tiny_gpt2: Any) -> None:
    run = sk.train(tiny_gpt2, sk.Wiring.cross_layer([0, 1]), sk.EndToEnd(sk.TopK(d_sae=24, k=3)), TEXTS, **QUIET)
    assert run.dictionary.layerwise and isinstance(run.dictionary.base, CrossLayerDictionary)


# -- what is refused ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (lambda: sk.Wiring.cross_layer([1, 0]), r"they ascend, found \[1, 0\]"),
        (lambda: sk.Wiring(["a", "b"], ["c"], layerwise=True), "found 2 reads, 1 writes and each=False"),
        (lambda: sk.Wiring(["a", "b"], each=True, layerwise=True), "each=True"),
        (
            lambda: built(sk.TopK(d_sae=F, k=3, skip=True), WIRING, WIDTHS),
            "no linear way past its latents: leave skip out",
        ),
        (lambda: built(sk.dictionaries.PCA(d_sae=4), WIRING, WIDTHS), "PCA is not trained by gradient"),
        (lambda: sk.TopK(d_sae=F, k=3).build(WIRING, WIDTHS), "TopK builds the dictionary of one layer"),
        (lambda: made().encode_at(torch.zeros(1, D), "w0"), "does not read 'w0'"),
        (lambda: made().decode_at(made().encode(activations(2)), "r0"), "does not write 'r0'"),
        (lambda: made().encoder.rescale([], [], 1.0), "rescale their parts"),
    ],
)
def test_refused(given: Any, message: str) -> None:
    with pytest.raises((ValueError, TypeError), match=message):
        given()


def test_a_wiring_of_former_runs_reads_as_it_was() -> None:
    assert sk.Wiring(["a"], ["b"]).to_json() == {"reads": ["a"], "writes": ["b"], "each": False}
    assert sk.Wiring(**WIRING.to_json()) == WIRING != sk.Wiring(READS, WRITES)
    assert isinstance(made().layers, nn.ModuleList)
