"""Views of a dictionary: copies that share its parameters, used otherwise or on another model."""

from __future__ import annotations

import copy
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from saekit.dictionaries.provenance import on_model
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
        _stand(view, site)
    for name in changes:
        if name not in dictionary.adjustable:
            can = ", ".join(dictionary.adjustable) or "nothing"
            raise ValueError(
                f"of {type(dictionary.method).__name__} {can} can be changed after training, not {name!r}."
            )
    view.method = replace(dictionary.method, **changes)
    return view


def on_another_model(dictionary: Any, model: TransformerBridge, site: str | None) -> Any:
    """For another model of equal shape; ``site`` says where, of a dictionary made from arrays, which know no site."""
    view = copy.copy(dictionary)
    if site is not None:
        single(dictionary.read_widths, "on(site=)")
        if not dictionary.wiring.same:
            raise ValueError(f"only a dictionary that writes what it reads can be put at a site: {dictionary.wiring}.")
        _stand(view, site)
    for name, width in (view.read_widths | view.write_widths).items():
        if width != (found := joined_width(model, name)):
            raise ValueError(f"the dictionary has {width} values at {name!r}, this model {found}.")
    view.provenance = on_model(dictionary.provenance, model)
    return view


def _stand(view: Any, site: str) -> None:
    width = view.d_in
    view.wiring, view.read_widths, view.write_widths = Wiring(site), {site: width}, {site: width}
