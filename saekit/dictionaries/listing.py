"""sk.methods(): the methods there are, one's own among them, with their fields, defaults and equations."""

from __future__ import annotations

import inspect
from dataclasses import MISSING, dataclass, fields
from typing import TYPE_CHECKING

from saekit.dictionaries.method import Method

if TYPE_CHECKING:
    import pandas


@dataclass(frozen=True)
class Methods:
    """One row a method: name, equation, fields with their defaults, what its loss needs, who trains it, source.

    rows: method, equation, fields, needs, learner and source of each."""

    rows: tuple[dict[str, str], ...]

    @property
    def definition(self) -> str:
        """What the rows are, in a sentence."""
        return "what sk.train can train: each is called as name(d_sae=…, …); a field without a default must be given"

    def frame(self) -> pandas.DataFrame:
        """A row a method, as a pandas frame."""
        import pandas

        return pandas.DataFrame(list(self.rows))

    def _repr_html_(self) -> str:
        from saekit.plots import html_table

        return html_table(list(self.rows), caption="Methods", header=self.definition)

    def __repr__(self) -> str:
        from saekit.plots.plain import ROWS, WIDTH, cut

        lines = [cut(f"{row['method']}({row['fields']}): {row['equation']}", WIDTH) for row in self.rows[:ROWS]]
        more = [f"… {len(self.rows) - ROWS} more: sk.methods().frame()"] if len(self.rows) > ROWS else []
        return "\n".join([*lines, *more])


def methods() -> Methods:
    """The methods that are known here: saekit's own first, then those of modules that were imported."""
    concrete = [
        method
        for method in Method.known.values()
        if not inspect.isabstract(method) and not method.__name__.startswith("_")
    ]
    concrete.sort(key=lambda method: (not method.__module__.startswith("saekit."), method.__name__))
    return Methods(tuple(_row(method) for method in concrete))


def _row(method: type[Method]) -> dict[str, str]:
    given = []
    in_a_call = sorted((f for f in fields(method) if f.init), key=lambda f: bool(f.kw_only))
    for f in in_a_call:
        if f.default is not MISSING:
            given.append(f"{f.name}={f.default!r}" if not isinstance(f.default, float) else f"{f.name}={f.default:g}")
        elif f.default_factory is not MISSING:
            given.append(f"{f.name}={f.default_factory()!r}")
        else:
            given.append(f.name)
    return {
        "method": method.__name__,
        "equation": method.equation or (inspect.getdoc(method) or "").split("\n\n")[0].replace("\n", " "),
        "fields": ", ".join(given),
        "needs": ", ".join(sorted(method.needs)) or "activations alone",
        "learner": method.learner,
        "source": method.source or ("" if method.__module__.startswith("saekit.") else method.__module__),
    }
