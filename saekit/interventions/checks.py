"""Whether a dictionary may stand where it is put: its model, the sites, and their widths."""

from __future__ import annotations

import itertools
import warnings
from collections.abc import Sequence
from typing import TYPE_CHECKING
from weakref import WeakSet

from saekit.dictionaries import Dictionary, check_model
from saekit.interventions.standing import Standing
from saekit.models import SeveralModels, Site, bos_of, check_edit_site, check_site, joined_width, reached_after

if TYPE_CHECKING:
    from transformer_lens.model_bridge import TransformerBridge

_told_of_bos: WeakSet[Dictionary] = WeakSet()
_told: WeakSet[Dictionary] = WeakSet()
"""dictionaries from plain arrays that a warning was given about"""


def check_standing(model: TransformerBridge | SeveralModels, standing: Standing) -> None:
    """Raise ValueError where a dictionary was made on another model, edits are not offered at a site written, it reads
    what the model reaches only after it writes, or a width is not that of its site. Warns once for a dictionary that
    does not say which model it was made on, at the line that says ``with edited(…)``, whose function calls this."""
    dictionary = standing.dictionary
    check_model(dictionary, model)
    for site in standing.writes:
        check_edit_site(model, site)
    check_order(model, standing)
    for site, width in _widths(dictionary, "write", standing).items():
        if width != (found := joined_width(model, site)):
            raise ValueError(f"the dictionary is {width} wide, site {str(site)!r} of this model {found}.")
    for site, width in _widths(dictionary, "read", standing).items():
        if width != (found := joined_width(model, check_site(model, site))):
            raise ValueError(f"the dictionary reads {width} values, site {str(site)!r} has {found} here.")
    _tell_of_bos(model, dictionary)
    if dictionary.provenance.model_hash is None and dictionary not in _told:
        _told.add(dictionary)
        where = ", ".join(repr(str(site)) for site in standing.writes)
        warnings.warn(
            f"this dictionary does not say which model it was made on; it fits {where} by its width alone.",
            stacklevel=4,
        )


def check_each_once(standings: Sequence[Standing]) -> None:
    """Raise ValueError where two of the dictionaries write the same site."""
    written: set[Site] = set()
    for standing in standings:
        if twice := written.intersection(standing.writes):
            raise ValueError(f"two of the dictionaries write {str(min(twice))!r}: splice one of them.")
        written.update(standing.writes)


def check_order(model: TransformerBridge | SeveralModels, standing: Standing) -> None:
    """Raise ValueError where a dictionary reads a site that the model reaches only after one that it writes: it can
    never run in the model."""
    pairs = zip(standing.reads, standing.writes, strict=True) if standing.layerwise else None
    for read, write in pairs or itertools.product(standing.reads, standing.writes):
        if not standing.ahead(read.model) and reached_after(model, read, write):
            raise ValueError(
                f"the dictionary reads {str(read)!r}, which the model reaches only after {str(write)!r}, that it "
                "writes: the model cannot run with it, so turn them round (activations that sk.activations.harvest "
                "gave can be read in any order)."
            )


def _tell_of_bos(model: TransformerBridge | SeveralModels, dictionary: Dictionary) -> None:
    """Say once where rows began otherwise when it was trained than those of ``model(text)`` do."""
    trained, here = dictionary.provenance.prepend_bos, bos_of(model) is not None
    if trained is not None and trained != here and dictionary not in _told_of_bos:
        _told_of_bos.add(dictionary)
        warnings.warn(
            f"this dictionary was trained on rows that begin {'with' if trained else 'without'} BOS, model(text) gives "
            f"them {'with' if here else 'without'}: give tokens instead of text, model(tokens).",
            stacklevel=5,
        )


def _widths(dictionary: Dictionary, what: str, standing: Standing) -> dict[Site, int]:
    """The widths of the sites where it stands, as far as the dictionary says them."""
    known = dictionary.read_widths if what == "read" else dictionary.write_widths
    sites = standing.reads if what == "read" else standing.writes
    return {sites[0]: next(iter(known.values()))} if len(sites) == 1 else {Site(site): known[site] for site in known}
