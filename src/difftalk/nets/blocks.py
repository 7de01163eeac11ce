"""The few blocks that the nets share: residual convolutions, and the painted mouth over a composite."""

from __future__ import annotations

from typing import Final

import torch
import torch.nn.functional as F
from torch import Tensor, nn

GATE_SHARPNESS: Final = 8.0  # logit span of the gate's starting value, the inner-mouth mask
PAINT_CHANNELS: Final = 7  # colour, residual, gate
GATE_REACH: Final = 5  # px by which the starting gate goes beyond the inner mouth


def widened(mask: Tensor, reach: int) -> Tensor:
    """(b, 1, h, w) -> the same, each place the largest within a square of `reach` px, an odd number.

    Rows, then columns, each as channels: 40 to 100 times as fast on a CPU as one square over a single channel.
    """
    for _ in range(2):
        columns = mask[:, 0].contiguous().unsqueeze(2).permute(0, 3, 1, 2)  # (b, w, h, 1), channels last
        mask = F.max_pool2d(columns, (reach, 1), 1, (reach // 2, 0)).permute(0, 3, 1, 2)  # (b, 1, w, h)
    return mask


def told(numbers: int, width: int) -> nn.Linear:
    """What a few numbers add to features; starts as nothing."""
    layer = nn.Linear(numbers, width)
    nn.init.zeros_(layer.weight)
    nn.init.zeros_(layer.bias)
    return layer


class Residual(nn.Module):
    """x + two 3x3 convolutions; starts as the identity. No normalisation: plain narrow convolutions are fast."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.first, self.second = nn.Conv2d(width, width, 3, padding=1), nn.Conv2d(width, width, 3, padding=1)
        nn.init.zeros_(self.second.weight)
        nn.init.zeros_(self.second.bias)  # type: ignore[arg-type]

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = x + self.second(F.silu(self.first(F.silu(x))))
        return out


class Down(nn.Module):
    """Halves height and width, then residual blocks."""

    def __init__(self, before: int, after: int, *, blocks: int) -> None:
        super().__init__()
        self.shrink = nn.Conv2d(before, after, 3, stride=2, padding=1)
        self.blocks = nn.Sequential(*(Residual(after) for _ in range(blocks)))

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.blocks(self.shrink(x))
        return out


class Up(nn.Module):
    """Doubles height and width, adds a skip, then residual blocks."""

    def __init__(self, before: int, after: int, *, blocks: int) -> None:
        super().__init__()
        self.narrow = nn.Conv2d(before, after, 1)
        self.blocks = nn.Sequential(*(Residual(after) for _ in range(blocks)))

    def forward(self, x: Tensor, skip: Tensor) -> Tensor:
        wide = F.interpolate(self.narrow(x), size=skip.shape[-2:], mode="nearest")
        out: Tensor = self.blocks(wide + skip)
        return out


class Paint(nn.Module):
    """Features at /2 and a composite -> picture = (1 - gate) (composite + residual) + gate colour.

    The gate starts as that part of the inner mouth that the composite does not cover, the residual as nothing, so where
    nothing has to change nothing does.
    """

    def __init__(self, width: int) -> None:
        super().__init__()
        self.out = nn.Conv2d(width, 4 * PAINT_CHANNELS, 3, padding=1)
        nn.init.normal_(self.out.weight, std=1e-3)
        nn.init.zeros_(self.out.bias)  # type: ignore[arg-type]

    def forward(self, features: Tensor, composite: Tensor, *, whole: bool = False) -> tuple[Tensor, Tensor, Tensor]:
        """-> picture (b, 3, h, w), residual (b, 3, h, w), gate (b, 1, h, w). whole: none of the composite is kept."""
        colour, residual, gate = torch.split(F.pixel_shuffle(self.out(F.silu(features)), 2), [3, 3, 1], 1)
        start = widened(composite[:, 3:4] * (1 - composite[:, 4:5]), GATE_REACH)
        opened = torch.ones_like(gate) if whole else torch.sigmoid(gate + GATE_SHARPNESS * (start - 0.5))
        picture = (1 - opened) * (composite[:, :3] + residual) + opened * torch.tanh(colour)
        return picture, residual, opened
