"""A still's head motion and blinks: small, smooth, fixed by the seed, apart from each other, at rest in silence."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import pytest
from numpy.typing import NDArray

from difftalk.face.head import HeadPose
from difftalk.model import Model
from difftalk.speech.loudness import Loudness
from difftalk.talk.identity import Manner
from difftalk.talk.life import Life, sway
from drawn import SETTINGS

FRAMES = 60 * 25


@pytest.fixture(scope="module")
def speech(model: Model, waveform: NDArray[np.float32]) -> Loudness:
    """Three seconds of speech."""
    loudness = Loudness(model)
    for piece in [waveform, waveform, waveform]:
        loudness.push(piece)
    return loudness


@pytest.fixture(scope="module")
def silence(model: Model) -> Loudness:
    loudness = Loudness(model)
    loudness.push(np.zeros(48_000, np.float32))
    return loudness


def rows(loudness: Loudness, **manner: object) -> NDArray[np.float64]:
    """(75, 7): three seconds of head poses."""
    life = Life(Manner(**manner), loudness, SETTINGS)  # type: ignore[arg-type]
    return np.stack([life.head(number).row for number in range(75)])


def test_turned_off_nothing_moves(speech: Loudness) -> None:
    assert not rows(speech, head_motion=0).any()
    life = Life(Manner(blinks=0), speech, SETTINGS)
    assert not any(life.closed(seconds) for seconds in np.arange(0, 30, 0.04))


def test_blinks_stay_without_head_motion(speech: Loudness) -> None:
    life = Life(Manner(head_motion=0), speech, SETTINGS)
    assert max(life.closed(seconds) for seconds in np.arange(0, 30, 0.02)) == 1


def test_starts_where_the_picture_is(speech: Loudness) -> None:
    np.testing.assert_array_equal(rows(speech)[:4], 0)


def test_motion_is_smooth_and_like_a_speakers() -> None:
    own = np.stack([sway(3, number / 25, 1.0, 0.0, SETTINGS).row for number in range(FRAMES)])
    how = SETTINGS.life
    np.testing.assert_allclose(own[:, :3].std(0), [how.yaw, how.pitch, how.roll], rtol=0.3)
    assert (own[:, 3:5].std(0) > 0.03).all()
    assert (own[:, 3:5].std(0) < 0.11).all()
    assert np.abs(np.diff(own[:, :3], axis=0)).max() < 0.8  # degrees from frame to frame


def test_silence_is_rest(speech: Loudness, silence: Loudness) -> None:
    spoken, still = (np.abs(rows(one)[50:, :3]).mean() for one in (speech, silence))
    assert still < 0.5 * spoken
    assert still > 0


def test_emphasis_is_a_nod() -> None:
    plain, nodding = (sway(0, 2.0, 1.0, emphasis, SETTINGS) for emphasis in (0.0, 1.0))
    assert nodding.pitch > plain.pitch + 1
    assert nodding.y > plain.y
    assert nodding.brow > plain.brow


def test_amount_and_seed(speech: Loudness) -> None:
    np.testing.assert_allclose(rows(speech, head_motion=2), 2 * rows(speech))
    np.testing.assert_array_equal(rows(speech, seed=1), rows(speech, seed=1))
    assert (rows(speech, seed=1)[50] != rows(speech, seed=2)[50]).any()


def test_as_the_head_of_a_film(silence: Loudness) -> None:
    """To its end and back again, heard or not."""
    heads = tuple(HeadPose(yaw=float(number)) for number in range(5))
    np.testing.assert_array_equal(rows(silence, heads=heads)[:11, 0], [0, 1, 2, 3, 4, 3, 2, 1, 0, 1, 2])
    np.testing.assert_array_equal(rows(silence, heads=heads[:1], head_motion=2)[:, 0], 0)


@pytest.mark.parametrize("rate", [0.5, 1.0, 2.0])
def test_blinks_come_and_go(speech: Loudness, rate: float) -> None:
    life = Life(Manner(blinks=rate, frame_rate=Fraction(25)), speech, SETTINGS)
    closed = np.array([life.closed(seconds) for seconds in np.arange(0, 60, 0.02)])
    starts = np.flatnonzero((closed[1:] > 0) & (closed[:-1] == 0)) * 0.02
    assert closed.min() == 0
    assert closed.max() == 1
    least, most = (gap / rate for gap in SETTINGS.life.blink_gap)
    gaps = np.diff(starts)
    assert ((gaps > least - 0.05) & (gaps < most + 0.05)).all()
    assert np.abs(np.diff(closed)).max() < 0.5  # lids take their time
