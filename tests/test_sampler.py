"""Samplers against flows whose ends are known."""

from __future__ import annotations

import numpy as np
import pytest

from difftalk.arrays import Array
from difftalk.graphs import LATENT_SHAPE
from difftalk.render.sampler import euler

CLEAN = np.random.default_rng(1).standard_normal(LATENT_SHAPE).astype(np.float32)
NOISE = np.random.default_rng(2).standard_normal(LATENT_SHAPE).astype(np.float32)


@pytest.mark.parametrize("steps", [1, 2, 8])
def test_straight_flow_ends_at_the_clean_latent(steps: int) -> None:
    out = euler(lambda x, t: NOISE - CLEAN, NOISE, steps)
    np.testing.assert_allclose(out, CLEAN, atol=1e-5)
    assert out.dtype == np.float32


def test_times_run_from_one_towards_zero() -> None:
    times, seen = list[float](), list[Array]()

    def velocity(x: Array, t: float) -> Array:
        times.append(t)
        seen.append(x)
        return np.ones_like(x)

    out = euler(velocity, NOISE, 4)
    assert times == [1.0, 0.75, 0.5, 0.25]
    np.testing.assert_array_equal(seen[0], NOISE)
    np.testing.assert_allclose(out, NOISE - 1, atol=1e-6)


def test_more_steps_come_nearer() -> None:
    """dx/dt = x from t = 1 to 0 ends at noise / e."""
    errors = [np.abs(euler(lambda x, t: x, NOISE, steps) - NOISE / np.e).max() for steps in (1, 4, 16)]
    assert errors[0] > 2 * errors[1] > 4 * errors[2]
