"""Footage: the frames when audio outlasts the video or the other way round, and what each shot carries."""

from __future__ import annotations

import dataclasses
import itertools
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING

import av
import numpy as np
import pytest
from numpy.typing import NDArray

from difftalk.arrays import Image
from difftalk.face.landmarks import UPPER
from difftalk.face.pose import Pose
from difftalk.face.space import Alignment
from difftalk.media import audio, video
from difftalk.media.marks import Mark
from difftalk.media.timeline import timeline
from difftalk.talk.footage import Footage, Tracked
from difftalk.talk.identity import FITS, Fit, Manner, Shot
from difftalk.talk.talker import Talker
from drawn import SETTINGS, draw_clip, encode, moving, packets, write_wav

if TYPE_CHECKING:
    pass

COUNT = 20
TIMES = [0, 0.04, 0.10, 0.11, 0.2, 0.28, 0.32, 0.40, 0.5, 0.52]  # of a variable rate


def tracked(number: int, *, x: float = 100) -> Tracked:
    pose = Pose(np.eye(3), 40.0, np.array([x, 80.0, 0.0]))
    upper = np.full((len(UPPER), 3), number, np.float32)
    return Tracked(pose, Alignment(np.eye(2, 3)), upper, zoom=1.0)


def grey(count: int) -> list[Image]:
    """Each frame's grey says its number."""
    return [np.full((64, 64, 3), 20 + 10 * (number % 20), np.uint8) for number in range(count)]


def number_of(shot: Shot) -> int:
    return round((float(shot.image.mean()) - 20) / 10)


def identity_of(clip: Path, identity: Footage) -> Footage:
    """An identity that tracked every frame of a clip of greys."""
    info, found = video.probe(clip), [frame.mark for frame in video.read(clip)]
    times = timeline(info, [mark.seconds for mark in found])
    frames: list[Tracked | None] = [tracked(n) for n in range(len(found))]
    return dataclasses.replace(identity, path=clip, info=info, frames=frames, marks=found, times=times)


@pytest.fixture(scope="module")
def constant(media: Path, clip_identity: Footage) -> Footage:
    return identity_of(draw_clip(media / "greys.mp4", grey(COUNT), rate=Fraction(30)), clip_identity)


@pytest.fixture(scope="module")
def variable(media: Path, clip_identity: Footage) -> Footage:
    clip = draw_clip(media / "variable.mp4", grey(len(TIMES)), times=TIMES)
    assert not video.probe(clip).constant_rate
    return identity_of(clip, clip_identity)


def taken(identity: Footage, fit: Fit, count: int, first: int = 0) -> list[Shot]:
    shots = identity.shots(Manner(fit=fit), None, SETTINGS, first)
    found = list(itertools.islice(shots, count))
    shots.close()
    return found


def in_runs(one: Footage, count: int) -> Footage:
    """Footage that goes backwards in runs of so many frames."""
    return dataclasses.replace(one, backward_bytes=count * one.info.width * one.info.height * 3)


ORDERS = {
    "bounce": [*range(COUNT), *reversed(range(COUNT)), *range(COUNT)],
    "loop": [*range(COUNT)] * 3,
    "hold": [*range(COUNT), *[COUNT - 1] * 2 * COUNT],
}


@pytest.mark.parametrize("fit", FITS)
def test_order(constant: Footage, fit: Fit) -> None:
    found = taken(in_runs(constant, 8), fit, 3 * COUNT)  # backwards in runs of 8, 8 and 4
    assert [number_of(shot) for shot in found] == ORDERS[fit]
    for shot, number in zip(found, ORDERS[fit], strict=True):
        assert shot.sitter is not None
        assert (shot.sitter.upper[UPPER] == number).all()


@pytest.mark.parametrize("fit", FITS)
def test_times_go_on_evenly(constant: Footage, fit: Fit) -> None:
    seconds = [shot.seconds for shot in taken(constant, fit, 3 * COUNT)]
    np.testing.assert_allclose(seconds, np.arange(3 * COUNT) / 30, atol=1e-6)


def test_times_of_a_variable_rate_are_mirrored(variable: Footage) -> None:
    count = sum(map(len, variable.times))
    found = taken(variable, "bounce", 2 * count)
    seconds = np.array([shot.seconds for shot in found])
    forward, backward = seconds[:count], seconds[count:]
    assert all(np.abs(forward - time).min() < 1e-4 for time in TIMES)  # every frame comes in its own time
    np.testing.assert_allclose(np.diff(backward), np.diff(forward)[::-1], atol=1e-4)
    assert (np.diff(seconds) > 0).all()
    assert np.diff(seconds).max() <= 0.06 + 1e-4
    assert [number_of(shot) for shot in found[count:]] == [number_of(shot) for shot in found[:count]][::-1]


def test_only_upper_points_are_carried(constant: Footage) -> None:
    shot = taken(constant, "bounce", 3)[2]
    assert shot.sitter is not None
    lower = np.setdiff1d(np.arange(478), UPPER)
    assert (shot.sitter.upper[lower] == 0).all()


def test_frames_without_a_face_have_nothing_to_draw_on(constant: Footage) -> None:
    frames = [None if n in (3, 4) else tracked(n) for n in range(COUNT)]
    found = taken(dataclasses.replace(constant, frames=frames), "bounce", 8)
    assert [shot.sitter is None for shot in found] == [n in (3, 4) for n in range(8)]
    assert [shot.cut for shot in found] == [n in (3, 4, 5) for n in range(8)]


def test_cuts_are_marked(constant: Footage) -> None:
    """A face that jumps; the start of another loop. Turning round is no cut."""
    frames: list[Tracked | None] = [tracked(n, x=100 if n < 6 else 160) for n in range(COUNT)]
    jumps = dataclasses.replace(constant, frames=frames)
    assert [n for n, shot in enumerate(taken(jumps, "bounce", 2 * COUNT)) if shot.cut] == [6, 2 * COUNT - 6]
    assert [n for n, shot in enumerate(taken(constant, "loop", 3 * COUNT)) if shot.cut] == [COUNT, 2 * COUNT]
    assert not any(shot.cut for shot in taken(constant, "bounce", 3 * COUNT))
    assert not any(shot.cut for shot in taken(constant, "hold", 2 * COUNT))


def spoilt(clip: Path, out: Path, marks: list[Mark], whole: range) -> Path:
    """A copy whose frames, but for the first and those of `whole`, cannot be decoded."""
    data, numbers = bytearray(clip.read_bytes()), {mark.stamp: mark.number for mark in marks}
    with av.open(str(clip)) as container:
        for packet in container.demux(container.streams.video[0]):
            if packet.size and packet.pos is not None and numbers[packet.pts] not in (0, *whole):
                data[packet.pos : packet.pos + packet.size] = bytes(packet.size)
    out.write_bytes(data)
    return out


@pytest.mark.parametrize("skipped", [0, 24, 48])
def test_backwards_begins_at_key_frames(clip_identity: Footage, tmp_path: Path, skipped: int) -> None:
    """However long the video, no more than a group of pictures is decoded beside a run: the others may be spoilt."""
    run, group, count = 8, 6, 90
    clip = encode(tmp_path / "a.mp4", grey(count), "libx264", options={"g": str(group)})
    one, stop = identity_of(clip, clip_identity), count - skipped
    # Two runs, a third that is made ahead, and the one with the frame before, which says whether there is a cut.
    whole = range(stop - 3 * run - group, stop + run + group)
    path = spoilt(clip, tmp_path / "spoilt.mp4", one.marks, whole)
    assert len(list(video.read(path))) < count - group
    found = taken(in_runs(dataclasses.replace(one, path=path), run), "bounce", 2 * run, count + skipped)
    assert [number_of(shot) for shot in found] == [number % COUNT for number in range(stop - 1, stop - 1 - 2 * run, -1)]


@pytest.mark.parametrize("fit", FITS)
def test_frames_from_any_number_on(constant: Footage, variable: Footage, fit: Fit) -> None:
    """Picture, time and cut are those of the whole, wherever it is begun."""
    jumping = dataclasses.replace(variable, frames=[tracked(n, x=100 + 60 * (n > 4)) for n in range(10)])
    for one in (in_runs(constant, 8), in_runs(jumping, 8)):
        whole = taken(one, fit, 3 * COUNT)
        for first in (1, 5, COUNT - 1, COUNT, COUNT + 1, 2 * COUNT, 2 * COUNT + 7):
            for shot, again in zip(whole[first:], taken(one, fit, 6, first), strict=False):
                assert (shot.seconds, shot.cut, number_of(shot)) == (again.seconds, again.cut, number_of(again))


SILENT = "no voice was heard in the sound: the mouth stays closed"
ENDS = ["the video is longer than the audio (1.1 s, 0.5 s) and ends with it; `keep_tail=True` keeps the rest", SILENT]
GOES_ON = [
    "after the end of the audio the video's own sound is heard",
    SILENT,
    "16 frames kept after the end of the audio",
]


@pytest.mark.parametrize(("keep", "frames", "notes"), [(False, 12, ENDS), (True, 28, GOES_ON)])
def test_video_longer_than_the_audio(
    talker: Talker, clip: Path, waveform: NDArray[np.float32], tmp_path: Path, keep: bool, frames: int, notes: list[str]
) -> None:
    """It ends there, and that is said, or the rest follows untouched, heard as it was, and is not called faceless."""
    sound, told = write_wav(tmp_path / "short.wav", np.zeros(8000, np.float32)), list[tuple[str, int, int]]()
    result = talker.dub(clip, sound, tmp_path / "out.mp4", keep_tail=keep, progress=lambda *parts: told.append(parts))
    assert (result.frames, result.passed_through, result.notes) == (frames, 0, notes)
    assert told[-1] == ("speaking", frames, frames)
    assert told[-frames][2] == frames  # the total is right from the first frame
    heard = audio.read(result.path)
    assert len(heard) == pytest.approx(640 * frames, abs=1100)  # AAC comes in blocks
    assert np.abs(heard[:7900]).max() < 0.01
    assert not keep or np.corrcoef(heard[8200:15800], waveform[8200:15800])[0, 1] > 0.95


def test_a_mute_videos_tail_leaves_the_sound_alone(talker: Talker, portrait: Image, clip: Path, tmp_path: Path) -> None:
    mute = draw_clip(tmp_path / "mute.mp4", moving(portrait, 40))
    result = talker.dub(mute, clip, tmp_path / "out.mp4", keep_tail=True)
    assert (result.frames, result.notes[-1]) == (40, "14 frames kept after the end of the audio")
    assert packets(result.path) == packets(clip)
