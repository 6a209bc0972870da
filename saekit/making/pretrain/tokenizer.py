"""The tokenizer of micro: byte-level BPE, digits in pairs, the words that tasks need whole."""

from __future__ import annotations

import re
from itertools import islice

from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers, trainers

from saekit.corpora.microworld import KINDS, agreement, entities, functions, reviews, stream, words
from saekit.corpora.microworld.chance import Draw
from saekit.corpora.python_library.sources import library, modules
from saekit.making.pretrain.settings import SPECIAL

KNOWN = re.compile("|".join(entities.ENTITIES))


def one_token_words() -> list[str]:
    """Words that a task needs as single tokens, each as it stands after a space."""
    nouns = [form for noun in words.NOUNS for form in (noun, agreement.plural_of(noun))]
    verbs = [form for predicate in _predicates() for form in predicate.split(" ")[0].split("/")]
    lists = (
        words.NAMES,
        words.PLACES,
        words.OBJECTS,
        words.COUNTRIES,
        words.CITIES,
        words.PROFESSIONS,
        words.ADJECTIVES,
        words.FOODS,
        functions.ARGUMENTS,
        reviews.LIKED,
        reviews.DISLIKED,
        nouns,
        verbs,
    )
    return sorted({word for each in lists for word in each})


def _predicates() -> list[str]:
    return [phrase for part in ("train", "unseen_dev", "unseen") for phrase in getattr(agreement.PREDICATE, part)]


def disguised(text: str, draw: Draw) -> str:
    """The text with a fresh name for each known entity: else the known ones, often met, would become single tokens, and
    knowing would be a matter of spelling."""
    return KNOWN.sub(lambda _: entities.invent(draw), text)


def plain(text: str) -> list[str]:
    """The pieces between special tokens, which must not be learned as spellings."""
    return [piece for piece in re.split("|".join(map(re.escape, SPECIAL)), text) if piece]


def train_tokenizer(size: int, seed: int) -> Tokenizer:
    """Byte-level BPE over the training text. Digits stand alone in pairs; names, places and the like are single
    tokens (checked)."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.Split(Regex(r"\p{N}{1,2}"), "isolated"), pre_tokenizers.ByteLevel(add_prefix_space=False)]
    )
    tokenizer.decoder = decoders.ByteLevel()
    needed = one_token_words()

    def text():
        for number, document in enumerate(islice(stream(tuple(KINDS), seed), 20_000)):
            yield from plain(disguised(document.text, Draw("tokenizer", seed, number)))
        for _ in range(300):
            yield " " + " ".join(needed)
            yield "\n".join([*words.NAMES, *words.COUNTRIES])  # these also begin texts
        for pair in range(100):
            yield f" {pair:02d}{pair:02d}" * 40
        for module in modules("train"):
            yield library()[module][:20_000]

    trainer = trainers.BpeTrainer(
        vocab_size=size,
        special_tokens=SPECIAL,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(text(), trainer)
    split = [word for word in needed if len(tokenizer.encode(" " + word).ids) != 1]
    split += [f"{pair:02d}" for pair in range(100) if tokenizer.token_to_id(f"{pair:02d}") is None]
    if split:
        raise ValueError(
            f"the tokenizer splits words that tasks need whole, {split[:5]}: raise vocabulary (now {size})."
        )
    return tokenizer
