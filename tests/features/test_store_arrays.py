"""A store over an array: rows stand where tokens do, and what an array does not have is not spoken of."""

from __future__ import annotations

import json
import re
from pathlib import Path

import numpy as np
import pandas
import pytest
import torch

import saekit as sk
from saekit.features.building import array_reading, build

N, WIDTH, LATENTS = 90, 8, 12
WORDS = [
    f"{colour} {thing} é" for colour in ("red", "blue", "green") for thing in "abcdef"
] * 5  # 18 words, each five times


@pytest.fixture
def x() -> torch.Tensor:
    return torch.randn(N, WIDTH, generator=torch.Generator().manual_seed(0))


@pytest.fixture
def sae() -> sk.Dictionary:
    torch.manual_seed(0)
    return sk.TopK(d_sae=LATENTS, k=3).build(sk.Wiring("x"), {"x": WIDTH})


@pytest.fixture
def make(x, sae, tmp_path, one_thread):
    def make(given=None, strings=None, folder="store", **changes) -> sk.FeatureStore:
        return sk.FeatureStore.build(x if given is None else given, sae, strings, tmp_path / folder, **changes)

    return make


def test_its_numbers_are_those_of_the_codes(make, x, sae) -> None:
    store, z = make(), sae.encode_dense(x).detach().double().numpy()
    assert store.tokens == N and repr(store).endswith(f"store: {LATENTS} latents; {N} rows>")
    frame = store.latents(all=True)
    assert np.allclose(frame.density, (z != 0).mean(0)) and np.allclose(frame.max_activation, z.max(0))
    for latent in range(LATENTS):
        fired = z[:, latent][z[:, latent] != 0]
        assert frame.firings[latent] == len(fired)
        if not len(fired):
            continue
        assert np.isclose(frame["mean"][latent], fired.mean()) and np.isclose(frame["std"][latent], fired.std())
        counts = np.histogram(fired, 40, (0, fired.max()))[0]
        assert np.abs(np.array(store.row(latent)["histogram"]) - counts).sum() <= 2  # float32 at an edge
        top = store.examples(latent, "top")
        order = np.argsort(-z[:, latent], kind="stable")[: min(20, len(fired))]
        assert [example["document"] for example in top] == order.tolist()
        assert [example["pieces"] for example in top] == [[f"row {row}"] for row in order]
        assert np.allclose([example["value"] for example in top], z[order, latent])
        assert all(example["position"] == 0 and example["values"] == [example["value"]] for example in top)
        fires = z != 0
        for found in store.neighbours(latent).rows:
            both = fires[:, [latent, found["latent"]]].astype(float)
            rows = sae.decoder_directions[[latent, found["latent"]]].detach().double()
            assert np.isclose(found["cosine"], float(torch.cosine_similarity(rows[0], rows[1], dim=0)), atol=1e-6)
            if 0 < both[:, 1].sum() < N:
                assert np.isclose(found["phi"], np.corrcoef(both.T)[0, 1], atol=1e-6)


def test_near_misses_are_the_strongest_silent_rows(make, x, sae) -> None:
    store, z = make(), sae.encode_dense(x)
    u = sae.pre_activations(x)
    u = (x @ sae.encoder_directions.T if u is None else u).detach()
    for latent in range(LATENTS):
        silent = torch.where(z[:, latent] == 0, u[:, latent], -torch.inf)
        best = silent.sort(descending=True, stable=True).indices[:10].tolist()
        weakest = u[:, latent][z[:, latent] != 0].min() if (z[:, latent] != 0).any() else 0
        found = store.examples(latent, "near")
        assert [example["document"] for example in found] == best
        assert np.allclose([example["value"] for example in found], (silent[best] - weakest).numpy(), atol=1e-5)


def test_strings_stand_in_place_of_tokens_and_equal_ones_are_one_text(make, x, sae) -> None:
    store, z = make(strings=WORDS), sae.encode_dense(x)
    latent = int(z.max(0).values.argmax())
    strongest = int(z[:, latent].argmax())
    shown = store.examples(latent, "top")
    assert shown[0]["pieces"] == [WORDS[strongest]] and WORDS[strongest] in store.feature(latent).html
    assert len({example["pieces"][0] for example in shown}) == len(shown)  # copies are counted, not shown
    fired = z[:, latent].nonzero()[:, 0].tolist()
    assert shown[0]["copies"] == sum(WORDS[row] == WORDS[strongest] for row in fired) - 1
    assert WORDS[strongest] in store.listing()["hints"][latent]
    assert store.explain(latent, "words('red')").detection >= 0
    series = pandas.Series(WORDS)[::-1]  # a frame's column, its index of any order
    assert make(strings=series, folder="other").examples(latent, "top")[0]["pieces"] == [WORDS[::-1][strongest]]


def test_what_it_does_not_have_is_not_spoken_of(make) -> None:
    store = make()
    latent = int(store.latents().max_activation.argmax())
    view, listing = store.view(latent), store.listing()
    assert view["logits"] is None and view["concepts"] == [] and view["absent"] == {}
    assert set(view["numbers"]) == {"density", "max"} and view["numbers"]["density"]["more"].endswith(" rows.")
    assert [column["name"] for column in listing["about"]] == ["density", "max", "detection"]
    assert listing["model"] == "" and listing["site"] == "x" and listing["facts"] == f"TopK k = 3 · {N} rows"
    words = store.feature(latent).html
    for absent in ("ogit", "loss", "None", "corpus", "token"):
        assert absent not in re.sub("<style>.*?</style>|<[^>]*>", " ", words, flags=re.DOTALL), absent
    assert all("token" not in text["text"] for name, text in listing["definitions"].items() if name in ("list", "max"))
    row = store.row(latent)
    empty = ("top_tokens", "logit_low", "loss_effect", "concept")
    assert all(row[name] is None for name in empty) and store.logits(latent).rows == []
    assert store.loss_effect(latent).rows[0]["loss_effect"] is None and not store.concepts(latent).rows


def test_a_browser_shows_it_and_asks_for_no_prompt(make, tmp_path) -> None:
    store = make()
    browser = sk.FeatureBrowser(store, filter={"density": (0.01, None)})
    head = browser._reply({"kind": "listing"})[0]
    assert head["off"] == {"prompt": "The store is over an array: there is no model to read a prompt."}
    assert browser.export_html(tmp_path / "page.html").stat().st_size > 10_000
    assert list(browser.latents().latent) == store.matching({"density": [0.01, None]}, ["max", True])
    with pytest.raises(ValueError, match="filter does not know 'loss_effect'"):
        browser.filter = {"loss_effect": [0, 1]}
    with pytest.raises(ValueError, match=r"store is a store over arrays, which have no model: leave model= out\.$"):
        sk.FeatureBrowser(store, sk.load_model("micro", device="cpu"))


def test_however_the_array_is_given_the_store_is_the_same(make, x, sae, tmp_path) -> None:
    truth = make().sql("select * from activations")
    np.save(tmp_path / "x.npy", x.numpy())
    given = {
        "numpy": x.numpy(),
        "file": tmp_path / "x.npy",
        "named": str(tmp_path / "x.npy"),
        "frame": pandas.DataFrame(x.numpy()),
        "mapping": {"x": x},
        "graph": x.clone().requires_grad_(),
        "strided": torch.stack([x, x], 2)[..., 0],
        "double": x.double().numpy(),
    }
    for name, array in given.items():
        pandas.testing.assert_frame_equal(make(array, folder=name).sql("select * from activations"), truth)


def test_what_was_harvested_is_read_where_it_counts(tiny_llama, tmp_path, one_thread) -> None:
    site = "blocks.0.hook_resid_post"
    sae = sk.TopK(d_sae=20, k=3).build(sk.Wiring(site), {site: 16})
    acts = sk.activations.harvest(tiny_llama, ["the cat sat", "on a hat"], site)
    store = sk.FeatureStore.build(acts, sae, None, tmp_path / "acts")
    z = sae.encode_dense(acts.flat(site)).detach().numpy()
    assert store.tokens == len(z) and np.allclose(store.latents().max_activation, z.max(0))
    assert store.view(0)["logits"] is None and not store.manifest["editable"]


def test_chunks_and_interruptions_do_not_change_it(make, x, tmp_path, monkeypatch) -> None:
    whole = make(strings=WORDS)
    monkeypatch.setattr(array_reading, "CHUNK_TOKENS", 25)
    monkeypatch.setattr(array_reading, "ENCODED_AT_ONCE", 10)
    real, stops = build.write_chunk, []

    def failing(*given):
        if len(stops) < 2 and given[1] == len(stops) + 1:
            stops.append(given[1])
            raise KeyboardInterrupt
        return real(*given)

    monkeypatch.setattr(build, "write_chunk", failing)
    for rows in (25, 50):
        part = make(strings=WORDS, folder="parts")
        assert not part.finished and part.tokens == rows
    parts = make(strings=WORDS, folder="parts")
    assert len(parts.manifest["chunks"]) == 4 and stops == [1, 2]
    for table in ("latents", "examples", "activations", "tokens", "documents", "vocabulary"):
        frames = [store.sql(f"select * from {table}") for store in (whole, parts)]
        pandas.testing.assert_frame_equal(*frames, rtol=1e-6)


def test_another_array_or_other_strings_are_another_store(make, x) -> None:
    make(strings=WORDS)
    changed = x.clone()
    changed[N - 1, 0] += 1e-3
    for given, strings in ((changed, WORDS), (x, [*WORDS[:-1], "other"]), (x, None), (x.double(), WORDS)):
        with pytest.raises(ValueError, match=r"holds another store; it differs in provenance\.arrays\.fingerprint"):
            make(given, strings)
    assert make(x.numpy(), tuple(WORDS)).tokens == N
    assert make(x, folder="few", tokens=40).tokens == 40 and make(x, WORDS, "many", tokens=10**6).tokens == N


def test_several_sites_are_a_mapping(tmp_path, x, one_thread) -> None:
    torch.manual_seed(0)
    wiring = sk.Wiring(reads=["in"], writes=["out"])
    transcoder = sk.TopK(d_sae=LATENTS, k=3).build(wiring, {"in": WIDTH, "out": 5})
    store = sk.FeatureStore.build({"in": x, "out": x[:, :5]}, transcoder, None, tmp_path / "transcoder")
    assert np.allclose(store.latents().max_activation, transcoder.encode_dense({"in": x}).detach().numpy().max(0))
    both = sk.TopK(d_sae=LATENTS, k=3).build(sk.Wiring(["a", "b"]), {"a": WIDTH, "b": WIDTH})
    store = sk.FeatureStore.build({"a": x, "b": -x}, both, None, tmp_path / "both")
    assert np.allclose(store.latents().max_activation, both.encode_dense({"a": x, "b": -x}).detach().numpy().max(0))
    with pytest.raises(ValueError, match="the dictionary reads a, b: give a mapping from each to its array"):
        sk.FeatureStore.build(x, both, None, tmp_path / "none")
    with pytest.raises(ValueError, match=r"the dictionary reads 'b', found arrays of a\.$"):
        sk.FeatureStore.build({"a": x}, both, None, tmp_path / "none")
    with pytest.raises(ValueError, match=r"arrays have the same rows, found \[90, 89\]"):
        sk.FeatureStore.build({"a": x, "b": x[1:]}, both, None, tmp_path / "none")
    assert not (tmp_path / "none").exists()


def test_refusals_are_one_sentence(make, x, sae, tmp_path, tiny_llama) -> None:
    for given, strings, more, words in (
        (
            x[:, :7],
            None,
            {},
            r"x is an array \[n, 8\] of what the dictionary reads at 'x', n from 1, found shape \[90, 7\]",
        ),
        (x[:0], None, {}, r"found shape \[0, 8\]"),
        (x[0], None, {}, r"found shape \[8\]"),
        (x[None], None, {}, r"found shape \[1, 90, 8\]"),
        (x, WORDS[1:], {}, "a string a row, 90, or None for row numbers; found 89 of them"),
        (x, "one text", {}, "or None for row numbers; found 'one text'"),
        (x, sk.load_corpus("microworld"), {}, "a string a row, 90, or None"),
        (x, [*WORDS[:-1], 3], {}, "at row 89 is 3"),
        (x, None, {"exclude": "special"}, "are for reading a model"),
        (x, None, {"engine": "ray"}, "are for reading a model"),
        (x, None, {"context": 8}, "are for reading a model"),
        (torch.where(torch.arange(N)[:, None] == 7, torch.nan, x), None, {}, "NaN activations at 'x'"),
        (str(tmp_path / "no.npy"), None, {}, r"no\.npy is missing, cut or no \.npy file"),
    ):
        with pytest.raises(ValueError, match=words):
            make(given, strings, folder="refused", **more)
    for model, dictionary, words in (
        (
            sae,
            tiny_llama,
            r"model is a model, found a dictionary: the call is FeatureStore\.build",
        ),
        (
            sae,
            sae,
            r"model is a model, found a dictionary: the call is FeatureStore\.build",
        ),
        (3, sae, "found a int"),
    ):
        with pytest.raises(TypeError, match=words):
            sk.FeatureStore.build(model, dictionary, ["a text"], tmp_path / "refused")
    with pytest.raises(
        ValueError,
        match=r"no hook 'x': this dictionary was made of arrays, .*sae\.on\(model, .*or give arrays in place of",
    ):
        sk.FeatureStore.build(tiny_llama, sae, ["a text"], tmp_path / "refused")
    with pytest.raises(ValueError, match="a model reads a corpus, texts or tokens, found None"):
        site = "blocks.0.hook_resid_post"
        sk.FeatureStore.build(
            tiny_llama, sk.TopK(d_sae=20, k=3).build(sk.Wiring(site), {site: 16}), None, tmp_path / "no"
        )
    manifest = Path(tmp_path / "refused" / "manifest.json")  # that of NaN alone was begun
    assert not json.loads(manifest.read_text())["finished"]
