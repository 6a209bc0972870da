"""Coordinates: cities on a map of the microworld, with latitude and longitude and what lies north or east of what."""

from __future__ import annotations

from saekit.corpora.documents import Document
from saekit.corpora.microworld.chance import Draw, draw_filler, draw_fillers, draw_phrases
from saekit.corpora.microworld.grammar import slot
from saekit.corpora.microworld.page import Page
from saekit.corpora.microworld.words import CITIES, city

KIND = "coordinates"
SHARE = 3.0


def _map() -> dict[str, tuple[int, int]]:
    """Two digits north and two digits east of each city; no two cities share a line."""
    draw = Draw("map")
    north, east = draw.sample(range(10, 99), len(CITIES)), draw.sample(range(10, 99), len(CITIES))
    return dict(zip(CITIES, zip(north, east, strict=True), strict=True))


MAP = _map()
WHERE = slot(
    "{C} lies at {n} north, {e} east.|{C}: {n} north, {e} east.|The map shows {C} at {n} north and {e} east.|"
    "You find {C} {n} degrees north, {e} east.|To {C}: {n} north, {e} east.|Sail to {n} north, {e} east for {C}.|"
    "The place of {C} is {n} north, {e} east.|At {n} north and {e} east there is {C}.|"
    "{n} north, {e} east: that is {C}.|"
    "Look for {C} at {n} north, {e} east.",
    "{C} has the numbers {n} north, {e} east.",
    "Draw {C} at {n} north, {e} east.",
)
COMPARE = slot(
    "{C} is {way} of {D}.|From {D} go {way} to reach {C}.|{C} lies {way} of {D} on the map.|"
    "The road from {D} to {C} leads {way}.|To the {way} of {D} there is {C}.|Seen from {D}, {C} is in the {way}.|"
    "A bird flies {way} from {D} to {C}.|Ships from {D} to {C} go {way}.",
    "If you leave {D} for {C}, turn {way}.",
    "Whoever travels from {D} to {C} walks {way}.",
)


def direction(first: str, second: str, axis: int) -> str:
    """Where `first` lies, seen from `second`: axis 0 north or south, 1 east or west."""
    return (("south", "north"), ("west", "east"))[axis][MAP[first][axis] > MAP[second][axis]]


def document(draw: Draw, split: str) -> Document:
    """One to three sentences: where a city lies on the map, or which way one lies from another."""
    page = Page()
    for _ in range(draw.integer(1, 3)):
        if draw.chance(0.5):
            (phrase,) = draw_phrases(split, KIND, lambda: (WHERE.draw(draw, split),))
            if split.startswith("unseen"):
                name = draw.zipf(CITIES)
            else:
                name = draw_filler(split, KIND, lambda: draw.zipf(CITIES), phrase)
            north, east = MAP[name]
            fills = {
                "C": city(name, "map.located"),
                "n": (str(north), ("number.coordinate", "number.north")),
                "e": (str(east), ("number.coordinate", "number.east")),
            }
            page.write(phrase, fills)
            continue
        (phrase,) = draw_phrases(split, KIND, lambda: (COMPARE.draw(draw, split),))
        first, second = draw_fillers(split, KIND, lambda: draw.zipf_pair(CITIES))
        way = direction(first, second, draw.integer(0, 1))
        page.write(phrase, {"C": city(first), "D": city(second), "way": (way, ("direction", f"direction.{way}"))})
    return page.document(KIND)
