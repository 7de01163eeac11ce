"""A video watched once, frame by frame: every frame's pose and alignment, who is in it, and what each is drawn from.

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
from difftalk.media.timeline import moments, repeats_note
from difftalk.overlap import ahead
from difftalk.progress import Progress
from difftalk.render.cover import Cover, Lookout, mouth_hidden, settled
from difftalk.render.references import Person
from difftalk.settings import Settings
from difftalk.speech.listener import Listening
from difftalk.speech.motion import LOOK_AHEAD_SECONDS, Heard
from difftalk.speech.own_way import OwnWay, at_rate, learn_aligned
from difftalk.stages import timed
from difftalk.talk.footage import Footage, Tracked
from difftalk.talk.identity import check_size, lookout_of
from difftalk.talk.knowledge import SETTLED_AT_ONCE, Known, first_look, reach_of
from difftalk.talk.person import Offers

if TYPE_CHECKING:
    from difftalk.model import Model

MOUTH: Final = np.concatenate([LIPS, CHIN])


def of_video(path: Path, model: Model, *, progress: Progress | None = None) -> Footage:
    """The identity of a video, looked at to its end. progress: "looking", frames done, frames in all."""
    watch = Watch(path, model)
    while watch.step():
        if progress is not None:
            progress("looking", watch.taken, max(watch.info.frame_count, watch.taken))
    return watch.footage()


def recogniser_of(model: Model) -> Recogniser | None:
    """None for a model that does not tell faces apart."""
    return Recogniser(model.graph("face_identity")) if "face_identity" in model.graphs else None


class Watch:
    """What is found of a video, whose frames are taken one by one, in order and with their runs.

    frames, times: of those about which all is known that they need; the last `reach_of` that were taken are not. taken:
    frames looked at. ended: there are no more.
    """

    def __init__(self, path: Path, model: Model) -> None:
        if picture.is_still(path):
            raise InputError(f"{path} is a picture; use animate for pictures, dub for videos")
        settings = model.settings
        self.info = video.probe(path)
        self.frames: list[Tracked | None] = []
        self.marks: list[Mark] = []
        self.times: list[list[float]] = []
        self.stages: list[Known] = []
        self.taken, self.ended = 0, False
        self._path, self._model, self._settings = path, model, settings
        self._tracker, self._offers, self._lookout = Tracker(model.face_finder), Offers(settings), lookout_of(model)
        self._held: deque[tuple[Tracked | None, Run | None]] = deque()  # the last that were taken
        self._eyes: list[float] = []  # px apart
        self._mouths: list[tuple[float, Array]] = []  # seconds and shape, beside the canonical face
        self._sound: _OwnSound | None = None
        self._next = first_look(self.info, settings)  # frames at which the next stage is made
        self._every = max(1, self.info.frame_count // settings.watching.neutral_frames)
        self._damaged: list[float] = []
        self._larger = 0  # frames whose mask is
        self._repeated: list[list[float]] = []  # when the first frame is shown that is shown more than once
        self._before: tuple[int, Followed] | None = None  # the last frame that shows somebody, and its number
        self._dissolves: list[int] = []  # first frames of those who come out of one
        self._lately = deque[Cover | None](maxlen=settings.watching.wary)
        self._looked: Generator[tuple[Followed, Run | None], None, None] | None = None  # begun by the first step

    def followed(self) -> Iterator[Followed]:
        """The video's frames, read once, with the face that is in each."""
        pictures = ahead(_pictures(self._path, self.marks, self._damaged))
        return follow(pictures, self._tracker, self._model.geometry.canonical, self._settings)

    def step(self) -> bool:
        """Takes the video's next frame; False where there is none, and all is known."""
        if self._looked is None:
            self._looked = runs(self.followed(), recogniser_of(self._model), self._settings)
        found = next(self._looked, None)
        if found is None:
            self.finish()
        else:
            self.take(*found)
        return found is not None

    def close(self) -> None:
        """Ends the thread that reads ahead."""
        if self._looked is not None:
            self._looked.close()

    @timed("look")
    def take(self, frame: Followed, run: Run | None) -> None:
        """The next frame; run: None where nobody is drawn."""
        found = _tracked(frame, self._lookout, self._settings) if run is not None else None
        self._held.append((found, run))
        self.taken += 1
        if found is not None and run is not None and frame.face is not None:
            self._eyes.append(frame.face.eye_distance)
            self._lately.append(found.cover)
            if not found.mouth_hidden:
                self._offer(frame, run, found.pose.remove(frame.face.points))
        if run is not None:
            self._before = self.taken - 1, frame
        settled = self.taken - reach_of(self._settings)
        if settled - len(self.frames) >= SETTLED_AT_ONCE:
            self._settle(settled)
        if self.taken == self._next:  # or where somebody new comes before
            self._stage(self.taken)
            self._next *= 2

    def _offer(self, frame: Followed, run: Run, free: NDArray[np.float64]) -> None:
        """A frame whose mouth is seen, for reference; free: its points without pose."""
        count, geometry, settings = self.taken, self._model.geometry, self._settings
        cover = next((cover for cover in reversed(self._lately) if cover is not None), None)
        cut = self._before is not None and _parted(*self._before, count - 1, frame, settings)
        if self._offers.take(run, frame, free, for_neutral=count % self._every == 0, cover=cover, cut=cut):
            self._dissolves.append(count - 1)
        if frame.seconds < settings.watching.own_seconds:
            self._mouths.append((frame.seconds, geometry.shape_of(free, geometry.canonical)))

    def finish(self) -> None:
        """All frames have been taken."""
        if not self.ended:
            self._offers.finish()
            self._settle(self.taken)
            self._stage(self.taken + 1)  # which is asked for where the end is noticed
            self.ended = True

    def large_enough(self) -> bool:
        """Whether faces have been seen, and most of them can be drawn on."""
        return bool(self._eyes) and float(np.median(self._eyes)) >= self._settings.finding.min_eye_distance

    def footage(self) -> Footage:
        """What has been found, in lists that grow with it. Raises FaceError where there is no face to draw on."""
        if not self._eyes:
            raise FaceError(
                f"{self._path}: no usable face in any of its {self.taken} frames; the face must look towards the camera"
            )
        check_size(self._path, float(np.median(self._eyes)), self._settings)
        found = self.frames, self.marks, self.times, self.stages
        return Footage(self._path, self.info, *found, notes=self.notes(), model=self._model.hash)

    def notes(self) -> list[str]:
        """What is to be said of it so far."""
        people = [candidates for _, candidates in self._offers.people.known]
        faces, several = self._tracker.faces_seen, sum(c.count >= self._settings.watching.seen_frames for c in people)
        notes = [f"up to {faces} faces: took the largest"] if faces > 1 else []
        if several > 1:
            notes.append(
                f"{several} people one after the other: each is drawn from their own frames, all of them speak"
            )
        if self._damaged:
            count, first = len(self._damaged), self._damaged[0]
            notes.append(f"{count} frames come from damaged data, the first at {first:.2f} s; they are kept")
        if self._larger:
            notes.append(
                f"in {self._larger} frame(s) the chin reaches beyond the mask; there and around the mask is larger"
            )
        return notes + repeats_note(self.info, self._repeated)

    def _settle(self, stop: int) -> None:
        """Frames up to this number, with those around them: covers as they last, the mask as large as it must be.

        Nobody is drawn near the first frames that come out of a dissolve.
        """
        first, settings = len(self.frames), self._settings
        low, blended = self.taken - len(self._held), settings.watching.blended
        frames = _uncovered([found for found, _ in self._held], settings)
        for number in self._dissolves:
            beside = slice(max(0, number - blended - low), max(0, number + blended - low))
            frames[beside] = [None] * len(frames[beside])
        frames = _enlarged(frames, settings)
        for number in range(first, stop):
            frame, (_, run) = frames[number - low], self._held[number - low]
            if frame is not None and run is not None:
                person = self._offers.people.number_of(run)
                frame = replace(frame, person=person, mouth_hidden=frame.mouth_hidden or person < 0)
            self._larger += frame is not None and frame.zoom < 1
            self.frames.append(frame)
            start, *later = (mark.seconds for mark in self.marks[number : number + 2])
            self.times.append(moments(self.info, start, later[0] if later else None))
            if len(self.times[-1]) != 1 and not self._repeated:
                self._repeated.append(self.times[-1])
        while self.taken - len(self._held) < stop - reach_of(settings):
            self._held.popleft()
        low = self.taken - len(self._held)
        self._dissolves = [number for number in self._dissolves if number + blended > low]
        if self.stages and len(self._offers.people.known) > len(self.stages[-1].people):
            self._stage(self.taken)

    def _stage(self, since: int) -> None:
        """What is known by now, and counts from so many frames on."""
        geometry = self._model.geometry
        people = [candidates.person(geometry) for _, candidates in self._offers.people.known]
        own_way = self._own_way(people[0]) if len(people) == 1 else None
        self.stages.append(Known(since, people, own_way))

    def _own_way(self, person: Person) -> OwnWay | None:
        """From the video's own sound and its mouths; None without either, or where they do not go together."""
        if not self._mouths:
            return None
        if self._sound is None:
            self._sound = _OwnSound(self._path, self._model)
        geometry = self._model.geometry
        rest = geometry.shape_of(person.neutral, geometry.canonical)
        seconds, shown = np.array([time for time, _ in self._mouths]), np.stack([shape for _, shape in self._mouths])
        heard = self._sound.heard(float(seconds[-1]))
        return learn_aligned(heard, at_rate(seconds, shown - rest), geometry) if len(heard) else None


class _OwnSound:
    """What is heard in a video itself, as far as it has been looked at."""

    def __init__(self, path: Path, model: Model) -> None:
        self._listening, self._pushed = Listening(model), 0
        try:
            self._waveform = audio.read(path, from_video_start=True, seconds=model.settings.watching.own_seconds)
        except MediaError:
            self._waveform = np.zeros(0, np.float32)

    def heard(self, seconds: float) -> Heard:
        """Up to this time and a little further, as far as sound is needed for it."""
        stop = round((seconds + LOOK_AHEAD_SECONDS) * SAMPLE_RATE)
        if self._pushed < len(self._waveform):
            self._listening.push(self._waveform[self._pushed : stop])
            self._pushed = max(self._pushed, stop)
            if self._pushed >= len(self._waveform):
                self._listening.finish()
        return self._listening.heard


def _parted(last: int, before: Followed, number: int, now: Followed, settings: Settings) -> bool:
    """Whether two frames, of these numbers, with none between that shows somebody, are of different pictures."""
    return is_cut(before, now, settings) if number - last == 1 else number - last > settings.people.near_change


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
    """The frames with their covers as they last."""
    found = [None if frame is None else frame.cover for frame in frames]
    covers = settled(found, [None if frame is None else frame.alignment for frame in frames], settings)
    return [
        None if frame is None else replace(frame, cover=cover, mouth_hidden=bool(hidden))
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
