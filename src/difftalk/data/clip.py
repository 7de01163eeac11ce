"""A prepared clip as training and evaluation see it: frames, meshes, mouth shapes, references, sound."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from difftalk.arrays import Array
from difftalk.data.sample import Sample
from difftalk.face.landmarks import UPPER
from difftalk.face.mouth import Geometry, neutral_of_clip, opening, target_mesh
from difftalk.face.pose import Pose, fit_poses
from difftalk.face.space import EYE_DISTANCE, Alignment
from difftalk.graphs import context_of
from difftalk.render.drawing import Choice
from difftalk.render.references import Reference, Scene, nearest, staying, way_of
from difftalk.render.surroundings import still_scene
from difftalk.settings import Settings
from difftalk.speech.features import FEATURE_RATE
from difftalk.speech.motion import MOTION_RATE

REFERENCE_GAP: Final = 60  # frames between a frame and its reference


@dataclass(frozen=True)
class ClipShapes:
    """A clip's meshes taken apart. free: (t, 478, 3) pose-free. neutral: (478, 3). shapes: (t, 16)."""

    poses: list[Pose]
    free: Array
    neutral: Array
    shapes: Array


def clip_shapes(geometry: Geometry, meshes: Array, neutral: Array | None = None) -> ClipShapes:
    """Meshes (t, 478, 3) of a clip -> poses, pose-free points, neutral, mouth shapes.

    neutral: (478, 3), where more is known of the clip than these meshes.
    """
    poses = fit_poses(meshes[:, UPPER], geometry.canonical[UPPER])
    free = np.stack([pose.remove(mesh) for pose, mesh in zip(poses, meshes, strict=True)]).astype(np.float32)
    if neutral is None:
        neutral = geometry.closed(neutral_of_clip(free, geometry.settings))
    return ClipShapes(poses, free, neutral, geometry.shape_of(free, neutral))


@dataclass(frozen=True)
class Clip:
    """A sample with what its frames have in common. meshes: (t, 478, 3) aligned; shapes: (t, 16).

    ways: (t, 2) of opening the mouth, see the mouth bank.
    """

    sample: Sample
    meshes: Array
    poses: list[Pose]  # aligned
    neutral: Array
    shapes: Array
    openings: Array
    turns: NDArray[np.float64]  # (t, 2) degrees
    ways: NDArray[np.int64]
    settings: Settings

    @classmethod
    def of(cls, sample: Sample, geometry: Geometry) -> Clip:
        meshes = np.stack([sample.aligned_mesh(i) for i in range(len(sample.numbers))])
        parts = clip_shapes(geometry, meshes, sample.neutral)
        turns = np.stack([pose.turn for pose in parts.poses])
        openings = opening(parts.free).astype(np.float32)
        ways = np.array([way_of(free, geometry.settings) for free in parts.free])
        return cls(sample, meshes, parts.poses, parts.neutral, parts.shapes, openings, turns, ways, geometry.settings)

    def __len__(self) -> int:
        return len(self.meshes)

    def reference(self, index: int) -> Reference:
        """The frame as a reference in the aligned space."""
        sample, points = self.sample, self.meshes[index]
        aligned, close, (x, y) = sample.frame(index), sample.close_up(index), sample.close_corner(index)
        eyes = EYE_DISTANCE / sample.alignment(index).scale
        return Reference(aligned, Alignment(np.eye(2, 3)), points, aligned, close, (int(x), int(y)), eyes)

    def mesh(self, index: int, shape: Array, geometry: Geometry) -> Array:
        """The frame's aligned mesh (478, 3) with another mouth shape (16,): its own upper face and pose."""
        return target_mesh(
            geometry, pose=self.poses[index], neutral=self.neutral, shape=shape, upper=self.meshes[index]
        )

    def scene(self, index: int, reference: int) -> Scene:
        """The frame's surroundings, as seen from the aligned space of the reference."""
        there, here = self.sample.alignment(reference), self.sample.alignment(index)
        return Scene(self.sample.frame(index), Alignment(still_scene(there, here)))

    def feature_position(self, index: int) -> float:
        """Where in the speech features the frame's audio lies, the lip/audio offset repaired."""
        return float((self.sample.seconds[index] + self.sample.record.offset / MOTION_RATE) * FEATURE_RATE)

    def audio(self, index: int, renderer: str = "denoiser") -> Array:
        """(20, 1152) features of ± 200 ms around the frame, or what another renderer is given; edges repeated."""
        before, after = context_of(renderer)
        return self.sample.features(np.arange(-before, after) + round(self.feature_position(index)))

    def follows(self, index: int) -> bool:
        """Whether the frame before comes right before it."""
        seconds, rate = self.sample.seconds, self.sample.record.frame_rate
        return bool(index > 0 and seconds[index] - seconds[index - 1] < 2.5 / max(rate, 1))

    def cut(self, before: int, index: int, *, apart: int = 1) -> bool:
        """Whether frames are missing between two that are shown one after the other, so many 1/25 s apart."""
        step = max(1 / MOTION_RATE, 1 / max(self.sample.record.frame_rate, 1))
        return bool(self.sample.seconds[index] - self.sample.seconds[before] > (apart + 1.5) * step)

    def far_frames(self, index: int) -> NDArray[np.int64]:
        """Frames at least 60 away from `index`, or the farthest."""
        numbers = self.sample.numbers
        distance = np.abs(numbers - numbers[index])
        far = np.flatnonzero(distance >= REFERENCE_GAP)
        return far if len(far) else np.flatnonzero(distance >= distance.max() - 2)

    def near_reference(self, index: int, before: int | None = None) -> int:
        """Of the less open half of the frames far from `index` the one nearest in turn, as a video's would be.

        before: the frame that was taken last; it stays while it is far and no other is clearly nearer.
        """
        far = self.far_frames(index)
        shut = far[self.openings[far] <= np.median(self.openings[far])]
        distance = np.linalg.norm(self.turns[shut] - self.turns[index], axis=1)
        return int(shut[staying(distance, _place(before, shut), self.settings.references.turn_stay)])

    def mouths(self, index: int) -> NDArray[np.int64]:
        """The mouth bank of a video that is the frames far from `index`: for each way of opening one of them."""
        far = self.far_frames(index)
        ordered = far[np.argsort(np.linalg.norm(self.turns[far], axis=1), kind="stable")]
        _, first, counts = np.unique(self.ways[ordered], axis=0, return_index=True, return_counts=True)
        return np.asarray(ordered[first[np.argsort(-counts, kind="stable")][: self.settings.references.max_mouths]])

    def mouth_reference(self, index: int, shape: Array, before: int | None = None) -> int:
        """Of the frame's mouth bank the one nearest to a mouth shape (16,), with some inertia as to `before`."""
        return self.nearest_of(self.mouths(index), index, shape, before)

    def nearest_of(self, bank: NDArray[np.int64], index: int, shape: Array, before: int | None = None) -> int:
        """Of some frames the one nearest to a mouth shape (16,) and to the turn of the frame `index`."""
        held = _place(before, bank)
        return int(bank[nearest(self.shapes[bank], self.turns[bank], shape, self.turns[index], held, self.settings)])


class References(dict[int, Reference]):
    """A clip's frames as references, each the same object at every look: a renderer keeps what it knows of it."""

    def __init__(self, clip: Clip) -> None:
        super().__init__()
        self.clip = clip

    def __missing__(self, index: int) -> Reference:
        self[index] = self.clip.reference(index)
        return self[index]


@dataclass(frozen=True)
class ClipFrame:
    """A clip's frame as `drawing` sees it, drawn from frames far from it.

    pictures: of its clip. true_mouth: its own mesh, whatever mouth shape is asked for. alone: the warped picture shows
    the inside of the mouth as well, as with a still.
    """

    pictures: References
    index: int
    geometry: Geometry
    true_mouth: bool = False
    alone: bool = False

    @property
    def clip(self) -> Clip:
        return self.pictures.clip

    @property
    def person(self) -> int:
        return 0

    def choose(self, shape: Array, before: Choice | None) -> Choice:
        reference = self.clip.near_reference(self.index, None if before is None else before.reference)
        if self.alone:
            return Choice(reference, reference)
        mouth = self.clip.mouth_reference(self.index, shape, None if before is None else before.mouth)
        return Choice(reference, mouth)

    def references(self, choice: Choice) -> tuple[Reference, Reference]:
        return self.pictures[choice.reference], self.pictures[choice.mouth]

    def mesh(self, shape: Array) -> Array:
        own = self.clip.meshes[self.index]
        return own if self.true_mouth else self.clip.mesh(self.index, shape, self.geometry)

    def scene(self, choice: Choice) -> Scene:
        return self.clip.scene(self.index, choice.reference)


def _place(frame: int | None, frames: NDArray[np.int64]) -> int | None:
    """Where among frames one of them is, None for any other."""
    found = np.flatnonzero(frames == frame)
    return int(found[0]) if len(found) else None


def frame_indices(clip: Clip, seconds: float) -> NDArray[np.int64]:
    """The clip's frame nearest to each 1/25 s."""
    times = np.arange(0, min(seconds, clip.sample.seconds[-1]), 1 / MOTION_RATE)
    return np.asarray(np.abs(clip.sample.seconds[None] - times[:, None]).argmin(1), np.int64)
