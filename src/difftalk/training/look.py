"""Looks: augmentations of whole batches on their device, all pictures and points of a sample alike.

Colours, a small similarity, left and right exchanged, fewer pixels. Knows nothing of where samples come from.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Final

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor
from typing_extensions import Self

from difftalk.face.landmarks import UPPER
from difftalk.face.mouth import COMPONENTS, Geometry
from difftalk.face.space import CLOSE
from difftalk.render.renderer import LEAST_SHARP, energy
from difftalk.training.batches import RenderBatch

EXPOSURE: Final = 0.35  # of a sample's light, logarithm; faces are dark, and lamps are dim
CAST: Final = 0.12  # of each colour's
LIGHT: Final = (0.3, 1.4)  # least and most
FLARE: Final = 0.03  # of what is added to all of a picture, [-1, 1] units
MAX_TURN: Final = 0.08  # radians by which a sample is turned, either way
MAX_ZOOM: Final = 0.08
MAX_SLIDE: Final = 6.0  # px of the patch
MOVED: Final = 0.5  # share of samples that are turned, zoomed and slid: it takes a little of their sharpness
BLURRED: Final = 0.25  # share of samples that are shown as from a smaller picture
DETAIL: Final = (0.35, 0.9)  # px of that along a side for one of theirs
TENSORS: Final = ("gain", "shift", "move", "back", "slide", "mirrored", "blurred")  # of a look, one row a sample
REGION_SHARE: Final = 0.5 / CLOSE  # px of the region at half its size for one of the patch


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

    gain, shift: (b, 3), of colours in [-1, 1]. move: (b, 2, 2), turn and zoom about a picture's middle; back: its
    inverse. slide: (b, 2), afterwards, px of the patch. mirrored: (b,), 0 or 1: afterwards. blurred: (b,), 0 or 1:
    shown with so little `detail`, a share of the pixels along a side, as from a smaller picture.
    """

    gain: Tensor
    shift: Tensor
    move: Tensor
    back: Tensor
    slide: Tensor
    mirrored: Tensor
    blurred: Tensor
    detail: float

    @classmethod
    def random(cls, rng: np.random.Generator, count: int) -> Look:
        light = EXPOSURE * rng.standard_normal((count, 1)) + CAST * rng.standard_normal((count, 3))
        gain = np.clip(np.exp(light), *LIGHT)
        shift = gain - 1 + FLARE * rng.standard_normal((count, 1))  # black stays black in another light
        moved = rng.random(count) < MOVED
        turn, zoom = MAX_TURN * moved * rng.uniform(-1, 1, count), 1 + MAX_ZOOM * moved * rng.uniform(-1, 1, count)
        slide = MAX_SLIDE * moved[:, None] * rng.uniform(-1, 1, (count, 2))
        blurred, detail = rng.random(count) < BLURRED, float(rng.uniform(*DETAIL))
        return cls.of(gain, shift, turned(turn, zoom), slide, rng.random(count) < 0.5, blurred, detail)

    @classmethod
    def of(
        cls,
        gain: NDArray[np.float64],
        shift: NDArray[np.float64],
        move: NDArray[np.float64],
        slide: NDArray[np.float64],
        mirrored: NDArray[np.bool_],
        blurred: NDArray[np.bool_],
        detail: float,
    ) -> Look:
        parts = (gain, shift, move, np.linalg.inv(move), slide, mirrored, blurred)
        tensors = (torch.from_numpy(np.asarray(part, np.float32)) for part in parts)
        return cls(**dict(zip(TENSORS, tensors, strict=True)), detail=detail)

    def to(self, device: torch.device) -> Self:
        """On the device, without waiting for it."""
        held = {name: sent(getattr(self, name), device) for name in TENSORS}
        return type(self)(**held, detail=self.detail)

    def batch(self, batch: RenderBatch, mirror: Mirror) -> RenderBatch:
        """The batch as the look shows it."""
        mouths = [self.coloured(picture) for picture in (batch.target, batch.reference, batch.previous)]
        placed = self.placed(torch.cat([*mouths, self.composite(batch.composite), batch.composite[:, 3:]], 1), 1.0)
        placed = torch.cat([self.shown(placed[:, :-2]), placed[:, -2:]], 1)
        target, reference, previous, composite = torch.split(placed, [3, 3, 3, 5], 1)
        regions = [self.coloured(batch.skin), self.composite(batch.warped), batch.warped[:, 3:]]
        skin, warped = torch.split(self.placed(torch.cat(regions, 1), REGION_SHARE), [3, 5], 1)
        mirrored, points = self.mirrored[:, None], torch.einsum("bij,bnj->bni", self.move, batch.landmarks)
        x, y = points[:, mirror.upper].unbind(-1)
        lost = -math.log2(self.detail) * self.blurred
        return replace(
            batch,
            target=target,
            composite=composite,
            reference=reference,
            previous=previous,
            skin=skin,
            warped=warped,
            landmarks=torch.where(mirrored[..., None] > 0, torch.stack([-x, y], -1), points),
            shape=torch.where(mirrored > 0, batch.shape @ mirror.shape, batch.shape),
            sharpness=torch.stack([(batch.sharpness[:, 0] - lost).clamp_min(-LEAST_SHARP), energy(reference)], 1),
            weight=batch.weight * 2**-lost,
        )

    def coloured(self, pictures: Tensor, known: Tensor | float = 1.0) -> Tensor:
        """(b, 3, h, w) in [-1, 1], likewise. known: (b, 1, h, w) in [0, 1], what share of a pixel is no emptiness."""
        gain, shift = self.gain[:, :, None, None], self.shift[:, :, None, None]
        return (pictures * gain + shift * known).clamp_(-1, 1)

    def composite(self, layers: Tensor) -> Tensor:
        """The colours (b, 3, h, w) of a composite (b, 5, h, w), likewise, its emptiness left as it is."""
        return self.coloured(layers[:, :3], 1 - layers[:, 3:4] * (1 - layers[:, 4:5]))

    def placed(self, layers: Tensor, share: float) -> Tensor:
        """(b, c, h, w): moved and mirrored, values as they are; beyond the border as in a mirror.

        share: its pixels for one of the patch.
        """
        height, width = layers.shape[2:]
        x = torch.arange(width, device=layers.device, dtype=torch.float32)[None, None]
        y = torch.arange(height, device=layers.device, dtype=torch.float32)[None, :, None]
        mirrored = self.mirrored[:, None, None]
        x = mirrored * (width - 1 - x) + (1 - mirrored) * x
        slide = share * self.slide[:, :, None, None]
        x, y = x - (width - 1) / 2 - slide[:, 0], y - (height - 1) / 2 - slide[:, 1]
        axes = zip(self.back.unbind(1), (width, height), strict=True)  # sums, not a product that may run in TF32
        where = [(axis[:, 0, None, None] * x + axis[:, 1, None, None] * y) * (2 / (size - 1)) for axis, size in axes]
        grid = torch.stack(where, -1)
        return F.grid_sample(layers, grid, mode="bilinear", padding_mode="reflection", align_corners=True)

    def shown(self, pictures: Tensor) -> Tensor:
        """(b, c, h, w): with less detail where it is blurred."""
        height, width = pictures.shape[2:]
        size = (round(self.detail * height), round(self.detail * width))
        small = F.interpolate(pictures, size=size, mode="bilinear", antialias=True, align_corners=False)
        large = F.interpolate(small, size=(height, width), mode="bilinear", align_corners=False)
        return pictures + self.blurred[:, None, None, None] * (large - pictures)


def turned(turn: NDArray[np.float64], zoom: NDArray[np.float64]) -> NDArray[np.float64]:
    """(b, 2, 2): turned by radians (b,) and zoomed."""
    c, s = zoom * np.cos(turn), zoom * np.sin(turn)
    return np.stack([np.stack([c, -s], -1), np.stack([s, c], -1)], 1)


def sent(value: Tensor, device: torch.device) -> Tensor:
    """A tensor of the CPU on the device, without waiting for it."""
    return value.pin_memory().to(device, non_blocking=True) if device.type == "cuda" else value.to(device)
