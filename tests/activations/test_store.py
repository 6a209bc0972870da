"""The store on disk: what it holds, that a kill at any moment costs one shard, damage, and training on it."""

from __future__ import annotations

import json

import pytest
import torch

import saekit as sk
from saekit.activations import ActivationStore, StoreStream, StreamState, harvest, model_worker, store
from saekit.corpora import load_corpus

SITES = ["blocks.0.hook_resid_post", "blocks.1.hook_mlp_out"]
TEXTS = [f"The cat number {i} sat on the mat and looked at {i % 7} dogs." for i in range(60)]


def build(model, folder, tokens=10_000, **more):
    return ActivationStore.build(model, TEXTS, SITES, folder, tokens=tokens, shard_tokens=200, **more)


@pytest.fixture(scope="module")
def built(tiny_gpt2, tmp_path_factory):
    return build(tiny_gpt2, tmp_path_factory.mktemp("store") / "s", dtype=torch.float32)


def everything(opened, name):
    return torch.cat([opened.shard(number, [name])[name] for number in range(len(opened.shards))])


def test_it_holds_what_harvest_gives(tiny_gpt2, built):
    acts = harvest(tiny_gpt2, TEXTS, SITES)
    opened = ActivationStore.open(built.folder)
    assert opened.sites == SITES and len(opened) == int(acts.mask.sum()) and len(opened.shards) > 3 and opened.finished
    for site in SITES:
        assert torch.allclose(everything(opened, site), acts.flat(site), atol=1e-5)
    assert torch.equal(everything(opened, "token"), acts.tokens[acts.mask].int())
    assert torch.equal(everything(opened, "position"), acts.rows.positions[acts.mask].int())
    documents = acts.rows.documents[:, None].expand_as(acts.mask)[acts.mask]
    assert torch.equal(everything(opened, "document"), documents.int())
    assert opened.provenance["model_hash"] == tiny_gpt2.model_hash and not opened.damaged()
    assert "shards" in repr(opened)


def test_heads_are_kept_side_by_side(tiny_llama, tmp_path):
    """Four of z and two of k, of width 4; what trains on the store reads them as one activation."""
    sites = ["blocks.0.attn.hook_z", "blocks.0.attn.hook_k"]
    kept = ActivationStore.build(tiny_llama, TEXTS, sites, tmp_path, tokens=10_000, dtype=torch.float32)
    acts = harvest(tiny_llama, TEXTS, sites)
    assert kept.widths == {sites[0]: 16, sites[1]: 8}
    for site in sites:
        assert torch.allclose(everything(kept, site), acts[site].flatten(2)[acts.mask], atol=1e-5)
    run = sk.train(kept, sites[1], sk.TopK(d_sae=12, k=2), tokens=512, batch_size=64, callback=lambda progress: None)
    assert run.dictionary.d_in == 8


def test_half_precision_is_half_as_large(tiny_gpt2, built, tmp_path):
    half = build(tiny_gpt2, tmp_path)
    x, y = (everything(each, SITES[0]) for each in (built, half))
    assert y.dtype == torch.float16 and torch.allclose(x, y.float(), rtol=1e-3, atol=1e-2)


@pytest.mark.parametrize("moment", range(12))
def test_killed_at_any_moment(tiny_gpt2, built, tmp_path, monkeypatch, moment):
    """Die at the n-th write or read; the same call then ends with the same store."""
    calls = 0

    def deadly(function):
        def wrapper(*arguments, **more):
            nonlocal calls
            calls += 1
            if calls == moment + 2:
                raise SystemExit
            return function(*arguments, **more)

        return wrapper

    with monkeypatch.context() as patch, pytest.raises(SystemExit):
        for module, name in ((store, "save_file"), (model_worker, "forward"), (store, "_digest")):
            patch.setattr(module, name, deadly(getattr(module, name)))
        patch.setattr(store.json, "dumps", deadly(json.dumps))
        build(tiny_gpt2, tmp_path, dtype=torch.float32)
    again = build(tiny_gpt2, tmp_path, dtype=torch.float32)
    assert again.manifest == built.manifest
    assert all(torch.equal(everything(again, name), everything(built, name)) for name in [*SITES, "document"])


@pytest.mark.parametrize("moment", [0, 8])
def test_stopped_it_gives_its_whole_shards_and_goes_on(tiny_gpt2, built, tmp_path, monkeypatch, capsys, moment):
    real, read = store.joined, []

    def stopped(*given):
        read.append(given)
        if len(read) > moment:
            raise KeyboardInterrupt
        return real(*given)

    with monkeypatch.context() as patch:
        patch.setattr(store, "joined", stopped)
        if not moment:
            with pytest.raises(KeyboardInterrupt, match=r"stopped before a shard was full; .* keeps nothing\."):
                build(tiny_gpt2, tmp_path / "s", dtype=torch.float32)
        else:
            part = build(tiny_gpt2, tmp_path / "s", dtype=torch.float32)
            assert not part.finished and 0 < len(part) < len(built)
            kept = f"keeps {len(part):,} of 10,000 tokens, and the same call goes on.\n"
            assert capsys.readouterr().err.endswith(kept)
    whole = build(tiny_gpt2, tmp_path / "s", dtype=torch.float32)
    for site in SITES:
        assert torch.equal(everything(whole, site), everything(built, site))


def test_more_tokens_later(tiny_gpt2, built, tmp_path):
    first = build(tiny_gpt2, tmp_path, tokens=300, dtype=torch.float32)
    assert 300 <= len(first) < len(built) and first.finished
    more = build(tiny_gpt2, tmp_path, dtype=torch.float32)
    assert len(more) == len(built) and torch.equal(everything(more, SITES[1]), everything(built, SITES[1]))


def test_damage_is_named_and_the_rest_is_usable(tiny_gpt2, tmp_path):
    whole = build(tiny_gpt2, tmp_path)
    cut, flipped = (tmp_path / whole.shards[number]["file"] for number in (0, 2))
    cut.write_bytes(cut.read_bytes()[:-40])
    content = bytearray(flipped.read_bytes())
    content[-5] ^= 64
    flipped.write_bytes(content)
    opened = ActivationStore.open(tmp_path)
    assert opened.damaged() == [cut.name, flipped.name]
    with pytest.raises(ValueError, match=f"shard .*{cut.name} is missing or damaged.*skip_damaged=True"):
        opened.shard(0)
    with pytest.warns(UserWarning, match=f"left out of .*: {cut.name}, {flipped.name}"):
        rest = ActivationStore.open(tmp_path, skip_damaged=True)
    assert len(rest) == len(whole) - whole.shards[0]["tokens"] - whole.shards[2]["tokens"]
    sk.train(rest, SITES[0], sk.TopK(d_sae=20, k=2), tokens=400, batch_size=50, callback=lambda _: None)


def test_a_stream_gives_everything_once_a_pass_in_an_order_of_its_seed(built):
    n = len(built)
    passes = {}
    for seed in (0, 0, 1):
        batches = iter(StoreStream(built, SITES[:1], 10, seed))
        passes.setdefault(seed, []).append(torch.cat([next(batches)[SITES[0]] for _ in range(n // 10)]))
    assert torch.equal(*passes[0]) and not torch.equal(passes[0][0], passes[1][0])
    seen = {tuple(row.tolist()) for row in passes[0][0]}
    assert len(seen & {tuple(row.tolist()) for row in everything(built, SITES[0])}) == len(seen)


def test_a_stream_goes_on_from_its_state(built, monkeypatch):
    monkeypatch.setattr("saekit.activations.shuffled.CHUNK_TOKENS", 250)
    stream = StoreStream(built, SITES, 32, seed=5)
    batches = [(batch, stream.state) for batch, _ in zip(stream, range(60), strict=False)]
    for at in (0, 3, 7, 20, 41):
        again = next(iter(StoreStream(built, SITES, 32, seed=5, state=batches[at][1])))
        assert all(torch.equal(again[site], batches[at + 1][0][site]) for site in SITES)


def test_training_on_a_store(tiny_gpt2, built, tmp_path):
    quiet = {"tokens": 3_000, "batch_size": 100, "callback": lambda _: None}
    run = sk.train(built, SITES[0], sk.TopK(d_sae=40, k=4), out=tmp_path / "run", **quiet)
    assert run.dictionary.site == SITES[0] and run.dictionary.provenance.model_hash == tiny_gpt2.model_hash
    assert run.metrics["loss"].iloc[-1] < run.metrics["loss"].iloc[0]
    report = sk.evaluate(tiny_gpt2, run.dictionary, TEXTS)
    assert report.explained_variance > 0.3
    assert torch.isfinite(run.dictionary.latent_max).all() and run.dictionary.latent_max.max() > 0


def test_refused(tiny_gpt2, built, tmp_path):
    with pytest.raises(ValueError, match=r"is no activation store: its manifest\.json cannot be read"):
        ActivationStore.open(tmp_path)
    (tmp_path / "manifest.json").write_text('{"format": "other"}')
    with pytest.raises(ValueError, match=r"should hold 'saekit\.activations', version 1, found 'other'"):
        ActivationStore.open(tmp_path)
    with pytest.raises(ValueError, match=r"another store; it differs in dtype \(there 'float32', here 'float16'\)"):
        build(tiny_gpt2, built.folder)
    with pytest.raises(
        ValueError,
        match=r"does not hold 'blocks\.0\.hook_mlp_out'; the closest is '.*' \(of blocks\.0\.hook_resid_post",
    ):
        sk.train(built, "blocks.0.hook_mlp_out", sk.TopK(d_sae=4, k=1))
    with pytest.raises(ValueError, match="needs a site, and no corpus"):
        sk.train(built, SITES[0], sk.TopK(d_sae=4, k=1), load_corpus("microworld"))
    with pytest.raises(ValueError, match="no token to keep"):
        ActivationStore.build(tiny_gpt2, ["", ""], SITES, tmp_path / "empty", tokens=10)


def test_what_a_killed_process_left_half_written_is_removed(tiny_gpt2, built, tmp_path):
    (tmp_path / ".shard-00000.safetensors.1234").mkdir()
    (tmp_path / ".shard-00000.safetensors.1234" / ".tmpAbCdEf").write_bytes(b"half")
    (tmp_path / ".own.txt").write_text("kept")
    build(tiny_gpt2, tmp_path, dtype=torch.float32)
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted(
        [".own.txt", *(path.name for path in built.folder.iterdir())]
    )


def test_a_stream_of_half_precision_gives_float32_and_goes_on_from_any_state(tiny_gpt2, tmp_path, monkeypatch):
    monkeypatch.setattr("saekit.activations.shuffled.CHUNK_TOKENS", 250)
    half = build(tiny_gpt2, tmp_path)
    rows = {tuple(row.tolist()) for row in everything(half, SITES[0]).float()}
    stream = StoreStream(half, SITES[:1], 32, seed=5)
    batches = [(batch[SITES[0]], stream.state) for batch, _ in zip(stream, range(40), strict=False)]
    assert all(x.dtype == torch.float32 and {tuple(row.tolist()) for row in x} <= rows for x, _ in batches)
    for at in (0, 7, 20, 38):
        state = batches[at][1]
        carried = {site: x.float() for site, x in state.carried.items()}  # as in checkpoints of before
        for begun in (state, StreamState(state.documents, state.chunk, state.batches, carried)):
            again = next(iter(StoreStream(half, SITES[:1], 32, seed=5, state=begun)))
            assert torch.equal(again[SITES[0]], batches[at + 1][0])
