"""Functions: small Python functions whose docstring names the arguments in their order.

"def load_file(path, size): … :param path: the path to use\\n    :param" → " size".

Source of the task: Heimersheim and Janiak 2023, "A circuit for Python docstrings in a 4-layer attention-only
transformer"."""

from __future__ import annotations

from dataclasses import dataclass

from saekit.corpora.documents import Document
from saekit.corpora.microworld.chance import Draw, Words, draw_fillers, draw_phrases
from saekit.corpora.microworld.grammar import combined, slot
from saekit.corpora.microworld.page import Page
from saekit.corpora.microworld.prompts import Prompts

KIND = "functions"
SHARE = 6.0

ARGUMENTS = Words(
    "name|path|value|key|size|data|text|count|index|mode|file|line|start|end|width|height|limit|offset|buffer|source|"
    "target|prefix|suffix|default|level|format|encoding|timeout|host|port|user|message|code|parent|child|node|left|"
    "right|first|last|step|total|flag|state|event|handler|callback|context|options|args|result|item|items|table|row|"
    "column|query|filter|order|group|label|title|color|style"
)
VERBS = Words(
    "load|save|read|write|open|close|find|make|build|get|set|update|remove|create|parse|format|send|copy|merge|check"
)
NOUNS = Words(
    "file|table|list|node|text|data|user|event|image|report|record|config|buffer|session|index|page|queue|cache|row|key"
)
SIGNATURE = slot(
    "def {f}({a}):|def {f}(self, {a}):|async def {f}({a}):|def {f}({a}, *args):|def {f}({a}, **kwargs):|"
    "@staticmethod\ndef {f}({a}):|def _{f}({a}):|def {f}(cls, {a}):|@wraps(call)\ndef {f}({a}):|"
    "def {f}({a}, *, strict):|def {f}({a}) -> None:|def {f}(self, {a}) -> bool:|def __{f}({a}):|@cache\ndef {f}({a}):",
    "@classmethod\ndef {f}(cls, {a}):|def {f}({a}, debug=False):",
    "async def _{f}(self, {a}):|def {f}({a}) -> str:",
    more=combined(
        "<line>\ndef {f}(<self>{a}):|<line>\ndef <_>{f}({a}, <more>):|def <_>{f}(<self>{a}) -> <type>:|"
        "async def {f}(<self>{a}, <more>):|def <_>{f}(<self>{a}, <more>):",
        line="@property|@abstractmethod|@overload|@final|@override|@typecheck|@register|@lru_cache|@slow|"
        "@pytest.fixture|@app.command|@contextmanager|@once|@timed|@deprecated|@jit|# public|# helper",
        self="|self, |this, |obj, |ctx, |session, ",
        _="|_|__|do_|try_|on_",
        more="*args|**kwargs|*, strict|*, force=False|verbose=True|copy=True|*, dtype=None|dry_run=False|raw=True|/",
        type="None|bool|int|list|dict|float|bytes|object|Path|Any|set|tuple",
    ),
)
SUMMARY = slot(
    "{V} the {o}.|{V} a new {o} and return it.|{V} one {o}.|{V} the given {o}.|{V} {o} from disk.|"
    "Helper to {v} the {o}.|Try to {v} a {o}.|This will {v} the {o}.|{V} {o} by name.|{V} the {o} again.|"
    "{V} a {o} if there is one.|Only {v} the {o}.|{V} the old {o} first.|Ask to {v} the {o}.",
    "Used to {v} every {o}.|{V} the first {o} found.",
    "Called to {v} some {o}.|{V} each {o} in turn.",
    more=[
        *combined(
            "{V} <the> {o}.|{V} <the> {o} <again>.|{V} <the> {o} and <then> it.",
            the="the|a|an old|one|this|that|the given|the new|the last|the next|the whole|another|any|"
            "every|their|its|the large|the named|no|the same|the default|the cached|the inner|several",
            again="again|by name|from disk|if needed|when asked|safely|in place|lazily|at once|for the caller|"
            "without a lock|in the background|or fail|if it is there|as text|step by step|quietly|until done|twice",
            then="return|print|keep|log|check|close|store|show|count|free|sort|drop",
        ),
        *combined(
            "<Helper> to {v} the {o}.|<Helper> to {v} a {o}.|<This> {v} the {o}.|<This> {v} one {o}.",
            Helper="Helper|Function|Method|Tool|Hook|Wrapper|Shortcut|Try|Wait|Ask|Needed|Here|Made|Written|Meant|"
            "A way|Do not use this|Use this|Use it|How",
            This="This will|This can|This may|It should|We|You can|They|Callers|Subclasses must|Tests|Must|Never|"
            "Always|Only|Just|Please|First",
        ),
    ],
)
DESCRIPTION = slot(
    "the {n} to use|{n} of the {o}|a {n}|the {n} for this call|optional {n}|new {n}|which {n} to take|the {o} {n}|"
    "{n}, may be empty|how to handle the {n}|{n} or None|the {n} that was given|first {n}|its {n}",
    "where the {n} comes from|the current {n}",
    "{n} as given by the {o}|the {n} before the call",
    more=[
        *combined(
            "<the> {n}|<the> {n} <how>|<the> {n} of the {o}|{n} <how>",
            the="the|a|an optional|new|old|another|default|the default|the new|the real|the full|the desired|the raw|"
            "any|some|its|each|their|a valid|the right|the main|one",
            how="to use|to take|to {v}|to try|to keep|for this call|for the {o}|in the {o}|of each {o}|"
            "or None|if any|that was given|when needed|to be used|for later|with care|, may be empty|, a string|"
            ", an integer|, in bytes|, in seconds|, not None|, if known|, as text|that we {v}",
        ),
        *combined(
            "<which> {n} <was> <used>|<whether> the {n} <was> <used>",
            which="which|what|how much|how many|the|whose|a",
            whether="whether|if|how|when|why|that",
            used="used|needed|kept|read|checked|taken|written|known|empty|valid|allowed|set|wanted|shown",
            was="is|was|will be|should be|can be|must be",
        ),
        *combined(
            "<used> for the {n}|<used> with the {n}|<used> the {n}",
            used="used|needed|names|tells|holds|gives|sets|limits|replaces|describes|carries|changes|stores",
        ),
    ],
)
BODY = ("return {a}", "{a} = {z}", "pass", "return {a}, {z}", "raise ValueError({a})")


@dataclass(frozen=True, slots=True)
class Function:
    """What one function says: the phrases of its docstring, its name's verb and noun, its arguments and their
    descriptions."""

    signature: str
    summary: str
    gap: str
    verb: str
    noun: str
    arguments: tuple[str, ...]
    descriptions: tuple[str, ...]
    default: bool

    @property
    def words(self) -> dict[str, str]:
        """The fillers of a description: {v}, {V} and {o}."""
        return {"v": self.verb, "V": self.verb.capitalize(), "o": self.noun}


def draw_function(draw: Draw, split: str) -> Function:
    """A function of two to four arguments, with phrases and a combination of arguments for the split."""
    signature, summary = draw_phrases(split, KIND, lambda: (SIGNATURE.draw(draw, split), SUMMARY.draw(draw, split)))
    count = draw.integer(2, 4)
    arguments = draw_fillers(split, KIND, lambda: tuple(draw.sample(ARGUMENTS, count)))
    descriptions = tuple(DESCRIPTION.draw(draw, split) for _ in arguments)
    gap = draw.choose(("\n", "\n\n"))
    return Function(
        signature, summary, gap, draw.zipf(VERBS), draw.zipf(NOUNS), arguments, descriptions, draw.chance(0.3)
    )


def write_head(page: Page, function: Function) -> None:
    """The signature and the docstring's first lines."""
    before, after = function.signature.split("{a}")
    left, right = before.split("{f}")
    page.add(left)
    page.add(f"{function.verb}_{function.noun}", ("code.function_name",))
    page.add(right)
    for place, argument in enumerate(function.arguments):
        page.add(", " if place else "")
        page.add(argument, ("code.argument", "code.argument.in_signature"))
    if function.default:
        page.add("=None")
    page.add(after + '\n    """')
    page.add(function.summary.format(**function.words), ("code.docstring",))
    page.add(function.gap)


def write_parameters(page: Page, function: Function, count: int, break_off: bool = False) -> None:
    """The first `count` parameters; with `break_off` also the `:param` of the next one."""
    for argument, description in list(zip(function.arguments, function.descriptions, strict=True))[:count]:
        page.add("    ")
        start = page.length
        page.add(":param ")
        page.add(argument, ("code.argument", "code.argument.in_docstring"))
        page.add(": " + description.format(n=argument, **function.words))
        page.mark(start, "code.docstring")
        page.add("\n")
    if break_off:
        page.add("    :param")


def document(draw: Draw, split: str) -> Document:
    """A function with a docstring that names its arguments in their order, and a line of body."""
    page = Page()
    function = draw_function(draw, split)
    write_head(page, function)
    write_parameters(page, function, len(function.arguments))
    page.add('    """\n    ')
    page.add(draw.choose(BODY).format(a=function.arguments[0], z=function.arguments[-1]), ("code.body",))
    page.add("\n")
    return page.document(KIND)


def prompts(draw: Draw, split: str) -> Prompts:
    """Corrupt: the signature has another argument in the asked place."""
    function = draw_function(draw, split)
    place = draw.integer(1, len(function.arguments) - 1)
    wanted, other = function.arguments[place], function.arguments[place]
    while other in function.arguments:
        other = draw.choose(ARGUMENTS)
    changed = (*function.arguments[:place], other, *function.arguments[place + 1 :])
    clean, corrupt = Page(), Page()
    write_head(clean, function)
    write_parameters(clean, function, place, break_off=True)
    fields = {name: getattr(function, name) for name in Function.__slots__} | {"arguments": changed}
    write_head(corrupt, Function(**fields))
    write_parameters(corrupt, Function(**fields), place, break_off=True)
    return Prompts(clean.text, corrupt.text, (" " + wanted,), (" " + other,), spans=tuple(clean.spans))
