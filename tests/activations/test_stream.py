"""The shuffled stream: every counted token once a pass, seeded, and resumable at any batch, bit for bit."""

from __future__ import annotations

import copy
from collections import Counter
from itertools import islice

import pytest
import torch

from saekit.activations import ActivationStream, StreamState, harvest
from saekit.activations import shuffled as stream_module
from saekit.corpora import Corpus, Document
from saekit.models import load_model

SITE = "blocks.0.hook_resid_post"
LETTERS = "bcdefghjklmnpqrsuvwxyzBCDEFGHIJKLMNPQRSTUVWXYZ"


def documents(n: int) -> list[str]:
    """n documents of ten tokens each, one a character; the first 46 begin differently, so that all their tokens do."""
    return [f"{LETTERS[i % 46]}{LETTERS[i // 46]}0{LETTERS[i % 7]}1{LETTERS[i % 5]}2zz3" for i in range(n)]


def which(batches: list[torch.Tensor], known: torch.Tensor) -> list[int]:
    """The row of ``known`` (no two alike) that each activation is, whatever company it was computed in."""
    assert bool((torch.cdist(known, known) + torch.eye(len(known)) > 1e-2).all())
    nearest = torch.cdist(torch.cat(batches), known, compute_mode="donot_use_mm_for_euclid_dist").min(1)
    assert bool((nearest.values < 1e-4).all())
    return nearest.indices.tolist()


def everyone(known: torch.Tensor, times: int = 1) -> Counter[int]:
    return Counter({i: times for i in range(len(known))})


def take(stream, n: int, site: str = SITE) -> list[torch.Tensor]:
    return [batch[site].clone() for batch in islice(stream, n)]


@pytest.fixture
def small_chunks(monkeypatch):
    """A chunk ends after 16 documents (160 tokens of the documents above), as it does after 2**15 tokens otherwise."""
    monkeypatch.setattr(stream_module, "CHUNK_TOKENS", 1)


@pytest.mark.parametrize(("batch_size", "passes"), [(32, 1), (48, 3), (160, 1), (7, 7)])
def test_every_counted_token_appears_once_a_pass(tiny_gpt2, small_chunks, batch_size, passes):
    known = harvest(tiny_gpt2, documents(32), SITE).flat(SITE)
    assert len(known) == 320
    batches = take(ActivationStream(tiny_gpt2, [SITE], documents(32), batch_size), passes * 320 // batch_size)
    assert all(batch.shape == (batch_size, 16) and batch.dtype == torch.float32 for batch in batches)
    assert Counter(which(batches, known)) == everyone(known, passes)


def test_windows_of_long_documents_and_empty_ones_are_read_too(tiny_gpt2, small_chunks):
    long = ("!#$%&()*+,-./:;=?@[]^_{}~" * 3)[:70]  # three rows that begin differently
    texts = ["", *documents(30), long]
    known = harvest(tiny_gpt2, texts, SITE).flat(SITE)
    assert len(known) == 370
    assert Counter(which(take(ActivationStream(tiny_gpt2, [SITE], texts, 37), 10), known)) == everyone(known)


def test_token_tensors(tiny_gpt2, small_chunks):
    tokens = torch.randint(3, 290, (32, 6), generator=torch.Generator().manual_seed(0))
    tokens[:, 0], tokens[:, 1] = 0, torch.arange(32) + 3
    known = harvest(tiny_gpt2, tokens, SITE).flat(SITE)
    assert len(known) == 160
    assert Counter(which(take(ActivationStream(tiny_gpt2, [SITE], tokens, 40), 4), known)) == everyone(known)


def test_several_sites_keep_their_tokens_together(tiny_gpt2, small_chunks):
    later = "blocks.1.hook_resid_post"
    stream = ActivationStream(tiny_gpt2, [SITE, later], documents(16), 50)
    acts = harvest(tiny_gpt2, documents(16), [SITE, later])
    for batch in islice(stream, 4):
        assert which([batch[SITE]], acts.flat(SITE)) == which([batch[later]], acts.flat(later))
    assert stream.widths == {SITE: 16, later: 16}


def test_heads_come_side_by_side(tiny_llama, small_chunks):
    site, texts = "blocks.1.attn.hook_z", documents(16)
    stream = ActivationStream(tiny_llama, [site], texts, 32)
    acts = harvest(tiny_llama, texts, site)
    known = acts[site].flatten(2)[acts.mask]
    batches = take(stream, 5, site)
    assert stream.widths == {site: 16} and all(batch.shape == (32, 16) for batch in batches)
    assert Counter(which(batches, known)) == everyone(known)


def test_the_seed_decides(tiny_gpt2, small_chunks):
    def first(seed: int) -> list[torch.Tensor]:
        return take(ActivationStream(tiny_gpt2, [SITE], documents(16), 32, seed=seed), 3)

    assert all(map(torch.equal, first(5), first(5)))
    assert not any(map(torch.equal, first(5), first(6)))


def test_each_pass_has_an_order_of_its_own(tiny_gpt2, small_chunks):
    known = harvest(tiny_gpt2, documents(16), SITE).flat(SITE)
    stream = ActivationStream(tiny_gpt2, [SITE], documents(16), 160)
    orders = [which([batch], known) for batch in take(stream, 3)]
    assert all(sorted(order) == list(range(160)) for order in orders)
    assert len({tuple(order) for order in orders}) == 3
    texts = [document.text for document in islice(stream.documents(0), 48)]
    assert sorted(texts[:16]) == sorted(texts[16:32]) == sorted(documents(16))
    assert texts[:16] != texts[16:32] != texts[32:] and texts[:16] != documents(16)
    assert [document.text for document in islice(stream.documents(21), 27)] == texts[21:]


def test_each_chunk_is_shuffled_in_a_way_of_its_own(tiny_gpt2, small_chunks):
    """An endless corpus is read in its own order, so that the shuffle of a chunk is all there is."""
    corpus = Corpus(lambda: (Document(text) for _ in range(1000) for text in documents(16)), name="for ever")
    known = harvest(tiny_gpt2, documents(16), SITE).flat(SITE)
    orders = [which([batch], known) for batch in take(ActivationStream(tiny_gpt2, [SITE], corpus, 160), 3)]
    assert all(sorted(order) == list(range(160)) for order in orders)
    assert len({tuple(order) for order in [*orders, range(160)]}) == 4


@pytest.mark.parametrize("kind", ["finite", "endless", "tensor"])
def test_a_state_brings_back_the_following_batches_bit_for_bit(tiny_gpt2, small_chunks, kind):
    if kind == "finite":
        source = documents(40)  # 40 is no multiple of 16: chunks cross the end of a pass
    elif kind == "endless":
        source = Corpus(lambda: (Document(text) for _ in range(1000) for text in documents(100)), name="for ever")
    else:
        source = torch.randint(3, 290, (40, 11), generator=torch.Generator().manual_seed(0))
    stream = ActivationStream(tiny_gpt2, [SITE], source, 48, seed=3)
    states, batches = [copy.deepcopy(stream.state)], []
    for batch in islice(stream, 11):
        batches.append(batch[SITE].clone())
        states.append(copy.deepcopy(stream.state))
    assert len({state.chunk for state in states}) >= 3 and any(state.carried for state in states)
    assert all(len(state.carried[SITE]) < 48 for state in states if state.carried)
    for at in range(10):
        again = take(ActivationStream(tiny_gpt2, [SITE], source, 48, seed=3, state=states[at]), 2)
        assert all(map(torch.equal, again, batches[at : at + 2])), at


def test_going_on_with_the_same_stream_is_the_same_as_not_stopping(tiny_gpt2, small_chunks):
    through = take(ActivationStream(tiny_gpt2, [SITE], documents(40), 48), 8)
    stream = ActivationStream(tiny_gpt2, [SITE], documents(40), 48)
    parts = [*take(stream, 3), *take(stream, 1), *take(stream, 4)]
    assert all(map(torch.equal, through, parts))


def test_a_corpus_shorter_than_one_batch_is_read_as_often_as_needed(tiny_gpt2, small_chunks):
    known = harvest(tiny_gpt2, documents(2), SITE).flat(SITE)
    (batch,) = take(ActivationStream(tiny_gpt2, [SITE], documents(2), 300), 1)
    assert batch.shape == (300, 16)
    counts = Counter(which([batch], known))
    assert set(counts) == set(range(20)) and max(counts.values()) <= 16  # 320 tokens were read, each 16 times


@pytest.mark.timeout(60)
@pytest.mark.parametrize("source", [[""] * 3, [""] * 40, torch.zeros(20, 1, dtype=torch.long)])
def test_documents_without_a_token_are_an_error_and_no_endless_loop(tiny_gpt2, source):
    with pytest.raises(ValueError, match="no token to count"):
        take(ActivationStream(tiny_gpt2, [SITE], source, 8), 1)


@pytest.mark.timeout(60)
def test_one_token_among_many_empty_documents_is_enough(tiny_gpt2, small_chunks):
    (batch,) = take(ActivationStream(tiny_gpt2, [SITE], ["b", *[""] * 40], 4), 1)
    known = harvest(tiny_gpt2, ["b"], SITE).flat(SITE)
    assert which([batch], known) == [0] * 4


@pytest.mark.timeout(60)
@pytest.mark.parametrize("n", [3, 16, 100])
def test_a_stream_of_documents_that_ends_after_all_is_an_error(tiny_gpt2, small_chunks, n):
    corpus = Corpus(lambda: (Document(text) for text in documents(n)), name="broken")
    with pytest.raises(ValueError, match=f"'broken' .* ended after {n} documents"):
        take(ActivationStream(tiny_gpt2, [SITE], corpus, 64), 100)


def test_an_empty_corpus_and_a_batch_of_nothing(tiny_gpt2):
    with pytest.raises(ValueError, match="empty"):
        ActivationStream(tiny_gpt2, [SITE], [], 8)
    with pytest.raises(ValueError, match="empty"):
        ActivationStream(tiny_gpt2, [SITE], torch.zeros(0, 4, dtype=torch.long), 8)
    with pytest.raises(ValueError, match="batch_size must be at least 1, found 0"):
        ActivationStream(tiny_gpt2, [SITE], ["a"], 0)
    with pytest.raises(ValueError, match=r"closest is 'blocks.1.hook_resid_post'"):
        ActivationStream(tiny_gpt2, ["blocks.1.hook_resid_pst"], ["a"], 8)


def test_activations_that_are_not_finite_name_the_batch(tiny_gpt2_folder, small_chunks):
    model = load_model(tiny_gpt2_folder, device="cpu")
    tokens = torch.full((48, 4), 5)
    order = ActivationStream(model, [SITE], torch.arange(5, 53)[:, None], 48)
    last = list(islice(order.documents(0), 48))[40]  # the row that is read 41st: in the third batch
    tokens[last] = 7
    with torch.no_grad():
        model.original_model.get_input_embeddings().weight[7] = torch.nan
    with pytest.raises(ValueError, match=f"NaN activations at '{SITE}' in batch 2"):
        take(ActivationStream(model, [SITE], tokens, 8), 100)


def test_provenance_and_state(tiny_gpt2):
    stream = ActivationStream(tiny_gpt2, [SITE], documents(3), 8, state=StreamState())
    assert stream.provenance["model_hash"] == tiny_gpt2.model_hash
    assert stream.provenance["corpus"]["fingerprint"] == stream.source.fingerprint


def test_no_document_is_made_twice(tiny_gpt2, small_chunks):
    """Each chunk goes on where the one before stopped, and does not make everything before it again."""
    made = []

    def endless():
        for number in range(10**6):
            made.append(number)
            yield Document(documents(60)[number % 60])

    stream = ActivationStream(tiny_gpt2, [SITE], Corpus(endless, name="endless"), 40)
    take(stream, 40)  # 1,600 tokens, ten chunks of 16 documents
    assert len(made) <= 162, "one look at the first document, then each once"


def test_an_interrupted_chunk_is_read_again_from_its_begin(tiny_gpt2, small_chunks, monkeypatch):
    whole = take(ActivationStream(tiny_gpt2, [SITE], documents(64), 160), 4)
    stream = ActivationStream(tiny_gpt2, [SITE], documents(64), 160)
    first = take(stream, 1)
    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr("saekit.activations.reader.tokenize", lambda *_, **__: (_ for _ in ()).throw(KeyboardInterrupt))
        take(stream, 1)
    assert all(torch.equal(a, b) for a, b in zip(whole, [*first, *take(stream, 3)], strict=True))
