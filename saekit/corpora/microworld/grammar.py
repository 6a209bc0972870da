"""A slot of a grammar: the phrases that training sees, and two lists that it never sees."""

from __future__ import annotations

from dataclasses import dataclass

from saekit.corpora.microworld.chance import Draw, Words

SPLITS = ("train", "heldout", "unseen_dev", "unseen")


@dataclass(frozen=True)
class Slot:
    """The phrases that may stand in one place, written "a|b|c".

    `train` serves the splits train and heldout. `unseen_dev` and `unseen` hold phrases that no training document of
    the kind contains;
    a slot without them (function words) uses its trained phrases everywhere."""

    train: Words
    unseen_dev: Words
    unseen: Words

    def draw(self, draw: Draw, split: str) -> str:
        return draw.choose(
            self.unseen_dev if split == "unseen_dev" else self.unseen if split == "unseen" else self.train
        )


def slot(train: str, unseen_dev: str = "", unseen: str = "") -> Slot:
    return Slot(Words(train), Words(unseen_dev or train), Words(unseen or train))
