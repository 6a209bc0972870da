"""Words and short phrases that several kinds compose their clauses from; `slot(more=…)` leaves out what a kind holds
back."""

from __future__ import annotations

from collections.abc import Iterable

from saekit.corpora.microworld.chance import Words
from saekit.corpora.microworld.grammar import combined


def capitalised(phrases: Iterable[str]) -> list[str]:
    """The phrases as they begin a sentence."""
    return [phrase[0].upper() + phrase[1:] for phrase in phrases]


TIMES = Words(
    [
        *combined(
            "<on> <day>|<on> <day> <part>",
            on="on|last|next|every|by",
            day="Monday|Tuesday|Wednesday|Thursday|Friday|Saturday|Sunday",
            part="morning|afternoon|evening|night",
        ),
        *combined(
            "in <month>|early in <month>|late in <month>|since <month>|until <month>|by <month>",
            month="January|February|March|April|May|July|August|September|October|November|December",
        ),
        *combined(
            "<number> <units> ago|<number> <units> later|after <number> <units>|for <number> <units>|"
            "within <number> <units>",
            number="three|four|five|six|ten|twenty|some|several|many|a few",
            units="minutes|hours|days|weeks|months|summers",
        ),
        *combined(
            "one <kind> <part>|on a <kind> <part>|that <kind> <part>|this <part>|the same <part>|late that <part>|"
            "all <part>|another <part>",
            kind="cold|warm|rainy|grey|bright|long|short|quiet|windy|dark|fine|busy",
            part="morning|afternoon|evening|day",
        ),
        *combined(
            "during the <event>|before the <event>|after the <event>|right after the <event>|since the <event>|"
            "until the <event>|at the end of the <event>",
            event="wedding|harvest|meeting|concert|flood|election|match|parade|fair|lesson|lecture|sermon|feast|sale|"
            "trip|party|ceremony|exam|hunt|race",
        ),
        *combined(
            "sometimes|often|usually|never again|most days|at times|at sunset|at midnight|before breakfast|"
            "over the weekend|in those years|in due time|in the meantime|at first light|at present|in the long run|"
            "once a week|twice a day|first of all|as before|as ever|as expected|as planned|for a moment|for once|"
            "for the first time|one last time|time and again|right now|long after|before long|in a hurry|in the dark|"
            "in good weather|on holiday|on the train|on the phone|by accident|by mistake|on purpose|out of habit|"
            "in the rain|in the snow|in bad weather|at the weekend|in old age|in his youth"
        ),
    ]
)
SURELY = Words(  # how a speaker takes what follows
    "perhaps|maybe|surely|certainly|luckily|sadly|strangely|naturally|obviously|clearly|apparently|honestly|"
    "frankly|in truth|in general|in short|in other words|for example|in my opinion|by the way|no wonder|"
    "to be fair|to be sure|to tell the truth|above all|after all|in any case|as it happens|as you may know|"
    "as everybody knew|as far as I know|if I remember well|believe it or not|needless to say|in a word|"
    "all in all|at least|at best|for sure|no doubt|I suppose|they say|it turns out|"
    "fortunately|unfortunately|curiously|evidently|officially|historically|traditionally|generally"
)
SPEAKERS = Words(
    [
        *combined(
            "<whose> <who>",
            whose="my|our|his|her|their|the|that|an old",
            who="aunt|grandfather|grandmother|daughter|son|wife|husband|barber|butcher|captain|carpenter|cook|"
            "dentist|doctor|editor|gardener|grocer|historian|journalist|landlord|librarian|merchant|"
            "monk|postman|priest|principal|professor|reporter|scholar|secretary|servant|shepherd|smith|"
            "speaker|teacher|traveller|tutor|waitress",
        ),
        *combined(
            "the <text>|this <text>|an old <text>|one <text>",
            text="notice|poster|article|chapter|diary|essay|message|telegram|sign|note|page|leaflet|lexicon|ledger|"
            "list|radio|chronicle|encyclopedia|brochure|column",
        ),
        *combined("they|people|we|many|some|others|experts|friends|all of us|most people|few people|the two of us"),
    ]
)
SAYING = Words(
    "added|admitted|agreed|answered|argued|assured us|believed|concluded|confirmed|cried|declared|feared|"
    "felt|found|guessed|hinted|hoped|imagined|informed us|insisted|knew|learned|mentioned|noted|"
    "observed|pointed out|promised|proved|read|realised|recalled|reminded us|repeated|replied|revealed|said|"
    "showed|shouted|stated|suggested|supposed|swore|taught us|thought|told them|understood|warned us|whispered|"
    "wrote"
)
CONNECTIVES = Words(  # what may stand before a new main clause
    "then|later|soon|so|thus|hence|there|here|still|yet|instead|meanwhile|moreover|however|therefore|nevertheless|"
    "afterwards|eventually|finally|suddenly|quickly|slowly|immediately|presently|shortly after|at that moment|"
    "from then on|all at once|little by little|in return|in secret|in silence|in the end|in that hour|as a result|"
    "as a joke|as a favour|out of pity|out of love|for that reason|for fun|to be kind|to be polite|with pleasure|"
    "with care|with tears|after a pause|after that|after lunch|after supper|before supper|before sunset|"
    "that very day|that same evening|on that day|on that spot|on the way back|on the way home|on the road|"
    "over tea|over there|upstairs|outside|nearby|at home|at the door|at the gate|by then|by evening|"
    "by and by|once again|once more|yet again|one day|some time later|some days later|weeks later|hours later|"
    "not long after|no sooner|as agreed|as promised|as always|as usual|even so|all the same|of course|"
    "to everyone's surprise|to their surprise|to my surprise|in a whisper|in haste|in vain|in turn"
)
ADVERBS = Words(
    "angrily|anxiously|bravely|briefly|briskly|carefully|carelessly|cautiously|cheerfully|clearly|cleverly|coldly|"
    "daily|deliberately|eagerly|easily|elegantly|eventually|evidently|faithfully|fondly|foolishly|frequently|"
    "generously|gently|gracefully|greedily|gratefully|hastily|honestly|hurriedly|immediately|innocently|joyfully|"
    "kindly|lately|lazily|lightly|loudly|lovingly|madly|merrily|mostly|mysteriously|neatly|nervously|nicely|"
    "obediently|occasionally|only|openly|patiently|perfectly|playfully|possibly|promptly|probably|quietly|"
    "really|recently|repeatedly|rudely|sadly|safely|shyly|silently|simply|sleepily|smoothly|softly|solemnly|"
    "speedily|sternly|strangely|surely|sweetly|swiftly|tenderly|thoughtfully|twice|unexpectedly|usually|"
    "warmly|weekly|willingly|wisely|just|almost|already|still|even|first|later|nearly|therefore|instead"
)
TOWARDS_PEOPLE = Words(  # past forms that take a person
    "accepted|accompanied|accused|admired|adored|advised|amused|annoyed|answered|approached|"
    "assisted|avoided|believed|blamed|blessed|bothered|calmed|caught|cheated|cheered|comforted|consulted|"
    "contacted|convinced|copied|corrected|cured|defended|deserted|despised|disliked|embraced|encouraged|"
    "entertained|envied|escaped|examined|excused|faced|feared|fooled|forgave|fought|frightened|greeted|"
    "guided|hated|hid from|hired|honoured|hugged|imitated|impressed|informed|inspired|insulted|interrupted|"
    "interviewed|introduced|invited|joined|joked with|kissed|laughed at|left|lectured|married|mentioned|missed|"
    "mocked|needed|nodded to|noticed|nursed|obeyed|observed|offended|outran|overheard|paid|pardoned|passed|"
    "phoned|photographed|pitied|pleased|praised|protected|pursued|questioned|raced|recognised|"
    "recommended|rejected|remembered|replaced|rescued|respected|rewarded|sang with|saved|served|shook|"
    "shouted at|spotted|stared at|startled|studied with|summoned|supported|surprised|teased|tested|tolerated|"
    "tracked|trained|trusted|turned to|upset|urged|waved to|walked with|warned|watched|welcomed|whispered to|"
    "won over|worried|worshipped|wrote to|danced with|argued with|played with|travelled with|worked with|"
    "agreed with|quarrelled with|ran into|bumped into|came across|depended on|relied on|counted on|lived with|"
    "cooked for|cared for|looked after|listened to|called for|asked for|searched for|prayed for|begged"
)
TOWARDS_THINGS = Words(  # past/infinitive forms that take a thing
    "admired/admire|adjusted/adjust|arranged/arrange|baked/bake|balanced/balance|blessed/bless|broke/break|"
    "burned/burn|checked/check|collected/collect|coloured/colour|compared/compare|copied/copy|counted/count|"
    "covered/cover|crushed/crush|cut/cut|damaged/damage|decorated/decorate|described/describe|designed/design|"
    "destroyed/destroy|discovered/discover|displayed/display|discussed/discuss|drew/draw|dried/dry|"
    "dusted/dust|emptied/empty|examined/examine|exchanged/exchange|filled/fill|fixed/fix|folded/fold|"
    "guarded/guard|hung/hang|hated/hate|ignored/ignore|inspected/inspect|invented/invent|"
    "joined/join|labelled/label|liked/like|lifted/lift|loaded/load|loved/love|lowered/lower|marked/mark|"
    "measured/measure|mentioned/mention|missed/miss|mixed/mix|moved/move|named/name|noticed/notice|"
    "ordered/order|packed/pack|paid for/pay for|placed/place|planned/plan|polished/polish|praised/praise|"
    "prepared/prepare|pressed/press|printed/print|protected/protect|pulled/pull|raised/raise|read about/read about|"
    "recognised/recognise|remembered/remember|removed/remove|rented/rent|replaced/replace|reserved/reserve|"
    "rolled/roll|rubbed/rub|saved/save|scratched/scratch|searched/search|shook/shake|sketched/sketch|"
    "smelled/smell|spilled/spill|spread/spread|stored/store|studied/study|swung/swing|tested/test|tied/tie|"
    "tried/try|touched/touch|turned/turn|unpacked/unpack|used/use|valued/value|wanted/want|warmed/warm|"
    "washed/wash|watched/watch|weighed/weigh|welcomed/welcome|wiped/wipe|wrapped/wrap"
)
TELLING = Words(combined("<who> <said> that", who=SPEAKERS, said=SAYING))
DONE_TO_THINGS = Words([forms.split("/")[0] for forms in TOWARDS_THINGS])  # the past forms alone
PLACING = Words(  # before the noun of a place or a thing
    "above|across|against|ahead of|along|along with|alongside|amid|apart from|at the back of|at the bottom of|"
    "at the edge of|at the foot of|at the top of|before|below|beneath|by the side of|close by|down from|"
    "east of|facing|far from|high above|in the middle of|in the shade of|in view of|inside|just behind|just past|"
    "near to|north of|off|on the far side of|on the roof of|out of|outside of|over|past|right behind|"
    "right beside|round|south of|through|throughout|to the back of|to the east of|to the north of|toward|towards|"
    "up to|upon|west of|within|without"
)
