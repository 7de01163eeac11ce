"""LPIPS: how different two pictures look, by the layers of AlexNet (Zhang et al. 2018)."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Final

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from difftalk.errors import DataError
from difftalk.nets.stored import stored


class LPIPS(nn.Module):
    """LPIPS v0.1 with AlexNet (Zhang et al. 2018). Pictures (b, 3, h, w), RGB in [-1, 1] -> (b,)."""

    _STRIDES: Final = (4, 1, 1, 1, 1)
    _PADS: Final = (2, 2, 1, 1, 1)

    def __init__(self, path: Path) -> None:
        super().__init__()
        from safetensors.torch import load_file

        if not path.is_file():
            raise DataError(f"{path} does not exist; install the package again")
        self._weights = nn.ParameterDict(
            {
                name.replace(".", "_"): nn.Parameter(value.float(), requires_grad=False)
                for name, value in load_file(path).items()
            }
        )
        self.register_buffer("shift", torch.tensor([-0.030, -0.088, -0.188]).view(1, 3, 1, 1))
        self.register_buffer("scale", torch.tensor([0.458, 0.448, 0.450]).view(1, 3, 1, 1))

    @classmethod
    def shipped(cls) -> LPIPS:
        """With the weights that come with the source."""
        return cls(stored("lpips_alex.fp16.safetensors"))

    def features(self, pictures: Tensor, layers: int = 5) -> list[Tensor]:
        """Of the first layers, each place of unit length."""
        x, out = (pictures - self.shift) / self.scale, []  # type: ignore[operator]
        for i in range(layers):
            if i in (1, 2):
                x = F.max_pool2d(x, 3, 2)
            weight, bias = self._weights[f"conv{i}_weight"], self._weights[f"conv{i}_bias"]
            x = F.relu(F.conv2d(x, weight, bias, self._STRIDES[i], self._PADS[i]))
            length = torch.linalg.vector_norm(x, dim=1, keepdim=True, dtype=torch.float32) + 1e-10
            out.append(x * length.reciprocal().to(x.dtype))
        return out

    def forward(self, a: Tensor, b: Tensor) -> Tensor:
        """b is taken as the truth: no gradient flows into it."""
        with torch.no_grad():
            truth = self.features(b)
        return self.distance(self.features(a), truth)

    def distance(self, a: Sequence[Tensor], b: Sequence[Tensor]) -> Tensor:
        """(b,) from the features of two pictures."""
        total = torch.zeros(len(a[0]), device=a[0].device)
        for i, (fa, fb) in enumerate(zip(a, b, strict=True)):
            weight = self._weights[f"lin{i}_weight"].view(1, -1, 1, 1)
            total = total + ((fa - fb).float().square() * weight).sum(1).mean((1, 2))
        return total
