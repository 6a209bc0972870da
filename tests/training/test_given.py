"""What people give sk.train: taken, or one sentence with the argument, what was found and the nearest valid choice."""

from __future__ import annotations

import functools
import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch

import saekit as sk
from saekit.activations.arrays import as_array

X = np.random.default_rng(0).normal(size=(600, 12)).astype(np.float32)
METHOD = sk.TopK(d_sae=24, k=3)
SITE = "blocks.2.hook_resid_post"
TEXTS = [f"the cat sat on {a} and the {b} saw it in the other room" for a in "abcdefgh" for b in ("dog", "bat", "hen")]


def train(x: Any, site: Any = None, method: Any = METHOD, **keywords: Any) -> sk.Run:
    keywords = {"tokens": 600, "batch_size": 100, "callback": lambda _: None, "dtype": torch.float32} | keywords
    return sk.train(x, site, method, **keywords)


@functools.cache
def weights() -> dict[str, torch.Tensor]:
    return train(torch.tensor(X)).dictionary.state_dict()


def as_from_the_tensor(run: sk.Run) -> bool:
    return all(torch.equal(t, weights()[name]) for name, t in run.dictionary.state_dict().items())


# -- arrays ------------------------------------------------------------------------------------------------------------


def read_only(x: np.ndarray) -> np.ndarray:
    x = x.copy()
    x.setflags(write=False)
    return x


ARRAYS = {
    "NumPy": lambda: X,
    "read-only": lambda: read_only(X),
    "strided": lambda: np.repeat(X, 2, axis=0)[::2],
    "reversed": lambda: X[::-1].copy()[::-1],
    "big-endian": lambda: X.astype(">f4"),
    "objects": lambda: X.astype(object),
    "long double": lambda: X.astype(np.longdouble),
    "lists": lambda: X.tolist(),
    "a frame": lambda: pd.DataFrame(X),
    "a filtered frame": lambda: pd.DataFrame(np.concatenate([X, -X])).iloc[:600].loc[lambda f: f[0] < 1e9],
    "nullable numbers": lambda: pd.DataFrame(X).astype("Float64"),
    "a parameter": lambda: torch.nn.Parameter(torch.tensor(X)),
}


@pytest.mark.parametrize("kind", ARRAYS)
def test_arrays_of_any_kind_are_taken(kind):
    assert as_from_the_tensor(train(ARRAYS[kind]()))


@pytest.mark.parametrize("kind", [str, Path])
def test_a_npy_file_is_taken_by_its_path(kind, tmp_path):
    np.save(tmp_path / "x.npy", X)
    assert as_from_the_tensor(train(kind(tmp_path / "x.npy")))
    both = train({"in": kind(tmp_path / "x.npy"), "out": pd.DataFrame(2 * X)}, sk.Wiring("in", "out")).dictionary
    assert (both.reads, both.writes) == (("in",), ("out",))


@pytest.mark.parametrize("dtype", ["int16", "uint8", "bool", "float16", "float64"])
def test_numbers_of_other_kinds_are_taken(dtype):
    assert train((10 * X.clip(min=0)).astype(dtype)).finished


REFUSED = {
    "text": (lambda: np.array([["a", "b"]]), r"array of real numbers, found dtype <U1"),
    "complex": (lambda: X.astype(complex), r"array of real numbers, found dtype complex128"),
    "a complex tensor": (lambda: torch.tensor(X).to(torch.complex64), "array of real numbers, found torch.complex64"),
    "a frame with text": (
        lambda: pd.DataFrame({"a": [1.0], "b": ["y"]}),
        r"its column 'b' is (str|object): leave it out",
    ),
    "a missing number": (lambda: pd.DataFrame(X).astype("Float64").mask(X > 2), "found dtype object"),
    "nan": (lambda: np.where(X > 2, np.nan, X), "NaN activations at 'x' in batch"),
    "ragged lists": (lambda: [[1.0, 2.0], [3.0]], "rows are equally long"),
    "a column": (lambda: pd.Series(X[:, 0]), r"\[n, d\] with n ≥ 1, found shape \(600,\)"),
    "rows of texts": (lambda: X.reshape(50, 12, 12), r"found shape \(50, 12, 12\) \(x.flatten\(0, -2\) makes rows"),
    "a model's name": (lambda: "micro", r"found 'micro'; a model is loaded first, sk.load_model\('micro'\)"),
    "another file": (lambda: "x.pt", r"of a .npy file, found 'x.pt'"),
    "no file": (lambda: "no.npy", "no.npy is missing, cut or no .npy file"),
    "nothing": (lambda: None, "found None"),
    "a module": (lambda: torch.nn.Linear(3, 3), r"found a Linear; those of any module .*harvest"),
    "a dictionary": (lambda: train(X).dictionary, "model is a model, found a dictionary: the call is sk.train"),
    "the same rows": (
        lambda: np.full((600, 12), 0.1),
        "activations do not vary: all of the first batch at 'x' are the same",
    ),
    "zeros": (lambda: np.zeros((600, 12)), "do not vary: all of the first batch at 'x' are 0"),
    "one row": (lambda: X[:1], "do not vary"),
}


@pytest.mark.parametrize("kind", REFUSED)
def test_what_is_no_array_is_one_sentence(kind):
    given, message = REFUSED[kind]
    with pytest.raises((TypeError, ValueError), match=message):
        train(given())


def test_pickled_objects_in_a_file_are_not_read(tmp_path):
    np.save(tmp_path / "x.npy", np.array([{}], dtype=object), allow_pickle=True)
    with pytest.raises(ValueError, match=r"no .npy file of numbers"):
        as_array(tmp_path / "x.npy")


def test_activations_on_an_autograd_graph_leave_it_alone():
    x = torch.tensor(X, requires_grad=True)
    assert as_from_the_tensor(train(x * 1.0)) and x.grad is None
    run = train({"in": x, "out": 2 * x}, sk.Wiring("in", "out"))
    assert run.finished and x.grad is None


def test_a_batch_of_one_token_and_a_batch_that_happens_not_to_vary():
    """Their explained variance is not defined."""
    run = train(X, tokens=20, batch_size=1)
    assert run.finished and all(np.isnan(r["explained_variance"]) for r in run.records)
    mixed = np.concatenate([X[:3], np.repeat(X[:1], 60, axis=0)])
    assert train(mixed, tokens=400, batch_size=4).finished


# -- where it stands ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", [str, sk.Wiring])
def test_a_tensor_keeps_its_site(kind, tmp_path):
    sae = train(torch.tensor(X), kind(SITE), out=tmp_path).dictionary
    assert sae.reads == sae.writes == (SITE,) and sk.load_dictionary(tmp_path).site == SITE
    assert all(torch.equal(t, weights()[name]) for name, t in sae.state_dict().items())
    with pytest.raises(ValueError, match=r"one array is of one site, found a, b: give \{site: array\} for several"):
        train(X, ["a", "b"])
    with pytest.raises(ValueError, match=r"reads sites by name, such as 'blocks.2.hook_resid_post', found 2"):
        train(X, 2)


@pytest.mark.filterwarnings("ignore:this dictionary does not say which model it was made on")
def test_a_dictionary_of_a_tensor_is_one_of_the_model(tiny_gpt2, tmp_path):
    """With its site at once, without one by ``on``: evaluated, stored, spliced and edited."""
    site = "blocks.1.hook_resid_post"
    x = sk.activations.harvest(tiny_gpt2, TEXTS, site).flat(site)
    named, plain = train(x, site, tokens=3000).dictionary, train(x, tokens=3000).dictionary
    assert plain.reads == ("x",)
    for number, sae in enumerate([named, plain.on(tiny_gpt2, site=site)]):
        assert sae.site == site
        report = sk.evaluate(tiny_gpt2, sae, TEXTS)
        assert report.explained_variance == pytest.approx(sk.metrics.explained_variance(x, named(x)), abs=1e-4)
        store = sk.FeatureStore.build(tiny_gpt2, sae, TEXTS, tmp_path / str(number), tokens=200)
        assert len(store.latents()) == 24
        with sk.spliced(tiny_gpt2, sae):
            tiny_gpt2(TEXTS[0])
        with sk.edited(tiny_gpt2, [sk.Edit(sae, latent=3, mode="ablate")]):
            tiny_gpt2(TEXTS[0])
    with pytest.raises(ValueError, match=r"values at 'blocks.1.mlp.hook_out'|no hook"):
        train(X).dictionary.on(tiny_gpt2, site="blocks.1.mlp.hook_out")


def test_what_was_harvested_is_trained_on_at_its_counted_tokens(tiny_gpt2, tmp_path):
    """Its model, hash and corpus are the dictionary's; no site means all that were harvested."""
    sites = ["blocks.0.hook_resid_post", "blocks.1.attn.hook_z"]
    acts = sk.activations.harvest(tiny_gpt2, TEXTS, sites)
    sae = train(acts, sites[0], out=tmp_path).dictionary
    alone = train(acts.flat(sites[0]), sites[0]).dictionary
    assert all(torch.equal(t, alone.state_dict()[name]) for name, t in sae.state_dict().items())
    assert sae.provenance.model_hash == tiny_gpt2.model_hash and alone.provenance.model_hash is None
    assert sae.provenance.corpus["fingerprint"] == acts.provenance["corpus"]["fingerprint"]
    assert sk.evaluate(tiny_gpt2, sae, TEXTS, ce_tokens=10).l0 <= 3
    assert train(acts).dictionary.read_widths == {sites[0]: 16, sites[1]: 16}
    with pytest.raises(ValueError, match=r"there is no array 'blocks.9.hook_resid_post'; the closest is 'blocks.0"):
        train(acts, "blocks.9.hook_resid_post")
    from saekit.training.__main__ import read_config

    with pytest.raises(ValueError, match=r"is of a run on an array or token tensor of one's own"):
        read_config(tmp_path / "config.json")


def test_outputs_of_any_module_and_the_path_of_a_store(tiny_gpt2, tmp_path):
    module = torch.nn.Sequential(torch.nn.Linear(12, 8), torch.nn.ReLU())
    acts = sk.activations.harvest(module, torch.tensor(X), ["0"])
    assert train(acts, "0").dictionary.read_widths == {"0": 8}
    site = "blocks.0.hook_resid_post"
    sk.activations.ActivationStore.build(tiny_gpt2, TEXTS, site, tmp_path / "s", tokens=300)
    assert train(str(tmp_path / "s"), site).dictionary.site == site


def test_a_corpus_beside_an_array_is_refused():
    with pytest.raises(ValueError, match="training on arrays takes no corpus"):
        sk.train(X, None, METHOD, ["the cat"])


# -- numbers and names -------------------------------------------------------------------------------------------------


def test_numbers_as_people_give_them_are_the_same_run(tmp_path):
    plain = train(X, lr=1e-3, warm_up=100, decay=100, dead_after=200, seed=3, out=tmp_path / "a")
    given = train(
        X,
        None,
        sk.TopK(d_sae=24.0, k=np.int32(3)),
        tokens=6e2,
        batch_size=np.int64(100),
        lr=np.float64(1e-3),
        warm_up=1e2,
        decay=torch.tensor(100),
        dead_after=np.float32(200),
        seed=np.int8(3),
        dtype="float32",
        out=tmp_path / "b",
    )
    assert torch.equal(plain.dictionary.decoder_directions, given.dictionary.decoder_directions)
    configs = [json.loads((tmp_path / name / "config.json").read_text()) for name in "ab"]
    assert configs[0] == configs[1]
    assert train(X, method=METHOD.to_json()).dictionary.method == METHOD


@pytest.mark.parametrize(
    ("keywords", "error", "message"),
    [
        ({"tokens": "2000"}, TypeError, "tokens is a whole number from 1, found '2000', a string: write 2000"),
        ({"tokens": 600.5}, ValueError, "tokens is a whole number from 1, found 600.5; the nearest is 600"),
        ({"tokens": 0}, ValueError, "tokens must be at least 1, found 0"),
        ({"lr": "1e-3"}, TypeError, "lr is a number, found '1e-3', a string: write 0.001"),
        ({"lr": float("nan")}, ValueError, "lr is a number, found nan"),
        ({"lr": float("inf")}, ValueError, "lr must be above 0, found inf"),
        ({"batch_size": True}, TypeError, "batch_size is a whole number from 1, found True"),
        ({"decay": -1}, ValueError, "decay is a number of tokens from 0, found -1"),
        ({"warm_up": "1"}, TypeError, "warm_up is a whole number from 0, found '1', a string: write 1"),
        ({"max_norm_multiple": 1}, ValueError, "max_norm_multiple is a number above 1, found 1"),
        ({"seed": "a"}, TypeError, "seed is a whole number from 0, found 'a', a string"),
        ({"dtype": "half"}, ValueError, "dtype cannot be 'half'; the closest is"),
        ({"token": 5}, TypeError, "train takes no token=: it is called tokens= here"),
        ({"n_tokens": 5}, TypeError, "train takes no n_tokens=: it is called tokens= here"),
        ({"learning_rate": 5}, TypeError, "train takes no learning_rate=: it is called lr= here"),
        ({"batchsize": 5}, TypeError, "train takes no batchsize=: it is called batch_size= here"),
        ({"epochs": 5}, TypeError, "train takes no epochs=: tokens= says how long to train"),
        ({"k": 5}, TypeError, "train takes no k=: it belongs to the method, such as sk.TopK"),
        ({"zzz": 5}, TypeError, "train takes no zzz=; it takes model, site, method, corpus, tokens"),
        ({"method": sk.TopK}, ValueError, r"found <class .*TopK'> \(call it: TopK\(d_sae=…\)\)"),
        ({"method": [METHOD, sk.TopK]}, ValueError, r"call it: TopK"),
        ({"method": "topk"}, ValueError, r"found 'topk' \(write sk.TopK\(d_sae=…\)\)"),
        ({"method": {"d_sae": 64}}, ValueError, r"found {'d_sae': 64} \(a mapping names it too"),
        ({"method": {"method": "TopKK", "d_sae": 64}}, ValueError, r"method 'TopKK' is not known here"),
        ({"method": None}, ValueError, "takes a method such as .*found None"),
    ],
    ids=str,
)
def test_what_only_looks_like_it_is_one_sentence(keywords, error, message):
    with pytest.raises(error, match=message):
        train(X, **keywords)


@pytest.mark.parametrize(
    ("make", "expected"),
    [
        (lambda: sk.TopK(d_sae=64.0, k=4.0), sk.TopK(d_sae=64, k=4)),
        (lambda: sk.TopK(d_sae=np.int64(64), k=torch.tensor(4)), sk.TopK(d_sae=64, k=4)),
        (lambda: sk.JumpReLU(d_sae=64, l0=np.float64(8)), sk.JumpReLU(d_sae=64, l0=8)),
        (lambda: sk.BatchTopK(d_sae=64, k=np.float32(2.5)), sk.BatchTopK(d_sae=64, k=2.5)),
        (
            lambda: sk.EndToEnd(sk.TopK(d_sae=np.int64(64)), base_weight=np.int64(3)),
            sk.EndToEnd(sk.TopK(64), base_weight=3),
        ),
        (lambda: sk.dictionaries.PCA(d_sae=8.0), sk.dictionaries.PCA(d_sae=8)),
    ],
)
def test_fields_of_a_method_are_pythons_own_numbers(make, expected):
    assert make() == expected and json.loads(json.dumps(make().to_json())) == expected.to_json()


@pytest.mark.parametrize(
    ("make", "error", "message"),
    [
        (lambda: sk.TopK(d_sae="64"), TypeError, "d_sae is a number, found '64', a string: write 64"),
        (lambda: sk.TopK(d_sae=64.5), ValueError, "d_sae is a whole number from 1, found 64.5; the nearest is 64"),
        (lambda: sk.TopK(d_sae=64, k=True), TypeError, "k is a number, found True"),
        (lambda: sk.TopK(n_latents=64, k=4), TypeError, "TopK takes no n_latents=: it is called d_sae= here"),
        (lambda: sk.TopK(dsae=64), TypeError, "TopK takes no dsae=: it is called d_sae= here"),
        (
            lambda: sk.TopK(expansion=8, k=4),
            TypeError,
            "TopK takes no expansion=: d_sae= is the number of latents itself",
        ),
        (lambda: sk.ReLU(d_sae=64, l1_coefficient=1), TypeError, "it is called sparsity_weight= here"),
        (lambda: sk.TopK(d_sae=64, zzz=1), TypeError, "TopK takes no zzz=; it takes d_sae, k, auxk_weight, skip"),
        (lambda: sk.EndToEnd(METHOD, weight=1), TypeError, "EndToEnd takes no weight=: it is called base_weight= here"),
        (lambda: sk.Gated(d_sae=64, l0="8"), TypeError, "l0 is a number, found '8', a string: write 8"),
    ],
)
def test_a_field_that_is_none_is_one_sentence(make, error, message):
    with pytest.raises(error, match=message):
        make()


def test_a_run_that_ends_worse_than_the_mean_says_so_once(tmp_path, capsys):
    run = train(X, tokens=3000, lr=1e4, out=tmp_path)
    said = capsys.readouterr().err
    assert said.count("training ended worse than the mean") == 1 and "try a smaller lr (now 10000)" in said
    assert run.records[-1]["worse_than_mean"] == 1 and run.records[-1]["explained_variance"] < 0
    assert sum("worse_than_mean" in record for record in sk.Run.open(tmp_path).records) == 1
    good = train(X, method=[METHOD, sk.TopK(d_sae=24, k=6)], tokens=20_000)
    assert "worse" not in capsys.readouterr().err and not any("worse_than_mean" in r for r in good.records)
