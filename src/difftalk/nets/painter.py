"""The plain painter: composite and reference of a mouth -> picture in one pass.

No latent, no diffusion, no audio: the row to beat.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from difftalk.nets.blocks import Down, Paint, Residual, Up, told
from difftalk.nets.sizes import COMPOSITE_CHANNELS, SHARPNESS, PainterSizes


class Painter(nn.Module):
    """composite (b, 5, 128, 176), reference (b, 3, 128, 176), sharpness (b, 2) -> picture (b, 3, 128, 176)."""

    def __init__(self, sizes: PainterSizes) -> None:
        super().__init__()
        self.sizes = sizes
        a, b, c, d = sizes.widths
        self.stem = nn.Conv2d(4 * (COMPOSITE_CHANNELS + 3), a, 3, padding=1)
        self.level2 = Residual(a)
        self.level4, self.level8 = Down(a, b, blocks=1), Down(b, c, blocks=1)
        self.level16 = Down(c, d, blocks=3)
        self.up8, self.up4, self.up2 = Up(d, c, blocks=1), Up(c, b, blocks=1), Up(b, a, blocks=1)
        self.paint = Paint(a)
        self.sharpness = told(SHARPNESS, d)

    def forward(self, composite: Tensor, reference: Tensor, sharpness: Tensor) -> Tensor:
        return self.parts(composite, reference, sharpness)[0]

    def parts(self, composite: Tensor, reference: Tensor, sharpness: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Picture, residual and gate, for the loss."""
        x2 = self.level2(self.stem(F.pixel_unshuffle(torch.cat([composite, reference], 1), 2)))
        x4 = self.level4(x2)
        x8 = self.level8(x4)
        x16 = self.level16(x8) + self.sharpness(sharpness)[:, :, None, None]
        x = self.up4(self.up8(x16, x8), x4)
        out: tuple[Tensor, Tensor, Tensor] = self.paint(self.up2(x, x2), composite)
        return out
