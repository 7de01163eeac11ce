"""The timeline: frames of slow videos are shown again and again, those of others once."""

from __future__ import annotations

from fractions import Fraction
from itertools import chain
from pathlib import Path

import numpy as np
import pytest

from difftalk.arrays import Image
from difftalk.media import video
from difftalk.media.timeline import LONGEST, repeats_note, shown_rate, timeline
from difftalk.media.video import VideoInfo
from difftalk.talk.talker import Talker
from drawn import draw_clip, images


def info_of(rate: Fraction, *, constant: bool = True) -> VideoInfo:
    return VideoInfo(Path("a.mp4"), 64, 64, rate, constant, 0, 0.0, False, Fraction(1))


@pytest.mark.parametrize("rate", [20, 24, Fraction(30_000, 1001), 60])
def test_usual_rates_stay(rate: Fraction | int) -> None:
    info, seconds = info_of(Fraction(rate)), [float(number / rate) for number in range(100)]
    times = timeline(info, seconds)
    assert times == [[second] for second in seconds]
    assert shown_rate(info) == rate
    assert repeats_note(info, times) == []


@pytest.mark.parametrize("rate", [Fraction(1, 5), 1, 6, Fraction(12_000, 1001), 15, Fraction(19)])
def test_slow_rates_become_25(rate: Fraction | int) -> None:
    info, count = info_of(Fraction(rate)), 40
    seconds = [round(float(number / rate), 3) for number in range(count)]  # as Matroska has them
    times = timeline(info, seconds)
    shown = list(chain(*times))
    np.testing.assert_allclose(shown, np.arange(len(shown)) / 25)
    assert len(shown) == round(count / rate * 25)
    assert shown_rate(info) == 25
    for start, moments in zip(seconds, times, strict=True):
        assert start - 1e-3 <= moments[0] < start + 0.04
    assert len(repeats_note(info, times)) == 1


def test_gaps_are_filled() -> None:
    """A screen recording: 60/s, nothing for 3 s, a frame, 25/s with one lost."""
    seconds = [*np.arange(61) / 60, 4.0, 4.04, 4.12, 4.16]
    info = info_of(Fraction(45), constant=False)
    times = timeline(info, seconds)
    assert [moments[0] for moments in times] == seconds
    shown = np.array(list(chain(*times)))
    assert np.diff(shown).min() > 0
    assert np.diff(shown).max() <= 0.06
    assert [len(moments) for moments in times] == [1] * 60 + [75, 1, 2, 1, 1]
    assert repeats_note(info, times) == [
        "the video stands still in places: its frames are repeated to 25/s, so that the mouth can move"
    ]


def test_lost_frames_are_filled_at_the_videos_own_rate() -> None:
    times = timeline(info_of(Fraction(50)), [0, 0.02, 0.1, 0.12])
    np.testing.assert_allclose(list(chain(*times)), np.arange(7) / 50)


def test_a_broken_time_stamp_does_no_harm() -> None:
    times = timeline(info_of(Fraction(1, 1001), constant=False), [0, 0.04, 1e12])
    assert [len(moments) for moments in times] == [1, LONGEST, 1001 * 25]


@pytest.mark.parametrize(
    ("rate", "times", "said"),
    [
        (1, None, "has 1 frames/s"),
        (6, None, "has 6 frames/s"),
        (25, [*(np.arange(6) / 25), 0.96, 1.0], "stands still in places"),
    ],
)
def test_mouth_moves_where_the_video_stands(
    talker: Talker, portrait: Image, voice: Path, tmp_path: Path, rate: int, times: list[float] | None, said: str
) -> None:
    """A slideshow, a slow video, a screen recording that halts."""
    clip = draw_clip(tmp_path / "slow.mp4", [portrait] * (8 if times else rate), rate=Fraction(rate), times=times)
    result = talker.dub(clip, voice, tmp_path / "out.mp4", own_way=0)
    info, written = video.probe(result.path), images(result.path)
    assert (result.frames, info.frame_count, info.frame_rate) == (25, 25, Fraction(25))
    assert (
        [note for note in result.notes if said in note] == [note for note in result.notes if "repeated" in note] != []
    )
    assert (np.abs(np.diff(written.astype(int), axis=0)).max((1, 2, 3)) > 8).all()
    tail = talker.dub(clip, voice, tmp_path / "tail.mp4", own_way=0, keep_tail=True)
    assert tail.frames == (29 if times else 25)  # the last frame is taken to last a mean step
