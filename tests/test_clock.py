"""A video's clock: what becomes of bad time stamps."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import pytest

from difftalk.media.clock import Clock, frame_rate


@pytest.mark.parametrize(
    ("stamps", "shown"),
    [
        *[(stamps, [0, 0.04, 0.08]) for stamps in ([5.0, 5.04, 5.08], [0.0, None, 0.08], [None, None, None])],
        ([0.0, 0.04, 0.04, 0.08], [0, 0.04, 0.06, 0.08]),  # a repeated stamp moves only itself
        ([0.0, 0.04, -50.0, -49.96], [0, 0.04, 0.08, 0.12]),  # a clock that was reset
    ],
)
def test_bad_time_stamps_are_mended(stamps: list[float | None], shown: list[float]) -> None:
    clock = Clock(0.04)
    assert [clock.shown(stamp) for stamp in stamps] == pytest.approx(shown)


def test_times_always_increase() -> None:
    clock, random = Clock(0.04), np.random.default_rng(1)
    shown = [clock.shown(None if random.random() < 0.2 else float(random.normal(i / 25, 0.2))) for i in range(300)]
    shown += [clock.shown(3.0) for _ in range(100)]
    assert min(np.diff(shown)) > 0


def test_a_rate_is_never_zero() -> None:
    assert frame_rate(np.array([0.0, 0.04, 1e6]), Fraction(25)) == (Fraction(1, 1001), False)
