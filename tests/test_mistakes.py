"""What a newcomer types, with a slip in each call: it is taken, or answered by one sentence that names the argument,
the value found and the nearest valid choice, before anything is begun."""

from __future__ import annotations

import re
import traceback
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest
import torch
from graphs import hand_made

import saekit as sk

S = "blocks.2.hook_resid_post"


class World(NamedTuple):
    """What the calls are made with."""

    model: Any
    sae: Any
    corpus: Any
    held: Any
    own: Any
    store: Any


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> World:
    folder = tmp_path_factory.mktemp("mistakes")
    model, sae = sk.load_model("micro", device="cpu"), sk.load_dictionary("micro/" + S)
    corpus, held = sk.load_corpus("microworld", split="train"), sk.load_corpus("microworld", split="heldout", n=95)
    x = torch.randn(2000, 32, generator=torch.Generator().manual_seed(0))
    own = sk.train(x, None, sk.TopK(d_sae=64, k=4), tokens=2000, callback=quiet).dictionary
    store = sk.FeatureStore.build(model, sae, held, folder / "store", tokens=1500)
    return World(model, sae, corpus, held, own, store)


@pytest.fixture(autouse=True)
def here(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(Path(world.store.folder).parent)


def quiet(_: Any) -> None:
    """No line of text."""


def train(w: World, site: Any = S, method: Any = None, **more: Any) -> Any:
    return sk.train(
        w.model, site, method or sk.TopK(d_sae=128), w.corpus, **({"tokens": 1024, "callback": quiet} | more)
    )


def generate(w: World) -> str:
    with sk.edited(w.model, sk.Edit(w.sae, latent=3, strength=3)):
        return w.model.generate("Anna", max_new_tokens=3, verbose=False)


def swapped(w: World) -> None:
    with sk.edited([sk.Edit(w.sae, latent=3, mode="ablate")], w.model):
        pass


REFUSED: dict[str, tuple[Any, str]] = {
    "graph share in percent": (lambda w: hand_made().prune(nodes=80), r"nodes is a share.*found 80: 80 % is 0\.8"),
    "graph share of 0": (lambda w: hand_made().prune(edges=0), r"edges is a number above 0, found 0"),
    "graph share as text": (
        lambda w: hand_made().prune(edges="0.9"),
        r"edges is a number.*'0\.9', a string: write 0\.9",
    ),
    "graph node typo": (lambda w: hand_made().index("1_3_2"), r"no node '1_3_2'; the closest is '1_3_1'"),
    "graph file missing": (lambda w: sk.Graph.from_json("graph.json"), r"there is no file .*graph\.json"),
    "graph file of another kind": (lambda w: sk.Graph.from_json("store/manifest.json"), r"is no attribution graph"),
    "model typo": (lambda w: sk.load_model("mirco"), r"no model 'mirco'.*'micro'"),
    "model path missing": (lambda w: sk.load_model("/no/such/folder"), r"there is no folder /no/such/folder"),
    "hub id offline": (lambda w: sk.load_model("gpt2"), r"no model 'gpt2'.*Hugging Face Hub.*'micro'"),
    "device string bad": (lambda w: sk.load_model("micro", device="gpu"), r"device.*'gpu'.*'cpu'"),
    "device cuda absent": (lambda w: sk.load_model("micro", device="cuda"), r"device.*'cuda'.*cpu"),
    "corpus typo": (lambda w: sk.load_corpus("mircoworld"), r"'mircoworld'.*'microworld'"),
    "split typo": (lambda w: sk.load_corpus("microworld", split="test"), r"no split 'test'.*heldout"),
    "split val": (lambda w: sk.load_corpus("microworld", split="held_out"), r"no split 'held_out'.*'heldout'"),
    "site typo": (lambda w: train(w, "blocks.2.hook_resid"), r"no hook 'blocks\.2\.hook_resid'.*hook_resid_p"),
    "site layer 9": (lambda w: train(w, "blocks.9.hook_resid_post"), r"no hook.*'blocks\.3\.hook_resid_post'"),
    "site HF name": (lambda w: train(w, "model.layers.2"), r"'model\.layers\.2'.*'blocks\.2\.hook_resid_post'"),
    "site int": (lambda w: train(w, 2), r"sites by name, such as 'blocks\.2\.hook_resid_post', found 2"),
    "no tokens, endless": (lambda w: train(w, tokens=None), r"how many tokens.*tokens=1_000_000"),
    "tokens string": (lambda w: train(w, tokens="2000"), r"tokens is a whole number from 1, found '2000', a string: w"),
    "config class not instance": (lambda w: train(w, method=sk.TopK), r"found <class.*TopK.*TopK\(d_sae=…\)"),
    "config dict": (lambda w: train(w, method={"d_sae": 128, "k": 4}), r"sk\.TopK\(d_sae=.*found \{'d_sae': 128"),
    "TopK n_latents kw": (lambda w: sk.TopK(n_latents=64, k=4), r"n_latents.*d_sae"),
    "TopK k>d": (lambda w: sk.TopK(d_sae=64, k=100), r"k must be between 1 and d_sae = 64, found 100"),
    "TopK expansion": (lambda w: sk.TopK(expansion=8, k=4), r"expansion.*d_sae"),
    "train misspelt kw": (lambda w: train(w, token=1000), r"train takes no token=.*tokens"),
    "train epochs kw": (lambda w: train(w, n_tokens=1000, learning_rate=1e-3), r"train takes no n_tokens=.*tokens"),
    "train lr=0": (lambda w: train(w, lr=0), r"lr .*above 0, found 0"),
    "train lr str": (lambda w: train(w, lr="1e-3"), r"lr is a number, found '1e-3', a string: write 0\.001"),
    "swapped args": (
        lambda w: sk.train(w.model, sk.TopK(d_sae=64), S, w.corpus, tokens=1000),
        r"site is a site, found a method.*the call is sk\.train\(model, site, method, corpus\)",
    ),
    "evaluate swapped": (
        lambda w: sk.evaluate(w.sae, w.model, w.held, tokens=1000),
        r"model is a model, found a dictionary: the call is sk\.evaluate\(model, dictionary, corpus\)",
    ),
    "evaluate text": (lambda w: sk.evaluate(w.model, w.sae, "Anna went home.", tokens=500), r"a text goes in a list"),
    "edit latent out of range": (lambda w: sk.Edit(w.sae, latent=99999, mode="ablate"), r"99999 .*0 … 2047.*2047"),
    "edit latent negative": (lambda w: sk.Edit(w.sae, latent=-1, mode="ablate"), r"latent -1 .*closest is 0"),
    "edit mode zero": (lambda w: sk.Edit(w.sae, latent=3, mode="zero"), r"mode cannot be 'zero'.*ablate"),
    "edit no latent": (lambda w: sk.Edit(w.sae, mode="ablate"), r"an edit through a dictionary needs a latent"),
    "edited swapped": (swapped, r"model is a model, found an edit: the call is sk\.edited\(model, edits\)"),
    "store missing folder": (lambda w: sk.FeatureStore.open("no/such"), r"no/such.*no feature store"),
    "load_store?": (lambda w: sk.load_store("store"), r"no attribute 'load_store'; the closest is"),
    "browser sae": (lambda w: sk.FeatureBrowser(w.sae, w.model), r"FeatureStore\.build.*found a TopKDictionary"),
    "browser kw height": (lambda w: sk.FeatureBrowser(w.store, hight=800), r"height"),
    "browser feature 9999": (lambda w: sk.FeatureBrowser(w.store, feature=9999), r"feature .*0 .*2047.*9999"),
    "browser filter typo": (lambda w: sk.FeatureBrowser(w.store, filter={"densty": [0, 1]}), r"'densty'.*'density'"),
    "browser filter scalar": (lambda w: sk.FeatureBrowser(w.store, filter={"density": 0.1}), r"'density'.*0\.1"),
    "on_token id": (lambda w: w.store.on_token(7), r"^token is the text of one, such as ' the', found 7\.$"),
    "on_token unread": (lambda w: w.store.on_token("Zebra"), r"^no counted token .* is 'Zebra'; the closest is '"),
    "explain_all filter": (lambda w: w.store.explain_all({"maks": [1, 2]}), r"filter does not know 'maks'.*'max'"),
    "card saved in a folder": (lambda w: w.store.feature(0).save("."), r"path is a file to write"),
    "browser sort str": (lambda w: sk.FeatureBrowser(w.store, sort="densty"), r"sort.*'?dens"),
    "browser tab": (lambda w: sk.FeatureBrowser(w.store, tab="Random"), r"'Random'.*'random'"),
    "feature fraction": (lambda w: w.store.feature(3.5), r"latent is a whole number in 0 … 2047, found 3\.5"),
    "feature str": (lambda w: w.store.feature("12"), r"latent is a whole number in 0 … 2047, found '12'"),
    "feature 9999": (lambda w: w.store.feature(9999), r"latent 9999 is not in 0 … 2047; the closest is 2047"),
    "examples kind": (lambda w: w.store.examples(3, "bottom"), r"kind cannot be 'bottom'.*top, interval"),
    "sql typo col": (lambda w: w.store.sql("select latnt from latents"), r"latnt.*latent"),
    "sql typo table": (lambda w: w.store.sql("select * from features"), r"features does not exist.*latents"),
    "sql delete": (lambda w: w.store.sql("delete from latents"), r"delete"),
    "on_prompt empty": (lambda w: w.store.on_prompt(w.model, ""), r"needs a prompt.*found ''"),
    "features_on empty": (lambda w: sk.features_on(w.model, w.sae, ""), r"needs a prompt.*found ''"),
    "attribute an SAE": (lambda w: sk.attribute(w.model, w.sae, "Anna"), r"takes transcoders.*Wiring\.transcoder\(2\)"),
    "attribute name": (
        lambda w: sk.attribute("micro", "micro", "Anna"),
        r"model is a model.*sk\.load_model\('micro'\)",
    ),
    "attribute typo": (lambda w: sk.attribute(w.model, "mircro", "Anna"), r"no dictionary 'mircro'.*'micro/"),
    "attribute two words": (lambda w: sk.attribute(w.model, "micro", "Anna", targets="to the"), r"'to the' is 2"),
    "set_label number": (lambda w: w.store.set_label(3, label=5), r"label must be text, found 5"),
    "explain junk": (lambda w: w.store.explain(3, "names of people"), r"names of people|found 'names'"),
    "load_dictionary typo": (
        lambda w: sk.load_dictionary("micro/blocks.2.hook_resid"),
        r"'micro/blocks\.2\.hook_resid_po",
    ),
    "load_dictionary saelens": (
        lambda w: sk.load_dictionary("gpt2-small-res-jb", "blocks.8.hook_resid_pre"),
        r"'gpt2-small-res-jb'",
    ),
    "load_dictionary hub": (lambda w: sk.load_dictionary("google/gemma-scope-2b-pt-res"), r"gemma-scope-2b-pt-res"),
    "build in used folder": (
        lambda w: sk.FeatureStore.build(w.model, w.sae, w.corpus, "store", tokens=1000),
        r"holds another store; it differs in .*settings\.tokens \(there 1500, here 1000\)",
    ),
    "build positional tokens missing": (
        lambda w: sk.FeatureStore.build(w.model, w.sae, w.corpus, "other"),
        r"'microworld' .*tokens=",
    ),
    "build wrong dict": (
        lambda w: sk.FeatureStore.build(w.model, w.own, w.held, "other", tokens=1000),
        r"sae\.on\(model, site=",
    ),
    "evaluate wrong dict": (lambda w: sk.evaluate(w.model, w.own, w.held, tokens=100), r"sae\.on\(model, site="),
    "sk.SAE": (lambda w: sk.SAE, r"no attribute 'SAE'; the closest is"),
    "sk.trian": (lambda w: sk.trian, r"no attribute 'trian'; the closest is 'train'"),
    "sk.plot": (lambda w: sk.plot, r"no attribute 'plot'; the closest is"),
    "harvest no tokens": (lambda w: sk.activations.harvest(w.model, w.corpus, S), r"no end.*tokens=100_000"),
    "harvest model name": (lambda w: sk.activations.harvest("micro", w.held, S), r"'micro': sk\.load_model\('micro'\)"),
    "evaluate ce_tokens str": (
        lambda w: sk.evaluate(w.model, w.sae, w.held, tokens=50, ce_tokens="5"),
        r"ce_tokens is a whole number from 1, found '5', a string: write 5",
    ),
    "load a model object": (lambda w: sk.load_model(w.model), r"by its name or folder, found .*a LoadedModel"),
    "load a dictionary of a number": (lambda w: sk.load_dictionary(3), r"by its name or path, found 3"),
    "export swapped": (lambda w: sk.export("out", w.sae), r"folder is a path, .* found TopKDictionary"),
    "feature swapped": (lambda w: w.store.feature(w.model, 12), r"latent is a whole number in 0 … 2047, found micro"),
    "harvest arg order": (
        lambda w: sk.activations.harvest(w.model, S, w.corpus, tokens=100),
        r"source is a corpus, found a site .*the call is sk\.activations\.harvest\(model, corpus, hooks\)",
    ),
}
TAKEN: dict[str, tuple[Any, Any]] = {
    "dtype string": (
        lambda w: sk.load_model("micro", device="cpu", dtype="float32"),
        lambda m: m.model_name == "micro",
    ),
    "tokens float 1e3": (lambda w: train(w, tokens=1e3), lambda run: run.finished),
    "TopK float": (lambda w: sk.TopK(d_sae=64.0, k=4.0), lambda method: repr(method.d_sae) == "64" and method.k == 4),
    "train lr huge": (lambda w: train(w, lr=1e4), lambda run: run.finished),
    "evaluate run instead of dict": (
        lambda w: sk.evaluate(w.model, train(w), w.held, tokens=200, ce_tokens=50),
        lambda report: report.tokens == 200,
    ),
    "evaluate corpus name": (
        lambda w: sk.evaluate(w.model, w.sae, "microworld", tokens=200, ce_tokens=50),
        lambda report: "train" in str(report).splitlines()[0],
    ),
    "edit latent float": (lambda w: sk.Edit(w.sae, latent=3.0, mode="ablate"), lambda edit: edit.latents == [3]),
    "edit latent numpy int": (lambda w: sk.Edit(w.sae, latent=np.int64(3), mode="ablate"), lambda e: e.latents == [3]),
    "edit latent tensor": (lambda w: sk.Edit(w.sae, latent=torch.tensor(3), mode="ablate"), lambda e: e.latents == [3]),
    "edit clamp": (lambda w: sk.Edit(w.sae, latent=3, mode="clamp", strength=2), lambda edit: edit.strength == 2),
    "encode NumPy": (lambda w: w.sae.encode(np.ones((3, 128))), lambda codes: codes.shape == (3,)),
    "edited no list": (generate, lambda text: text.startswith("Anna")),
    "FeatureStore(path)": (lambda w: sk.FeatureStore("store"), lambda store: store.tokens == 1500),
    "browser with the model": (
        lambda w: sk.FeatureBrowser(w.store, model=w.model),
        lambda browser: browser.feature >= 0,
    ),
    "browser path": (lambda w: sk.FeatureBrowser("store"), lambda browser: browser.feature >= 0),
    "browser feature float": (lambda w: sk.FeatureBrowser(w.store, feature=3.0), lambda browser: browser.feature == 3),
    "browser filter tuple": (
        lambda w: sk.FeatureBrowser(w.store, filter={"density": (0, 0.1)}),
        lambda browser: list(browser.filter["density"]) == [0, 0.1],
    ),
    "examples default": (lambda w: w.store.examples(3), lambda examples: "top" in repr(examples)),
    "features_on": (
        lambda w: sk.features_on(w.model, w.sae, "Anna gave the book to Peter"),
        lambda f: len(f.latents) > 9,
    ),
    "build in a name that looks like a file": (
        lambda w: sk.FeatureStore.build(w.model, w.sae, w.held, "x.npy", tokens=100),
        lambda store: store.tokens == 100,
    ),
}


def answer(name: str, call: Any, world: World) -> BaseException | None:
    try:
        call(world)
    except Exception as error:
        return error
    return None


@pytest.mark.parametrize("name", REFUSED)
def test_one_sentence_with_the_value_and_the_nearest_choice(world: World, name: str) -> None:
    call, sentence = REFUSED[name]
    error = answer(name, call, world)
    assert error is not None, f"{name} was taken"
    said = str(error)
    assert isinstance(error, TypeError | ValueError | LookupError | OSError | AttributeError), repr(error)
    assert re.search(sentence, said, re.IGNORECASE), said
    assert "\n" not in said.strip() and len(said) < 900, said
    frames = traceback.extract_tb(error.__traceback__)
    assert any(part in frames[-1].filename for part in ("saekit", "tests")), (
        f"{said} is not ours: {frames[-1].filename}"
    )


@pytest.mark.filterwarnings("ignore:these numbers are of the train split", "ignore:.*ended with a loss")
@pytest.mark.parametrize("name", TAKEN)
def test_taken(world: World, name: str) -> None:
    call, right = TAKEN[name]
    assert right(call(world)), name
