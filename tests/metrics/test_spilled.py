"""Spilled: what was met token after token comes back latent by latent, however it was cut."""

from __future__ import annotations

import numpy as np
import pytest

from saekit.metrics import spilled
from saekit.metrics.spilled import Spilled


@pytest.mark.parametrize(("kept", "read", "most"), [(10**6, 10**6, 99), (100, 60, 99), (1, 1, 1), (300, 200, 3)])
def test_every_firing_comes_back(monkeypatch, kept, read, most):
    monkeypatch.setattr(spilled, "KEPT", kept)
    monkeypatch.setattr(spilled, "READ", read)
    generator = np.random.default_rng(0)
    z = np.where(generator.random((200, 17)) < 0.2, generator.random((200, 17)), 0).astype(np.float32)
    z[:, 4] = 0
    firings = Spilled(17)
    for start in range(0, 200, 25):
        place, latent = z[start : start + 25].nonzero()
        firings.add(latent, place + start, z[start + place, latent])
    again, seen = np.zeros_like(z), []
    for first, last, latent, place, value in firings.parts(most):
        assert last - first <= most and (latent >= first).all() and (latent < last).all()
        assert len(value) <= read or last - first == 1
        again[place, latent] = value
        seen += range(first, last)
    assert seen == list(range(17)) and (again == z).all()
    firings.close()


def test_nothing_was_met():
    firings = Spilled(3)
    assert [(first, last, len(place)) for first, last, _, place, _ in firings.parts(9)] == [(0, 3, 0)]
    firings.close()
