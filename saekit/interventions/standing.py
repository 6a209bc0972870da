"""Standing: a dictionary at sites of a model, and what it makes of the activations that arrive there."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from saekit_kernels import SparseCodes
from torch import Tensor

from saekit.dictionaries import Dictionary
from saekit.files.choices import unknown
from saekit.models import Site


class Standing:
    """Where a dictionary reads and writes in a model.

    layerwise: it codes a site at a time, and what it writes needs no later one (a cross-layer dictionary).
    ahead:     it must read all its sites before it writes the first of them (a crosscoder).
    """

    def __init__(self, dictionary: Dictionary, site: str | None = None) -> None:
        """site: for a dictionary that writes one site, where it stands instead; for one that writes several, that of
        them which is written; for one of any of its sites (``Wiring(each=True)``), which one."""
        self.dictionary = dictionary
        reads, writes = tuple(map(str, dictionary.reads)), tuple(map(str, dictionary.writes))
        each = dictionary.wiring.each
        if each and site is None:
            raise ValueError(f"this dictionary is for each of {', '.join(writes)}: say which one with site=.")
        if site is not None and len(writes) > 1 and site not in writes:
            raise ValueError(unknown("the dictionary does not write", site, writes))
        if each:
            reads = writes = (str(site),)
        self.own = dict(zip(writes, writes, strict=True))  # the dictionary's name of each site written
        if site is not None:
            own = str(site) if len(writes) > 1 else writes[0]
            self.own, same = {str(site): own}, reads == writes and len(writes) == 1
            reads, writes = ((str(site),) if same else reads), (str(site),)
        self.reads, self.writes = tuple(map(Site, reads)), tuple(map(Site, writes))
        self.layerwise = len(reads) > 1 and dictionary.layerwise
        self.ahead = len(reads) > 1 and not self.layerwise and not _all_before(self.reads, self.writes)

    def encode(self, x: Mapping[Site, Tensor], coded: dict[Site, SparseCodes] | None = None) -> SparseCodes:
        """z of what it reads; of a layerwise one, of the sites that are there. coded: what was coded so far of these
        activations, which is added to."""
        coded = {} if coded is None else coded
        new = self.dictionary.take({site: h for site, h in x.items() if site not in coded})
        if self.layerwise:
            coded |= {site: self.dictionary.encode_at(h, site) for site, h in new.items()}
            return SparseCodes.together([coded[site] for site in self.reads if site in coded])
        if self.reads[0] not in coded:
            coded[self.reads[0]] = self.dictionary.encode(self._given(new))
        return coded[self.reads[0]]

    def decode(self, codes: SparseCodes, x: Mapping[Site, Tensor], site: Site) -> Tensor:
        """x̂ at one of the sites written."""
        if self.layerwise:
            return self.dictionary.decode_at(codes, self.own[site])
        x_hat = self.dictionary.decode(codes, self._given(self.dictionary.take(x)))
        return x_hat if isinstance(x_hat, Tensor) else x_hat[self.own[site]]

    def directions(self, site: Site, latents: Sequence[int]) -> Tensor:
        """Decoder rows [m, d] at a site written."""
        if self.dictionary.decoder_rows(slice(0, 0)) is None:
            raise ValueError("this dictionary has no decoder directions, which this mode needs: choose another mode.")
        return self.dictionary.decoder_directions_at(self.own[site])[list(latents)].detach()

    def _given(self, x: Mapping[Site, Tensor]) -> Any:
        """As encode and decode take it: a tensor where one site is read."""
        return next(iter(x.values())) if len(self.reads) == 1 else {str(site): h for site, h in x.items()}


def _all_before(reads: Sequence[Site], writes: Sequence[Site]) -> bool:
    """Whether every site read lies in an earlier block than every site written."""
    read = [site.layer for site in reads if site.layer is not None]
    written = [site.layer for site in writes if site.layer is not None]
    return len(read) == len(reads) and len(written) == len(writes) and max(read) < min(written)
