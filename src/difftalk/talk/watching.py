"""A video watched once, from end to end: every frame's pose and alignment, who is in it, and what each is drawn from.

For each person references at different turns of the head and the mouth bank: references that show the inside of the
mouth, opened in different ways. Pictures of the video itself are not kept.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Generator, Iterator
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Final

import numpy as np
from numpy.typing import NDArray

from difftalk.arrays import SAMPLE_RATE, Array, Image
from difftalk.errors import FaceError, InputError, MediaError
from difftalk.face.landmarks import CHIN, LIPS, UPPER
from difftalk.face.recognition import Recogniser, Run, is_cut, runs
from difftalk.face.space import ALIGNED_SIZE, EYE_LINE, REGION_X, REGION_Y
from difftalk.face.tracker import Followed, Tracker, follow
from difftalk.media import audio, picture, video
from difftalk.media.marks import Mark
from difftalk.media.timeline import repeats_note, timeline
from difftalk.overlap import ahead
from difftalk.progress import Progress
from difftalk.render.cover import Cover, Lookout, mouth_hidden, settled
from difftalk.settings import Settings
from difftalk.speech.listener import listened
from difftalk.speech.own_way import OwnWay, at_rate, learn_aligned
from difftalk.stages import timed
from difftalk.talk.footage import Footage, Tracked
from difftalk.talk.identity import check_size, lookout_of
from difftalk.talk.person import Offers, People

if TYPE_CHECKING:
    from difftalk.model import Model

MOUTH: Final = np.concatenate([LIPS, CHIN])


def of_video(path: Path, model: Model, *, progress: Progress | None = None) -> Footage:
    """The identity of a video, read once. progress: "looking", frames done, frames in all."""
    watch = Watch(path, model)
    for done, (frame, run) in enumerate(runs(watch.followed(), recogniser_of(model), model.settings), 1):
        watch.take(frame, run)
        if progress is not None:
            progress("looking", done, max(watch.info.frame_count, done))
    return watch.finish()


def recogniser_of(model: Model) -> Recogniser | None:
    """None for a model that does not tell faces apart."""
    return Recogniser(model.graph("face_identity")) if "face_identity" in model.graphs else None


class Watch:
    """What is found of a video, whose frames are taken one by one, in order and with their runs."""

    def __init__(self, path: Path, model: Model) -> None:
        if picture.is_still(path):
            raise InputError(f"{path} is a picture; use animate for pictures, dub for videos")
        settings = model.settings
        self.info = video.probe(path)
        self._path, self._model, self._settings = path, model, settings
        self._tracker, self._offers, self._lookout = Tracker(model.face_finder), Offers(settings), lookout_of(model)
        self._tracked: list[tuple[Tracked | None, Run | None]] = []
        self._distances: list[float] = []
        self._mouths: list[tuple[float, Array]] = []  # seconds and shape, beside the canonical face
        self._every = max(1, self.info.frame_count // settings.watching.neutral_frames)
        self._marks: list[Mark] = []
        self._damaged: list[float] = []
        self._before: tuple[int, Followed] | None = None  # the last frame that shows somebody, and its number
        self._dissolves: list[int] = []  # first frames of those who come out of one
        self._lately = deque[Cover | None](maxlen=settings.watching.wary)

    def followed(self) -> Iterator[Followed]:
        """The video's frames, read once, with the face that is in each."""
        pictures = ahead(_pictures(self._path, self._marks, self._damaged))
        return follow(pictures, self._tracker, self._model.geometry.canonical, self._settings)

    @timed("look")
    def take(self, frame: Followed, run: Run | None) -> None:
        """The next frame; run: None where nobody is drawn."""
        found = _tracked(frame, self._lookout, self._settings) if run is not None else None
        self._tracked.append((found, run))
        if found is not None and run is not None and frame.face is not None:
            self._distances.append(frame.face.eye_distance)
            self._lately.append(found.cover)
            if not found.mouth_hidden:
                self._offer(frame, run, found.pose.remove(frame.face.points))
        if run is not None:
            self._before = len(self._tracked) - 1, frame

    def _offer(self, frame: Followed, run: Run, free: NDArray[np.float64]) -> None:
        """A frame whose mouth is seen, for reference; free: its points without pose."""
        count, geometry, settings = len(self._tracked), self._model.geometry, self._settings
        cover = next((cover for cover in reversed(self._lately) if cover is not None), None)
        cut = self._before is not None and _parted(*self._before, count - 1, frame, settings)
        if self._offers.take(run, frame, free, for_neutral=count % self._every == 0, cover=cover, cut=cut):
            self._dissolves.append(count - 1)
        if frame.seconds < settings.watching.own_seconds:
            self._mouths.append((frame.seconds, geometry.shape_of(free, geometry.canonical)))

    def finish(self) -> Footage:
        """All that was found. Raises FaceError where there is no face to draw on."""
        path, model, settings = self._path, self._model, self._settings
        if not self._distances:
            raise FaceError(
                f"{path}: no usable face in any of its {len(self._tracked)} frames; the face must look towards the"
                " camera"
            )
        check_size(path, float(np.median(self._distances)), settings)
        people = self._offers.finish()
        seen = [candidates.person(model.geometry) for _, candidates in people.known]
        frames = self._frames(people)
        own_way = None
        if len(seen) == 1:
            rest = model.geometry.shape_of(seen[0].neutral, model.geometry.canonical)
            own_way = _own_way(path, model, self._mouths, rest)
        times = timeline(self.info, [mark.seconds for mark in self._marks])
        notes = _notes(people, self._tracker.faces_seen, frames, self._damaged, settings)
        notes += repeats_note(self.info, times)
        enlarged = _enlarged(frames, settings)
        return Footage(
            path, seen, self.info, enlarged, self._marks, times, notes=notes, own_way=own_way, model=model.hash
        )

    def _frames(self, people: People) -> list[Tracked | None]:
        """What is drawn on, with whom it shows; nobody is drawn near the first frames that come out of a dissolve."""
        numbered = [
            None if found is None else replace(found, person=people.numbers.get(id(run), -1))
            for found, run in self._tracked
        ]
        frames, blended = _uncovered(numbered, self._settings), self._settings.watching.blended
        for number in self._dissolves:
            beside = slice(max(0, number - blended), number + blended)
            frames[beside] = [None] * len(frames[beside])
        return frames


def _parted(last: int, before: Followed, number: int, now: Followed, settings: Settings) -> bool:
    """Whether two frames, of these numbers, with none between that shows somebody, are of different pictures."""
    return is_cut(before, now, settings) if number - last == 1 else number - last > settings.people.near_change


def _notes(
    people: People, faces: int, frames: list[Tracked | None], damaged: list[float], settings: Settings
) -> list[str]:
    notes = [f"up to {faces} faces: took the largest"] if faces > 1 else []
    several = sum(1 for _, candidates in people.known if candidates.count >= settings.watching.seen_frames)
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
    settings = model.settings
    if not mouths:
        return None
    seconds, shown = np.array([time for time, _ in mouths]), np.stack([shape for _, shape in mouths]) - rest
    try:
        waveform = audio.read(path, from_video_start=True)[: round(settings.watching.own_seconds * SAMPLE_RATE)]
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


def _tracked(frame: Followed, lookout: Lookout | None, settings: Settings) -> Tracked | None:
    """None for a frame that is passed through: no face, turned away, or the mouth outside the picture."""
    if (
        frame.face is None
        or frame.pose is None
        or frame.alignment is None
        or abs(frame.pose.yaw) > settings.finding.max_yaw
    ):
        return None
    mouth = frame.face.points[LIPS, :2]
    height, width = frame.image.shape[:2]
    if (mouth < 0).any() or (mouth > np.array([width, height])).any():
        return None
    zoom = _zoom_needed(frame.alignment.points(frame.face.points)[MOUTH, :2], settings)
    cover = lookout(frame.image, frame.alignment, frame.face.points) if lookout is not None else None
    hidden = cover is not None and cover.hides_mouth(settings)
    return Tracked(frame.pose, frame.alignment, frame.face.points[UPPER], zoom, cover=cover, mouth_hidden=hidden)


def _uncovered(frames: list[Tracked | None], settings: Settings) -> list[Tracked | None]:
    """The frames with their covers as they last.

    A person of number -1 was never seen with the mouth uncovered; it stays hidden.
    """
    found = [None if frame is None else frame.cover for frame in frames]
    covers = settled(found, [None if frame is None else frame.alignment for frame in frames], settings)
    return [
        None if frame is None else replace(frame, cover=cover, mouth_hidden=bool(hidden) or frame.person < 0)
        for frame, cover, hidden in zip(frames, covers, mouth_hidden(found, settings), strict=True)
    ]


def _zoom_needed(points: Array, settings: Settings) -> float:
    """Scale about the eyes' middle at which aligned points (n, 2) lie in the region, `jaw_margin` from its border."""
    how = settings.watching
    middle = ALIGNED_SIZE / 2
    reach = np.abs(points[:, 0] - middle).max() / (middle - REGION_X[0] - how.jaw_margin)
    depth = (points[:, 1].max() - EYE_LINE) / (REGION_Y[1] - how.jaw_margin - EYE_LINE)
    return float(np.clip(1 / max(reach, depth, 1.0), how.min_zoom, 1))


def _enlarged(frames: list[Tracked | None], settings: Settings) -> list[Tracked | None]:
    """Alignments zoomed out around the frames that need it, smoothly, so that the mask grows and shrinks unseen."""
    how = settings.watching
    zoom = np.array([1.0 if frame is None else frame.zoom for frame in frames])
    if (zoom == 1).all():
        return frames
    reach = np.lib.stride_tricks.sliding_window_view
    lowest = reach(np.pad(zoom, 2 * how.zoom_reach, mode="edge"), 2 * how.zoom_reach + 1).min(1)
    smooth = reach(lowest, 2 * how.zoom_reach + 1).mean(1)  # a mean of values each of which is low enough
    return [
        None if frame is None else replace(frame, alignment=frame.alignment.zoomed(float(z)))
        for frame, z in zip(frames, smooth, strict=True)
    ]
