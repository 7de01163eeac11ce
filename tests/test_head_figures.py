"""Head figures on drawn tracks: spreads over the truth's, and whether the head goes with the voice."""

from __future__ import annotations

import numpy as np
import pytest

from difftalk.evaluation.metrics.head import head_figures, loud_r


def test_a_head_is_measured_beside_the_true_one() -> None:
    rng = np.random.default_rng(0)
    loud = np.repeat(rng.random(40), 20)
    truth = np.cumsum(rng.standard_normal((800, 7)) * loud[:, None], 0)
    levels = -40 + 40 * loud
    figures = head_figures(truth, 0.5 * truth, levels)
    assert all(figures[name] == pytest.approx(0.5) for name in ("yaw", "pitch", "roll", "x", "brow", "yaw_speed"))
    assert figures["loud_r"] == pytest.approx(figures["loud_r_true"])
    assert figures["loud_r"] > 0.6


def test_a_head_that_does_not_move_goes_with_nothing() -> None:
    assert loud_r(np.zeros((50, 7)), np.linspace(-60, -20, 50)) == 0
    assert loud_r(np.cumsum(np.ones((50, 7)), 0), np.full(50, -30.0)) == 0
