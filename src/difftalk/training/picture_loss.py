"""What a drawn region costs beside the true one, for all kinds that draw one; and what any loss is.

Nothing here waits for the device: no value is looked at, every shape follows from the batch's. Random numbers come from
a generator on the device of the net.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import torch
import torch.nn.functional as F
from torch import Tensor

from difftalk.nets.blocks import widened
from difftalk.nets.lpips import LPIPS
from difftalk.training.batches import RenderBatch

INNER_WEIGHT: Final = 4.0  # the inner mouth counts so much more than skin
MOUTH_BOX: Final = (48, 80)  # px, height and width of the box around the mouth that LPIPS sees enlarged
MOUTH_PLACE: Final = (50, 88)  # px in the region: where the mouth is when the mask is empty
RESIDUAL_PENALTY: Final = 0.3
GATE_PENALTY: Final = 0.05


def mouth_boxes(pictures: Tensor, inner: Tensor) -> Tensor:
    """(b, c, 144, 176) and inner-mouth masks (b, 1, 144, 176) -> boxes around the mouth, enlarged, (b, c, 96, 160)."""
    height, width = pictures.shape[-2:]
    rows, columns = torch.arange(height, device=inner.device), torch.arange(width, device=inner.device)
    mass = inner.sum((1, 2, 3))
    y = torch.where(mass > 4, (inner.sum((1, 3)) * rows).sum(1) / mass.clamp_min(1e-6), float(MOUTH_PLACE[0]))
    x = torch.where(mass > 4, (inner.sum((1, 2)) * columns).sum(1) / mass.clamp_min(1e-6), float(MOUTH_PLACE[1]))
    box_height, box_width = MOUTH_BOX
    top = (y.round().long() - box_height // 2).clamp(0, height - box_height)
    left = (x.round().long() - box_width // 2).clamp(0, width - box_width)
    places = (top[:, None] + rows[:box_height])[:, :, None] * width + (left[:, None] + columns[:box_width])[:, None]
    index = places.flatten(1)[:, None].expand(-1, pictures.shape[1], -1)
    boxes = pictures.flatten(2).gather(2, index).reshape(*pictures.shape[:2], *MOUTH_BOX)
    return F.interpolate(boxes, scale_factor=2, mode="bilinear", align_corners=False)


@dataclass(frozen=True)
class Mouths:
    """Boxes around drawn and true mouths, (b, 3, 96, 160), and what LPIPS's network sees in them."""

    drawn: Tensor
    true: Tensor
    drawn_features: list[Tensor]
    true_features: list[Tensor]

    @classmethod
    def of(cls, picture: Tensor, target: Tensor, inner: Tensor, eyes: LPIPS) -> Mouths:
        return cls.seen(mouth_boxes(picture, inner), mouth_boxes(target, inner), eyes)

    @classmethod
    def seen(cls, drawn: Tensor, true: Tensor, eyes: LPIPS, layers: int = 5) -> Mouths:
        """Of boxes; features of the first layers."""
        with torch.no_grad():
            true_features = eyes.features(true, layers)
        return cls(drawn, true, eyes.features(drawn, layers), true_features)


@dataclass(frozen=True)
class Loss:
    """What is minimised, its parts for the log, and what a critic may look at.

    That is the picture (b, 3, 144, 176) and its mouths, where the loss itself looked at them.
    """

    total: Tensor
    parts: dict[str, Tensor]
    picture: Tensor | None = None
    mouths: Mouths | None = None


def picture_loss(
    picture: Tensor, batch: RenderBatch, lpips: LPIPS | None, rows: slice = slice(None), *, region_every: int = 1
) -> Loss:
    """L1 with the inner mouth four times, LPIPS on the region and on the mouth's box, each sample's by its weight.

    region_every: LPIPS sees the region of every n-th sample only, which stands for the others.
    """
    target, inner, weight = batch.target[rows], batch.composite[rows, 3:4], batch.weight[rows]
    near = 1 + (INNER_WEIGHT - 1) * widened(inner, 5)
    l1 = ((picture - target).abs() * near).mean((1, 2, 3))
    if lpips is None:
        return Loss(2 * l1.mean(), {"l1": l1.mean()})
    mouths, some = Mouths.of(picture, target, inner, lpips), slice(None, None, region_every)
    whole = lpips(picture[some], target[some])
    mouth = lpips.distance(mouths.drawn_features, mouths.true_features)
    total = (2 * l1 + mouth * weight).mean() + (whole * weight[some]).mean()
    parts = {"l1": l1.mean(), "lpips": whole.mean(), "mouth_lpips": mouth.mean()}
    return Loss(total, parts, picture, mouths)


def restraint(residual: Tensor, gate: Tensor, batch: RenderBatch) -> Tensor:
    """What is painted outside the mouth costs."""
    outside = 1 - widened(batch.composite[:, 3:4], 9)
    return RESIDUAL_PENALTY * (residual.abs() * outside).mean() + GATE_PENALTY * (gate * outside).mean()


def noise_like(like: Tensor, random: torch.Generator) -> Tensor:
    """Of unit spread."""
    return torch.randn(like.shape, generator=random, device=like.device)
