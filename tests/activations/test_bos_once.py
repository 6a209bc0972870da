"""One BOS a row: a text or template that begins with it gets no second, and it is not counted."""

from __future__ import annotations

import copy

import pytest
import torch

import saekit as sk
from saekit.activations import concept_mask, harvest, tokenize
from saekit.corpora import Document, Span

SITE = "blocks.2.hook_resid_post"
TEMPLATE = "{{ bos_token }}{% for turn in messages %}<|{{ turn.role }}|>{{ turn.content }}<|end|>{% endfor %}"
CHATS = [
    {"messages": [{"role": "user", "content": f"Please paint the {what}."}, {"role": "assistant", "content": "Sure."}]}
    for what in ("door", "house", "gate", "wall")
]


@pytest.fixture(scope="module")
def micro():
    return sk.load_model("micro", device="cpu")


@pytest.fixture
def tokenizer(micro):
    tokenizer = copy.deepcopy(micro.tokenizer)
    tokenizer.chat_template = TEMPLATE
    return tokenizer


def test_a_template_that_writes_bos_is_read_as_it_is(micro, tokenizer):
    corpus = sk.load_corpus(CHATS, tokenizer=tokenizer)
    plain = sk.load_corpus(CHATS)  # micro's own template, without BOS
    assert corpus[0].text == tokenizer.bos_token + plain[0].text
    ours, theirs = (tokenize(micro, [document.text for document in each]) for each in (corpus, plain))
    assert torch.equal(ours.tokens, theirs.tokens) and torch.equal(ours.mask, theirs.mask)
    whole = tokenizer.apply_chat_template(CHATS[0]["messages"], tokenize=True, return_dict=False)
    assert ours.tokens[0][ours.kept[0]].tolist() == whole


def test_the_numbers_are_those_without_the_second_bos(micro, tokenizer, tmp_path):
    sae = sk.load_dictionary("micro/" + SITE)
    corpora = [sk.load_corpus(CHATS, tokenizer=tokenizer), sk.load_corpus(CHATS)]
    reports = [sk.evaluate(micro, sae, corpus, ce_tokens=20) for corpus in corpora]
    assert reports[0].explained_variance == reports[1].explained_variance
    assert reports[0].excluded == reports[1].excluded
    stores = [sk.FeatureStore.build(micro, sae, c, tmp_path / str(n), tokens=40) for n, c in enumerate(corpora)]
    assert stores[0].latents()["density"].equals(stores[1].latents()["density"])


def test_spans_stay_where_they_are_in_a_text_with_its_own_bos(micro):
    bos = micro.tokenizer.bos_token
    document = Document(f"{bos}Anna saw the cat.", "text", (Span(len(bos) + 13, len(bos) + 16, "animal"),))
    rows = tokenize(micro, [document.text])
    marked = rows.tokens[0][concept_mask(rows, [document], "animal")[0]]
    assert micro.tokenizer.decode(marked).strip() == "cat"
    assert rows.positions[0].tolist() == [-1, *range(len(rows.tokens[0]) - 1)]


def test_a_text_of_nothing_but_bos_has_no_token(micro):
    with pytest.raises(ValueError, match="there is no token to count"):
        harvest(micro, [micro.tokenizer.bos_token], SITE)


def test_what_a_dictionary_says_of_bos_comes_first(micro, tmp_path):
    from dataclasses import replace

    sae = sk.load_dictionary("micro/" + SITE)
    texts = ["Anna saw the cat.", "Peter went to the park."]
    assert sk.evaluate(micro, sae, texts, ce_tokens=10).excluded["bos"] == 2
    sae.provenance = replace(sae.provenance, prepend_bos=False)
    report = sk.evaluate(micro, sae, texts, ce_tokens=10)
    assert report.excluded["bos"] == 0 and "rows: 2 rows, no BOS" in report.lines()
    store = sk.FeatureStore.build(micro, sae, texts, tmp_path / "store")
    assert store.manifest["what_was_read"]["bos"] is None and store.tokens == report.tokens
    tokens = torch.tensor([micro.tokenizer(texts[0], add_special_tokens=False)["input_ids"]])
    told = r"trained on rows that begin without BOS, model\(text\) gives them with: give tokens"
    with pytest.warns(UserWarning, match=told), sk.spliced(micro, sae):
        micro(tokens)
    with sk.spliced(micro, sae):  # said once
        micro(tokens)
    on = sk.features_on(micro, sae, texts[0])
    assert on.counted.all()
