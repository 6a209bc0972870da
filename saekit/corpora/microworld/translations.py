"""Translations: sentences in English beside the same in a second language, German, with its genders and articles."""

from __future__ import annotations

from saekit.corpora.documents import Document
from saekit.corpora.microworld.chance import Draw, Words, draw_fillers, draw_phrases
from saekit.corpora.microworld.grammar import slot
from saekit.corpora.microworld.page import Page
from saekit.corpora.microworld.words import NAMES, person

KIND = "translations"
SHARE = 4.0

# English noun → German article and noun
NOUNS = dict(
    pair.split(":")
    for pair in Words(
        "dog:der Hund|cat:die Katze|house:das Haus|book:das Buch|woman:die Frau|man:der Mann|child:das Kind|"
        "tree:der Baum|"
        "door:die Tür|street:die Straße|bread:das Brot|milk:die Milch|water:das Wasser|bird:der Vogel|flower:die Blume|"
        "table:der Tisch|window:das Fenster|garden:der Garten|town:die Stadt|king:der König|horse:das Pferd|"
        "letter:der Brief|bridge:die Brücke|shirt:das Hemd|moon:der Mond|sun:die Sonne"
    )
)
ADJECTIVES = dict(
    pair.split(":")
    for pair in Words(
        "old:alt|small:klein|big:groß|red:rot|new:neu|good:gut|cold:kalt|warm:warm|quiet:still|strong:stark|young:jung|"
        "beautiful:schön|clean:sauber|dark:dunkel|free:frei|rich:reich"
    )
)
# English sentence / German sentence
SENTENCE = slot(
    "the {x} is {a}/{X} ist {A}|the {x} was {a}/{X} war {A}|{N} sees that the {x} is {a}/{N} sieht, dass {X} {A} ist|"
    "today the {x} is {a}/heute ist {X} {A}|the {x} is not {a}/{X} ist nicht {A}|"
    "the {x} is very {a}/{X} ist sehr {A}|here the {x} was {a}/hier war {X} {A}|"
    "{N} says that the {x} is {a}/{N} sagt, dass {X} {A} ist|why is the {x} {a}/warum ist {X} {A}|"
    "the {x} of {N} is {a}/{X} von {N} ist {A}|now the {x} is {a} again/jetzt ist {X} wieder {A}",
    "perhaps the {x} is {a}/vielleicht ist {X} {A}|yesterday the {x} was {a}/gestern war {X} {A}",
    "the {x} always was {a}/{X} war immer {A}|{N} knows that the {x} was {a}/{N} weiß, dass {X} {A} war",
)
MARK = slot(
    "English: /. German: |In English: /. In German: |EN: /. DE: |/ means in German: ",
    "Say /. Auf Deutsch: ",
    "Text: /. Deutsch: ",
)


def document(draw: Draw, split: str) -> Document:
    """One or two sentences in English and in German, whose words are labelled with their meaning."""
    page = Page()
    for _ in range(draw.integer(1, 2)):
        both, mark = draw_phrases(split, KIND, lambda: (SENTENCE.draw(draw, split), MARK.draw(draw, split)))
        english, german = both.split("/")
        noun, word = draw_fillers(split, KIND, lambda: (draw.choose(tuple(NOUNS)), draw.choose(tuple(ADJECTIVES))))
        article = NOUNS[noun].split(" ")[0]
        gender = {"der": "masculine", "die": "feminine", "das": "neuter"}[article]
        fills = {
            "N": person(draw.zipf(NAMES)),
            "x": (noun, ("translated.noun", f"meaning.{noun}")),
            "a": (word, ("translated.adjective", f"meaning.{word}")),
            "X": (NOUNS[noun], ("translated.noun", f"meaning.{noun}", f"german.{gender}")),
            "A": (ADJECTIVES[word], ("translated.adjective", f"meaning.{word}")),
        }
        before, between = mark.split("/")
        page.write(before.rstrip())
        page.write(english, fills, concepts=("language.english",))
        page.add(between)
        page.write(german, fills, concepts=("language.german",))
        page.write(".")
    return page.document(KIND)
