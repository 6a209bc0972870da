"""Method: how a dictionary is built and trained; a frozen dataclass named after it. Where is said by a ``Wiring``.

A method of one's own is one file anywhere: a dataclass that inherits Method and says ``build``, and a ``Dictionary``
with what differs of encoder, decoder or loss. It then trains, resumes, saves, loads, evaluates and edits like the
others.
"""

from __future__ import annotations

import inspect
from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import MISSING, dataclass, field, fields
from numbers import Integral
from typing import Any, ClassVar, NamedTuple, Self

from saekit.dictionaries.dictionary import Dictionary
from saekit.dictionaries.wiring import Wiring
from saekit.files.arguments import number, whole
from saekit.files.choices import no_argument, unknown
from saekit.files.roles import METHOD
from saekit.objectives import NEEDS

NUMBERS = ("int", "float", "int | None", "float | None")
MEANT = {
    **dict.fromkeys(("n_latents", "num_latents", "n_features", "dict_size", "d_hidden", "width", "latents"), "d_sae"),
    **dict.fromkeys(
        ("expansion", "expansion_factor"),
        "d_sae= is the number of latents itself, the expansion times the site's width",
    ),
    **dict.fromkeys(("l1_coefficient", "l1_coeff", "l1"), "sparsity_weight"),
    "n_steps": "steps",
}
"""What other libraries call fields, and what they are called here."""
LEARNERS = ("gradient", "growing", "fit")


class Held(NamedTuple):
    """What a training step holds at most beside weights, gradients and moments: so many tensors of the size of all its
    pre-activations [tokens, d_sae], or where ``chunked`` of those of a chunk (``saekit_kernels.encode``), and so many
    bytes a token."""

    times: float
    chunked: bool = False
    a_token: float = 0


@dataclass(frozen=True)
class Method(ABC):
    """How a dictionary is built and trained. Subclasses register by their name, which stands in every file.

    d_sae: number of latents; of a method that grows, at most
    skip:  adds a linear map of what is read to what is decoded (a skip transcoder, Paulo et al. 2025, arXiv 2501.18823)
    """

    role: ClassVar[str] = METHOD
    d_sae: int
    skip: bool = field(default=False, kw_only=True)

    needs: ClassVar[frozenset[str]] = frozenset()
    """what its loss asks of a batch beside activations: "rows", "gradients", "labels", "models" """
    learner: ClassVar[str] = "gradient"
    """who trains it: "gradient" (Adam), "growing" (it takes latents in, no gradient), "fit" (all tokens at once)"""
    sample: ClassVar[int] = 0
    """tokens that ``Dictionary.initialise`` wants to see; 0: those of the first batch"""
    recent: ClassVar[int] = 0
    """the last tokens of training that ``Dictionary.finalise`` wants to see"""
    layerwise: ClassVar[bool] = False
    """``build`` takes a layerwise wiring whole; of others a dictionary is built for each of its layers"""
    equation: ClassVar[str] = ""
    """what it computes, in a line, for ``sk.methods()``"""
    source: ClassVar[str] = ""
    """where it was published"""
    known: ClassVar[dict[str, type[Method]]] = {}

    def __init_subclass__(cls, **keywords: Any) -> None:
        super().__init_subclass__(**keywords)
        if "objective" in vars(cls):
            raise TypeError(
                f"objective= is gone: give the dictionary that {cls.__name__} builds a loss(batch, state) of its own "
                "(see CONTRIBUTING.md)."
            )
        _check_declared(cls)
        before = Method.known.get(cls.__name__)
        if before is not None and before.__module__.startswith("saekit.") and before.__module__ != cls.__module__:
            raise TypeError(f"saekit has a method {cls.__name__!r}, whose files would be read as yours: rename yours.")
        Method.known[cls.__name__] = cls

    def __new__(cls, *given: Any, **keywords: Any) -> Self:
        """Raises TypeError for a keyword that is no field, naming the closest."""
        taken = inspect.signature(cls.__init__).parameters
        if not any(each.kind is each.VAR_KEYWORD for each in taken.values()):
            for name in keywords:
                if name not in taken:
                    raise TypeError(no_argument(cls.__name__, name, list(taken)[1:], MEANT))
        return super().__new__(cls)

    def __post_init__(self) -> None:
        for f in fields(self):
            object.__setattr__(
                self, f.name, _plain(f.name, str(getattr(f.type, "__name__", f.type)), getattr(self, f.name))
            )
        whole("d_sae", self.d_sae)

    @property
    def wanted_density(self) -> float | None:
        """Share of tokens in which a latent fires on average, k / d_sae or l0 / d_sae; None where no field says it."""
        active = getattr(self, "k", None) or getattr(self, "l0", None)
        return active / self.d_sae if isinstance(active, int | float) else None

    @abstractmethod
    def build(self, wiring: Wiring, widths: Mapping[str, int]) -> Dictionary:
        """A dictionary with random weights for these sites; widths has each site's.

        wiring: the sites. widths: the width of each."""

    @property
    def held(self) -> Held:
        """What a step of its loss holds, for what is said of memory before a run (``sk.training.memory_needed``)."""
        return Held(6)

    def to_json(self) -> dict[str, Any]:
        """Its name and every field; a method among the fields likewise."""
        values = {f.name: getattr(self, f.name) for f in fields(self)}
        plain = {name: v.to_json() if isinstance(v, Method) else v for name, v in values.items()}
        return {"method": type(self).__name__, **plain}

    @staticmethod
    def from_json(values: Mapping[str, Any]) -> Method:
        """The method written by ``to_json``. Raises ValueError for a method or field unknown or missing.

        values: what to_json gave."""
        if not isinstance(values, Mapping):
            raise ValueError(f"a method is a mapping of fields, found {values!r}.")
        values = {name: _read(value) for name, value in values.items()}
        name, known = str(values.pop("method", "")), Method.known
        if name not in known:
            raise ValueError(
                f"method {name!r} is not known here (known: {', '.join(sorted(known))}); if it is your own, import "
                "the module that defines it first."
            )
        names = [f.name for f in fields(known[name])]
        for key in values:
            if key not in names:
                raise ValueError(unknown(f"{name} has no field", key, names))
        for f in fields(known[name]):
            if f.init and f.name not in values and f.default is MISSING and f.default_factory is MISSING:
                raise ValueError(f"{name} lacks {f.name!r}.")
        return known[name](**{f.name: values[f.name] for f in fields(known[name]) if f.init and f.name in values})


def _check_declared(method: type[Method]) -> None:
    """Raise TypeError for a need or a learner that nobody can meet."""
    for need in method.needs:
        if need not in NEEDS:
            raise TypeError(unknown(f"{method.__name__}.needs cannot name", need, NEEDS))
    if method.learner not in LEARNERS:
        raise TypeError(unknown(f"{method.__name__}.learner cannot be", method.learner, LEARNERS))


def _plain(name: str, kind: str, value: Any) -> Any:
    """A number as Python's own: NumPy's, a tensor's, a whole float where a whole number is wanted. Raises TypeError for
    what is none; what its bounds are is the method's to say."""
    if kind not in NUMBERS or value is None or type(value) is int:
        return value
    if kind.startswith("float") and type(value) is float:
        return value
    found = number(name, value)
    return int(found) if found.is_integer() and (kind.startswith("int") or isinstance(value, Integral)) else found


def _read(value: Any) -> Any:
    """JSON's lists as the tuples that a frozen method holds, and a method among the fields."""
    if isinstance(value, Mapping) and "method" in value:
        return Method.from_json(value)
    return tuple(map(_read, value)) if isinstance(value, list) else value


def check_k(method: Method, k: float | None) -> None:
    """Raise ValueError for a k that cannot be.

    method: whose k it is, for the sentence."""
    if k is not None and not 0 < k <= method.d_sae:
        raise ValueError(f"k must be between 1 and d_sae = {method.d_sae}, found {k}.")


def check_sparsity(method: Method, weight: float, l0: float | None = None) -> None:
    """Raise ValueError for a penalty's weight, or a mean number of active latents to go for, that cannot be."""
    if l0 is not None and not 0 < l0 <= method.d_sae:
        raise ValueError(f"l0 must be between 0 and d_sae = {method.d_sae}, found {l0}.")
    if not weight >= 0:
        raise ValueError(f"sparsity_weight must be at least 0, found {weight}.")
