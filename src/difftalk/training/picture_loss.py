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

INNER_WEIGHT: Final = 2.0  # the inner mouth counts so much more than skin
TINT_WEIGHT: Final = 0.7  # of the inner mouth's colour, evened
LPIPS_WEIGHT: Final = 3.0  # of samples whose source has the pixels
TINT_CELL: Final = 16  # px over which it is
RESIDUAL_PENALTY: Final = 0.3
GATE_PENALTY: Final = 0.05


@dataclass(frozen=True)
class Mouths:
    """Drawn and true mouths, (b, 3, 128, 176), and what LPIPS's network sees in them."""

    drawn: Tensor
    true: Tensor
    drawn_features: list[Tensor]
    true_features: list[Tensor]

    @classmethod
    def seen(cls, drawn: Tensor, true: Tensor, eyes: LPIPS, layers: int = 5) -> Mouths:
        """Features of the first layers."""
        with torch.no_grad():
            true_features = eyes.features(true, layers)
        return cls(drawn, true, eyes.features(drawn, layers), true_features)


@dataclass(frozen=True)
class Loss:
    """What is minimised, its parts for the log, and what a critic may look at.

    That is the picture (b, 3, 128, 176) and its mouths, where the loss itself looked at them.
    """

    total: Tensor
    parts: dict[str, Tensor]
    picture: Tensor | None = None
    mouths: Mouths | None = None


def picture_loss(picture: Tensor, batch: RenderBatch, lpips: LPIPS | None, rows: slice = slice(None)) -> Loss:
    """L1 with the inner mouth twice, the colour of its inside, LPIPS, each sample's by its weight."""
    target, inner, weight = batch.target[rows], batch.composite[rows, 3:4], batch.weight[rows]
    near = 1 + (INNER_WEIGHT - 1) * widened(inner, 9)
    l1 = ((picture - target).abs() * near).mean((1, 2, 3))
    tint = tint_of(picture - target, inner)
    total, parts = 2 * l1.mean() + TINT_WEIGHT * tint.mean(), {"l1": l1.mean(), "tint": tint.mean()}
    if lpips is None:
        return Loss(total, parts)
    mouths = Mouths.seen(picture, target, lpips)
    seen = lpips.distance(mouths.drawn_features, mouths.true_features)
    return Loss(total + LPIPS_WEIGHT * (seen * weight).mean(), {**parts, "lpips": seen.mean()}, picture, mouths)


def tint_of(difference: Tensor, inner: Tensor) -> Tensor:
    """(b,): how far off the evened colour of inner mouths is; difference: (b, 3, h, w), inner: (b, 1, h, w)."""
    mass = F.avg_pool2d(inner, TINT_CELL)
    colour = F.avg_pool2d(difference * inner, TINT_CELL).abs().mean(1, keepdim=True)
    out: Tensor = colour.sum((1, 2, 3)) / mass.sum((1, 2, 3)).clamp_min(0.25)
    return out


def restraint(residual: Tensor, gate: Tensor, batch: RenderBatch) -> Tensor:
    """What is painted outside the mouth costs."""
    outside = 1 - widened(batch.composite[:, 3:4], 17)
    return RESIDUAL_PENALTY * (residual.abs() * outside).mean() + GATE_PENALTY * (gate * outside).mean()


def noise_like(like: Tensor, random: torch.Generator) -> Tensor:
    """Of unit spread."""
    return torch.randn(like.shape, generator=random, device=like.device)
