"""Footage: the frames that an output shows, with what tracking found in each; a video is bounced, looped or held.

Reads the video again and again and holds little of it: backwards it goes in runs of frames that fit in memory.
"""

from __future__ import annotations

import itertools
from collections.abc import Generator, Iterator
from dataclasses import dataclass, replace
from fractions import Fraction
from typing import TYPE_CHECKING, Final

import numpy as np

from difftalk import video
from difftalk.align import Alignment, Pose, steady
from difftalk.audio import frame_count
from difftalk.cover import Cover
from difftalk.errors import InputError
from difftalk.face import POINTS, UPPER, Array, Image
from difftalk.timeline import shown_rate

if TYPE_CHECKING:
    from difftalk.identity import Identity, Tracked
    from difftalk.video import VideoInfo

FITS: Final = ("bounce", "loop", "hold")
BACKWARD_BYTES: Final = 400_000_000  # of pictures held while going backwards


@dataclass(frozen=True)
class Shot:
    """A frame to draw on.

    pose, upper: source pixels, None where it is passed through. upper: (478, 3), only UPPER is set. alignment: of the
    reference's space. placed: where the region is pasted, when that differs (a still's head motion).
    cut: the frame does not follow the one before. person: number in the identity's people. cover: what lies before
    the face. mouth_hidden: by that, so that the frame is passed through.
    """

    image: Image
    seconds: float
    pose: Pose | None
    alignment: Alignment | None
    upper: Array | None
    placed: Alignment | None = None
    cut: bool = False
    person: int = 0
    cover: Cover | None = None
    mouth_hidden: bool = False


def seconds_beyond(info: VideoInfo, seconds: float) -> float:
    """By how much so many seconds of audio are longer than the video; negative: shorter, 0: by under half a frame."""
    beyond = seconds - info.seconds
    return beyond if abs(beyond) > 0.5 / float(shown_rate(info)) else 0.0


def length_notes(info: VideoInfo, seconds: float, *, fit: str, keep_tail: bool) -> list[str]:
    """What becomes of a video that is not as long as the audio."""
    beyond = seconds_beyond(info, seconds)
    if beyond > 0:
        return [f"the audio is longer than the video ({seconds:.1f} s, {info.seconds:.1f} s): --fit {fit}"]
    if beyond < 0 and not keep_tail:
        lengths = f"({info.seconds:.1f} s, {seconds:.1f} s)"
        return [f"the video is longer than the audio {lengths} and ends with it; --keep-tail keeps the rest"]
    if beyond < 0 and info.has_audio:
        return ["after the end of the audio the video's own sound is heard"]
    return []


def passed_notes(passed: int, hidden: int, tail: int) -> list[str]:
    """What of the frames was not drawn. hidden: so many of the `passed`, since the mouth is covered."""
    notes, untouched = [], "frames passed through untouched"
    if hidden:
        notes.append(f"{hidden} {untouched}: something covers the mouth")
    if passed > hidden:
        notes.append(f"{passed - hidden} {untouched}: no face, turned away, or one face becoming another")
    if tail:
        notes.append(f"{tail} frames kept after the end of the audio")
    return notes


def is_over(identity: Identity, number: int, seconds: float, heard: float, still_rate: Fraction) -> bool:
    """Whether the audio has no frame of this number; at a variable rate, none at this time."""
    if identity.info is not None and not identity.info.constant_rate:
        return seconds >= heard
    rate = still_rate if identity.info is None else shown_rate(identity.info)
    return number >= frame_count(heard, rate)


def shots(identity: Identity, fit: str) -> Generator[Shot, None, None]:
    """The video's frames, without end: at its end it turns round (bounce), starts again (loop), or stays (hold)."""
    if identity.info is None:
        raise InputError(f"{identity.path} is not a video; use animate")
    before: Shot | None = None
    for shot in _in_order(identity, fit, identity.info):
        follows = before is None or (steady(before.pose, shot.pose) and before.person == shot.person)
        yield shot if follows else replace(shot, cut=True)
        before = shot


def _in_order(identity: Identity, fit: str, info: VideoInfo) -> Iterator[Shot]:
    step = float(1 / shown_rate(info))
    start, last = 0.0, None
    for number, image, seconds in _forward(identity):
        last = _shot(identity, number, image, seconds, cut=False)
        yield last
    assert last is not None
    if fit == "hold":
        for count in itertools.count(1):
            yield _later(last, last.seconds + count * step)
    length = last.seconds + step
    for turn in itertools.count(1):
        start += length
        if fit == "loop":
            for count, (number, image, seconds) in enumerate(_forward(identity)):
                yield _shot(identity, number, image, start + seconds, cut=count == 0)
        else:
            backward = turn % 2 == 1
            frames = _backward(identity) if backward else _forward(identity)
            for number, image, seconds in frames:
                at = length - step - seconds if backward else seconds
                yield _shot(identity, number, image, start + at, cut=False)


def rest(identity: Identity, count: int) -> Iterator[tuple[Image, float]]:
    """Pictures and times of the video's frames behind the first `count` that are shown."""
    numbers = [number for number, times in enumerate(identity.times) for _ in times]
    if count < len(numbers):
        shown = _forward(identity, numbers[count])
        for _, image, seconds in itertools.islice(shown, count - numbers.index(numbers[count]), None):
            yield image, seconds


def _later(shot: Shot, seconds: float) -> Shot:
    return replace(shot, seconds=seconds, cut=False)


def _shot(identity: Identity, number: int, image: Image, seconds: float, *, cut: bool) -> Shot:
    tracked: Tracked | None = identity.frames[number] if number < len(identity.frames) else None
    if tracked is None or tracked.mouth_hidden:
        return Shot(image, seconds, None, None, None, cut=True, mouth_hidden=tracked is not None)
    upper = np.zeros((POINTS, 3), np.float32)
    upper[UPPER] = tracked.upper
    return Shot(
        image, seconds, tracked.pose, tracked.alignment, upper, cut=cut, person=tracked.person, cover=tracked.cover
    )


def _forward(identity: Identity, first: int = 0, stop: int | None = None) -> Iterator[tuple[int, Image, float]]:
    frames = video.read(identity.path, first=first, marks=identity.marks)
    for frame in itertools.islice(frames, (len(identity.times) if stop is None else stop) - first):
        for seconds in identity.times[frame.mark.number]:
            yield frame.mark.number, frame.image, seconds


def _backward(identity: Identity) -> Iterator[tuple[int, Image, float]]:
    assert identity.info is not None
    run = max(8, BACKWARD_BYTES // (identity.info.width * identity.info.height * 3))
    for stop in range(len(identity.frames), 0, -run):
        held = list(_forward(identity, max(0, stop - run), stop))
        yield from reversed(held)
