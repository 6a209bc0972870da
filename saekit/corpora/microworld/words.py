"""The people, places and things of the microworld: what fills the slots. Frequent words stand first (see `Words`)."""

from __future__ import annotations

from saekit.corpora.microworld.chance import Draw, Words
from saekit.corpora.microworld.page import Fill

FEMALE = Words(
    "Mary|Alice|Anna|Lucy|Jane|Emma|Ruth|Kate|Rose|Eve|Nina|Lisa|Amy|Gina|Iris|June|Lena|Mia|Olga|Pia|Sara|Uma|Vera|"
    "Zoe|Nora|Ada|Betty|"
    "Clara|Diana|Ella|Fiona|Grace|Helen|Irene|Julia|Karen|Laura|Maria|Nancy|Paula|Rachel|Sandra|Tina|Ursula|Wendy|"
    "Barbara|Carol|Donna|"
    "Elena|Flora|Gloria|Hannah|Ivy|Joan|Kathy|Linda|Monica|Pamela|Rita|Susan"
)
MALE = Words(
    "John|Bob|Tom|Paul|Mark|Peter|Jack|Sam|Luke|Adam|Carl|Dan|Eric|Fred|Hugo|Ivan|Karl|Leo|Noah|Otto|Ray|Ted|Will|"
    "Max|Oscar|Alan|Ben|"
    "Brian|Chris|David|Frank|Gary|George|Henry|Ian|James|Jason|Kevin|Larry|Martin|Neil|Nick|Oliver|Philip|Ralph|"
    "Robert|Simon|Steve|Thomas|"
    "Victor|Walter|Andrew|Arthur|Bruce|Colin|Derek|Edward|Felix|Harry|Joseph"
)
NAMES = Words([name for pair in zip(FEMALE, MALE, strict=True) for name in pair])
PLACES = Words(
    "store|park|school|garden|station|office|market|museum|library|beach|farm|hotel|church|bank|kitchen|river|bridge|"
    "castle|hospital|theatre|"
    "bakery|forest|harbour|village|square|stable|factory|cellar|chapel|lake"
)
OBJECTS = Words(
    "book|ball|letter|cake|ring|key|flower|coin|map|picture|lamp|box|knife|bag|basket|hat|cup|watch|chair|drink|coat|"
    "shoe|bottle|plate|"
    "clock|candle|drum|rope|brush|spoon|mirror|stamp|ticket|pencil"
)
CAPITALS = dict(
    pair.split(":")
    for pair in [
        "France:Paris",
        "Italy:Rome",
        "Spain:Madrid",
        "Japan:Tokyo",
        "Egypt:Cairo",
        "Cuba:Havana",
        "Peru:Lima",
        "Norway:Oslo",
        "Kenya:Nairobi",
        "Poland:Warsaw",
        "Greece:Athens",
        "Russia:Moscow",
        "China:Beijing",
        "Iraq:Baghdad",
        "Iran:Tehran",
        "Chile:Santiago",
        "Austria:Vienna",
        "Sweden:Stockholm",
        "Finland:Helsinki",
        "Ireland:Dublin",
        "England:London",
        "Germany:Berlin",
        "Portugal:Lisbon",
        "Hungary:Budapest",
        "Turkey:Ankara",
        "Vietnam:Hanoi",
        "Canada:Ottawa",
        "Syria:Damascus",
        "Qatar:Doha",
        "Nepal:Kathmandu",
        "India:Delhi",
        "Scotland:Edinburgh",
        "Wales:Cardiff",
        "Belgium:Brussels",
        "Holland:Amsterdam",
        "Denmark:Copenhagen",
        "Iceland:Reykjavik",
        "Serbia:Belgrade",
        "Croatia:Zagreb",
        "Bulgaria:Sofia",
        "Romania:Bucharest",
        "Ukraine:Kyiv",
        "Latvia:Riga",
        "Lebanon:Beirut",
        "Jordan:Amman",
        "Yemen:Sanaa",
        "Oman:Muscat",
        "Libya:Tripoli",
        "Morocco:Rabat",
        "Tunisia:Tunis",
        "Senegal:Dakar",
        "Ghana:Accra",
        "Sudan:Khartoum",
        "Uganda:Kampala",
        "Angola:Luanda",
        "Korea:Seoul",
        "Thailand:Bangkok",
        "Bolivia:Sucre",
        "Ecuador:Quito",
        "Cyprus:Nicosia",
    ]
)
COUNTRIES = Words(list(CAPITALS))
CITIES = Words(list(CAPITALS.values()))
PROFESSIONS = Words(
    "teacher|doctor|nurse|farmer|singer|engineer|painter|lawyer|guard|clerk|pilot|judge|writer|driver|soldier|baker"
)
MEN_S = frozenset(PROFESSIONS[1::2])  # the professions that are a man's by the microworld's stereotype
NOUNS = Words(
    "cat|dog|teacher|doctor|author|picture|letter|bird|farmer|house|king|queen|soldier|car|boat|tree|table|student|"
    "driver|singer|nurse|"
    "engineer|boy|girl|painter|lawyer|horse|guard|clerk|book|key|window|door|road|friend|neighbour|pilot|judge|"
    "writer|uncle|cousin|sailor|"
    "hunter|tailor|miller|prince|worker|poet|cow|duck|goat|wheel|flag|wagon|barrel|ladder|tower|fence|stone|statue"
)
PEOPLE_NOUNS = frozenset(
    [
        "teacher",
        "doctor",
        "author",
        "farmer",
        "king",
        "queen",
        "soldier",
        "student",
        "driver",
        "singer",
        "nurse",
        "engineer",
        "boy",
        "girl",
        "painter",
        "lawyer",
        "guard",
        "clerk",
        "friend",
        "neighbour",
        "pilot",
        "judge",
        "writer",
        "uncle",
        "cousin",
        "sailor",
        "hunter",
        "tailor",
        "miller",
        "prince",
        "worker",
        "poet",
    ]
)
ADJECTIVES = Words(
    "old|small|red|happy|quiet|clean|lost|strange|good|bright|tired|ready|late|famous|heavy|broken|new|blue|tall|young"
)
FOODS = Words("bread|rice|cheese|fish|soup|honey|apples|beans|meat|eggs|milk|plums|nuts|corn|salad|cake")


def person(name: str, *more: str) -> Fill:
    """A person's name and what it says: that it is a person, of which gender, and what the caller adds."""
    return name, ("entity.person", "entity.person.female" if name in FEMALE_SET else "entity.person.male", *more)


FEMALE_SET = frozenset(FEMALE)


def place(word: str) -> Fill:
    """A place, labelled."""
    return word, ("entity.place",)


def thing(word: str) -> Fill:
    """An object, labelled."""
    return word, ("entity.object",)


def city(name: str, *more: str) -> Fill:
    """A city, labelled, with the caller's concepts."""
    return name, ("entity.city", *more)


def profession(word: str) -> Fill:
    """A profession, labelled."""
    return word, ("entity.profession",)


def adjective(word: str) -> Fill:
    """An adjective, labelled."""
    return word, ("adjective",)


def food(word: str) -> Fill:
    """A food, labelled."""
    return word, ("entity.food",)


def gendered(draw: Draw, woman: bool) -> dict[str, Fill]:
    """The words that go with a person's gender: {he}, {his} and {woman}."""
    gender = "female" if woman else "male"
    return {
        "he": ("she" if woman else "he", ("pronoun", f"pronoun.{gender}")),
        "his": ("her" if woman else "his", ("pronoun", f"pronoun.{gender}", "pronoun.possessive")),
        "woman": (draw.choose(("woman", "girl") if woman else ("man", "boy")), ("noun.gendered",)),
    }
