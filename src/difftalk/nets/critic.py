"""The patch critic: is a mouth's inside a photograph or a drawing? Trains beside the nets that draw and never ships.

Plain convolutions without normalisation, as in R3GAN (Huang et al. 2024); patches as in pix2pix (Isola et al. 2017).
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from difftalk.nets.sizes import CriticSizes

PATCH_STRIDE = 4
SLOPE = 0.2


class PatchCritic(nn.Module):
    """See `forward`. A patch sees 26 x 26 px."""

    def __init__(self, sizes: CriticSizes) -> None:
        super().__init__()
        a, b, c = sizes.widths
        self.stem = nn.Conv2d(4, a, 3, padding=1)
        self.level2, self.level4 = nn.Conv2d(a, b, 4, stride=2, padding=1), nn.Conv2d(b, c, 4, stride=2, padding=1)
        self.level4_again = nn.Conv2d(c, c, 3, padding=1)
        self.out = nn.Conv2d(c, 1, 1)

    def forward(self, boxes: Tensor, inner: Tensor) -> Tensor:
        """boxes (b, 3, h, w) in [-1, 1], inner mouth (b, 1, h, w) -> (b, 1, h/4, w/4), higher is more real."""
        x = F.leaky_relu(self.stem(torch.cat([boxes, inner], 1)), SLOPE)
        x = F.leaky_relu(self.level2(x), SLOPE)
        x = F.leaky_relu(self.level4(x), SLOPE)
        out: Tensor = self.out(F.leaky_relu(self.level4_again(x), SLOPE))
        return out
