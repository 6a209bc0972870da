"""The loss of a sparse dictionary with a linear encoder, and its whole gradient in one backward pass.

With the support of the codes chosen, z_t = u_t on it, so every gradient is a sum over entries: with g = ∂loss/∂x̂ and
s_te = ⟨g_t, d_e⟩ on the entries, ∂d_f = Σ_t z_tf g_t, ∂W_f = Σ_t s_tf (x_t − c), ∂b_f = S_f = Σ_t s_tf, and the decoder
bias, where it is the centre c too, has Σ_t g_t − Σ_f S_f W_f. Dead latents add dense products with their few rows.
"""

from __future__ import annotations

from saekit_kernels.reconstruction.auxk import AuxK, DeadRows
from saekit_kernels.reconstruction.loss import reconstruction_loss
from saekit_kernels.reconstruction.rows import Reconstruction, RowGradients, reconstruction_rows, row_gradients

__all__ = [
    "AuxK",
    "DeadRows",
    "Reconstruction",
    "RowGradients",
    "reconstruction_loss",
    "reconstruction_rows",
    "row_gradients",
]
