"""Training data of pictures: prepared samples -> batches, each a pure function of (seed, step).

A render sample is a true frame, the composite of another frame of the same clip warped to it, and the conditions. For
the denoiser the first stage's latents are added. Knows nothing of losses.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
import torch
from numpy.typing import NDArray

from difftalk.align import Alignment, Pose, crop_region
from difftalk.composite import Reference, compose, warp
from difftalk.face import UPPER, Array, Image
from difftalk.motion import MOTION_RATE
from difftalk.mouth import COMPONENTS, Geometry, clip_shapes, opening, target_mesh
from difftalk.nets.autoencoder import FirstStage
from difftalk.nets.sizes import AUDIO_TOKENS
from difftalk.renderer import landmarks_of
from difftalk.sample import Sample
from difftalk.speech import FEATURE_RATE
from difftalk.training.batches import LatentBatch, RenderBatch

REFERENCE_GAP: Final = 60  # frames between a frame and its reference
CANDIDATES: Final = 6  # frames from which an open-mouth reference is taken
SHAPE_JITTER: Final = 0.05  # units of spread
TRUE_MESH_SHARE: Final = 0.5  # the rest goes through pose, neutral and components, as in use
SHARP: Final = 6.0  # gradient energy from which a sample counts fully

Row = dict[str, NDArray[np.float32]]  # one sample of a batch, by the names of RenderBatch


@dataclass(frozen=True)
class Clip:
    """A sample with what its frames have in common. meshes: (t, 478, 3) aligned; shapes: (t, 16)."""

    sample: Sample
    meshes: Array
    poses: list[Pose]  # aligned
    neutral: Array
    shapes: Array
    openings: Array

    @classmethod
    def of(cls, sample: Sample, geometry: Geometry) -> Clip:
        meshes = np.stack([sample.aligned_mesh(i) for i in range(len(sample.meshes))])
        parts = clip_shapes(geometry, meshes)
        return cls(sample, meshes, parts.poses, parts.neutral, parts.shapes, opening(parts.free).astype(np.float32))

    def __len__(self) -> int:
        return len(self.meshes)

    def reference(self, index: int) -> Reference:
        """The frame as a reference in the aligned space."""
        aligned = self.sample.frame(index)
        return Reference(aligned, Alignment(np.eye(2, 3)), self.meshes[index], aligned)

    def feature_position(self, index: int) -> float:
        """Where in the speech features the frame's audio lies, the lip/audio offset repaired."""
        return float((self.sample.seconds[index] + self.sample.record.offset / MOTION_RATE) * FEATURE_RATE)

    def audio(self, index: int) -> Array:
        """(20, 384) features of ± 200 ms around the frame; edges repeated."""
        return audio_tokens(np.asarray(self.sample.speech), self.feature_position(index))

    def far_frames(self, index: int) -> NDArray[np.int64]:
        """Frames at least 60 away from `index`, or the farthest."""
        distance = np.abs(np.arange(len(self)) - index)
        far = np.flatnonzero(distance >= REFERENCE_GAP)
        return far if len(far) else np.flatnonzero(distance >= distance.max() - 2)

    def closed_reference(self, index: int) -> int:
        """A nearly closed frame far from `index`, as a portrait would be."""
        far = self.far_frames(index)
        return int(far[np.argsort(self.openings[far])[len(far) // 20]])


@dataclass(frozen=True)
class Chosen:
    """Frames of one clip: the true one, the warp's reference, the one whose latent shows the teeth."""

    clip: Clip
    index: int
    reference: int
    teeth: int


def audio_tokens(speech: NDArray[np.floating], position: float) -> Array:
    """(n, 384) features and a position in them -> the (20, 384) around it; edges repeated."""
    rows = np.arange(AUDIO_TOKENS) - AUDIO_TOKENS // 2 + round(position)
    return np.asarray(speech[np.clip(rows, 0, len(speech) - 1)], np.float32)


@dataclass(frozen=True)
class Mirror:
    """Left and right exchanged: the points' permutation and the mouth shape's matrix."""

    upper: NDArray[np.int64]  # permutation of UPPER
    shape: Array  # (16, 16): mirrored = shape @ matrix

    @classmethod
    def of(cls, geometry: Geometry) -> Mirror:
        flipped = geometry.canonical * np.array([-1, 1, 1], np.float32)
        distance = ((geometry.canonical[:, None] - flipped[None]) ** 2).sum(-1)
        partner = distance.argmin(1)
        place = {int(point): i for i, point in enumerate(UPPER)}
        upper = np.array([place.get(int(partner[p]), i) for i, p in enumerate(UPPER)])
        offsets = geometry.offsets(np.eye(COMPONENTS, dtype=np.float32))[:, partner] * np.array([-1, 1, 1], np.float32)
        return cls(upper, geometry.shape_of(offsets, np.zeros_like(geometry.canonical)))


def chances(frames: Sequence[int], people: Sequence[str]) -> NDArray[np.float64]:
    """How often each clip is drawn: a person counts by the square root of their frames, a clip by its share of them."""
    total = dict.fromkeys(people, 0)
    for count, person in zip(frames, people, strict=True):
        total[person] += count
    chance = np.array([count / np.sqrt(total[person]) for count, person in zip(frames, people, strict=True)])
    return np.asarray(chance / chance.sum())


class RenderSource:
    """Batches for first stage, denoiser and painter. people count by the square root of their frames."""

    def __init__(
        self,
        samples: Sequence[Sample],
        geometry: Geometry,
        *,
        batch_size: int,
        seed: int = 0,
        validation: Sequence[Sample] = (),
        augment: bool = True,
    ) -> None:
        self._geometry, self._batch_size, self._seed, self._augment = geometry, batch_size, seed, augment
        self._clips = [Clip.of(sample, geometry) for sample in samples]
        self._validation = [Clip.of(sample, geometry) for sample in validation]
        self._mirror = Mirror.of(geometry)
        people = [clip.sample.record.person for clip in self._clips]
        self._chance = chances([len(clip) for clip in self._clips], people)

    @property
    def clips(self) -> list[Clip]:
        return self._clips

    def batch(self, step: int) -> RenderBatch:
        return self.chosen(step)[0]

    def chosen(self, step: int) -> tuple[RenderBatch, list[Chosen]]:
        """The batch, and which frames it was made of."""
        rng = np.random.default_rng((self._seed, step))
        rows, chosen = [], []
        for _ in range(self._batch_size):
            clip = self._clips[int(rng.choice(len(self._clips), p=self._chance))]
            index = int(rng.integers(len(clip)))
            frames = Chosen(clip, index, *self._references(clip, index, rng))
            chosen.append(frames)
            rows.append(self._row(frames, rng))
        return _stack(rows), chosen

    def validation(self) -> list[RenderBatch]:
        """Three frames of each validation clip's person, the same at every call; references at least 60 frames away."""
        rows: list[Row] = []
        seen: set[str] = set()
        for clip in self._validation:
            if clip.sample.record.person in seen:
                continue
            seen.add(clip.sample.record.person)
            order = np.argsort(clip.openings)
            for share in (0.3, 0.7, 0.95):
                rng = np.random.default_rng(len(rows))
                index = int(order[int(share * (len(order) - 1))])
                closed = clip.closed_reference(index)
                rows.append(self._row(Chosen(clip, index, closed, closed), rng, held_out=True))
        return [_stack(rows[i : i + self._batch_size]) for i in range(0, len(rows), self._batch_size)]

    def _row(self, frames: Chosen, rng: np.random.Generator, *, held_out: bool = False) -> Row:
        clip, index = frames.clip, frames.index
        mesh, shape = self._target(clip, index, rng, held_out=held_out)
        moved = warp(clip.meshes[frames.reference], mesh)
        composite = compose(clip.reference(frames.reference), moved)
        seconds = clip.sample.seconds
        follows = index > 0 and seconds[index] - seconds[index - 1] < 2.5 / max(clip.sample.record.frame_rate, 1)
        target = _picture(clip.sample.frame(index))
        row: Row = {
            "target": target,
            "composite": composite,
            "reference": _picture(clip.sample.frame(frames.teeth)),
            "previous": _picture(clip.sample.frame(index - 1)) if follows else np.zeros_like(target),
            "has_previous": np.array(follows, np.float32),
            "audio": clip.audio(index),
            "landmarks": landmarks_of(mesh),
            "shape": shape,
            "weight": np.array(min(1.0, clip.sample.record.sharpness / SHARP), np.float32),
        }
        return row if held_out or not self._augment else self._augmented(row, rng)

    def _references(self, clip: Clip, index: int, rng: np.random.Generator) -> tuple[int, int]:
        """The warp's reference and the teeth's; half of the time they are one, as with a still."""
        far = clip.far_frames(index)
        reference = int(rng.choice(far))
        if rng.random() < 0.5:
            return reference, reference
        others = rng.choice(far, CANDIDATES)
        return reference, int(others[np.argmax(clip.openings[others])])

    def _target(self, clip: Clip, index: int, rng: np.random.Generator, *, held_out: bool) -> tuple[Array, Array]:
        if held_out or rng.random() < TRUE_MESH_SHARE:
            return clip.meshes[index], clip.shapes[index]
        shape = clip.shapes[index] + SHAPE_JITTER * rng.standard_normal(COMPONENTS).astype(np.float32)
        mesh = target_mesh(
            self._geometry, pose=clip.poses[index], neutral=clip.neutral, shape=shape, upper=clip.meshes[index]
        )
        return mesh, shape

    def _augmented(self, row: Row, rng: np.random.Generator) -> Row:
        """Colour gain and shift for all pictures alike; half of the samples mirrored."""
        gain = (1 + 0.15 * rng.standard_normal(1) + 0.05 * rng.standard_normal(3)).astype(np.float32)[:, None, None]
        shift = (0.08 * rng.standard_normal(1) + 0.03 * rng.standard_normal(3)).astype(np.float32)[:, None, None]
        out = dict(row)
        for name in ("target", "reference", "previous"):
            out[name] = np.clip(row[name] * gain + shift, -1, 1)
        colour = np.clip(row["composite"][:3] * gain + shift, -1, 1) * (1 - row["composite"][3:4])
        out["composite"] = np.concatenate([colour, row["composite"][3:]])
        if rng.random() < 0.5:
            for name in ("target", "reference", "previous", "composite"):
                out[name] = out[name][..., ::-1]
            out["landmarks"] = row["landmarks"][self._mirror.upper] * np.array([-1, 1], np.float32)
            out["shape"] = row["shape"] @ self._mirror.shape
        return out


def _picture(aligned: Image) -> Array:
    """Aligned uint8 (256, 256, 3) -> its region (3, 144, 176) in [-1, 1]."""
    return (crop_region(aligned).astype(np.float32) / 127.5 - 1).transpose(2, 0, 1)


def _stack(rows: Sequence[Row]) -> RenderBatch:
    return RenderBatch(**{name: torch.from_numpy(np.stack([row[name] for row in rows])) for name in rows[0]})


class LatentSource:
    """Batches for the denoiser: the first stage's latents of every frame are made once and kept (fp16)."""

    def __init__(self, render: RenderSource, first_stage: FirstStage) -> None:
        self._render, self._first_stage = render, first_stage
        self._latents = {id(clip): _encode(clip, first_stage) for clip in render.clips}

    def batch(self, step: int) -> LatentBatch:
        return self._with_latents(*self._render.chosen(step))

    def validation(self) -> list[LatentBatch]:
        out = []
        for batch in self._render.validation():
            with torch.no_grad():
                latents = [self._first_stage.encode(p) for p in (batch.target, batch.reference, batch.previous)]
            out.append(_latent_batch(batch, latents))
        return out

    def _with_latents(self, batch: RenderBatch, chosen: Sequence[Chosen]) -> LatentBatch:
        def of(frames: Sequence[tuple[Clip, int]]) -> torch.Tensor:
            return torch.from_numpy(np.stack([self._latents[id(clip)][max(0, i)] for clip, i in frames])).float()

        frames = (
            [(c.clip, c.index) for c in chosen],
            [(c.clip, c.teeth) for c in chosen],
            [(c.clip, c.index - 1) for c in chosen],
        )
        return _latent_batch(batch, [of(f) for f in frames])


def _latent_batch(batch: RenderBatch, latents: Sequence[torch.Tensor]) -> LatentBatch:
    latent, reference, previous = latents
    return LatentBatch(
        batch.target,
        batch.composite,
        latent,
        reference,
        previous,
        batch.has_previous,
        batch.audio,
        batch.landmarks,
        batch.shape,
        batch.weight,
    )


@torch.no_grad()
def _encode(clip: Clip, first_stage: FirstStage) -> NDArray[np.float16]:
    out = []
    for start in range(0, len(clip), 16):
        pictures = [_picture(clip.sample.frame(i)) for i in range(start, min(start + 16, len(clip)))]
        out.append(first_stage.encode(torch.from_numpy(np.stack(pictures))).numpy().astype(np.float16))
    return np.concatenate(out)
