"""Head figures on drawn tracks: spreads, speeds, and whether the head goes with the voice."""

from __future__ import annotations

import numpy as np
import pytest

from difftalk.evaluation.metrics.head import head_figures, loud_r


def test_half_as_far_is_half_as_fast_and_goes_as_well_with_the_voice() -> None:
    rng = np.random.default_rng(0)
    loud = np.repeat(rng.random(40), 20)
    truth = np.cumsum(rng.standard_normal((800, 7)) * loud[:, None], 0)
    levels = -40 + 40 * loud
    true, made = head_figures(truth, levels), head_figures(0.5 * truth, levels)
    assert all(made[name] == pytest.approx(0.5 * true[name]) for name in ("yaw", "pitch", "roll", "speed"))
    assert made["loud_r"] == pytest.approx(true["loud_r"])
    assert true["loud_r"] > 0.6
    assert true["yaw"] == pytest.approx(truth[:, 0].std())


def test_a_head_that_does_not_move_goes_with_nothing() -> None:
    assert loud_r(np.zeros((50, 7)), np.linspace(-60, -20, 50)) == 0
    assert loud_r(np.cumsum(np.ones((50, 7)), 0), np.full(50, -30.0)) == 0
