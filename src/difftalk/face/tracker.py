"""Faces over time: one face tracked from frame to frame, posed and aligned, smoothly, never across a cut."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from difftalk.arrays import Image
from difftalk.face.finder import Face, FaceFinder, roi_of
from difftalk.face.landmarks import UPPER
from difftalk.face.pose import Pose, fit_pose
from difftalk.face.space import EYE_DISTANCE, Alignment, similarity
from difftalk.settings import Settings
from difftalk.stages import timed


@dataclass(frozen=True)
class Followed:
    """One frame of a video with the face in it; face, pose and alignment are None where there is none to work on."""

    image: Image
    seconds: float
    face: Face | None
    pose: Pose | None  # source pixels
    alignment: Alignment | None


def follow(
    frames: Iterable[tuple[Image, float]],
    tracker: Tracker,
    canonical: NDArray[np.floating],
    settings: Settings,
) -> Iterator[Followed]:
    """Tracks, poses and aligns (image, seconds) pairs; alignments are smoothed over ± `smoothing_reach` frames.

    Smoothing never crosses a frame without a face, nor a cut. Holds `smoothing_reach` frames of look-ahead.
    """
    held: deque[tuple[Followed, NDArray[np.float64]]] = deque()
    done = 0  # of `held`, how many at its left were given out
    for image, seconds in frames:
        face = tracker(image)
        pose = fit_pose(face.points[UPPER], canonical[UPPER]) if face is not None else None
        held.append((Followed(image, seconds, face, pose, None), _align_row(pose)))
        if len(held) - done > settings.following.smoothing_reach:
            yield _smoothed(held, done, settings)
            done += 1
        if done > settings.following.smoothing_reach:
            held.popleft()
            done -= 1
    while done < len(held):
        yield _smoothed(held, done, settings)
        done += 1


def _smoothed(held: Sequence[tuple[Followed, NDArray[np.float64]]], i: int, settings: Settings) -> Followed:
    how = settings.following
    frame = held[i][0]
    if frame.pose is None:
        return frame
    low = high = i
    while low > 0 and i - low < how.smoothing_reach and steady(held[low - 1][0].pose, held[low][0].pose, settings):
        low -= 1
    while (
        high + 1 < len(held)
        and high - i < how.smoothing_reach
        and steady(held[high][0].pose, held[high + 1][0].pose, settings)
    ):
        high += 1
    weight = np.exp(-0.5 * ((np.arange(low, high + 1) - i) / how.smoothing_sigma) ** 2)
    rows = np.array([held[j][1] for j in range(low, high + 1)])
    rows[:, 1] = np.unwrap(rows[:, 1])  # an upside-down head's roll is 180 or -180 degrees
    row = (rows * weight[:, None]).sum(0) / weight.sum()
    return replace(frame, alignment=similarity(row[0], row[1], row[2:]))


def steady(before: Pose | None, now: Pose | None, settings: Settings) -> bool:
    """Whether two frames in a row show one face without a cut between them."""
    if before is None or now is None:
        return False
    jump = float(np.linalg.norm(now.shift[:2] - before.shift[:2])) / before.scale
    return jump < settings.following.cut_jump and abs(np.log(now.scale / before.scale)) < settings.following.cut_zoom


def _align_row(pose: Pose | None) -> NDArray[np.float64]:
    if pose is None:
        return np.zeros(4)
    return np.array([np.log(EYE_DISTANCE / pose.scale), np.radians(pose.roll), *pose.shift[:2]])


@dataclass
class Tracker:
    """Follows one face over the frames of a video: the largest first, then the one that stays in its place."""

    finder: FaceFinder
    faces_seen: int = 0  # the most faces that one detection found
    _hurried: int = 0  # searches to come without patience
    _last: Face | None = None
    _place: tuple[float, float, float] | None = None  # centre and size of the face last seen

    @timed("track")
    def __call__(self, image: Image) -> Face | None:
        """The face of the next frame, or None."""
        face = self._follow(image) or self._search(image)
        self._last = face
        if face is not None:
            cx, cy, size, _ = roi_of(face.points)
            self._place = (cx, cy, size)
        return face

    def _follow(self, image: Image) -> Face | None:
        if self._last is None:
            return None
        face = self.finder.mesh(image, roi_of(self._last.points))
        return face if face.score >= self.finder.settings.finding.min_score and _plausible(face, self._last) else None

    def _search(self, image: Image) -> Face | None:
        found = self.finder.find(image, patient=self._hurried == 0)
        self.faces_seen = max(self.faces_seen, len(found))
        if self._hurried:
            self._hurried -= 1
        elif not found:
            self._hurried = self.finder.settings.following.hurried_frames
        if self._place is not None:  # a face that left comes back near its place
            x, y, size = self._place
            found = sorted(
                found,
                key=lambda f: np.hypot(f.box.centre[0] - x, f.box.centre[1] - y) / size - 0.5 * f.box.size / size,
            )
        return found[0].face if found else None


def _plausible(face: Face, last: Face) -> bool:
    """A mesh that jumps or changes size by half within a frame is another face, or none (a cut)."""
    ratio = face.eye_distance / max(last.eye_distance, 1e-6)
    jump = np.linalg.norm(face.points[UPPER, :2].mean(0) - last.points[UPPER, :2].mean(0))
    return bool(0.67 < ratio < 1.5 and jump < 0.75 * last.eye_distance)
