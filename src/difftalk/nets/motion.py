"""Motion nets: speech features -> mouth shapes, each frame from a fixed window of 0.6 s before and 0.16 s after it.

`LinearMotion` is a ridge regression from the features' leading principal components, fitted in closed form: the row to
beat. `MotionNetwork` is the mean of several small temporal convolution nets and, if asked for, a regression of its own.
Both are valid convolutions, so a stream in pieces and a whole file give the same numbers.

How far and around what a person moves their mouth cannot be heard. So the nets learn where between a person's own mean
and spread the mouth is; the usual person's are put in afterwards, in the same graph.
"""

from __future__ import annotations

from typing import Final

import torch
from torch import Tensor, nn
from torch.nn import functional

from difftalk.nets.sizes import MotionSizes
from difftalk.speech.features import FEATURE_SIZE, LAYER_SIZE
from difftalk.speech.motion import FUTURE_FEATURES, PAST_FEATURES, SOUNDS

COMPONENTS: Final = 16
FRAME_FEATURES: Final = 2  # 50 Hz features, 25 Hz frames
WINDOW: Final = PAST_FEATURES + FRAME_FEATURES + FUTURE_FEATURES
PAST_FRAMES: Final = PAST_FEATURES // FRAME_FEATURES
FUTURE_FRAMES: Final = FUTURE_FEATURES // FRAME_FEATURES
REGRESSION_PAST: Final = 6  # frames before its own that the network's regression sees


class LinearMotion(nn.Module):
    """features (B, 2 T + 38, 1152) -> mouth shape (B, T, 16); frame t owns features 30 + 2 t and 31 + 2 t.

    Hears the encoder's last layer alone.
    """

    mean: Tensor
    basis: Tensor

    def __init__(self, size: MotionSizes) -> None:
        super().__init__()
        self.register_buffer("mean", torch.zeros(LAYER_SIZE))
        self.register_buffer("basis", torch.zeros(LAYER_SIZE, size.components))
        self.read = nn.Conv1d(size.components, COMPONENTS, WINDOW, stride=FRAME_FEATURES)
        nn.init.zeros_(self.read.weight)

    @torch.no_grad()
    def amplify(self, gain: float) -> None:
        """Moves the mouth so much farther around the mean of what it says."""
        self.read.weight.mul_(gain)

    def forward(self, features: Tensor) -> Tensor:
        components = (features[..., -LAYER_SIZE:] - self.mean) @ self.basis
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


class MotionMember(nn.Module):
    """One of the network's parts: whitened components (b, k, 2 t + 38) -> mouth shape (b, 16, t)."""

    def __init__(self, size: MotionSizes) -> None:
        super().__init__()
        self.stem = nn.Conv1d(size.network_components, size.width, FRAME_FEATURES, stride=FRAME_FEATURES)
        layers = (GatedLayer(size.width, a, b, size.dropout) for a, b in zip(size.past, size.future, strict=True))
        self.layers = nn.Sequential(*layers)
        self.head = nn.Conv1d(size.width, COMPONENTS, 1)

    def forward(self, components: Tensor) -> Tensor:
        return self.head(functional.silu(self.layers(self.stem(components))))  # type: ignore[no-any-return]


class MotionNetwork(nn.Module):
    """As LinearMotion, by several small nets whose mean counts; in training each sample has one of them at random.

    They see the whitened principal components of the features of all layers. A ridge regression from the same, fitted
    beforehand, may have a share of the mean: its errors are others than theirs. rest, spread: of the usual person's
    shapes.
    """

    mean: Tensor
    basis: Tensor
    rest: Tensor
    spread: Tensor

    def __init__(self, size: MotionSizes) -> None:
        super().__init__()
        assert (sum(size.past), sum(size.future)) == (PAST_FRAMES, FUTURE_FRAMES)
        self.register_buffer("mean", torch.zeros(FEATURE_SIZE))
        self.register_buffer("basis", torch.zeros(FEATURE_SIZE, size.network_components))
        self.register_buffer("rest", torch.zeros(COMPONENTS))
        self.register_buffer("spread", torch.ones(COMPONENTS))
        self.noise = size.noise
        self.input_dropout = nn.Dropout1d(size.input_dropout)
        self.members = nn.ModuleList(MotionMember(size) for _ in range(size.members))
        self.share = size.regression
        self.regression: nn.Conv1d | None = None
        if size.regression:
            seen = nn.Conv1d(size.network_components, COMPONENTS, REGRESSION_PAST + 1 + FUTURE_FRAMES)
            self.regression = seen.requires_grad_(False)

    def amplify(self, gain: float) -> None:
        """Moves the mouth so much farther around the usual person's mean: what cannot be heard makes it move less."""
        self.spread.mul_(gain)

    def forward(self, features: Tensor) -> Tensor:
        """The usual person's mouth shapes (b, t, 16)."""
        return self.rest + self.spread * self.units(features)

    def frames(self, features: Tensor) -> Tensor:
        """(b, k, REGRESSION_PAST + t + FUTURE_FRAMES): components of whole frames, as the regression sees them."""
        components = ((features - self.mean) @ self.basis).transpose(1, 2)
        return functional.avg_pool1d(components, FRAME_FEATURES)[:, :, PAST_FRAMES - REGRESSION_PAST :]

    def sounds(self, features: Tensor) -> Tensor:
        """(b, t, SOUNDS): the leading components of each frame's own features."""
        own = features[:, PAST_FEATURES : features.shape[1] - FUTURE_FEATURES].transpose(1, 2)
        frames: Tensor = functional.avg_pool1d(own, FRAME_FEATURES).transpose(1, 2)
        out: Tensor = (frames - self.mean) @ self.basis[:, :SOUNDS]
        return out

    def units(self, features: Tensor, chosen: Tensor | None = None) -> Tensor:
        """(b, t, 16) spreads from the person's mean. chosen: (b,) numbers of each sample's member, in training."""
        components = self.input_dropout(((features - self.mean) @ self.basis).transpose(1, 2))
        if self.training:
            components = components + self.noise * torch.randn_like(components)
        if not self.training:
            mean = torch.stack([member(components) for member in self.members]).mean(0)
            if self.regression is not None:
                mean = torch.lerp(mean, self.regression(self.frames(features)), self.share)
            return mean.transpose(1, 2)
        chosen = self.chosen(len(features)) if chosen is None else chosen
        parts = [member(components[chosen == i]) for i, member in enumerate(self.members)]
        return torch.cat(parts)[chosen.argsort(stable=True).argsort()].transpose(1, 2)

    def chosen(self, count: int) -> Tensor:
        """A member for each sample, at random, all about as often."""
        return torch.randperm(count) % len(self.members)
