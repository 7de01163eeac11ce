"""A still's head motion and blinks: fixed by the seed, apart from each other; how far and how often is as told."""

from __future__ import annotations

from fractions import Fraction
from typing import TYPE_CHECKING, cast

import numpy as np
import pytest
from numpy.typing import NDArray

from difftalk.arrays import Array
from difftalk.face.head import HeadPose
from difftalk.talk.identity import Manner
from difftalk.talk.life import Life
from drawn import SETTINGS

if TYPE_CHECKING:
    from difftalk.speech.head_motion import HeadMotion


class Turning:
    """A head whose every number is the time."""

    def at(self, seconds: float) -> Array:
        return np.full(7, seconds, np.float32)


def living(motion: object = None, **manner: object) -> Life:
    return Life(Manner(**manner), cast("HeadMotion | None", motion), SETTINGS)  # type: ignore[arg-type]


def rows(motion: object = None, **manner: object) -> NDArray[np.float64]:
    """(75, 7): three seconds of head poses."""
    return np.stack([living(motion, **manner).head(number).row for number in range(75)])


def test_turned_off_nothing_moves() -> None:
    assert not rows(Turning(), head_motion=0).any()
    life = living(blinks=0)
    assert not any(life.closed(seconds) for seconds in np.arange(0, 30, 0.04))


def test_blinks_stay_without_head_motion() -> None:
    life = living(head_motion=0)
    assert max(life.closed(seconds) for seconds in np.arange(0, 30, 0.02)) == 1


def test_a_model_without_a_net_for_it_keeps_the_head_still() -> None:
    assert not rows().any()


@pytest.mark.parametrize("rate", [25, 50])
def test_goes_the_learnt_way(rate: int) -> None:
    found = rows(Turning(), frame_rate=Fraction(rate))
    np.testing.assert_allclose(found, np.repeat(np.arange(75)[:, None] / rate, 7, 1), rtol=1e-6)
    np.testing.assert_allclose(rows(Turning(), frame_rate=Fraction(rate), head_motion=2), 2 * found)


def test_as_the_head_of_a_film() -> None:
    """To its end and back again, whatever is heard."""
    heads = tuple(HeadPose(yaw=float(number)) for number in range(5))
    np.testing.assert_array_equal(rows(Turning(), heads=heads)[:11, 0], [0, 1, 2, 3, 4, 3, 2, 1, 0, 1, 2])
    np.testing.assert_array_equal(rows(Turning(), heads=heads[:1], head_motion=2)[:, 0], 0)


@pytest.mark.parametrize("rate", [0.5, 1.0, 2.0])
def test_blinks_come_and_go(rate: float) -> None:
    life = living(blinks=rate)
    closed = np.array([life.closed(seconds) for seconds in np.arange(0, 60, 0.02)])
    starts = np.flatnonzero((closed[1:] > 0) & (closed[:-1] == 0)) * 0.02
    assert closed.min() == 0
    assert closed.max() == 1
    least, most = (gap / rate for gap in SETTINGS.life.blink_gap)
    gaps = np.diff(starts)
    assert ((gaps > least - 0.05) & (gaps < most + 0.05)).all()
    assert np.abs(np.diff(closed)).max() < 0.5  # lids take their time
