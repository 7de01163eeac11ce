"""Who speaks: what is found once of a portrait or a video, before any audio.

A still gives one reference and a neutral that does not depend on what its mouth does. A video is read once from end to
end: every frame's pose and alignment, references at different turns of the head, and the mouth bank: references that
show the inside of the mouth, opened in different ways. Pictures of the video itself are not kept.
"""

from __future__ import annotations

from collections.abc import Callable, Generator
from dataclasses import dataclass, field, replace
from math import ceil
from pathlib import Path
from typing import TYPE_CHECKING, Final

import numpy as np
from numpy.typing import NDArray

from difftalk import audio, picture, video
from difftalk.align import ALIGNED_SIZE, EYE_LINE, REGION_X, REGION_Y, Alignment, Followed, Pose, align, follow
from difftalk.composite import Reference
from difftalk.conveyor import ahead
from difftalk.errors import FaceError, InputError, MediaError
from difftalk.face import MAX_YAW, MIN_EYE_DISTANCE, UPPER, Array, Image, Tracker, roi_of
from difftalk.mouth import CHIN, LIPS, Geometry, lip_height, neutral_of_clip, opening
from difftalk.mouth_bank import MAX_MOUTHS, TURN_STAY, Way, nearest, staying, way_of
from difftalk.own_way import OwnWay, at_rate, learn_aligned
from difftalk.voice import listened
from difftalk.waveform import SAMPLE_RATE

if TYPE_CHECKING:
    from difftalk.model import Model
    from difftalk.video import VideoInfo

SMALL_EYES: Final = 32.0  # px apart: a picture with a small face is shrunk to this
TURN_BIN: Final = 8.0  # degrees of yaw and of pitch that a reference stands for
MAX_REFERENCES: Final = 8
NEUTRAL_FRAMES: Final = 1500  # of a video, from which its neutral is taken
JAW_MARGIN: Final = 8.0  # px, aligned: between the source's own chin and the region's border
MIN_ZOOM: Final = 0.6
OWN_SECONDS: Final = 60.0  # of a video, from its beginning, from which the speaker's own way is learnt
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


@dataclass(frozen=True)
class Identity:
    """A portrait (`image` is set) or a video (`info` and `frames` are)."""

    path: Path
    neutral: Array  # (478, 3) pose-free
    references: list[Reference]
    turns: NDArray[np.float64]  # (n, 2) degrees, of the references
    mouths: list[Reference]
    mouth_shapes: Array  # (n, 16), of the mouths
    mouth_turns: NDArray[np.float64]  # (n, 2) degrees
    image: Image | None = None
    points: Array | None = None  # (478, 3) source pixels, of the image
    pose: Pose | None = None
    info: VideoInfo | None = None
    frames: list[Tracked | None] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    own_way: OwnWay | None = None  # where a video has its own sound, in sync

    def reference_for(self, turn: NDArray[np.float64], before: int) -> int:
        """Number of the reference nearest in turn; the one used before stays unless another is clearly nearer."""
        return staying(np.linalg.norm(self.turns - turn, axis=1), before, TURN_STAY)

    def mouth_for(self, shape: Array, turn: NDArray[np.float64], before: int | None) -> int:
        """Number of the mouth nearest to a mouth shape (16,); as above, the one used before is hard to leave."""
        return nearest(self.mouth_shapes, self.mouth_turns, shape, turn, before)


def of_still(path: Path, model: Model, *, size: int | None) -> Identity:
    """The identity of a portrait.

    size: long side to which a larger picture is shrunk, but not so far that a small face is lost; None keeps it.
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
        image, notes = _shrunk(whole, ceil(max(whole.shape) * SMALL_EYES / face.eye_distance))
        if image is not whole:
            face = model.face_finder.mesh(image, roi_of(face.points * (image.shape[1] / whole.shape[1])))
        notes.append(f"the face is small, eyes {face.eye_distance:.0f} px apart; crop the picture for a closer view")
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
    return portrayed(path, image, face.points, neutral, model.geometry, notes)


def portrayed(
    path: Path, image: Image, points: Array, neutral: Array, geometry: Geometry, notes: list[str] | None = None
) -> Identity:
    """The identity of a picture with its mesh (478, 3), source pixels, and neutral (478, 3): it shows its own mouth."""
    pose = geometry.pose(points)
    reference, turn = Reference.of(image, align(pose), points), pose.turn[None]
    shape = geometry.shape_of(pose.remove(points), neutral)[None]
    return Identity(
        path, neutral, [reference], turn, [reference], shape, turn, image, points, pose, notes=list(notes or [])
    )


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


Bin = tuple[int, int]  # of yaw and pitch


@dataclass(frozen=True)
class _Mouth:
    """away: degrees by which the head is turned away. free: (478, 3) pose-free points."""

    away: float
    turn: NDArray[np.float64]
    free: Array
    reference: Reference


@dataclass
class _Candidates:
    """The frame of each turn of the head with the fullest closed lips, and of each way of opening the mouth one.

    Not the most closed one: lips that are pressed together are rolled in, and their colour is gone.
    """

    closed: dict[Bin, tuple[float, NDArray[np.float64], Reference]] = field(default_factory=dict)  # rank, turn
    counts: dict[Bin, int] = field(default_factory=dict)
    opened: dict[Way, _Mouth] = field(default_factory=dict)
    openings: dict[Way, int] = field(default_factory=dict)  # how many frames are like it

    def offer(self, frame: Followed, free: NDArray[np.floating]) -> None:
        """free: (478, 3) pose-free points."""
        assert frame.face is not None
        assert frame.pose is not None
        assert frame.alignment is not None
        yaw, pitch = (round(angle / TURN_BIN) for angle in frame.pose.turn)
        self.counts[yaw, pitch] = self.counts.get((yaw, pitch), 0) + 1
        best, wide = self.closed.get((yaw, pitch)), float(opening(free))
        rank = wide - lip_height(free)
        if best is None or rank < best[0]:
            self.closed[yaw, pitch] = (rank, frame.pose.turn, self._reference(frame))
        way, away = way_of(free), float(np.linalg.norm(frame.pose.turn))
        self.openings[way] = self.openings.get(way, 0) + 1
        if way not in self.opened or away < self.opened[way].away:
            self.opened[way] = _Mouth(away, frame.pose.turn, free.astype(np.float32), self._reference(frame))

    def mouths(self) -> list[_Mouth]:
        """Of the commonest ways of opening the mouth."""
        return [self.opened[way] for way in sorted(self.openings, key=lambda w: -self.openings[w])[:MAX_MOUTHS]]

    @staticmethod
    def _reference(frame: Followed) -> Reference:
        assert frame.face is not None
        assert frame.alignment is not None
        return Reference.of(frame.image, frame.alignment, frame.face.points).kept()


def of_video(path: Path, model: Model, *, progress: Callable[[int, int], None] | None = None) -> Identity:
    """The identity of a video, read once. progress: frames done, frames in all."""
    if picture.is_picture(path) and not picture.moves(path):
        raise InputError(f"{path} is a picture; use animate for pictures, dub for videos")
    info = video.probe(path)
    tracker, candidates = Tracker(model.face_finder), _Candidates()
    tracked: list[Tracked | None] = []
    shapes: list[Array] = []
    distances: list[float] = []
    mouths: list[tuple[float, Array]] = []  # seconds and shape, beside the canonical face
    every = max(1, info.frame_count // NEUTRAL_FRAMES)
    damaged: list[float] = []
    for frame in follow(ahead(_pictures(path, damaged)), tracker, model.geometry.canonical):
        tracked.append(_tracked(frame))
        if tracked[-1] is not None and frame.pose is not None and frame.face is not None:
            free = frame.pose.remove(frame.face.points)
            candidates.offer(frame, free)
            distances.append(frame.face.eye_distance)
            if frame.seconds < OWN_SECONDS:
                mouths.append((frame.seconds, model.geometry.shape_of(free, model.geometry.canonical)))
            if len(tracked) % every == 0 or len(shapes) < 8:
                shapes.append(free.astype(np.float32))
        if progress is not None:
            progress(len(tracked), max(info.frame_count, len(tracked)))
    if not shapes:
        raise FaceError(
            f"{path}: no usable face in any of its {len(tracked)} frames; the face must look towards the camera"
        )
    _check_size(path, float(np.median(distances)))
    turns = sorted(candidates.counts, key=lambda turn: -candidates.counts[turn])[:MAX_REFERENCES]
    chosen = [candidates.closed[turn] for turn in turns]
    notes = [f"up to {tracker.faces_seen} faces: took the largest"] if tracker.faces_seen > 1 else []
    if damaged:
        notes.append(f"{len(damaged)} frames come from damaged data, the first at {damaged[0]:.2f} s; they are kept")
    outside = sum(1 for t in tracked if t is not None and t.zoom < 1)
    if outside:
        notes.append(f"in {outside} frame(s) the chin reaches beyond the mask; there and around the mask is larger")
    neutral, opened = model.geometry.closed(neutral_of_clip(np.stack(shapes))), candidates.mouths()
    own_way = _own_way(path, model, mouths, model.geometry.shape_of(neutral, model.geometry.canonical))
    return Identity(
        path,
        neutral,
        [c[2] for c in chosen],
        np.stack([c[1] for c in chosen]),
        [mouth.reference for mouth in opened],
        model.geometry.shape_of(np.stack([mouth.free for mouth in opened]), neutral),
        np.stack([mouth.turn for mouth in opened]),
        info=info,
        frames=_enlarged(tracked),
        notes=notes,
        own_way=own_way,
    )


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


def _pictures(path: Path, damaged: list[float]) -> Generator[tuple[Image, float], None, None]:
    """The video's frames; the times of damaged ones are put into `damaged`."""
    for frame in video.read(path):
        if frame.damaged:
            damaged.append(frame.seconds)
        yield frame.image, frame.seconds


def _tracked(frame: Followed) -> Tracked | None:
    """None for a frame that is passed through: no face, turned away, or the mouth outside the picture."""
    if frame.face is None or frame.pose is None or frame.alignment is None or abs(frame.pose.yaw) > MAX_YAW:
        return None
    mouth = frame.face.points[LIPS, :2]
    height, width = frame.image.shape[:2]
    if (mouth < 0).any() or (mouth > np.array([width, height])).any():
        return None
    zoom = _zoom_needed(frame.alignment.points(frame.face.points)[MOUTH, :2])
    return Tracked(frame.pose, frame.alignment, frame.face.points[UPPER], zoom)


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
