"""The patch critic: is a mouth's inside a photograph or a drawing? Trains beside the nets that draw and never ships.

It looks through the eyes of a frozen network, as in Projected GANs (Sauer et al. 2021): a critic of plain pixels needed
several times as many steps to tell blur at all (docs/decisions.md).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import torch.nn.functional as F
from torch import Tensor, nn

from difftalk.nets.sizes import CriticSizes

CRITIC_LAYERS: Final = (64, 192)  # channels of AlexNet's first two layers, each place of unit length
SLOPE: Final = 0.2


class PatchCritic(nn.Module):
    """See `forward`."""

    def __init__(self, sizes: CriticSizes) -> None:
        super().__init__()
        self.heads = nn.ModuleList(
            nn.Sequential(
                nn.Conv2d(channels, sizes.width, 3, padding=1), nn.LeakyReLU(SLOPE), nn.Conv2d(sizes.width, 1, 1)
            )
            for channels in CRITIC_LAYERS
        )

    def forward(self, features: Sequence[Tensor], size: Sequence[int]) -> Tensor:
        """features: (b, 64, h, w), (b, 192, h', w') -> (b, 1, *size), higher is more real."""
        total: Tensor | None = None
        for head, channels, seen in zip(self.heads, CRITIC_LAYERS, features, strict=True):
            scores = F.interpolate(head(seen * channels**0.5), size=tuple(size), mode="bilinear", align_corners=False)
            total = scores if total is None else total + scores
        assert total is not None
        return total
