"""Views of a dictionary: copies that share its parameters, used otherwise or on another model."""

from __future__ import annotations

import copy
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from saekit.dictionaries.provenance import check_named, on_model
from saekit.dictionaries.sites import single
from saekit.dictionaries.wiring import Wiring
from saekit.models import joined_width

if TYPE_CHECKING:
    from transformer_lens.model_bridge import TransformerBridge


def used_otherwise(dictionary: Any, site: str | None, changes: dict[str, Any]) -> Any:
    """With some fields of its method changed; of a dictionary for each of several sites, that for one of them."""
    view = copy.copy(dictionary)
    if site is not None:
        each = dictionary.wiring.each
        if site not in dictionary.reads or not (each or dictionary.reads == dictionary.writes == (site,)):
            whose = f"{'each' if each else 'all'} of {', '.join(dictionary.reads)}"
            raise ValueError(f"this dictionary is for {whose}: there is none at {site!r}.")
        _stand_at_one(view, site)
    for name in changes:
        if name not in dictionary.adjustable:
            can = ", ".join(dictionary.adjustable) or "nothing"
            raise ValueError(
                f"of {type(dictionary.method).__name__} {can} can be changed after training, not {name!r}."
            )
    view.method = replace(dictionary.method, **changes)
    return view


def _stand_at_one(view: Any, site: str) -> None:
    width = view.d_in
    view.wiring, view.read_widths, view.write_widths = Wiring(site), {site: width}, {site: width}


def on_another_model(dictionary: Any, model: TransformerBridge, site: str | Wiring | None) -> Any:
    """For another model of equal shape; ``site`` says where, of a dictionary made from arrays, which know no site."""
    view = copy.copy(dictionary)
    if site is not None:
        if not isinstance(site, Wiring):
            single(dictionary.read_widths, "on(site=)")
            if not dictionary.wiring.same:
                raise ValueError(
                    f"a dictionary of {dictionary.wiring} is put at two sites: on(model, site=sk.Wiring(…, …))."
                )
        _stand(view, site if isinstance(site, Wiring) else Wiring(site))
    check_named(view)
    for name, width in (view.read_widths | view.write_widths).items():
        if width != (found := joined_width(model, name)):
            raise ValueError(f"the dictionary has {width} values at {name!r}, this model {found}.")
    view.provenance = on_model(dictionary.provenance, model)
    return view


def _stand(view: Any, there: Wiring) -> None:
    """Put it at other sites, as many as its own."""
    own = view.wiring
    counts = [(len(each.reads), len(each.writes), each.same, each.each, each.layerwise) for each in (own, there)]
    if counts[0] != counts[1]:
        raise ValueError(f"a dictionary of {own} cannot be put at {there}: its sites are others in number or kind.")
    view.read_widths, view.write_widths = (
        dict(zip(names, widths.values(), strict=True))
        for names, widths in ((there.reads, view.read_widths), (there.writes, view.write_widths))
    )
    view.wiring = there
