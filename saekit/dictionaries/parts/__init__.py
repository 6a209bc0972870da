"""Parts of dictionaries: encoders and decoders, modules that own their parameters."""

from __future__ import annotations

from saekit.dictionaries.parts.linear import LinearDecoder, LinearEncoder
from saekit.dictionaries.parts.part import Part
from saekit.dictionaries.parts.tied import TiedEncoder

__all__ = ["LinearDecoder", "LinearEncoder", "Part", "TiedEncoder"]
