"""Building a store: read a corpus, then the numbers and examples of every latent."""

from __future__ import annotations
