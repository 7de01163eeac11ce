"""Motion nets: speech features -> mouth shapes, each frame from a fixed window of 0.6 s before and 0.16 s after it.

`LinearMotion` is a ridge regression from the features' leading principal components, fitted in closed form.
`MotionNetwork` adds to it what a small temporal convolution net finds beyond. Both are valid convolutions, so a stream
in pieces and a whole file give the same numbers.
"""

from __future__ import annotations

from typing import Final

import torch
from torch import Tensor, nn
from torch.nn import functional

from difftalk.motion import FUTURE_FEATURES, PAST_FEATURES
from difftalk.nets.sizes import MotionSizes

FEATURES: Final = 384
COMPONENTS: Final = 16
FRAME_FEATURES: Final = 2  # 50 Hz features, 25 Hz frames
WINDOW: Final = PAST_FEATURES + FRAME_FEATURES + FUTURE_FEATURES
PAST_FRAMES: Final = PAST_FEATURES // FRAME_FEATURES
FUTURE_FRAMES: Final = FUTURE_FEATURES // FRAME_FEATURES


class LinearMotion(nn.Module):
    """features (B, 2 T + 38, 384) -> mouth shape (B, T, 16); frame t owns features 30 + 2 t and 31 + 2 t."""

    mean: Tensor
    basis: Tensor
    scale: Tensor

    def __init__(self, size: MotionSizes) -> None:
        super().__init__()
        self.register_buffer("mean", torch.zeros(FEATURES))
        self.register_buffer("basis", torch.zeros(FEATURES, size.components))
        self.register_buffer("scale", torch.ones(FEATURES))  # spread of each feature, for the residual net
        self.read = nn.Conv1d(size.components, COMPONENTS, WINDOW, stride=FRAME_FEATURES)
        nn.init.zeros_(self.read.weight)

    def forward(self, features: Tensor) -> Tensor:
        components = (features - self.mean) @ self.basis
        return self.read(components.transpose(1, 2)).transpose(1, 2)  # type: ignore[no-any-return]


class GatedLayer(nn.Module):
    """x cropped to what is left + dropout(tanh * sigmoid) of a valid convolution."""

    def __init__(self, width: int, past: int, future: int, dropout: float) -> None:
        super().__init__()
        self.past, self.future = past, future
        self.conv = nn.Conv1d(width, 2 * width, past + 1 + future)
        self.mix = nn.Conv1d(width, width, 1)
        self.dropout = nn.Dropout(dropout)

    def forward(self, x: Tensor) -> Tensor:
        signal, gate = self.conv(x).chunk(2, 1)
        kept = x[:, :, self.past : x.shape[2] - self.future]
        return kept + self.mix(self.dropout(torch.tanh(signal) * torch.sigmoid(gate)))  # type: ignore[no-any-return]


class MotionNetwork(nn.Module):
    """As LinearMotion, which it contains and starts as."""

    def __init__(self, size: MotionSizes) -> None:
        super().__init__()
        assert (sum(size.past), sum(size.future)) == (PAST_FRAMES, FUTURE_FRAMES)
        self.linear = LinearMotion(size)
        self.input_dropout = nn.Dropout(size.input_dropout)
        self.stem = nn.Conv1d(FEATURES, size.width, FRAME_FEATURES, stride=FRAME_FEATURES)
        layers = (GatedLayer(size.width, a, b, size.dropout) for a, b in zip(size.past, size.future, strict=True))
        self.layers = nn.Sequential(*layers)
        self.head = nn.Conv1d(size.width, 2 * COMPONENTS, 1)
        nn.init.zeros_(self.head.weight)

    def forward(self, features: Tensor) -> Tensor:
        scaled = (features - self.linear.mean) / self.linear.scale
        hidden = self.layers(self.stem(self.input_dropout(scaled).transpose(1, 2)))
        value, gate = self.head(functional.silu(hidden)).transpose(1, 2).chunk(2, -1)
        return self.linear(features) + value * torch.sigmoid(gate)  # type: ignore[no-any-return]
