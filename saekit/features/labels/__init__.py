"""Labels, stars, notes and explanations of a store's latents, in SQLite."""

from __future__ import annotations
