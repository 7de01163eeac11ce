"""Looks: augmentations of whole batches on their device, all pictures and points of a sample alike.

Colours, a small similarity, left and right exchanged. Knows nothing of where samples come from.
"""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Final

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor
from typing_extensions import Self

from difftalk.face.landmarks import UPPER
from difftalk.face.mouth import COMPONENTS, Geometry
from difftalk.face.space import ALIGNED_SIZE, EYE_DISTANCE, EYE_LINE, REGION_SIZE, REGION_X, REGION_Y
from difftalk.training.batches import RenderBatch

MAX_TURN: Final = 0.08  # radians by which a sample is turned, either way
MAX_ZOOM: Final = 0.08
MAX_SLIDE: Final = 5.0  # px
ORIGIN: Final = (ALIGNED_SIZE / 2 - REGION_X[0], EYE_LINE - REGION_Y[0])  # px of the region: between the eyes


@dataclass(frozen=True)
class Mirror:
    """Left and right exchanged: the points' permutation and the mouth shape's matrix."""

    upper: Tensor  # permutation of UPPER
    shape: Tensor  # (16, 16): mirrored = shape @ matrix

    @classmethod
    def of(cls, geometry: Geometry, device: torch.device) -> Mirror:
        flipped = geometry.canonical * np.array([-1, 1, 1], np.float32)
        distance = ((geometry.canonical[:, None] - flipped[None]) ** 2).sum(-1)
        partner = distance.argmin(1)
        place = {int(point): i for i, point in enumerate(UPPER)}
        upper = np.array([place.get(int(partner[p]), i) for i, p in enumerate(UPPER)])
        offsets = geometry.offsets(np.eye(COMPONENTS, dtype=np.float32))[:, partner] * np.array([-1, 1, 1], np.float32)
        matrix = geometry.shape_of(offsets, np.zeros_like(geometry.canonical))
        return cls(torch.from_numpy(upper).to(device), torch.from_numpy(matrix).to(device))


@dataclass(frozen=True)
class Look:
    """One augmentation a sample of a batch, on the CPU or where `to` puts it.

    gain, shift: (b, 3), of colours in [-1, 1]. move: (b, 2, 3), region px before -> after; back: its inverse.
    mirrored: (b,), 0 or 1: afterwards.
    """

    gain: Tensor
    shift: Tensor
    move: Tensor
    back: Tensor
    mirrored: Tensor

    @classmethod
    def random(cls, rng: np.random.Generator, count: int) -> Look:
        gain = 1 + 0.15 * rng.standard_normal((count, 1)) + 0.05 * rng.standard_normal((count, 3))
        shift = 0.08 * rng.standard_normal((count, 1)) + 0.03 * rng.standard_normal((count, 3))
        turn, zoom = MAX_TURN * rng.uniform(-1, 1, count), 1 + MAX_ZOOM * rng.uniform(-1, 1, count)
        move = similarity(turn, zoom, MAX_SLIDE * rng.uniform(-1, 1, (count, 2)))
        return cls.of(gain, shift, move, rng.random(count) < 0.5)

    @classmethod
    def of(
        cls,
        gain: NDArray[np.float64],
        shift: NDArray[np.float64],
        move: NDArray[np.float64],
        mirrored: NDArray[np.bool_],
    ) -> Look:
        inverse = np.linalg.inv(move[:, :, :2])
        back = np.concatenate([inverse, -inverse @ move[:, :, 2:]], 2)
        parts = (gain, shift, move, back, mirrored)
        return cls(*(torch.from_numpy(np.asarray(part, np.float32)) for part in parts))

    def to(self, device: torch.device) -> Self:
        """On the device, without waiting for it."""
        return type(self)(**{f.name: sent(getattr(self, f.name), device) for f in fields(self)})

    def batch(self, batch: RenderBatch, mirror: Mirror) -> RenderBatch:
        """The batch as the look shows it."""
        inner, coverage = batch.composite[:, 3:4], batch.composite[:, 4:5]
        pictures = [self.coloured(picture) for picture in (batch.target, batch.reference, batch.previous)]
        composite = self.coloured(batch.composite[:, :3], 1 - inner * (1 - coverage))
        placed = self.placed(torch.cat([*pictures, composite, batch.composite[:, 3:]], 1))
        target, reference, previous, composite = torch.split(placed, [3, 3, 3, 5], 1)
        mirrored, points = self.mirrored[:, None], self.points(batch.landmarks)
        x, y = points[:, mirror.upper].unbind(-1)
        return RenderBatch(
            target=target,
            composite=composite,
            reference=reference,
            previous=previous,
            has_previous=batch.has_previous,
            audio=batch.audio,
            landmarks=torch.where(mirrored[..., None] > 0, torch.stack([-x, y], -1), points),
            shape=torch.where(mirrored > 0, batch.shape @ mirror.shape, batch.shape),
            weight=batch.weight,
        )

    def coloured(self, pictures: Tensor, known: Tensor | float = 1.0) -> Tensor:
        """(b, 3, h, w) in [-1, 1], likewise. known: (b, 1, h, w) in [0, 1], what share of a pixel is no emptiness."""
        gain, shift = self.gain[:, :, None, None], self.shift[:, :, None, None]
        return (pictures * gain + shift * known).clamp_(-1, 1)

    def placed(self, layers: Tensor) -> Tensor:
        """(b, c, h, w): moved and mirrored, values as they are; beyond the border as in a mirror."""
        height, width = layers.shape[2:]
        x = torch.arange(width, device=layers.device, dtype=torch.float32)[None, None]
        y = torch.arange(height, device=layers.device, dtype=torch.float32)[None, :, None]
        mirrored = self.mirrored[:, None, None]
        x = mirrored * (width - 1 - x) + (1 - mirrored) * x
        axes = zip(self.back.unbind(1), (width, height), strict=True)  # sums, not a product that may run in TF32
        where = [
            (axis[:, 0, None, None] * x + axis[:, 1, None, None] * y + axis[:, 2, None, None]) * (2 / (size - 1)) - 1
            for axis, size in axes
        ]
        grid = torch.stack(where, -1)
        return F.grid_sample(layers, grid, mode="bilinear", padding_mode="reflection", align_corners=True)

    def points(self, points: Tensor) -> Tensor:
        """(b, n, 2) in eye distances from the eyes' middle, moved but not mirrored."""
        x, y = (points[..., axis] * EYE_DISTANCE + ORIGIN[axis] for axis in range(2))
        rows = (row[:, None] for row in self.move.unbind(1))
        moved = [x * row[..., 0] + y * row[..., 1] + row[..., 2] - ORIGIN[axis] for axis, row in enumerate(rows)]
        return torch.stack(moved, -1) / EYE_DISTANCE


def similarity(turn: NDArray[np.float64], zoom: NDArray[np.float64], slide: NDArray[np.float64]) -> NDArray[np.float64]:
    """(b, 2, 3): turned by radians (b,) and zoomed about the region's middle, then slid by px (b, 2)."""
    middle = (np.array(REGION_SIZE[::-1]) - 1) / 2
    c, s = zoom * np.cos(turn), zoom * np.sin(turn)
    matrix = np.stack([np.stack([c, -s], -1), np.stack([s, c], -1)], 1)
    return np.concatenate([matrix, (middle - matrix @ middle + slide)[..., None]], 2)


def sent(value: Tensor, device: torch.device) -> Tensor:
    """A tensor of the CPU on the device, without waiting for it."""
    return value.pin_memory().to(device, non_blocking=True) if device.type == "cuda" else value.to(device)
