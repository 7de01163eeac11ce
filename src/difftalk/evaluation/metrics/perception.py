"""Perceptual distances that need a network: LPIPS, face identity, and the identity net's early features.

The identity net is dlib's ResNet (King 2017): 128 numbers a face, the same person under a distance of 0.6. It is in no
loss, so its early features are the metric that no training could have aimed at. Knows nothing of clips.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Final

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from safetensors import SafetensorError, safe_open

from difftalk.arrays import Array
from difftalk.errors import DataError
from difftalk.face.recognition import face_chip
from difftalk.model import SHIPPED
from difftalk.nets.lpips import LPIPS

Distance = Callable[[Sequence[Array], Sequence[Array]], NDArray[np.float64]]  # pictures (h, w, 3) in [-1, 1]

BATCH: Final = 16  # pictures at once
_LAYERS: Final = tuple(
    f"{width}_{block}"
    for width, blocks in (("32", "1 2 3"), ("64", "down 1 2 3"), ("128", "down 1 2"), ("256", "down 1 2 down_out"))
    for block in blocks.split()
)
_EARLY: Final = 4  # layers, the first of half the resolution included, whose outputs are the early features
_MEAN: Final = (122.782, 117.001, 104.298)


@lru_cache(maxsize=1)
def lpips_distance() -> Distance:
    """LPIPS (AlexNet, Zhang et al. 2018)."""
    net = LPIPS.shipped().eval()
    return _pairwise(lambda a, b: net(a, b))


@lru_cache(maxsize=1)
def early_distance() -> Distance:
    """Mean squared distance of the identity net's early features, each normalised over its channels."""
    net = IdentityNet.shipped()

    def distance(a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
        pairs = zip(net.early(a), net.early(b), strict=True)
        return sum((((fa - fb) ** 2).sum(1).mean((1, 2)) for fa, fb in pairs), start=0 * a[:, 0, 0, 0])

    return _pairwise(distance)


def _pairwise(net: Callable[[torch.Tensor, torch.Tensor], torch.Tensor]) -> Distance:
    def distance(a: Sequence[Array], b: Sequence[Array]) -> NDArray[np.float64]:
        with torch.no_grad():
            parts = [
                net(_tensor(a[i : i + BATCH]), _tensor(b[i : i + BATCH])) for i in range(0, min(len(a), len(b)), BATCH)
            ]
        return torch.cat(parts).double().numpy() if parts else np.zeros(0)

    return distance


class IdentityNet:
    """See the module. Weights in 8 bits, with a scale and a least value for each tensor."""

    def __init__(self, path: Path) -> None:
        try:
            with safe_open(path, "pt") as file:
                scales = json.loads(file.metadata()["quant"])
                self._weights = {
                    name: file.get_tensor(name).float() * scales[name][0] + scales[name][1]
                    for name in file.keys()  # noqa: SIM118
                }
        except (SafetensorError, OSError, KeyError, TypeError, ValueError) as error:
            raise DataError(f"{path} is not the identity net ({type(error).__name__}); install again") from None
        self._mean = torch.tensor(_MEAN).view(1, 3, 1, 1)

    @classmethod
    @lru_cache(maxsize=1)
    def shipped(cls) -> IdentityNet:
        return cls(SHIPPED / "face_identity.onnx.data")

    def embed(self, picture: NDArray[np.uint8], points: NDArray[np.floating]) -> NDArray[np.float64]:
        """RGB picture (h, w, 3) and its mesh (478, 3) -> (128,)."""
        with torch.no_grad():
            chip = torch.from_numpy(face_chip(picture, points)).permute(2, 0, 1)[None].float()
            x = self._first(chip)
            for layer in _LAYERS:
                x = self._residual(x, layer)
            out: NDArray[np.float64] = (x.mean((2, 3)) @ self._weights["fc"])[0].double().numpy()
        return out

    def early(self, pictures: torch.Tensor) -> list[torch.Tensor]:
        """(b, 3, h, w) in [-1, 1] -> the first layers' outputs, normalised over channels."""
        x, out = self._first((pictures + 1) * 127.5), []
        for layer in _LAYERS[:_EARLY]:
            x = self._residual(x, layer)
            out.append(x / (x.pow(2).sum(1, keepdim=True).sqrt() + 1e-6))
        return out

    def _first(self, pictures: torch.Tensor) -> torch.Tensor:
        """(b, 3, h, w) in [0, 255]."""
        return F.max_pool2d(self._convolve((pictures - self._mean) / 256, "conv32_down", 2, 0), 3, 2)

    def _residual(self, x: torch.Tensor, layer: str) -> torch.Tensor:
        down = "down" in layer
        y = self._convolve(x, f"conv{layer}/conv1", 2 if down else 1, 0 if down else 1)
        y = self._convolve(y, f"conv{layer}/conv2", 1, 1, relu=False)
        x = F.avg_pool2d(x, 2, 2) if down else x
        height, width = max(x.shape[2], y.shape[2]), max(x.shape[3], y.shape[3])
        more = max(0, y.shape[1] - x.shape[1])
        x = F.pad(x, (0, width - x.shape[3], 0, height - x.shape[2], 0, more))
        return F.relu(x + F.pad(y, (0, width - y.shape[3], 0, height - y.shape[2])))

    def _convolve(self, x: torch.Tensor, name: str, stride: int, pad: int, *, relu: bool = True) -> torch.Tensor:
        w = self._weights
        x = F.conv2d(x, w[f"{name}/conv/filters"], w[f"{name}/conv/bias"], stride, pad)
        x = x * w[f"{name}/scale/weights"].view(1, -1, 1, 1) + w[f"{name}/scale/biases"].view(1, -1, 1, 1)
        return F.relu(x) if relu else x


def _tensor(pictures: Sequence[Array]) -> torch.Tensor:
    return torch.from_numpy(np.ascontiguousarray(np.stack(pictures).transpose(0, 3, 1, 2)))
