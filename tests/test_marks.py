"""Marks: a video read from any frame on has the frames of reading it from the beginning."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from difftalk.arrays import Image
from difftalk.media import video
from difftalk.media.container import open_media, video_stream
from difftalk.media.marks import sought
from drawn import encode

COUNT = 60


def film() -> list[Image]:
    """Frames that are decoded wrongly without those before them."""
    noise = np.random.default_rng(0).integers(0, 256, (64, 64, 3), np.uint8)
    return [np.roll(noise, (number, 2 * number), (0, 1)) for number in range(COUNT)]


@pytest.mark.parametrize(
    ("codec", "name", "options", "fields"),
    [
        ("libx264", "a.mp4", {"g": "1"}, ""),
        ("libx264", "a.mp4", {"g": "7"}, ""),
        ("libx264", "a.mp4", {"g": "300"}, ""),
        ("libx264", "a.mp4", {"x264-params": "open-gop=1:keyint=12:min-keyint=12:bframes=3"}, ""),
        ("libx264", "a.mp4", {"g": "7"}, "tff"),
        ("libx264", "a.ts", {"g": "7"}, ""),
        ("libvpx-vp9", "a.webm", {"g": "7", "deadline": "realtime", "cpu-used": "8"}, ""),
        ("mpeg4", "a.avi", {"g": "12", "bf": "2"}, ""),
        ("mpeg2video", "a.mpg", {"g": "12", "bf": "2"}, ""),
        ("mpeg2video", "a.ts", {"g": "12"}, "tff"),
    ],
)
def test_any_frame_is_found(tmp_path: Path, codec: str, name: str, options: dict[str, str], fields: str) -> None:
    path = encode(tmp_path / name, film(), codec, options=options, fields=fields)
    frames = list(video.read(path))
    marks, was_sought = [frame.mark for frame in frames], list[bool]()
    for first in range(0, len(frames), 5):
        again = list(video.read(path, first=first, marks=marks))
        assert [frame.mark for frame in again] == marks[first:]
        for one, other in zip(again, frames[first:], strict=True):
            np.testing.assert_array_equal(one.image, other.image)
        with open_media(path) as container:
            was_sought.append(sought(container, video_stream(container, path), marks, first) is not None)
    assert sum(was_sought) >= len(was_sought) // 2


def test_without_time_stamps_it_is_read_from_the_beginning(tmp_path: Path) -> None:
    path = encode(tmp_path / "a.h264", film(), "libx264", options={"g": "7"})
    frames = list(video.read(path))
    assert {frame.mark.stamp for frame in frames} == {None}
    again = list(video.read(path, first=50, marks=[frame.mark for frame in frames]))
    np.testing.assert_array_equal([frame.image for frame in again], [frame.image for frame in frames[50:]])
