"""Decoding: the weighted sum of the decoder rows of a token's latents, x̂ = Σ_i z_i d_i + b."""

from __future__ import annotations

from saekit_kernels.decode.reference import decode

__all__ = ["decode"]
