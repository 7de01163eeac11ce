"""Footage: the frames that an output shows, with what tracking found in each; a video is bounced, looped or held.

Reads the video again and again and holds little of it: backwards it goes in runs of frames that fit in memory.
"""

from __future__ import annotations

import itertools
from collections import deque
from collections.abc import Callable, Generator, Iterator
from dataclasses import dataclass, replace
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING, Final

import numpy as np

from difftalk.arrays import SAMPLE_RATE, Array, Image
from difftalk.errors import FaceError, InputError, MediaError
from difftalk.face.finder import MAX_YAW
from difftalk.face.landmarks import CHIN, LIPS, POINTS, UPPER
from difftalk.face.pose import Pose
from difftalk.face.recognition import Recogniser, Run, is_cut, runs
from difftalk.face.space import ALIGNED_SIZE, EYE_LINE, REGION_X, REGION_Y, Alignment
from difftalk.face.tracker import Followed, Tracker, follow, steady
from difftalk.media import audio, picture, video
from difftalk.media.audio import frame_count
from difftalk.media.marks import Mark
from difftalk.media.timeline import repeats_note, shown_rate, timeline
from difftalk.overlap import ahead
from difftalk.render.cover import Cover, Lookout, mouth_hidden, settled
from difftalk.speech.listener import listened
from difftalk.speech.own_way import OwnWay, at_rate, learn_aligned
from difftalk.talk.identity import Identity, Tracked, check_size, lookout_of
from difftalk.talk.person import NEAR_CHANGE, Offers, People

if TYPE_CHECKING:
    from difftalk.media.video import VideoInfo
    from difftalk.model import Model

BLENDED: Final = 5  # frames before and after one face becomes another that are passed through: no mouth fits them
NEUTRAL_FRAMES: Final = 1500  # of a video, from which its neutral is taken
JAW_MARGIN: Final = 8.0  # px, aligned: between the source's own chin and the region's border
MIN_ZOOM: Final = 0.6
OWN_SECONDS: Final = 60.0  # of a video, from its beginning, from which the speaker's own way is learnt
WARY: Final = 8  # frames for which what was before the face may not be quite gone
SEEN_FRAMES: Final = 6  # from which somebody is spoken of
ZOOM_REACH: Final = 12  # frames before and after one that needs a larger mask over which it grows
MOUTH: Final = np.concatenate([LIPS, CHIN])

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


def of_video(path: Path, model: Model, *, progress: Callable[[int, int], None] | None = None) -> Identity:
    """The identity of a video, read once. progress: frames done, frames in all."""
    if picture.is_still(path):
        raise InputError(f"{path} is a picture; use animate for pictures, dub for videos")
    info = video.probe(path)
    tracker, offers = Tracker(model.face_finder), Offers()
    tracked: list[tuple[Tracked | None, Run | None]] = []
    distances: list[float] = []
    mouths: list[tuple[float, Array]] = []  # seconds and shape, beside the canonical face
    every = max(1, info.frame_count // NEUTRAL_FRAMES)
    marks: list[Mark] = []
    damaged: list[float] = []
    followed = follow(ahead(_pictures(path, marks, damaged)), tracker, model.geometry.canonical)
    before: tuple[int, Followed] | None = None  # the last frame that shows somebody, and its number
    dissolves: list[int] = []  # first frames of those who come out of one
    lookout, lately = lookout_of(model), deque[Cover | None](maxlen=WARY)
    recogniser = Recogniser(model.graph("face_identity")) if "face_identity" in model.graphs else None
    for frame, run in runs(followed, recogniser):
        found = _tracked(frame, lookout) if run is not None else None
        tracked.append((found, run))
        if found is not None and frame.face is not None:
            distances.append(frame.face.eye_distance)
            lately.append(found.cover)
        if found is not None and run is not None and frame.face is not None and not found.mouth_hidden:
            free = found.pose.remove(frame.face.points)
            cover = next((cover for cover in reversed(lately) if cover is not None), None)
            number = len(tracked) - 1
            cut = before is not None and _parted(*before, number, frame)
            if offers.take(run, frame, free, for_neutral=len(tracked) % every == 0, cover=cover, cut=cut):
                dissolves.append(number)
            if frame.seconds < OWN_SECONDS:
                mouths.append((frame.seconds, model.geometry.shape_of(free, model.geometry.canonical)))
        if run is not None:
            before = len(tracked) - 1, frame
        if progress is not None:
            progress(len(tracked), max(info.frame_count, len(tracked)))
    if not distances:
        raise FaceError(
            f"{path}: no usable face in any of its {len(tracked)} frames; the face must look towards the camera"
        )
    check_size(path, float(np.median(distances)))
    people = offers.finish()
    seen = [candidates.person(model.geometry) for _, candidates in people.known]
    frames = _uncovered(
        [None if found is None else replace(found, person=people.numbers.get(id(run), -1)) for found, run in tracked]
    )
    for number in dissolves:
        for near in range(max(0, number - BLENDED), min(len(frames), number + BLENDED)):
            frames[near] = None
    own_way = None
    if len(seen) == 1:
        own_way = _own_way(path, model, mouths, model.geometry.shape_of(seen[0].neutral, model.geometry.canonical))
    times = timeline(info, [mark.seconds for mark in marks])
    notes = [*_notes(people, tracker.faces_seen, frames, damaged), *repeats_note(info, times)]
    return Identity(
        path, seen, info=info, frames=_enlarged(frames), marks=marks, times=times, notes=notes, own_way=own_way
    )


def _parted(last: int, before: Followed, number: int, now: Followed) -> bool:
    """Whether two frames, of these numbers, with none between that shows somebody, are of different pictures."""
    return is_cut(before, now) if number - last == 1 else number - last > NEAR_CHANGE


def _notes(people: People, faces: int, frames: list[Tracked | None], damaged: list[float]) -> list[str]:
    notes = [f"up to {faces} faces: took the largest"] if faces > 1 else []
    several = sum(1 for _, candidates in people.known if candidates.count >= SEEN_FRAMES)
    if several > 1:
        notes.append(f"{several} people one after the other: each is drawn from their own frames, all of them speak")
    if damaged:
        notes.append(f"{len(damaged)} frames come from damaged data, the first at {damaged[0]:.2f} s; they are kept")
    outside = sum(1 for t in frames if t is not None and t.zoom < 1)
    if outside:
        notes.append(f"in {outside} frame(s) the chin reaches beyond the mask; there and around the mask is larger")
    return notes


def _own_way(path: Path, model: Model, mouths: list[tuple[float, Array]], rest: Array) -> OwnWay | None:
    """From a video's own sound and its mouths' times and shapes (16,), of which `rest` is the neutral's.

    None where there are none in its first minute, or sound and mouths do not go together.
    """
    if not mouths:
        return None
    seconds, shown = np.array([time for time, _ in mouths]), np.stack([shape for _, shape in mouths]) - rest
    try:
        waveform = audio.read(path, from_video_start=True)[: round(OWN_SECONDS * SAMPLE_RATE)]
    except MediaError:
        return None
    return learn_aligned(listened(waveform, model), at_rate(seconds, shown), model.geometry)


def _pictures(path: Path, marks: list[Mark], damaged: list[float]) -> Generator[tuple[Image, float], None, None]:
    """The video's frames; their marks are put into `marks`, the times of damaged ones into `damaged`."""
    for frame in video.read(path):
        marks.append(frame.mark)
        if frame.damaged:
            damaged.append(frame.seconds)
        yield frame.image, frame.seconds


def _tracked(frame: Followed, lookout: Lookout | None) -> Tracked | None:
    """None for a frame that is passed through: no face, turned away, or the mouth outside the picture."""
    if frame.face is None or frame.pose is None or frame.alignment is None or abs(frame.pose.yaw) > MAX_YAW:
        return None
    mouth = frame.face.points[LIPS, :2]
    height, width = frame.image.shape[:2]
    if (mouth < 0).any() or (mouth > np.array([width, height])).any():
        return None
    zoom = _zoom_needed(frame.alignment.points(frame.face.points)[MOUTH, :2])
    cover = lookout(frame.image, frame.alignment, frame.face.points) if lookout is not None else None
    hidden = cover is not None and cover.hides_mouth
    return Tracked(frame.pose, frame.alignment, frame.face.points[UPPER], zoom, cover=cover, mouth_hidden=hidden)


def _uncovered(frames: list[Tracked | None]) -> list[Tracked | None]:
    """The frames with their covers as they last.

    A person of number -1 was never seen with the mouth uncovered; it stays hidden.
    """
    found = [None if frame is None else frame.cover for frame in frames]
    covers = settled(found, [None if frame is None else frame.alignment for frame in frames])
    return [
        None if frame is None else replace(frame, cover=cover, mouth_hidden=bool(hidden) or frame.person < 0)
        for frame, cover, hidden in zip(frames, covers, mouth_hidden(found), strict=True)
    ]


def _zoom_needed(points: Array) -> float:
    """Scale about the eyes' middle at which aligned points (n, 2) lie in the region, JAW_MARGIN from its border."""
    middle = ALIGNED_SIZE / 2
    reach = np.abs(points[:, 0] - middle).max() / (middle - REGION_X[0] - JAW_MARGIN)
    depth = (points[:, 1].max() - EYE_LINE) / (REGION_Y[1] - JAW_MARGIN - EYE_LINE)
    return float(np.clip(1 / max(reach, depth, 1.0), MIN_ZOOM, 1))


def _enlarged(frames: list[Tracked | None]) -> list[Tracked | None]:
    """Alignments zoomed out around the frames that need it, smoothly, so that the mask grows and shrinks unseen."""
    zoom = np.array([1.0 if frame is None else frame.zoom for frame in frames])
    if (zoom == 1).all():
        return frames
    reach = np.lib.stride_tricks.sliding_window_view
    lowest = reach(np.pad(zoom, 2 * ZOOM_REACH, mode="edge"), 2 * ZOOM_REACH + 1).min(1)
    smooth = reach(lowest, 2 * ZOOM_REACH + 1).mean(1)  # a mean of values each of which is low enough
    return [
        None if frame is None else replace(frame, alignment=frame.alignment.zoomed(float(z)))
        for frame, z in zip(frames, smooth, strict=True)
    ]
