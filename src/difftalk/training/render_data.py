"""Training data of pictures: prepared samples -> batches, each a pure function of (seed, step).

A render sample is a true frame, the composite of another frame of the same clip warped to it, and the conditions. For
the denoiser the first stage's latents are added. Knows nothing of losses.
"""

from __future__ import annotations

import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
import torch
from numpy.typing import NDArray

from difftalk.align import Alignment, Pose, crop_region
from difftalk.composite import Reference
from difftalk.face import UPPER, Array, Image
from difftalk.motion import MOTION_RATE
from difftalk.mouth import COMPONENTS, Geometry, clip_shapes, opening, target_mesh
from difftalk.nets.autoencoder import FirstStage
from difftalk.nets.sizes import AUDIO_TOKENS
from difftalk.renderer import Scene, compose_in, landmarks_of
from difftalk.rim import RimFollower, still_scene
from difftalk.sample import Sample
from difftalk.speech import FEATURE_RATE
from difftalk.training.batches import LatentBatch, RenderBatch

REFERENCE_GAP: Final = 60  # frames between a frame and its reference
CANDIDATES: Final = 6  # frames from which an open-mouth reference is taken
SHAPE_JITTER: Final = 0.05  # units of spread
TRUE_MESH_SHARE: Final = 0.5  # the rest goes through pose, neutral and components, as in use
LOOKS: Final = 2  # that a clip has where something is kept of every frame in each
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

    def scene(self, index: int, reference: int) -> Scene:
        """The frame's surroundings, as seen from the aligned space of the reference."""
        there, here = self.sample.alignment(reference), self.sample.alignment(index)
        return Scene(self.sample.frame(index), Alignment(still_scene(there, here)))

    def feature_position(self, index: int) -> float:
        """Where in the speech features the frame's audio lies, the lip/audio offset repaired."""
        return float((self.sample.seconds[index] + self.sample.record.offset / MOTION_RATE) * FEATURE_RATE)

    def audio(self, index: int) -> Array:
        """(20, 1152) features of ± 200 ms around the frame; edges repeated."""
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
class Look:
    """An augmentation for all pictures of a sample alike: picture * gain + shift, then left and right exchanged."""

    gain: Array  # (3, 1, 1)
    shift: Array  # (3, 1, 1), [-1, 1] units
    mirrored: bool

    @classmethod
    def random(cls, rng: np.random.Generator) -> Look:
        gain = 1 + 0.15 * rng.standard_normal(1) + 0.05 * rng.standard_normal(3)
        shift = 0.08 * rng.standard_normal(1) + 0.03 * rng.standard_normal(3)
        mirrored = bool(rng.random() < 0.5)
        return cls(gain.astype(np.float32)[:, None, None], shift.astype(np.float32)[:, None, None], mirrored)

    @classmethod
    def plain(cls, *, mirrored: bool = False) -> Look:
        return cls(np.ones((3, 1, 1), np.float32), np.zeros((3, 1, 1), np.float32), mirrored)

    def picture(self, picture: Array) -> Array:
        """(3, h, w) in [-1, 1], likewise."""
        out = np.clip(picture * self.gain + self.shift, -1, 1)
        return np.asarray(out[..., ::-1] if self.mirrored else out, np.float32)


@dataclass(frozen=True)
class Chosen:
    """Frames of one clip: the true one, the warp's reference, the one whose latent shows the teeth; and their look.

    variant: number of the look among its clip's fixed ones, for what is kept of every frame.
    """

    clip: Clip
    index: int
    reference: int
    teeth: int
    look: Look
    variant: int = 0


def audio_tokens(speech: NDArray[np.floating], position: float) -> Array:
    """(n, 1152) features and a position in them -> the (20, 1152) around it; edges repeated."""
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
        variants: int = 0,
    ) -> None:
        """variants: looks that each clip has, fixed ones; 0: a new one for every sample."""
        self._geometry, self._batch_size, self._seed, self._variants = geometry, batch_size, seed, variants
        self._clips = [Clip.of(sample, geometry) for sample in samples]
        self._validation = [Clip.of(sample, geometry) for sample in validation]
        self._mirror = Mirror.of(geometry)
        people = [clip.sample.record.person for clip in self._clips]
        self._chance = chances([len(clip) for clip in self._clips], people)

    @property
    def clips(self) -> list[Clip]:
        return self._clips

    def looks(self, clip: Clip) -> list[Look]:
        """The clip's fixed looks: as it is, mirrored, then random ones."""
        rng = np.random.default_rng(zlib.crc32(clip.sample.record.name.encode()))
        fixed = [Look.plain(), Look.plain(mirrored=True)]
        return [*fixed, *(Look.random(rng) for _ in range(max(0, self._variants - 2)))][: self._variants]

    def batch(self, step: int) -> RenderBatch:
        return self.chosen(step)[0]

    def chosen(self, step: int) -> tuple[RenderBatch, list[Chosen]]:
        """The batch, and which frames it was made of."""
        rng = np.random.default_rng((self._seed, step))
        rows, chosen = [], []
        for _ in range(self._batch_size):
            clip = self._clips[int(rng.choice(len(self._clips), p=self._chance))]
            index = int(rng.integers(len(clip)))
            variant = int(rng.integers(max(1, self._variants)))
            look = self.looks(clip)[variant] if self._variants else Look.random(rng)
            frames = Chosen(clip, index, *self._references(clip, index, rng), look, variant)
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
                rows.append(self._row(Chosen(clip, index, closed, closed, Look.plain()), rng, held_out=True))
        return [_stack(rows[i : i + self._batch_size]) for i in range(0, len(rows), self._batch_size)]

    def _row(self, frames: Chosen, rng: np.random.Generator, *, held_out: bool = False) -> Row:
        clip, index = frames.clip, frames.index
        mesh, shape = self._target(clip, index, rng, held_out=held_out)
        scene, reference = clip.scene(index, frames.reference), clip.reference(frames.reference)
        composite, _, _ = compose_in(scene, reference, mesh, RimFollower())
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
        return row if held_out else self._seen(row, frames.look)

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

    def _seen(self, row: Row, look: Look) -> Row:
        """The sample as the look shows it."""
        out = dict(row)
        for name in ("target", "reference", "previous"):
            out[name] = look.picture(row[name])
        geometry = row["composite"][3:, :, ::-1] if look.mirrored else row["composite"][3:]
        out["composite"] = np.concatenate([look.picture(row["composite"][:3]) * (1 - geometry[:1]), geometry])
        if look.mirrored:
            out["landmarks"] = row["landmarks"][self._mirror.upper] * np.array([-1, 1], np.float32)
            out["shape"] = row["shape"] @ self._mirror.shape
        return out


def _picture(aligned: Image) -> Array:
    """Aligned uint8 (256, 256, 3) -> its region (3, 144, 176) in [-1, 1]."""
    return (crop_region(aligned).astype(np.float32) / 127.5 - 1).transpose(2, 0, 1)


def _stack(rows: Sequence[Row]) -> RenderBatch:
    return RenderBatch(**{name: torch.from_numpy(np.stack([row[name] for row in rows])) for name in rows[0]})


class LatentSource:
    """Batches for the denoiser: the first stage's latents of every frame in each of its clip's looks, kept as fp16."""

    def __init__(self, render: RenderSource, first_stage: FirstStage) -> None:
        self._render, self._first_stage = render, first_stage
        self._latents = {
            (id(clip), variant): _encode(clip, look, first_stage)
            for clip in render.clips
            for variant, look in enumerate(render.looks(clip))
        }

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
        def of(indices: Sequence[int]) -> torch.Tensor:
            kept = [self._latents[id(c.clip), c.variant][max(0, i)] for c, i in zip(chosen, indices, strict=True)]
            return torch.from_numpy(np.stack(kept)).float()

        frames = [c.index for c in chosen], [c.teeth for c in chosen], [c.index - 1 for c in chosen]
        return _latent_batch(batch, [of(indices) for indices in frames])


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
def _encode(clip: Clip, look: Look, first_stage: FirstStage) -> NDArray[np.float16]:
    out = []
    for start in range(0, len(clip), 16):
        pictures = [look.picture(_picture(clip.sample.frame(i))) for i in range(start, min(start + 16, len(clip)))]
        with torch.autocast("cpu", torch.bfloat16):
            latents = first_stage.encode(torch.from_numpy(np.stack(pictures)).to(memory_format=torch.channels_last))
        out.append(latents.numpy().astype(np.float16))
    return np.concatenate(out)
