"""Folds and shade: what skin that moves with a mouth does beside moving, on the region at half its size."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor, nn

from difftalk.face.mouth import COMPONENTS
from difftalk.nets.blocks import Down, Up, told
from difftalk.nets.sizes import COMPOSITE_CHANNELS, FoldsSizes


class Folds(nn.Module):
    """composite (b, 5, 72, 88), mouth shape (b, 16) -> change (b, 3, 72, 88) of its colours, [-1, 1] units."""

    def __init__(self, sizes: FoldsSizes) -> None:
        super().__init__()
        self.sizes = sizes
        a, b, c = sizes.widths
        self.stem = nn.Conv2d(COMPOSITE_CHANNELS, a, 3, padding=1)
        self.level2, self.level4 = Down(a, b, blocks=1), Down(b, c, blocks=2)
        self.shape = told(COMPONENTS, c)
        self.up2, self.up = Up(c, b, blocks=1), Up(b, a, blocks=1)
        self.out = nn.Conv2d(a, 3, 3, padding=1)
        nn.init.zeros_(self.out.weight)
        nn.init.zeros_(self.out.bias)  # type: ignore[arg-type]

    def forward(self, composite: Tensor, shape: Tensor) -> Tensor:
        x = self.stem(composite)
        x2 = self.level2(F.silu(x))
        x4 = self.level4(F.silu(x2)) + self.shape(shape)[:, :, None, None]
        out: Tensor = self.out(F.silu(self.up(self.up2(x4, x2), x)))
        return out
