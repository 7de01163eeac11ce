"""Validation judges pictures as a frame shows them."""

from __future__ import annotations

import numpy as np

from difftalk.training.batches import FakeSource, RenderBatch
from difftalk.training.validation import as_shown, seen
from drawn import SETTINGS


def test_pictures_are_judged_as_they_are_shown() -> None:
    batch = FakeSource("painter", batch_size=2, seed=0).batch(0)
    assert isinstance(batch, RenderBatch)
    batch.composite[:, 3] = 0
    batch.composite[:, 3, 60:90, 60:110] = 1
    composite = batch.composite[:, :3]
    shown = as_shown(composite + 0.5, batch.composite) - composite
    np.testing.assert_allclose(shown[:, :, 75, 85], 0.5, atol=1e-6)
    held = 0.5 * (1 - SETTINGS.drawing.change_held)
    np.testing.assert_allclose(shown[:, :, 20, 20], held, atol=1e-6)
    figures = seen({"output": composite + 0.5}, batch, None).figures
    assert figures["l1"] == float((as_shown(composite + 0.5, batch.composite) - batch.target).abs().mean())
