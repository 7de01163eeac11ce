"""A person as seen: the references that are drawn from, and how they are chosen from the frames of a video.

Frames are offered one by one; of each turn of the head the one with the fullest closed lips is kept, and of each way of
opening the mouth one. Knows nothing of files, nor of who is who.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from difftalk.arrays import Array
from difftalk.face.mouth import Geometry, lip_height, neutral_of_clip, opening
from difftalk.face.tracker import Followed
from difftalk.render.cover import Cover, filled_in
from difftalk.render.references import Person, Reference, Way, way_of
from difftalk.settings import Settings

if TYPE_CHECKING:
    from difftalk.face.recognition import Run


Bin = tuple[int, int]  # of yaw and pitch


@dataclass(frozen=True)
class _Closed:
    """A frame with closed lips. rank: how far from full."""

    rank: float
    turn: NDArray[np.float64]
    reference: Reference


@dataclass(frozen=True)
class _Mouth:
    """away: degrees by which the head is turned away. free: (478, 3) pose-free points."""

    away: float
    turn: NDArray[np.float64]
    free: Array
    reference: Reference


@dataclass
class Candidates:
    """What a person may be drawn from, of the frames seen so far. count: of these.

    Not the most closed lips: lips that are pressed together are rolled in, and their colour is gone.
    """

    settings: Settings
    count: int = 0
    shapes: list[Array] = field(default_factory=list)  # (478, 3) pose-free, for the neutral
    closed: dict[Bin, _Closed] = field(default_factory=dict)
    counts: dict[Bin, int] = field(default_factory=dict)
    opened: dict[Way, _Mouth] = field(default_factory=dict)
    openings: dict[Way, int] = field(default_factory=dict)  # how many frames are like it

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
        how = self.settings.people
        assert frame.pose is not None
        if for_neutral or len(self.shapes) < how.first_shapes:
            self.shapes.append(free.astype(np.float32))
        self.count += 1
        yaw, pitch = (round(angle / how.turn_bin) for angle in frame.pose.turn)
        self.counts[yaw, pitch] = self.counts.get((yaw, pitch), 0) + 1
        best, wide = self.closed.get((yaw, pitch)), float(opening(free))
        behind = 0 if cover is None and not mixed else how.covered_rank
        rank = wide - lip_height(free) + behind
        if best is None or rank < best.rank:
            self.closed[yaw, pitch] = _Closed(rank, frame.pose.turn, _reference(frame, cover, self.settings))
        way, away = way_of(free, self.settings), float(np.linalg.norm(frame.pose.turn)) + behind
        self.openings[way] = self.openings.get(way, 0) + 1
        if way not in self.opened or away < self.opened[way].away:
            self.opened[way] = _Mouth(
                away, frame.pose.turn, free.astype(np.float32), _reference(frame, cover, self.settings)
            )

    def merge(self, other: Candidates) -> None:
        """As if the other's frames had been offered as well."""
        self.count += other.count
        self.shapes += other.shapes
        for turn, closed in other.closed.items():
            self.counts[turn] = self.counts.get(turn, 0) + other.counts[turn]
            if turn not in self.closed or closed.rank < self.closed[turn].rank:
                self.closed[turn] = closed
        for way, mouth in other.opened.items():
            self.openings[way] = self.openings.get(way, 0) + other.openings[way]
            if way not in self.opened or mouth.away < self.opened[way].away:
                self.opened[way] = mouth

    def person(self, geometry: Geometry) -> Person:
        """From the commonest turns of the head and ways of opening the mouth."""
        how = self.settings.people
        turns = [turn for turn in self.counts if self.closed[turn].rank < how.covered_rank] or list(self.counts)
        ways = [way for way in self.openings if self.opened[way].away < how.covered_rank] or list(self.openings)
        turns = sorted(turns, key=lambda turn: -self.counts[turn])[: how.max_references]
        ways = sorted(ways, key=lambda way: -self.openings[way])[: self.settings.references.max_mouths]
        neutral = geometry.closed(neutral_of_clip(np.stack(self.shapes), self.settings))
        return Person(
            neutral,
            [self.closed[turn].reference for turn in turns],
            np.stack([self.closed[turn].turn for turn in turns]),
            [self.opened[way].reference for way in ways],
            geometry.shape_of(np.stack([self.opened[way].free for way in ways]), neutral),
            np.stack([self.opened[way].turn for way in ways]),
        )


def _reference(frame: Followed, cover: Cover | None, settings: Settings) -> Reference:
    assert frame.face is not None
    assert frame.alignment is not None
    image = frame.image if cover is None else filled_in(frame.image, cover, settings)
    return Reference.of(image, frame.alignment, frame.alignment.points(frame.face.points)).kept(settings)


@dataclass
class People:
    """Runs of frames become people: a run that shows somebody known goes to them, any other is somebody new.

    So a run of which it is not clear whose it is has nothing but its own frames.
    """

    settings: Settings
    known: list[tuple[Run, Candidates]] = field(default_factory=list)
    numbers: dict[int, int] = field(default_factory=dict)  # a run's id -> number of its person
    _open: list[tuple[Run, Candidates]] = field(
        default_factory=list
    )  # at most two: frames between them may be either's

    def of(self, run: Run) -> Candidates:
        """Where the run's frames are to be offered."""
        for one, candidates in self._open:
            if one is run:
                return candidates
        if len(self._open) > 1:
            self._settle(*self._open.pop(0))
        self._open.append((run, Candidates(self.settings)))
        return self._open[-1][1]

    def finish(self) -> None:
        for run, candidates in self._open:
            self._settle(run, candidates)
        self._open = []

    def _settle(self, run: Run, candidates: Candidates) -> None:
        number = run.nearest([known for known, _ in self.known], self.settings)
        if number is None:
            self.numbers[id(run)] = len(self.known)
            self.known.append((run.copy(), candidates))
        else:
            self.numbers[id(run)] = number
            self.known[number][0].join(run)
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
