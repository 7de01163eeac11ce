"""Fields: interlaced film is read as whole pictures, everything else as it is."""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest

from difftalk.arrays import Image
from difftalk.media import mp4, video
from difftalk.media.fields import whole
from drawn import encode

COUNT = 12


def film(*, top_first: bool = True, height: int = 64, width: int = 96) -> list[Image]:
    """A bright bar that moves by 4 px from field to field, before bars that stand still."""
    frames = []
    for number in range(COUNT):
        image = np.repeat((60 + 40 * (np.arange(width) // 8 % 2))[None, :, None], height, 0).repeat(3, 2)
        for field in (0, 1):
            x = 4 * (2 * number + field)
            image[(field if top_first else 1 - field) :: 2, x : x + 20] = 220
        frames.append(image.astype(np.uint8))
    return frames


def combing(images: Sequence[Image]) -> float:
    """How much lines differ from the mean of those above and below."""
    lines = np.stack(images).astype(float)
    return float(np.abs(2 * lines[:, 1:-1] - lines[:, :-2] - lines[:, 2:])[:, 4:-4].mean())


@pytest.mark.parametrize("fields", ["tff", "bff"])
@pytest.mark.parametrize(("codec", "name"), [("libx264", "a.mp4"), ("libx264", "a.mkv"), ("mpeg2video", "a.ts")])
def test_interlaced_frames_are_whole(tmp_path: Path, codec: str, name: str, fields: str) -> None:
    drawn = film(top_first=fields == "tff")
    path = encode(tmp_path / name, drawn, codec, options={"g": "6", "b": "3000k"}, fields=fields)
    with av.open(path) as container:
        stamps = [frame.pts for frame in container.decode(video=0)]
    frames = list(video.read(path))
    images = [frame.image for frame in frames]
    assert combing(drawn) > 20
    assert combing(images[1:]) < 1.5
    assert combing(images[:1]) < 3  # there is nothing before it to go by
    assert [frame.mark.stamp for frame in frames] == stamps
    np.testing.assert_allclose(np.diff([frame.seconds for frame in frames]), 0.04, atol=2e-3)
    for number in range(1, 9):  # each shows its first field's moment
        bar = np.flatnonzero(images[number][20:44, :, 0].mean(0) > 160)
        assert bar.mean() == pytest.approx(8 * number + 9.5, abs=1.5)


def test_written_frames_are_not_combed(tmp_path: Path) -> None:
    path = encode(tmp_path / "a.mp4", film(), "libx264", fields="tff")
    with mp4.Writer(tmp_path / "out.mp4", width=96, height=64) as writer:
        for frame in video.read(path):
            writer.write(frame.image, frame.seconds)
    with av.open(tmp_path / "out.mp4") as container:
        assert not any(frame.interlaced_frame for frame in container.decode(video=0))
    assert combing([frame.image for frame in video.read(tmp_path / "out.mp4")][1:]) < 1.5


def test_what_stands_still_keeps_every_line(tmp_path: Path) -> None:
    image = np.repeat(np.repeat(40 + 150 * (np.arange(64) % 2), 96).reshape(64, 96, 1), 3, 2).astype(np.uint8)
    path = encode(tmp_path / "a.mp4", [image] * COUNT, "libx264", options={"crf": "5"}, fields="tff")
    for frame in list(video.read(path))[2:-1]:
        assert np.abs(frame.image.astype(int) - image).mean() < 4


def test_turned_and_odd_sizes_stay_right(tmp_path: Path) -> None:
    path = encode(tmp_path / "a.mp4", film(), "libx264", turn=(90, False), fields="tff")
    images = [frame.image for frame in video.read(path)]
    assert images[0].shape == (96, 64, 3) == (video.probe(path).height, video.probe(path).width, 3)
    assert combing([image.transpose(1, 0, 2) for image in images[1:]]) < 1.5
    odd = [frame[:61, :93] for frame in film()]
    path = encode(tmp_path / "b.mkv", odd, "ffv1", "yuv444p", options={"level": "3"}, fields="tff")
    with av.open(path) as container:
        assert next(container.decode(video=0)).interlaced_frame
    images = [frame.image for frame in video.read(path)]
    assert {image.shape for image in images} == {(61, 93, 3)}
    assert combing(images[1:]) < 1.5


def test_frames_that_are_whole_pass_untouched(tmp_path: Path) -> None:
    """Before, between and behind interlaced ones too; no frame is lost where the form changes."""
    scenes = [("a", film(), ""), ("b", film(), "tff"), ("c", film(height=96), "tff"), ("d", film(height=96), "")]
    decoded, base = list[av.VideoFrame](), Fraction(1, 12_800)
    for name, images, fields in scenes:
        path = encode(tmp_path / f"{name}.mp4", images, "libx264", fields=fields)
        with av.open(path) as container:
            for frame in container.decode(video=0):
                frame.pts, frame.time_base = 512 * len(decoded), base
                decoded.append(frame)
    before = [frame.to_ndarray() for frame in decoded]
    after = list(whole(iter(decoded), base))
    assert [frame.pts for frame in after] == [512 * number for number in range(4 * COUNT)]
    for number, frame in enumerate(after):
        same = np.array_equal(frame.to_ndarray(), before[number])
        assert same == (number < COUNT or number >= 3 * COUNT)
