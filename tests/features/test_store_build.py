"""Building and opening: interrupted and gone on with, cut at a number of tokens, and every refusal."""

from __future__ import annotations

import json
import shutil
import signal
import threading
from pathlib import Path

import pandas
import pyarrow.parquet as pq
import pytest
import torch

import saekit as sk
from saekit.features import schema
from saekit.features.building import build, reading
from saekit.features.building.neighbours import Neighbours

SITE = "blocks.0.hook_resid_post"
NOUNS = ("cat", "dog", "man", "hat", "sea")
TEXTS = [f"the {a} {b} on a {c} and he is in it" for a in NOUNS for b in ("sat", "is") for c in "abcdefgh"]


@pytest.fixture
def sae() -> sk.Dictionary:
    torch.manual_seed(0)
    return sk.TopK(d_sae=20, k=3).build(sk.Wiring(SITE), {SITE: 16})


@pytest.fixture
def make(tiny_llama, sae, one_thread):
    """make(folder, **changes): a small store."""

    def make(folder: Path, source=TEXTS, **changes) -> sk.FeatureStore:
        settings = {"top": 3, "random": 3, "per_band": 2, "loss_examples": 1, "loss_effects": "all"} | changes
        return sk.FeatureStore.build(tiny_llama, sae, source, folder, **settings)

    return make


def tables(store: sk.FeatureStore) -> dict[str, pandas.DataFrame]:
    return {name: store.sql(f"select * from {name}") for name in schema.TABLES}


def assert_equal(a: sk.FeatureStore, b: sk.FeatureStore) -> None:
    for name, frame in tables(a).items():
        other = store_sorted(tables(b)[name])
        pandas.testing.assert_frame_equal(store_sorted(frame), other, rtol=1e-5, atol=1e-6, check_dtype=False)


def store_sorted(frame: pandas.DataFrame) -> pandas.DataFrame:
    keys = [name for name in ("latent", "kind", "band", "rank", "place", "concept") if name in frame]
    keys = [name for name in keys if name != "concept" or frame[name].dtype.kind != "O" or "latent" not in frame]
    return frame.sort_values(keys).reset_index(drop=True) if keys else frame


class Stop(KeyboardInterrupt):
    pass


@pytest.mark.parametrize("where", ["chunk", "table", "manifest"])
def test_it_goes_on_from_wherever_it_was_stopped(make, tmp_path, monkeypatch, capsys, where) -> None:
    """Stopped before every single file that it writes, one after the other, the store is the same in the end."""
    monkeypatch.setattr(reading, "CHUNK_TOKENS", 60)
    monkeypatch.setattr(build, "LATENTS_AT_ONCE", 6)
    whole = make(tmp_path / "whole")
    assert len(whole.manifest["chunks"]) > 3 and len(whole.manifest["parts"]) == 4
    names = {"chunk": (build, "write_chunk"), "table": (build, "write_table"), "manifest": (build.Build, "_write")}
    home, name = names[where]
    real, stops, opened = getattr(home, name), 0, 0

    def failing(*given):
        nonlocal calls
        calls += 1
        if calls == stops + 1:  # each attempt gets one file further
            raise Stop
        return real(*given)

    while True:
        calls = 0
        monkeypatch.setattr(home, name, failing)
        try:
            store = make(tmp_path / "stopped")
            if store.finished:
                break
            assert 0 < store.tokens <= whole.tokens and "half built" in repr(store) and store.latents().density.any()
            opened += 1
        except KeyboardInterrupt:
            with pytest.raises(ValueError, match=r"half built|no feature store"):
                sk.FeatureStore.open(tmp_path / "stopped")
        stops += 1
    assert stops >= 3 and opened and "the same call goes on" in capsys.readouterr().err
    assert_equal(whole, store)
    assert not (tmp_path / "stopped" / "reading").exists()
    before = sorted((tmp_path / "stopped").rglob("*.parquet"))
    changed = [path.stat().st_mtime_ns for path in before]
    make(tmp_path / "stopped")  # finished: nothing is written again
    assert [path.stat().st_mtime_ns for path in before] == changed


@pytest.fixture
def pressed(monkeypatch):
    """pressed(n): Ctrl-C comes while the n-th batch of 16 texts is read."""
    real = reading._columns

    def pressed(*moments: int) -> None:
        read = []

        def columns(*given):
            read.append(given)
            if len(read) in moments:
                signal.raise_signal(signal.SIGINT)
            return real(*given)

        monkeypatch.setattr(reading, "_columns", columns)

    return pressed


def test_stopped_while_it_reads_it_gives_what_was_read(
    make, tmp_path, monkeypatch, pressed, capsys, tiny_llama
) -> None:
    """No token that was read is lost, the tables are of these, and in the end those of a store that was never stopped:
    near misses and φ too, which are of the first tokens alone."""
    monkeypatch.setattr(reading, "CHUNK_TOKENS", 400)
    monkeypatch.setattr(reading, "NEAR_TOKENS", 400)
    monkeypatch.setattr(Neighbours.__init__, "__defaults__", (400,))
    whole = make(tmp_path / "whole", loss_effects="opened")
    assert len(whole.manifest["chunks"]) > 1
    pressed(2)
    part = make(tmp_path / "s", loss_effects="opened")
    assert not part.finished and part.tokens > 0 and signal.getsignal(signal.SIGINT) is signal.default_int_handler
    said = capsys.readouterr()
    of_these = "the features of these are made now, and the same call goes on"
    assert f"stopped at {part.tokens:,} tokens; {of_these}.\n" in said.err and said.out == ""
    assert f", half built ({part.tokens:,} tokens): 20 latents" in repr(part)
    assert "half built" in part.listing()["facts"]
    alone = make(tmp_path / "alone", TEXTS[:32], loss_effects="opened")
    assert part.tokens == alone.tokens
    assert_equal(part, alone)
    part.set_label(3, "kept")
    with pytest.raises(ValueError, match="are measured once it is built"):
        part.measure_loss_effects(tiny_llama)
    pressed(1)
    more = make(tmp_path / "s", loss_effects="opened")
    assert part.tokens < more.tokens < whole.tokens and not more.finished
    pressed()
    done = make(tmp_path / "s", loss_effects="opened")
    assert done.finished and len(done.manifest["chunks"]) > len(whole.manifest["chunks"])
    assert_equal(done, whole)
    assert done.labels.get(3)["label"] == "kept" and "half built" not in repr(done)


def test_stopped_before_anything_was_read_is_one_sentence(make, tmp_path, monkeypatch) -> None:
    def interrupted(*given, **how):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(reading, "tokenize", interrupted)
        with pytest.raises(KeyboardInterrupt, match=r"stopped before a token was read; .* keeps nothing\.") as stopped:
            make(tmp_path / "s")
    assert stopped.value._render_traceback_() == [str(stopped.value)]  # what a notebook shows in place of a traceback
    assert_equal(make(tmp_path / "s"), make(tmp_path / "whole"))


def test_stopped_among_the_features_it_gives_those_that_are_made(make, tmp_path, monkeypatch, tiny_llama) -> None:
    monkeypatch.setattr(build, "LATENTS_AT_ONCE", 6)
    real = build.write_table

    def interrupted(folder, name, number, part):
        if number == 2 and name in ("latents", "examples", "activations"):
            raise KeyboardInterrupt
        return real(folder, name, number, part)

    with monkeypatch.context() as patch:
        patch.setattr(build, "write_table", interrupted)
        store = make(tmp_path / "s")
    assert not store.finished and store.d_sae == 12 and "half built (12 of 20 latents)" in repr(store)
    assert len(store.latents()) == len(store.listing()["dead"]) == 12
    assert store.on_prompt(tiny_llama, "the cat sat")["latents"]
    with pytest.raises(IndexError, match=r"latent 12 is not in 0 … 11"):
        store.feature(12)
    assert_equal(make(tmp_path / "s"), make(tmp_path / "whole"))


def test_chunks_and_parts_do_not_change_what_is_found(make, tmp_path, monkeypatch) -> None:
    whole = make(tmp_path / "whole")
    monkeypatch.setattr(reading, "CHUNK_TOKENS", 50)
    monkeypatch.setattr(build, "LATENTS_AT_ONCE", 3)
    assert_equal(whole, make(tmp_path / "parts"))


@pytest.mark.parametrize("threads", [2, 3])
def test_parts_made_side_by_side_are_those_made_in_turn(make, tmp_path, monkeypatch, threads) -> None:
    monkeypatch.setattr(build, "LATENTS_AT_ONCE", 3)
    alone = make(tmp_path / "alone", loss_examples=0)
    torch.set_num_threads(threads)
    real, at_work, most = build.write_table, set(), []

    def writing(*given):
        at_work.add(threading.get_ident())
        most.append(len(at_work))
        return real(*given)

    monkeypatch.setattr(build, "write_table", writing)
    together = make(tmp_path / "together", loss_examples=0)
    assert max(most) > 1
    assert_equal(alone, together)
    assert alone.manifest["parts"] == together.manifest["parts"]


def test_of_parts_made_side_by_side_those_before_a_failure_are_kept(make, tmp_path, monkeypatch) -> None:
    monkeypatch.setattr(build, "LATENTS_AT_ONCE", 3)
    torch.set_num_threads(2)
    real = build.write_table

    def failing(folder, name, number, part):
        if number == 4:
            raise OSError("No space left on device")
        return real(folder, name, number, part)

    monkeypatch.setattr(build, "write_table", failing)
    with pytest.raises(OSError, match="No space"):
        make(tmp_path / "s", loss_examples=0)
    manifest = json.loads((tmp_path / "s" / "manifest.json").read_text())
    assert manifest["parts"] == [[0, 3], [3, 6], [6, 9], [9, 12]] and not manifest["finished"]
    monkeypatch.setattr(build, "write_table", real)
    assert_equal(make(tmp_path / "whole", loss_examples=0), make(tmp_path / "s", loss_examples=0))


def test_tokens_stops_at_exactly_so_many(make, tmp_path) -> None:
    store = make(tmp_path / "s", tokens=37)
    assert store.tokens == 37 == int(store.sql("select sum(counted::int) as n from tokens").n[0])
    assert (
        store.sql("select count(*) as n from documents").n[0]
        == store.sql("select max(document) + 1 as n from tokens").n[0]
    )
    assert (
        store.sql("select sum(firings) as n from latents").n[0]
        == store.sql("select count(*) as n from activations").n[0]
    )


def test_a_token_tensor_and_special_tokens_that_are_not_counted(make, tmp_path, tiny_llama) -> None:
    rows = sk.activations.tokenize(tiny_llama, [text + "</s>" for text in TEXTS[:4]])
    store = make(tmp_path / "t", rows.tokens, exclude="special")
    tokens = store.sql("select * from tokens")
    assert not tokens.counted[tokens.token == tiny_llama.tokenizer.eos_token_id].any()
    assert store.tokens == int((rows.positions >= 0).sum()) - 4 == tokens.counted.sum()
    fired = store.sql("select distinct t.counted from activations join tokens t using (place)")
    assert fired.counted.tolist() == [True]


def test_very_active_latents_keep_a_sample_of_their_firings(make, tmp_path) -> None:
    whole, few = make(tmp_path / "whole"), make(tmp_path / "few", most_firings=10)
    pandas.testing.assert_frame_equal(whole.latents(all=True), few.latents(all=True))
    counts = few.sql("select latent, count(*) as n from activations group by latent").set_index("latent").n
    truth = whole.latents().firings
    many = truth[truth > 60].index
    assert len(many) and (counts[many] < truth[many]).all() and (counts[many] >= 5).all()
    for kind in schema.KINDS:  # what the examples show is whole
        assert few.examples(int(many[0]), kind).examples == whole.examples(int(many[0]), kind).examples
    with pytest.raises(ValueError, match="most_firings="):
        few.held_out(int(many[0]))


def test_refusals(make, tmp_path, sae, tiny_gpt2, tiny_llama) -> None:
    store = make(tmp_path / "s")
    with pytest.raises(
        ValueError,
        match=r"holds another store; it differs in settings\.top \(there 3, here 4\)\. Choose another folder",
    ):
        make(tmp_path / "s", top=4)
    with torch.no_grad():
        sae.decoder_bias += 1
    with pytest.raises(ValueError, match=r"differs in dictionary\.fingerprint \(there '\w+…', here '\w+…'\)"):
        make(tmp_path / "s")
    with pytest.raises(ValueError, match="this model has"):
        store.check_model(tiny_gpt2)
    with pytest.raises(ValueError, match="this model has"):
        store.on_prompt(tiny_gpt2, "the cat")
    with pytest.raises(ValueError, match=r"a model is what sk.load_model\('.*'\) gives, found TopKDictionary"):
        store.check_model(sae)
    store.check_model(tiny_llama)
    assert "dictionary" not in vars(store)  # hashes that agree are enough
    with pytest.raises(ValueError, match="no token to count"):
        make(tmp_path / "empty", [""])
    with pytest.raises(ValueError, match="is endless"):
        make(tmp_path / "endless", sk.load_corpus("microworld"))
    with pytest.raises(ValueError, match="the closest is 'random'"):
        store.examples(0, "randon")
    with pytest.raises(IndexError, match=r"latent 20 is not in 0 … 19"):
        store.view(20)
    for name in ("seed", "top", "per_band", "random", "loss_examples"):
        with pytest.raises(ValueError, match=f"{name} must be at least 0, found -1"):
            make(tmp_path / "e", **{name: -1})
    with pytest.raises(ValueError, match="most_firings must be at least 1, found 0"):
        make(tmp_path / "e", most_firings=0)
    sae.save(tmp_path / "dictionary")
    with pytest.raises(ValueError, match=r"dictionary holds '.*' and no store: choose a folder"):
        make(tmp_path / "dictionary")
    (tmp_path / "file").write_text("x")
    with pytest.raises(ValueError, match="file is a file"):
        make(tmp_path / "file")
    with pytest.raises(ValueError, match=r"engine cannot be 'spark'; the closest is 'ray' \(of local, ray\)"):
        make(tmp_path / "e", engine="spark")
    with torch.no_grad():
        sae.encoder_bias[0] = torch.nan
    with pytest.raises(ValueError, match="codes are NaN or infinite"):
        make(tmp_path / "nan")


def test_a_damaged_store_says_so(make, tmp_path) -> None:
    with pytest.raises(ValueError, match="is no feature store"):
        sk.FeatureStore.open(tmp_path)
    store = make(tmp_path / "s")
    manifest = json.loads((tmp_path / "s" / "manifest.json").read_text())
    for change, words in ({"version": 99}, "schema version 99"), ({"format": "other"}, "should hold 'saekit.features'"):
        shutil.copytree(tmp_path / "s", tmp_path / "other", dirs_exist_ok=True)
        (tmp_path / "other" / "manifest.json").write_text(json.dumps(manifest | change))
        with pytest.raises(ValueError, match=words):
            sk.FeatureStore.open(tmp_path / "other")
    part = tmp_path / "s" / "activations" / "part-0000.parquet"
    part.write_bytes(part.read_bytes()[:500])
    with pytest.raises(ValueError, match=r"part-0000\.parquet"):
        store.examples(1, "top")
    view = store.view(1)  # the other tables are unharmed
    assert "part-0000.parquet" in view["absent"]["examples"] and not any(view["examples"].values())
    assert view["latent"] == 1 and view["logits"] and view["histogram"]
    assert "part-0000.parquet" in store.feature(1)._repr_html_()
    with pytest.raises(ValueError, match=r"part-0000\.parquet"):
        store.export_neuronpedia(tmp_path / "exported")
    part.unlink()
    with pytest.raises(ValueError, match="missing or damaged"):
        sk.FeatureStore.open(tmp_path / "s")


def test_the_schema_is_what_is_written(make, tmp_path) -> None:
    store = make(tmp_path / "s")
    for name, kind in schema.TABLES.items():
        if name in schema.BY_HEADS:  # of dictionaries that read heads: test_store_heads
            continue
        files = list((store.folder / name).glob("*.parquet")) or [store.folder / f"{name}.parquet"]
        assert all(pq.read_schema(file).remove_metadata().equals(kind) for file in files)
    loaded = store.dictionary
    x = torch.randn(5, 16)
    assert torch.equal(loaded.encode_dense(x), sk.load_dictionary(store.folder / "dictionary").encode_dense(x))
