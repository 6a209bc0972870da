"""What ReLU, TopK and BatchTopK share: one linear map to pre-activations, u = W_enc (x − b_dec) + b_enc."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from jaxtyping import Float
from torch import Tensor, nn

from saekit.dictionaries.contract import Activation, Dictionary, DictionaryConfiguration


class LinearEncoderDictionary(Dictionary):
    """b_dec is subtracted where a dictionary writes what it reads, and not where it writes elsewhere (a transcoder)."""

    def __init__(
        self, configuration: DictionaryConfiguration, reads: Mapping[str, int], writes: Mapping[str, int] | None = None
    ) -> None:
        super().__init__(configuration, reads, writes)
        self.encoder_bias = nn.Parameter(torch.zeros(configuration.d_sae))

    @property
    def centre(self) -> Tensor | None:
        """What is subtracted before encoding."""
        return self.decoder_bias if self.read_widths == self.write_widths else None

    def pre_activations(self, x: Activation, latents: Tensor | None = None) -> Float[Tensor, "*shape m"]:
        """u of all latents, or of a few."""
        x = self.join_reads(x)
        if self.centre is not None:
            x = x - self.centre
        directions: Tensor = self.encoder_directions
        bias: Tensor = self.encoder_bias
        if latents is not None:
            directions, bias = directions[latents], bias[latents]
        return nn.functional.linear(x, directions, bias)


def check_size(d_sae: int, k: float | None = None) -> None:
    """Raise ValueError for a width or a k that cannot be."""
    if d_sae < 1:
        raise ValueError(f"d_sae must be at least 1, found {d_sae}.")
    if k is not None and not 0 < k <= d_sae:
        raise ValueError(f"k must be between 1 and d_sae = {d_sae}, found {k}.")
