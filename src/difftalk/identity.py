"""Who speaks: what is found once of a portrait or a video, before any audio.

A still gives one reference and a neutral that does not depend on what its mouth does. A video is read once from end to
end: every frame's pose and alignment, who is in it, and for each person references at different turns of the head and
the mouth bank: references that show the inside of the mouth, opened in different ways. Pictures of the video itself
are not kept.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Generator
from dataclasses import dataclass, field, replace
from math import ceil
from pathlib import Path
from typing import TYPE_CHECKING, Final

import numpy as np

from difftalk import audio, picture, video
from difftalk.align import ALIGNED_SIZE, EYE_LINE, REGION_X, REGION_Y, Alignment, Followed, Pose, align, follow
from difftalk.composite import Reference
from difftalk.conveyor import ahead
from difftalk.cover import Cover, Lookout, filled_in, mouth_hidden, settled
from difftalk.errors import FaceError, InputError, MediaError
from difftalk.face import MAX_YAW, MIN_EYE_DISTANCE, UPPER, Array, Face, Image, Tracker, roi_of
from difftalk.marks import Mark
from difftalk.mouth import CHIN, LIPS, Geometry
from difftalk.own_way import OwnWay, at_rate, learn_aligned
from difftalk.person import NEAR_CHANGE, Offers, People, Person
from difftalk.recognition import Recogniser, Run, is_cut, runs
from difftalk.timeline import repeats_note, timeline
from difftalk.voice import listened
from difftalk.waveform import SAMPLE_RATE

if TYPE_CHECKING:
    from difftalk.model import Model
    from difftalk.video import VideoInfo

SMALL_EYES: Final = 32.0  # px apart: a picture with a small face is shrunk to this
LARGEST: Final = 1920  # px: long side of such a picture; what is larger then is cut to the face's surroundings
NEUTRAL_FRAMES: Final = 1500  # of a video, from which its neutral is taken
JAW_MARGIN: Final = 8.0  # px, aligned: between the source's own chin and the region's border
MIN_ZOOM: Final = 0.6
OWN_SECONDS: Final = 60.0  # of a video, from its beginning, from which the speaker's own way is learnt
WARY: Final = 8  # frames for which what was before the face may not be quite gone
BLENDED: Final = 5  # frames before and after one face becomes another that are passed through: no mouth fits them
SEEN_FRAMES: Final = 6  # from which somebody is spoken of
ZOOM_REACH: Final = 12  # frames before and after one that needs a larger mask over which it grows
MOUTH: Final = np.concatenate([LIPS, CHIN])


@dataclass(frozen=True)
class Tracked:
    """One frame of a video. upper: (45, 3) source pixels.

    zoom: at most 1; how much smaller the face must be for the region to hold the frame's own chin and mouth.
    """

    pose: Pose  # source pixels
    alignment: Alignment
    upper: Array
    zoom: float
    person: int = 0  # number in the identity's people
    cover: Cover | None = None  # what lies before the face
    mouth_hidden: bool = False  # by it, so that the frame is passed through


@dataclass(frozen=True)
class Identity:
    """A portrait (`image` is set) or a video (`info` and `frames` are). people: one of a portrait, or more."""

    path: Path
    people: list[Person]
    image: Image | None = None
    points: Array | None = None  # (478, 3) source pixels, of the image
    pose: Pose | None = None
    info: VideoInfo | None = None
    frames: list[Tracked | None] = field(default_factory=list)
    marks: list[Mark] = field(default_factory=list)  # of the frames
    times: list[list[float]] = field(default_factory=list)  # when each of the frames is shown
    notes: list[str] = field(default_factory=list)
    cover: Cover | None = None  # what lies before the face of the image
    own_way: OwnWay | None = None  # where a video has its own sound, in sync, and one person


def of_still(path: Path, model: Model, *, size: int | None) -> Identity:
    """The identity of a portrait.

    size: long side to which a larger picture is shrunk, but not so far that a small face is lost: it keeps up to
    SMALL_EYES, and what is then longer than LARGEST and `size` is cut to the face's surroundings. None keeps it all.
    """
    whole = picture.read(path)
    image, notes = _shrunk(whole, size)
    found = model.face_finder.find(image, patient=False)
    if found and found[0].face.eye_distance >= MIN_EYE_DISTANCE:
        face = found[0].face
    else:
        found = model.face_finder.find(whole)
        if not found:
            raise FaceError(
                f"{path}: no face found; give a picture of a face that looks towards the camera, its eyes at least "
                f"{MIN_EYE_DISTANCE:.0f} px apart"
            )
        face = found[0].face
        _check_size(path, face.eye_distance)
        image, face, notes = _of_small_face(whole, face, model, size)
    if picture.moves(path):
        notes.append("a moving picture: took its first frame; dub takes them all")
    if len(found) > 1:
        x, y = (round(v) for v in roi_of(face.points)[:2])
        notes.append(f"{len(found)} faces: took the largest, at x {x}, y {y}")
    pose = model.geometry.pose(face.points)
    if abs(pose.yaw) > MAX_YAW:
        raise FaceError(f"{path}: the head is turned by {abs(pose.yaw):.0f} degrees; at most {MAX_YAW:.0f} are allowed")
    free = pose.remove(face.points)
    neutral = model.geometry.neutral_of_still(free, model.face_finder.blendshapes(face.points))
    lookout = lookout_of(model)
    cover = lookout(image, align(pose), face.points) if lookout is not None else None
    if cover is None or not cover.on_face:
        return portrayed(path, image, face.points, neutral, model.geometry, notes)
    notes.append(
        "something covers the mouth and stays before it: little of the speech is seen; give a picture without it"
        if cover.hides_mouth
        else "something lies before the lower face; it stays there, and what is behind it is guessed"
    )
    one = portrayed(path, filled_in(image, cover), face.points, neutral, model.geometry, notes)
    return replace(one, image=image, cover=cover)


def _of_small_face(whole: Image, face: Face, model: Model, size: int | None) -> tuple[Image, Face, list[str]]:
    """As much of a picture as is worth drawing for its face, which a picture of `size` is too small for."""
    if size is None:
        return whole, face, []
    image, notes = _shrunk(whole, max(size, ceil(max(whole.shape) * SMALL_EYES / face.eye_distance)))
    points = face.points * (image.shape[1] / whole.shape[1])
    height, width = image.shape[:2]
    if max(height, width) > max(size, LARGEST):
        image, corner = _around(image, points, max(size, LARGEST))
        points = points - corner
        notes = [
            f"cut to {image.shape[1]} x {image.shape[0]} px about the face; --size {max(height, width)} keeps more of "
            f"the picture, and takes longer"
        ]
    if image is not whole:
        face = model.face_finder.mesh(image, roi_of(points))
    if face.eye_distance < SMALL_EYES * 1.1:
        notes.append(f"the face is small, eyes {face.eye_distance:.0f} px apart; crop the picture for a closer view")
    return image, face, notes


def _around(image: Image, points: Array, size: int) -> tuple[Image, Array]:
    """A part of the picture about the middle of points (n, 3), and its corner (x, y, 0).

    Its long side is `size` px; its shape is the picture's, but no longer than 16 to 9.
    """
    sides = np.array(image.shape[1::-1])
    part = np.minimum(sides, np.maximum(sides * size // max(sides), size * 9 // 16))
    x, y = np.clip(np.rint(points[:, :2].mean(0) - part / 2), 0, sides - part).astype(int)
    return np.ascontiguousarray(image[y : y + part[1], x : x + part[0]]), np.array([x, y, 0], np.float32)


def portrayed(
    path: Path, image: Image, points: Array, neutral: Array, geometry: Geometry, notes: list[str] | None = None
) -> Identity:
    """The identity of a picture with its mesh (478, 3), source pixels, and neutral (478, 3): it shows its own mouth."""
    pose = geometry.pose(points)
    reference, turn = Reference.of(image, align(pose), points), pose.turn[None]
    shape = geometry.shape_of(pose.remove(points), neutral)[None]
    person = Person(neutral, [reference], turn, [reference], shape, turn)
    return Identity(path, [person], image, points, pose, notes=list(notes or []))


def _shrunk(image: Image, size: int | None) -> tuple[Image, list[str]]:
    import cv2

    height, width = image.shape[:2]
    if size is None or max(height, width) <= size:
        return image, []
    scale = size / max(height, width)
    after = (max(1, round(width * scale)), max(1, round(height * scale)))
    note = f"shrunk from {width} x {height} to {after[0]} x {after[1]}; --size sets the long side"
    return np.asarray(cv2.resize(image, after, interpolation=cv2.INTER_AREA), np.uint8), [note]


def _check_size(path: Path, eye_distance: float) -> None:
    if eye_distance < MIN_EYE_DISTANCE:
        raise FaceError(
            f"{path}: the eyes are {eye_distance:.0f} px apart; at least {MIN_EYE_DISTANCE:.0f} are needed; "
            "come nearer, or give more pixels"
        )


def lookout_of(model: Model) -> Lookout | None:
    """None where the model's folder has no net for it: then nothing is taken to lie before a face."""
    return Lookout(model.graph("cover")) if "cover" in model.graphs else None


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
    _check_size(path, float(np.median(distances)))
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
