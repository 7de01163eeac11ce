"""Training data of pictures: prepared samples -> rows, each a pure function of (seed, number).

A row is a true mouth and the skin about it, the composites of another frame of the same clip warped to it, and the
conditions. Knows nothing of augmentation or losses.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Final

import numpy as np
import torch
from numpy.typing import NDArray

from difftalk.arrays import Array
from difftalk.data.clip import Clip
from difftalk.data.sample import Record, Sample
from difftalk.face.mouth import COMPONENTS, Geometry
from difftalk.face.space import crop_region
from difftalk.render.composite import Composite, composites
from difftalk.render.references import Reference
from difftalk.render.renderer import halved, landmarks_of, picture_of, sharpness_of, unit
from difftalk.render.surroundings import RimFollower
from difftalk.render.warp import compose, warp
from difftalk.training.batches import RenderBatch

SHAPE_JITTER: Final = 0.05  # units of spread
TRUE_MESH_SHARE: Final = 0.5  # the rest goes through pose, neutral and components, as in use
NEAR_SHARE: Final = 0.5  # of samples whose reference is the nearest in pose
ALONE_SHARE: Final = 0.3  # of samples whose mouth comes from the reference itself, as with a still
MOST_OF_ONE: Final = 0.03  # share of all draws that one person may have
CAP_ROUNDS: Final = 20  # of cutting and sharing out again
FIRST_SHARE: Final = 0.2  # of the draws of a frame that has none before it which stay with it
BLURRED_TRUST: Final = 0.1  # how often clips are drawn that teach no texture, for one that teaches it fully

Row = dict[str, NDArray[np.float32]]  # by the names of RenderBatch


@dataclass(frozen=True)
class Chosen:
    """Frames of one clip: the true one, the warp's reference, the one that shows the mouth's inside."""

    clip: Clip
    index: int
    reference: int
    mouth: int


def trust_in(record: Record) -> float:
    """By which a clip is drawn more often: most show a small face, and what they teach is soon learned."""
    return BLURRED_TRUST + (1 - BLURRED_TRUST) * record.texture**2


def chances(
    frames: Sequence[int], people: Sequence[str], trusts: NDArray[np.float64] | float = 1.0
) -> NDArray[np.float64]:
    """How often each clip is drawn: a person counts by the square root of their frames, a clip by its share of them.

    trusts: by which clips count besides. No person is drawn more often than MOST_OF_ONE, where there are enough people.
    """
    numbers = np.unique(people, return_inverse=True)[1]
    total = np.bincount(numbers, frames)
    chance = trusts * np.asarray(frames) / np.sqrt(total[numbers])
    share = np.bincount(numbers, chance / chance.sum())
    for _ in range(CAP_ROUNDS):
        share = np.minimum(share, max(MOST_OF_ONE, 1 / len(share)))
        share = share / share.sum()
    own = np.bincount(numbers, chance)
    return np.asarray(chance * share[numbers] / own[numbers])


class RenderSource:
    """Rows for first stage, denoiser and painter. People count by the square root of their frames, sharp clips more.

    warped: whether the reference is carried to the frame's mesh; without, it is shown as it is (an ablation).
    batch_size: of validation.
    """

    def __init__(
        self,
        samples: Sequence[Sample],
        geometry: Geometry,
        *,
        batch_size: int,
        seed: int = 0,
        validation: Sequence[Sample] = (),
        warped: bool = True,
    ) -> None:
        self.geometry, self.seed = geometry, seed
        self._batch_size, self._warped = batch_size, warped
        self._samples, self._validation = ([s for s in given if len(s.numbers)] for given in (samples, validation))
        self._clips: dict[int, Clip] = {}  # made when they are first drawn
        frames, people = [s.record.frames for s in self._samples], [s.record.person for s in self._samples]
        self._chance = chances(frames, people, np.array([trust_in(s.record) for s in self._samples]))

    def __getstate__(self) -> dict[str, Any]:
        """For the processes that make rows: without what is made on demand."""
        return self.__dict__ | {"_clips": {}, "_validation": ()}

    def row(self, number: int) -> Row:
        rng = np.random.default_rng((self.seed, number))
        clip = self._clip(int(rng.choice(len(self._samples), p=self._chance)))
        index = _drawn(clip, rng)
        return self._row(Chosen(clip, index, *self._references(clip, index, rng)), rng)

    def _clip(self, number: int) -> Clip:
        if number not in self._clips:
            self._clips[number] = Clip.of(self._samples[number], self.geometry)
        return self._clips[number]

    def validation(self) -> list[RenderBatch]:
        """Three frames of each validation clip's person, the same at every call; references at least 60 frames away."""
        rows: list[Row] = []
        seen: set[str] = set()
        for sample in self._validation:
            if sample.record.person in seen:
                continue
            seen.add(sample.record.person)
            clip = Clip.of(sample, self.geometry)
            order = np.argsort(clip.openings)
            for share in (0.3, 0.7, 0.95):
                rng = np.random.default_rng(len(rows))
                index = int(order[int(share * (len(order) - 1))])
                mouth = clip.mouth_reference(index, clip.shapes[index])
                chosen = Chosen(clip, index, clip.near_reference(index), mouth)
                rows.append(self._row(chosen, rng, held_out=True))
        return [_stack(rows[i : i + self._batch_size]) for i in range(0, len(rows), self._batch_size)]

    def _row(self, frames: Chosen, rng: np.random.Generator, *, held_out: bool = False) -> Row:
        clip, index = frames.clip, frames.index
        mesh, shape = self._target(clip, index, rng, held_out=held_out)
        scene, reference = clip.scene(index, frames.reference), clip.reference(frames.reference)
        mouth = clip.reference(frames.mouth)
        region, patch = composites(reference, mouth, mesh, self.geometry.settings, scene, RimFollower())
        if not self._warped:
            patch = self._still(patch, reference, mouth, mesh)
        truth, follows = clip.reference(index), clip.follows(index)
        target = unit(truth.close_at(patch.grid))
        return {
            "target": target,
            "composite": patch.layers,
            "reference": picture_of(mouth),
            "previous": picture_of(clip.reference(index - 1)) if follows else np.zeros_like(target),
            "skin": halved(unit(crop_region(truth.aligned))),
            "warped": halved(region.layers),
            "has_previous": np.array(follows, np.float32),
            "audio": clip.audio(index),
            "landmarks": landmarks_of(mesh),
            "shape": shape,
            "sharpness": sharpness_of(reference, mouth),
            "weight": np.array(clip.sample.record.texture, np.float32),
        }

    def _still(self, patch: Composite, reference: Reference, mouth: Reference, mesh: Array) -> Composite:
        """The patch of a reference that is shown as it is, its mouth emptied where the target's is open."""
        points, settings = reference.points, self.geometry.settings
        moved = warp(points, points, settings=settings).on(patch.grid, mesh)
        inside = replace(patch.inside, share=0.0)
        return Composite(compose(reference, moved, mouth, inside), moved, inside)

    def _references(self, clip: Clip, index: int, rng: np.random.Generator) -> tuple[int, int]:
        """The warp's, half of the time the nearest in pose; the mouth's: the same, as with a still, or of a bank."""
        far = clip.far_frames(index)
        reference = clip.near_reference(index) if rng.random() < NEAR_SHARE else int(rng.choice(far))
        if rng.random() < ALONE_SHARE:
            return reference, reference
        bank = clip.mouths(index)
        known = rng.choice(bank, int(rng.integers(1, len(bank) + 1)), replace=False)
        return reference, clip.nearest_of(known, index, clip.shapes[index])

    def _target(self, clip: Clip, index: int, rng: np.random.Generator, *, held_out: bool) -> tuple[Array, Array]:
        if held_out or rng.random() < TRUE_MESH_SHARE:
            return clip.meshes[index], clip.shapes[index]
        shape = clip.shapes[index] + SHAPE_JITTER * rng.standard_normal(COMPONENTS).astype(np.float32)
        return clip.mesh(index, shape, self.geometry), shape


def _drawn(clip: Clip, rng: np.random.Generator) -> int:
    """A frame of the clip; of a pack's pairs mostly the second, which has one before it."""
    index = int(rng.integers(len(clip)))
    second = index + 1 < len(clip) and not clip.follows(index) and clip.follows(index + 1)
    return index + 1 if second and rng.random() >= FIRST_SHARE else index


def _stack(rows: Sequence[Row]) -> RenderBatch:
    return RenderBatch(**{name: torch.from_numpy(np.stack([row[name] for row in rows])) for name in rows[0]})
