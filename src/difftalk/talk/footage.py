"""Footage: the identity of a video, and the frames that an output shows of it: it is bounced, looped or held.

What is known of it may grow while it is shown. Reads the video again and again and holds little of it: backwards it
goes in runs of frames that fit in memory.
"""

from __future__ import annotations

import itertools
from collections.abc import Generator, Iterator, Sequence
from dataclasses import asdict, dataclass, field, replace
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING, Final

import numpy as np

from difftalk.arrays import Array, Image, State, joined, part
from difftalk.face.landmarks import POINTS, UPPER
from difftalk.face.pose import Pose
from difftalk.face.space import Alignment
from difftalk.face.tracker import steady
from difftalk.media import video
from difftalk.media.audio import frame_count
from difftalk.media.marks import Mark
from difftalk.media.timeline import shown_rate
from difftalk.media.video import VideoInfo
from difftalk.overlap import ahead
from difftalk.render.cover import Cover
from difftalk.settings import Settings
from difftalk.speech.own_way import OwnWay
from difftalk.talk import keeping
from difftalk.talk.identity import Identity, Manner, Shot, Sitter, Sitting
from difftalk.talk.keeping import Kept
from difftalk.talk.knowledge import Known, known_at

if TYPE_CHECKING:
    from difftalk.model import Model
    from difftalk.render.references import Person
    from difftalk.speech.head_motion import HeadMotion
    from difftalk.talk.looking import Looking

BACKWARD_BYTES: Final = 160_000_000


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
class Footage(Identity):
    """frames: what tracking found in each; None where there is nothing to draw. marks: where they lie in the file.

    times: seconds at which each of them is shown. stages: what is known of its people as it is looked at. look: gives
    more of all four, where the video has more frames. backward_bytes: of pictures held while going backwards.
    """

    info: VideoInfo
    frames: list[Tracked | None]
    marks: list[Mark]
    times: list[list[float]]
    stages: list[Known]
    look: Looking | None = field(default=None, kw_only=True)
    backward_bytes: int = field(default=BACKWARD_BYTES, kw_only=True)

    @property
    def people(self) -> list[Person]:
        """Everybody who has been seen."""
        return self.stages[-1].people

    @property
    def own_way(self) -> OwnWay | None:
        """How its speaker moves the mouth, where it has its own sound, in sync, and one person."""
        return self.stages[-1].own_way

    @property
    def mark(self) -> str:
        return keeping.mark_of_people(self.stages[0].people, self.stages[0].own_way)

    def shots(
        self, manner: Manner, head: HeadMotion | None, settings: Settings, first: int = 0
    ) -> Generator[Shot, None, None]:
        """At its end the video turns round (bounce), starts again (loop), or stays (hold)."""
        return ahead(self._with_cuts(manner.fit, first, settings))

    def frame_rate(self, manner: Manner) -> Fraction:
        return shown_rate(self.info)

    @property
    def size(self) -> tuple[int, int]:
        return self.info.width, self.info.height

    def is_over(self, manner: Manner, number: int, seconds: float, heard: float) -> bool:
        if not self.info.constant_rate:
            return seconds >= heard
        return number >= frame_count(heard, shown_rate(self.info))

    def sitting(self, shot: Shot, model: Model) -> Sitting | None:
        return None if shot.sitter is None else Sitting(shot.image, shot.sitter, model.geometry, scenery=True)

    def rest(self, count: int) -> Iterator[tuple[Image, float]]:
        """Pictures and times of the frames behind the first `count` that are shown."""
        for _, image, seconds in self._forward(count):
            yield image, seconds

    def kept(self, *, whole: bool = True) -> Kept:
        """whole: what is left of the video is looked at before."""
        if whole and self.look is not None:
            self.look.go_on(None)
        images, count = keeping.Pictures(), len(self.frames)
        arrays = joined(
            frames=_of_frames(self.frames),
            marks=_of_marks(self.marks[:count]),
            times={"seconds": np.concatenate(self.times), "counts": np.array([len(each) for each in self.times])},
            stages=_of_stages(self.stages, images),
            pictures=images.arrays,
        )
        info = asdict(self.info) | {
            "path": "",
            "frame_rate": str(self.info.frame_rate),
            "pixel_aspect": str(self.info.pixel_aspect),
        }
        looked = {"whole": self._all_known, "looked": count + 1 if self.look is None else self.look.taken}
        video_mark = keeping.mark_of(self.path)
        return Kept({"kind": "footage", **self._facts(), **looked, "info": info, "video": video_mark}, arrays)

    @classmethod
    def of_kept(cls, kept: Kept, video: Path | None) -> Footage:
        state, images = kept.arrays, keeping.pictures(part(kept.arrays, "pictures"))
        path, info = keeping.known(kept.facts["video"], video), kept.facts["info"]
        exact = {name: Fraction(info[name]) for name in ("frame_rate", "pixel_aspect")}
        seconds, ends = state["times.seconds"].tolist(), np.cumsum(state["times.counts"]).tolist()
        return cls(
            path,
            VideoInfo(**info | exact | {"path": path}),
            _frames_of(part(state, "frames")),
            _marks_of(part(state, "marks")),
            [seconds[start:end] for start, end in zip([0, *ends], ends, strict=False)],
            _stages_of(part(state, "stages"), images),
            notes=kept.facts["notes"],
            model=kept.facts["model"],
        )

    def _with_cuts(self, fit: str, first: int, settings: Settings) -> Generator[Shot, None, None]:
        before: Shot | None = None
        start = max(0, first - 1)  # whether the first one follows is known from the one before it
        for number, shot in enumerate(self._in_order(fit, start, settings), start):
            follows = before is None or _follows(before, shot, settings)
            if number >= first:
                yield shot if follows else replace(shot, cut=True)
            before = shot

    def _in_order(self, fit: str, skip: int, settings: Settings) -> Iterator[Shot]:
        """All but the first `skip`."""
        for number, image, seconds in self._forward(skip):
            yield self._shot(number, image, seconds, settings)
        step, count = float(1 / shown_rate(self.info)), sum(map(len, self.times))  # all of it is known by now
        length, skip = self.times[-1][-1] + step, max(0, skip - count)
        for turn in itertools.count(1) if fit != "hold" else []:
            backward = fit == "bounce" and turn % 2 == 1
            for position, (number, image, seconds) in enumerate(
                self._backward(skip) if backward else self._forward(skip), skip
            ):
                at = turn * length + (length - step - seconds if backward else seconds)
                shot = self._shot(number, image, at, settings, again=True)
                yield replace(shot, cut=True) if fit == "loop" and position == 0 else shot
            skip = max(0, skip - count)
        (number, image, seconds), *_ = self._forward(count - 1)
        last = self._shot(number, image, seconds, settings, again=True)
        for later in itertools.count(skip + 1):
            yield replace(last, seconds=seconds + later * step, cut=False)

    def _shot(self, number: int, image: Image, seconds: float, settings: Settings, *, again: bool = False) -> Shot:
        """again: the video has been shown to its end."""
        tracked = self.frames[number]
        if tracked is None or tracked.mouth_hidden:
            return Shot(image, seconds, None, cut=True, mouth_hidden=tracked is not None)
        upper = np.zeros((POINTS, 3), np.float32)
        upper[UPPER] = tracked.upper
        known = known_at(self.stages, tracked.person, None if again else number, self.info, settings)
        (who,) = known.people
        sitter = Sitter(tracked.pose, tracked.alignment, upper, who, tracked.person, cover=tracked.cover)
        return Shot(image, seconds, sitter, own_way=known.own_way)

    def _is_there(self, number: int) -> bool:
        """Whether the video has a frame of this number, about which all is known then that it is drawn from."""
        if self.look is not None:
            self.look.go_on(number)
        return number < len(self.frames)

    def _forward(self, skip: int) -> Iterator[tuple[int, Image, float]]:
        """Number, picture and time of all frames that are shown but the first `skip`."""
        for first in itertools.count():
            if not self._is_there(first):
                return
            if skip < len(self.times[first]):
                yield from itertools.islice(self._read(first, None), skip, None)
                return
            skip -= len(self.times[first])

    def _backward(self, skip: int) -> Iterator[tuple[int, Image, float]]:
        """The same from the end to the beginning."""
        run = max(8, self.backward_bytes // (self.info.width * self.info.height * 3))
        for stop in range(len(self.frames), 0, -run):
            first = max(0, stop - run)
            shown = sum(map(len, self.times[first:stop]))
            if skip < shown:
                yield from itertools.islice(reversed(list(self._read(first, stop))), skip, None)
            skip = max(0, skip - shown)

    def _read(self, first: int, stop: int | None) -> Iterator[tuple[int, Image, float]]:
        frames = video.read(self.path, first=first, marks=self.marks if self._all_known else ())
        for frame in frames:
            number = frame.mark.number
            if (stop is not None and number >= stop) or not self._is_there(number):
                return
            for seconds in self.times[number]:
                yield number, frame.image, seconds

    @property
    def _all_known(self) -> bool:
        return self.look is None or self.look.ended


def _of_frames(frames: list[Tracked | None]) -> State:
    """A column for each number of those that show somebody, and of the covers of those that have one."""
    there = [frame for frame in frames if frame is not None]
    return {
        "there": np.array([frame is not None for frame in frames], np.bool_),
        "alignment": keeping.of_alignments([frame.alignment for frame in there]),
        "upper": np.stack([frame.upper for frame in there]) if there else np.zeros((0, len(UPPER), 3), np.float32),
        "zoom": np.array([frame.zoom for frame in there], np.float64),
        "person": np.array([frame.person for frame in there], np.int64),
        "covered": np.array([frame.cover is not None for frame in there], np.bool_),
        "mouth_hidden": np.array([frame.mouth_hidden for frame in there], np.bool_),
        **joined(
            pose=keeping.of_poses([frame.pose for frame in there]),
            cover=keeping.of_covers([frame.cover for frame in there if frame.cover is not None]),
        ),
    }


def _frames_of(state: State) -> list[Tracked | None]:
    covers = iter(keeping.covers_of(part(state, "cover")))
    columns = zip(
        keeping.poses_of(part(state, "pose")),
        keeping.alignments_of(state["alignment"]),
        state["upper"],
        state["zoom"].tolist(),
        state["person"].tolist(),
        (next(covers) if covered else None for covered in state["covered"]),
        state["mouth_hidden"].tolist(),
        strict=True,
    )
    there = itertools.starmap(Tracked, columns)
    return [next(there) if shows else None for shows in state["there"]]


def _of_marks(marks: list[Mark]) -> State:
    return {
        "number": np.array([mark.number for mark in marks], np.int64),
        "seconds": np.array([mark.seconds for mark in marks], np.float64),
        "stamped": np.array([mark.stamp is not None for mark in marks], np.bool_),
        "stamp": np.array([mark.stamp or 0 for mark in marks], np.int64),
        "key": np.array([mark.key for mark in marks], np.bool_),
    }


def _marks_of(state: State) -> list[Mark]:
    columns = zip(*(state[name].tolist() for name in ("number", "seconds", "stamp", "key", "stamped")), strict=True)
    return [Mark(number, seconds, stamp if stamped else None, key) for number, seconds, stamp, key, stamped in columns]


def _of_stages(stages: Sequence[Known], images: keeping.Pictures) -> State:
    """Somebody of whom nothing new was learnt is written once; so is a way. way: its number, -1 where there is none."""
    people = list({id(one): one for stage in stages for one in stage.people}.values())
    ways = list({id(stage.own_way): stage.own_way for stage in stages if stage.own_way is not None}.values())
    number, place = ({id(one): n for n, one in enumerate(each)} for each in (people, ways))
    own: State = {f"way{n}.{name}": value for n, way in enumerate(ways) for name, value in vars(way).items()}
    return {
        "since": np.array([stage.since for stage in stages], np.int64),
        "counts": np.array([len(stage.people) for stage in stages], np.int64),
        "numbers": np.array([number[id(one)] for stage in stages for one in stage.people], np.int64),
        "way": np.array([place.get(id(stage.own_way), -1) for stage in stages], np.int64),
        **own,
        **joined(people=keeping.of_people(people, images) if people else {}),
    }


def _stages_of(state: State, images: Sequence[Image]) -> list[Known]:
    numbers, seen = iter(state["numbers"].tolist()), part(state, "people")
    people = keeping.people_of(seen, images) if seen else []
    ways = [OwnWay(**part(state, f"way{n}")) for n in range(max(state["way"].tolist()) + 1)]
    return [
        Known(since, [people[number] for number in itertools.islice(numbers, count)], ways[way] if way >= 0 else None)
        for since, count, way in zip(*(state[name].tolist() for name in ("since", "counts", "way")), strict=True)
    ]


def _follows(before: Shot, now: Shot, settings: Settings) -> bool:
    one, other = before.sitter, now.sitter
    return (
        one is not None and other is not None and one.person == other.person and steady(one.pose, other.pose, settings)
    )


def seconds_beyond(info: VideoInfo, seconds: float) -> float:
    """By how much so many seconds of audio are longer than the video; negative: shorter, 0: by under half a frame."""
    beyond = seconds - info.seconds
    return beyond if abs(beyond) > 0.5 / float(shown_rate(info)) else 0.0


def length_notes(info: VideoInfo, seconds: float, *, fit: str, keep_tail: bool) -> list[str]:
    """What becomes of a video that is not as long as the audio."""
    beyond = seconds_beyond(info, seconds)
    if beyond > 0:
        return [f"the audio is longer than the video ({seconds:.1f} s, {info.seconds:.1f} s): `fit={fit}`"]
    if beyond < 0 and not keep_tail:
        lengths = f"({info.seconds:.1f} s, {seconds:.1f} s)"
        return [f"the video is longer than the audio {lengths} and ends with it; `keep_tail=True` keeps the rest"]
    if beyond < 0 and info.has_audio:
        return ["after the end of the audio the video's own sound is heard"]
    return []


def way_notes(footage: Footage, share: float) -> list[str]:
    """Whose way the mouth moves; share: how far it goes the speaker's own."""
    if footage.own_way is None or share == 0:
        return []
    return ["the mouth moves the speaker's own way, learnt from the video; `own_way=0`: as anybody's"]


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
