"""What the judge learns from: clips as small views and log-mels, and batches of stretches drawn from them.

A batch is a pure function of (seed, step). Augmented so that 38 people are many: cropped, turned, mirrored, other
colours, blur, noise, occlusion; speed; noise, echo, shifted bands and gaps in the sound. Knows nothing of the net.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from typing_extensions import Self

from difftalk.arrays import Array
from difftalk.data.clip import clip_shapes
from difftalk.data.sample import Sample
from difftalk.errors import DataError
from difftalk.evaluation.judge.judge import VIEW_SIZE, heard, mouth_input, view
from difftalk.evaluation.judge.net import MELS, MELS_A_FRAME, MOUTH_SIZE, TRAITS, WINDOW
from difftalk.evaluation.metrics.curves import REACH
from difftalk.face.mouth import Geometry
from difftalk.speech.features import log_mel
from difftalk.speech.motion import MOTION_RATE
from difftalk.training.batches import Batch

STRETCH: Final = 34  # frames of a training stretch
CONTEXT: Final = 2.5  # seconds of sound around a stretch over which its bands are centred
MAX_SPEED: Final = 0.1


@dataclass(frozen=True)
class SyncClip:
    """views: (t, 60, 80, 3) uint8 at 25/s. mel: (80, n) float16, 100 Hz. shapes: (t, 6). offset: as Record's."""

    name: str
    person: str
    offset: int
    views: NDArray[np.uint8]
    mel: NDArray[np.float16]
    shapes: NDArray[np.float32]

    def __len__(self) -> int:
        return len(self.views)


def frame_indices(sample: Sample) -> NDArray[np.int64]:
    """The sample's frame nearest to each 1/25 s."""
    times = np.arange(0, sample.seconds[-1] + 0.5 / MOTION_RATE, 1 / MOTION_RATE)
    return np.asarray(np.abs(sample.seconds[None] - times[:, None]).argmin(1), np.int64)


def sync_clip(sample: Sample, geometry: Geometry) -> SyncClip:
    """A prepared sample, its frames brought to 25/s by time."""
    indices = [int(i) for i in frame_indices(sample)]
    meshes = np.stack([sample.aligned_mesh(i) for i in indices])
    return SyncClip(
        sample.record.name,
        sample.record.person,
        sample.record.offset,
        np.stack([view(sample.frame(i)) for i in indices]),
        log_mel(sample.sound()).astype(np.float16),
        clip_shapes(geometry, meshes).shapes[:, :TRAITS],
    )


def sync_clips(samples: Sequence[Sample], geometry: Geometry, cache: Path) -> list[SyncClip]:
    """All clips, kept in `cache` so that the next run need not decode them."""
    cache.mkdir(parents=True, exist_ok=True)
    out = []
    for sample in samples:
        path = cache / f"{sample.record.name}.npz"
        if path.is_file():
            with np.load(path) as held:
                kept = {name: held[name] for name in ("views", "mel", "shapes")}
            out.append(SyncClip(sample.record.name, sample.record.person, sample.record.offset, **kept))
            continue
        clip = sync_clip(sample, geometry)
        np.savez(path, views=clip.views, mel=clip.mel, shapes=clip.shapes)
        out.append(clip)
    return out


@dataclass(frozen=True)
class SyncBatch(Batch):
    """mouths: (b, 2, t, 48, 64). mel: (b, 80, 4 (t + 30)), from 15 frames before. there: (b, t + 26) audio windows that
    exist. shapes: (b, t - 4, 6) of the windows' middles."""

    mouths: Tensor
    mel: Tensor
    there: Tensor
    shapes: Tensor


@dataclass(frozen=True)
class HeldOut(Batch):
    """Whole clips of people who are only looked at."""

    clips: Sequence[SyncClip]

    def to(self, device: torch.device) -> Self:
        """They stay where they are."""
        return self


class SyncSource:
    """Batches by step. A person counts by the square root of their seconds. looked_at: held-out clips."""

    def __init__(
        self, clips: Sequence[SyncClip], *, batch_size: int, seed: int, looked_at: Sequence[SyncClip] = ()
    ) -> None:
        self._looked_at = looked_at
        self.clips = [clip for clip in clips if len(clip) >= STRETCH * (1 + MAX_SPEED) + 1]
        if len(self.clips) < 2:
            raise DataError(f"a judge cannot be trained on {len(self.clips)} clips of {STRETCH} frames; give more data")
        self._size, self._seed = batch_size, seed
        people: dict[str, float] = {}
        for clip in self.clips:
            people[clip.person] = people.get(clip.person, 0.0) + len(clip)
        weight = np.array([len(clip) / np.sqrt(people[clip.person]) for clip in self.clips])
        self._weight = weight / weight.sum()

    def batch(self, step: int) -> SyncBatch:
        random = np.random.default_rng([self._seed, step])
        chosen = random.choice(len(self.clips), self._size, p=self._weight)
        rows = [stretch(self.clips[i], random) for i in chosen]
        return SyncBatch(*(torch.from_numpy(np.stack(part)) for part in zip(*rows, strict=True)))

    def validation(self) -> list[Batch]:
        return [HeldOut(self._looked_at)] if self._looked_at else []


Row = tuple[Array, Array, NDArray[np.bool_], Array]


def stretch(clip: SyncClip, random: np.random.Generator) -> Row:
    """A stretch of a clip at a speed of its own, augmented; the parts of SyncBatch."""
    speed = 1 + random.uniform(-MAX_SPEED, MAX_SPEED) * (random.random() < 0.6)
    start = random.uniform(0, len(clip) - 1 - speed * (STRETCH - 1))
    at = start + speed * np.arange(STRETCH)
    indices = np.rint(at).astype(int)
    mouths = seen_anew(clip.views, indices, random)
    first = start + clip.offset - speed * REACH
    mel, there = heard_anew(clip.mel.astype(np.float32), first, speed, random)
    if random.random() < 0.5:
        mouths = mouths[..., ::-1]
    middles = indices[WINDOW // 2 : -(WINDOW // 2)]
    return np.ascontiguousarray(mouths), mel, there, clip.shapes[middles].astype(np.float32)


def seen_anew(views: NDArray[np.uint8], indices: NDArray[np.int64], random: np.random.Generator) -> Array:
    """Frames `indices` of views (t, 60, 80, 3) under one look -> the net's input (2, n, 48, 64)."""
    import cv2

    mix = random.dirichlet(np.array([0.3, 0.59, 0.11]) * 8).astype(np.float32)
    sample = np.linspace(0, len(views) - 1, min(len(views), 16)).astype(int)
    mean = views[sample].astype(np.float32).mean(0) @ mix
    frames = [*(views[indices].astype(np.float32) @ mix), mean]
    height, width = MOUTH_SIZE
    moves = _moves(len(frames), random)
    blur = random.uniform(0.3, 1.1) if random.random() < 0.3 else 0.0
    less = random.uniform(1.3, 2.8) if random.random() < 0.3 else 1.0
    out = []
    for frame, moved in zip(frames, moves, strict=True):
        drawn = cv2.warpAffine(frame, moved, (width, height), flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
        drawn = cv2.GaussianBlur(drawn, (0, 0), blur) if blur else drawn
        if less > 1:
            small = cv2.resize(drawn, (round(width / less), round(height / less)), interpolation=cv2.INTER_AREA)
            drawn = cv2.resize(small, (width, height), interpolation=cv2.INTER_LINEAR)
        out.append(drawn)
    pictures = 255 * np.clip(np.stack(out) / 255, 1e-3, 1) ** np.float32(np.exp(random.normal(0, 0.25)))
    x = mouth_input(pictures[:-1].astype(np.float32), pictures[-1].astype(np.float32))
    if random.random() < 0.4:
        x += random.normal(0, 0.1 * random.random(), x.shape).astype(np.float32)
    if random.random() < 0.3:
        y0, x0 = random.integers(0, height - 10), random.integers(0, width - 14)
        x[:, :, y0 : y0 + random.integers(6, 16), x0 : x0 + random.integers(6, 20)] = 0
    return np.asarray(x, np.float32)


def _moves(count: int, random: np.random.Generator) -> NDArray[np.float64]:
    """(n, 2, 3): views (60, 80) -> mouths (48, 64), the last for the mean: placed, on a moving head, shaken."""
    spread = np.array([0.07, 0.08, 0.04, 2.0, 2.0])  # turn, zoom, widening, right, down
    path = np.repeat(random.normal(0, spread)[None], count, 0)
    if random.random() < 0.6:
        size = random.normal(0, spread * np.array([0.6, 0.5, 1.2, 1.0, 1.2]), (2, 5)) * random.random()
        phase = random.uniform(0, 2 * np.pi, 2) + np.arange(count)[:, None] * random.uniform(0.03, 0.3, 2)
        path[:-1] += (np.sin(phase) @ size)[:-1]
    path[:-1, 3:] += random.normal(0, 0.25 * random.random(), (count - 1, 2))
    return np.stack([_placed(*row) for row in path])


def _placed(turn: float, zoom: float, widening: float, right: float, down: float) -> NDArray[np.float64]:
    """(2, 3): about the middle; zoom and widening are logarithms."""
    cos, sin = np.cos(turn), np.sin(turn)
    matrix = np.array([[cos, -sin], [sin, cos]]) * np.exp([zoom + widening, zoom - widening])
    here, there = ((np.array(size[::-1]) - 1) / 2 for size in (VIEW_SIZE, MOUTH_SIZE))
    return np.concatenate([matrix, (there + np.array([right, down]) - matrix @ here)[:, None]], 1)


def heard_anew(mel: Array, first: float, speed: float, random: np.random.Generator) -> tuple[Array, NDArray[np.bool_]]:
    """Sound (80, 4 (t + 30)) from frame `first` on under another sound's conditions, and which windows of it exist."""
    count = STRETCH + 2 * REACH
    at = MELS_A_FRAME * first + speed * np.arange(MELS_A_FRAME * count)
    around = round(CONTEXT * MELS_A_FRAME * MOTION_RATE)
    low, high = max(0, int(at[0]) - around), min(mel.shape[1], int(at[-1]) + around)
    sound = heard(_disturbed(mel[:, low:high], random))
    inside = np.clip(at - low, 0, sound.shape[1] - 1)
    left = np.minimum(inside.astype(int), sound.shape[1] - 2)
    share = (inside - left).astype(np.float32)
    out = sound[:, left] * (1 - share) + sound[:, left + 1] * share
    for _ in range(random.integers(0, 3)):
        band = random.integers(0, MELS - 10)
        out[band : band + random.integers(2, 10)] = 0
    for _ in range(random.integers(0, 4)):
        moment = random.integers(0, out.shape[1] - 4)
        out[:, moment : moment + random.integers(1, 4)] = 0
    exists = (at >= 0) & (at <= mel.shape[1] - 1)
    firsts = np.arange(count - WINDOW + 1) * MELS_A_FRAME
    there = exists[firsts] & exists[firsts + MELS_A_FRAME * WINDOW - 1]
    return np.asarray(out, np.float32), there


def _disturbed(mel: Array, random: np.random.Generator) -> Array:
    """Log-mel with bands moved (another voice), echo and noise."""
    if random.random() < 0.6:
        mel = _moved_bands(mel, random.normal(0, 1.6), 1 + random.normal(0, 0.03))
    power = 10 ** (4 * mel - 4)
    if random.random() < 0.25:
        decay, echo = np.float32(random.uniform(0.5, 0.85)), power.copy()
        for step in range(1, 5):
            echo[:, step:] += decay**step * 0.3 * power[:, :-step]
        power = echo
    if random.random() < 0.6:
        noise = 10 ** (random.normal(0, 0.5) * np.linspace(-1, 1, MELS)[:, None] + random.normal(0, 0.15, (MELS, 1)))
        noise = noise * random.gamma(2.0, 0.5, power.shape)
        ratio = 10 ** (random.uniform(0, 30) / 10)
        power = power + noise * (power.mean() / noise.mean() / ratio)
    return np.asarray((np.log10(np.maximum(power, 1e-10)) + 4) / 4, np.float32)


def _moved_bands(mel: Array, shift: float, scale: float) -> Array:
    at = np.clip(np.arange(MELS) * scale + shift, 0, MELS - 1)
    left = np.minimum(at.astype(int), MELS - 2)
    share = (at - left).astype(np.float32)[:, None]
    return np.asarray(mel[left] * (1 - share) + mel[left + 1] * share, np.float32)
