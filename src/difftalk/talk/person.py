"""A person as seen: the references that are drawn from, and how they are chosen from the frames of a video.

Frames are offered one by one; of each turn of the head the one with the fullest closed lips is kept, and of each way of
opening the mouth one. At any moment a person can be made of what has been seen. Knows nothing of files, nor of who is
who.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cache, partial
from typing import Generic, TypeVar

import numpy as np
from numpy.typing import NDArray

from difftalk.arrays import Array
from difftalk.face.mouth import Geometry, lip_height, neutral_of_clip, opening
from difftalk.face.recognition import Run
from difftalk.face.tracker import Followed
from difftalk.render.cover import Cover, filled_in
from difftalk.render.references import Person, Reference, Way, way_of
from difftalk.settings import Settings

Bin = tuple[int, int]  # of yaw and pitch
Place = TypeVar("Place", bound=tuple[int, int])


@dataclass(frozen=True)
class _Seen:
    """A frame that may be drawn from. rank: the less, the better. free: (478, 3) pose-free points."""

    rank: float
    turn: NDArray[np.float64]
    free: Array
    reference: Reference


@dataclass
class _Bank(Generic[Place]):
    """The best frame of each place - a turn of the head, a way of opening the mouth - of those seen so far.

    What has been shown keeps its number for good, so that a choice means the same picture however much more is seen.
    """

    most: int  # places that are shown
    stay: float  # ranks by which a frame must be better than the one that is shown
    best: dict[Place, _Seen] = field(default_factory=dict)
    counts: dict[Place, int] = field(default_factory=dict)  # frames that are like it
    shown: list[_Seen] = field(default_factory=list)
    _places: dict[Place, int] = field(default_factory=dict)  # numbers of those that are shown now

    def offer(self, place: Place, rank: float, made: Callable[[], _Seen]) -> None:
        self.counts[place] = self.counts.get(place, 0) + 1
        if place not in self.best or rank < self.best[place].rank:
            self.best[place] = made()

    def merge(self, other: _Bank[Place]) -> None:
        for place, seen in other.best.items():
            self.counts[place] = self.counts.get(place, 0) + other.counts[place]
            if place not in self.best or seen.rank < self.best[place].rank:
                self.best[place] = seen

    def show(self, covered_rank: float) -> NDArray[np.float64]:
        """Shows the commonest places; (n, 2): the turns of all that was ever shown, infinite where it no longer is."""
        places = [place for place in self.counts if self.best[place].rank < covered_rank] or list(self.counts)
        places = sorted(places, key=lambda place: -self.counts[place])[: self.most]
        self._places = {place: self._number(place) for place in places}
        now = set(self._places.values())
        return np.stack([seen.turn if n in now else np.full(2, np.inf) for n, seen in enumerate(self.shown)])

    def _number(self, place: Place) -> int:
        best, number = self.best[place], self._places.get(place)
        if number is None or best.rank < self.shown[number].rank - self.stay:
            self.shown.append(best)
            return len(self.shown) - 1
        return number


@dataclass
class Candidates:
    """What a person may be drawn from, of the frames seen so far. count: of these.

    Not the most closed lips: lips that are pressed together are rolled in, and their colour is gone.
    """

    settings: Settings
    count: int = 0
    shapes: list[Array] = field(default_factory=list)  # (478, 3) pose-free, for the neutral
    closed: _Bank[Bin] = field(init=False)
    opened: _Bank[Way] = field(init=False)
    _made: tuple[int, Person] | None = None  # of so many frames

    def __post_init__(self) -> None:
        how, references = self.settings.people, self.settings.references
        self.closed = _Bank(how.max_references, how.rank_stay)
        self.opened = _Bank(references.max_mouths, references.turn_stay)

    def offer(
        self,
        frame: Followed,
        free: NDArray[np.floating],
        *,
        for_neutral: bool,
        cover: Cover | None = None,
        mixed: bool = False,
    ) -> None:
        """free: (478, 3) pose-free points. for_neutral: whether they count for the neutral.

        cover: what lies before the face. mixed: another may shine through. Such a frame is taken where there is no
        other.
        """
        how, pose = self.settings.people, frame.pose
        assert pose is not None
        points = free.astype(np.float32)
        if for_neutral or len(self.shapes) < how.first_shapes:
            self.shapes.append(points)
        self.count += 1
        yaw, pitch = (round(angle / how.turn_bin) for angle in pose.turn)
        behind = 0 if cover is None and not mixed else how.covered_rank
        full = float(opening(free)) - lip_height(free) + behind
        away = float(np.linalg.norm(pose.turn)) + behind
        made = cache(partial(_reference, frame, cover, self.settings))
        self.closed.offer((yaw, pitch), full, lambda: _Seen(full, pose.turn, points, made()))
        self.opened.offer(way_of(free, self.settings), away, lambda: _Seen(away, pose.turn, points, made()))

    def merge(self, other: Candidates) -> None:
        """As if the other's frames had been offered as well; nothing of the other's has been shown."""
        self.count += other.count
        self.shapes += other.shapes
        self.closed.merge(other.closed)
        self.opened.merge(other.opened)

    def person(self, geometry: Geometry) -> Person:
        """From the commonest turns of the head and ways of opening the mouth; the same until more has been seen."""
        if self._made is None or self._made[0] != self.count:
            how = self.settings.people
            turns, mouth_turns = (bank.show(how.covered_rank) for bank in (self.closed, self.opened))
            neutral = geometry.closed(neutral_of_clip(np.stack(self.shapes), self.settings))
            person = Person(
                neutral,
                [seen.reference for seen in self.closed.shown],
                turns,
                [seen.reference for seen in self.opened.shown],
                geometry.shape_of(np.stack([seen.free for seen in self.opened.shown]), neutral),
                mouth_turns,
            )
            self._made = self.count, person
        return self._made[1]


def _reference(frame: Followed, cover: Cover | None, settings: Settings) -> Reference:
    assert frame.face is not None
    assert frame.alignment is not None
    image = frame.image if cover is None else filled_in(frame.image, cover, settings)
    return Reference.of(image, frame.alignment, frame.alignment.points(frame.face.points)).kept(settings)


@dataclass
class People:
    """Runs of frames become people: a run that shows somebody known goes to them, any other is somebody new.

    Whose a run is, is settled when somebody asks, or when two others have followed it. So a run of which it is not
    clear whose it is has nothing but its own frames.
    """

    settings: Settings
    known: list[tuple[list[Run], Candidates]] = field(default_factory=list)
    numbers: dict[int, int] = field(default_factory=dict)  # a run's id -> number of its person
    _open: list[tuple[Run, Candidates]] = field(
        default_factory=list
    )  # at most two: frames between them may be either's

    def of(self, run: Run) -> Candidates:
        """Where the run's frames are to be offered."""
        if id(run) in self.numbers:
            return self.known[self.numbers[id(run)]][1]
        for one, candidates in self._open:
            if one is run:
                return candidates
        if len(self._open) > 1:
            self._settle(*self._open.pop(0))
        self._open.append((run, Candidates(self.settings)))
        return self._open[-1][1]

    def number_of(self, run: Run) -> int:
        """Whose the run is, of those known; -1 where none of its frames was offered."""
        for place, (one, candidates) in enumerate(self._open):
            if one is run:
                del self._open[place]
                self._settle(run, candidates)
        return self.numbers.get(id(run), -1)

    def finish(self) -> None:
        for run, candidates in self._open:
            self._settle(run, candidates)
        self._open = []

    def _settle(self, run: Run, candidates: Candidates) -> None:
        number = run.nearest([Run.of(known) for known, _ in self.known], self.settings)
        if number is None:
            self.numbers[id(run)] = len(self.known)
            self.known.append(([run], candidates))
        else:
            self.numbers[id(run)] = number
            self.known[number][0].append(run)
            self.known[number][1].merge(candidates)


@dataclass(frozen=True)
class _Offer:
    run: Run
    frame: Followed
    free: NDArray[np.floating]
    for_neutral: bool
    cover: Cover | None


@dataclass
class Offers:
    """Frames on their way to the people that they show; those near a dissolve count as mixed.

    Holds `near_change` frames: so late is it known that one person becomes another.
    """

    settings: Settings
    people: People = field(init=False)
    _waiting: deque[_Offer] = field(default_factory=deque)
    _run: Run | None = None
    _near: int = 0  # of the frames to come, so many are near a change

    def __post_init__(self) -> None:
        self.people = People(self.settings)

    def take(
        self,
        run: Run,
        frame: Followed,
        free: NDArray[np.floating],
        *,
        for_neutral: bool,
        cover: Cover | None,
        cut: bool,
    ) -> bool:
        """Whether somebody else came just before the frame, out of a dissolve.

        cut: the picture jumps to this frame. The rest: see `Candidates.offer`.
        """
        changed = self._run is not None and run is not self._run
        if changed:
            while self._waiting:
                self._pass_on(mixed=not cut)
            self._near = 0 if cut else self.settings.people.near_change
        self._run = run
        self._waiting.append(_Offer(run, frame, free, for_neutral, cover))
        if self._near > 0 or len(self._waiting) > self.settings.people.near_change:
            self._pass_on(mixed=self._near > 0)
            self._near = max(0, self._near - 1)
        return changed and not cut

    def finish(self) -> People:
        """Everybody, when all frames have been taken."""
        while self._waiting:
            self._pass_on(mixed=False)
        self.people.finish()
        return self.people

    def _pass_on(self, *, mixed: bool) -> None:
        offer = self._waiting.popleft()
        candidates, for_neutral = self.people.of(offer.run), offer.for_neutral and not mixed
        candidates.offer(offer.frame, offer.free, for_neutral=for_neutral, cover=offer.cover, mixed=mixed)
