"""What methods with a linear encoder and decoder share, and where the fused kernels may run for them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, TypeVar

from jaxtyping import Float
from saekit_kernels import SparseCodes, decode, encode_above
from torch import Tensor

from saekit.dictionaries.dictionary import Activation, Dictionary
from saekit.dictionaries.parts import LinearDecoder, LinearEncoder
from saekit.dictionaries.sites import widths_of
from saekit.dictionaries.wiring import Wiring

Function = TypeVar("Function", bound=Callable[..., Any])


def fused(function: Function) -> Function:
    """Mark what the fused kernels know: an ``encode`` whose values are the pre-activations of the few latents it keeps,
    and a ``loss`` that is ``reconstruction_auxk`` and nothing else. A subclass that has its own is not marked, so that
    none can be trained as another than it is. function: the one or the other."""
    function.fused = True  # type: ignore[attr-defined]
    return function


class LinearDictionary(Dictionary):
    """u = W_enc (x − c) + b_enc, x̂ = Σ_i z_i d_i + b_dec. c is b_dec where it writes what it reads, else nothing
    (a transcoder). Encoder rows begin as the decoder's where they are equally long."""

    encoder: LinearEncoder
    decoder: LinearDecoder

    def __init__(self, method: Any, wiring: Wiring, widths: Mapping[str, int], **settings: Any) -> None:
        reads, writes = widths_of(wiring.reads, wiring, widths), widths_of(wiring.writes, wiring, widths)
        skip_from = reads if method.skip else None
        decoder = LinearDecoder.random(method.d_sae, writes, skip_from=skip_from, **settings)
        encoder = (
            LinearEncoder(decoder.directions.detach().clone(), reads)
            if wiring.same
            else LinearEncoder.random(method.d_sae, reads)
        )
        super().__init__(method, wiring, widths, encoder, decoder)

    @property
    def centre(self) -> Tensor | None:
        """What is subtracted before encoding."""
        return self.decoder.bias if self.wiring.same else None

    def pre_activations(self, x: Activation, latents: Tensor | None = None) -> Float[Tensor, "*shape m"]:
        """u = W_enc (x − c) + b_enc, [..., d_sae], or of a few latents [..., m]."""
        return self.encoder(self.join_reads(x), self.centre, latents)

    def above(self, x: Activation, threshold: Tensor) -> SparseCodes:
        """u where it is above the threshold, one for all latents or one a latent."""
        return encode_above(self.join_reads(x), self.encoder.directions, self.encoder.bias, threshold, self.centre)

    def decode_at(self, codes: SparseCodes, site: str, x: Tensor | None = None) -> Tensor:
        """x̂ at one of the sites it writes: of several, the columns of that site alone where nothing else is added."""
        plain = type(self).decode is Dictionary.decode and type(self.decoder) is LinearDecoder
        several = len(self.writes) > 1 and not self.wiring.each
        if site not in self.writes or not several or not plain or self.decoder.skip is not None:
            return super().decode_at(codes, site, x)
        bias = self.decoder.bias.split(list(self.write_widths.values()))[self.writes.index(site)]
        return decode(codes, self.decoder_directions_at(site), bias)

    @property
    def fused(self) -> bool:
        """Nothing but what the kernels know: marked functions, the plain parts."""
        kind = type(self)
        return (
            getattr(kind.encode, "fused", False)
            and not self.signed  # the kernels' AuxK takes what is positive
            and all(getattr(kind, name) is getattr(LinearDictionary, name) for name in PLAIN)
            and not any(name in vars(self) for name in ("encode", *PLAIN))
            and type(self.encoder) is LinearEncoder
            and type(self.decoder) is LinearDecoder
            and self.decoder.skip is None
        )


PLAIN = ("centre", "decode", "join_reads", "join_writes", "pre_activations", "split_writes")
