"""The head's net: what was, what is heard and noise -> the next knot of a head's way, see `speech.head_motion`.

A linear regression on the knots before it foretells the next one, another on what is heard how far that will be wrong:
heads move more where a voice is raised. What is not foretold is drawn by a rectified flow (Liu et al. 2023) of a small
perceptron, which is told the past and what is heard, in the foretelling's own errors: an untrained net draws noise of
just their spread. Where no voice is heard, the net hears nothing of the features either, whatever noise there is. Knots
are those of somebody who moves as much as most; see `amplify`.
"""

from __future__ import annotations

import math
from typing import Final

import torch
from torch import Tensor, nn
from torch.nn import functional

from difftalk.nets.motion import FRAME_FEATURES, FUTURE_FRAMES, PAST_FRAMES
from difftalk.nets.sizes import HeadSizes
from difftalk.speech.features import FEATURE_SIZE
from difftalk.speech.head_motion import KNOT_FRAMES, KNOT_SIZE, PAST_KNOTS, POSE_SIZE, VOICE_FRAMES, VOICE_SIZE

WINDOW_FRAMES: Final = PAST_FRAMES + KNOT_FRAMES + FUTURE_FRAMES
TIMES: Final = 4  # numbers that tell the flow's time
STIRS: Final = (-3.0, 1.5)  # logarithm of how much a voice stirs a head: least and most


class Layer(nn.Module):
    """x + dropout(silu) of a linear map of what is normed."""

    def __init__(self, width: int, dropout: float) -> None:
        super().__init__()
        self.norm, self.into, self.out = nn.LayerNorm(width), nn.Linear(width, width), nn.Linear(width, width)
        self.dropout = nn.Dropout(dropout)

    def forward(self, x: Tensor) -> Tensor:
        return x + self.out(self.dropout(functional.silu(self.into(self.norm(x)))))  # type: ignore[no-any-return]


class HeadNetwork(nn.Module):
    """spread: (14,) of knots. follow: (140, 14), the regression. error: (14, 14), lower root of its errors' covariance.

    Both are in spreads. stir: (s + 1,), the other regression, its constant last. All are fitted beforehand, like the
    features' components.
    """

    mean: Tensor
    basis: Tensor
    spread: Tensor
    follow: Tensor
    error: Tensor
    stir: Tensor

    def __init__(self, size: HeadSizes) -> None:
        super().__init__()
        self.register_buffer("mean", torch.zeros(FEATURE_SIZE))
        self.register_buffer("basis", torch.zeros(FEATURE_SIZE, size.components))
        self.register_buffer("spread", torch.ones(KNOT_SIZE))
        self.register_buffer("follow", torch.zeros(PAST_KNOTS * KNOT_SIZE, KNOT_SIZE))
        self.register_buffer("error", torch.eye(KNOT_SIZE))
        self.steps, self.noise, self.past_noise = size.steps, size.noise, size.past_noise
        self.sizes = [WINDOW_FRAMES * size.components, VOICE_FRAMES * VOICE_SIZE]
        self.register_buffer("stir", torch.zeros(sum(self.sizes) + 1))
        self.ear = nn.Sequential(nn.Dropout(size.ear_dropout), nn.Linear(sum(self.sizes), size.ear), nn.SiLU())
        self.told = nn.Linear(PAST_KNOTS * KNOT_SIZE + size.ear, size.width)
        self.moving = nn.Linear(KNOT_SIZE + TIMES, size.width)
        self.layers = nn.Sequential(*(Layer(size.width, size.dropout) for _ in range(size.layers)))
        self.head = nn.Linear(size.width, KNOT_SIZE)
        nn.init.zeros_(self.head.weight)
        nn.init.zeros_(self.head.bias)

    @torch.no_grad()
    def amplify(self, gain: Tensor) -> None:
        """Moves so much farther around the still's own pose. gain: (7,)."""
        self.spread.mul_(gain.repeat(KNOT_SIZE // POSE_SIZE))

    @torch.no_grad()
    def excite(self, gain: float) -> None:
        """What differs from a steady voice stirs the head so many times as much."""
        steady = self.stir[self.sizes[0] : self.sizes[0] + VOICE_FRAMES].sum()
        self.stir[:-1] *= gain
        self.stir[-1] += (1 - gain) * steady

    def heard(self, features: Tensor, voice: Tensor) -> Tensor:
        """(b, 8 t + 38, 1152) and (b, 4 t + 12, 2) -> (b, t, s): what each of t knots hears."""
        components = ((features - self.mean) @ self.basis).transpose(1, 2)
        frames = functional.avg_pool1d(components, FRAME_FEATURES).unfold(2, WINDOW_FRAMES, KNOT_FRAMES)  # (b, k, t, w)
        voices = voice.transpose(1, 2).unfold(2, VOICE_FRAMES, KNOT_FRAMES)  # (b, 2, t, v)
        awake = functional.pad(voices[:, 0], (0, WINDOW_FRAMES - VOICE_FRAMES), mode="replicate")
        return torch.cat([(frames * awake[:, None]).transpose(1, 2).flatten(2), voices.transpose(1, 2).flatten(2)], 2)

    def stirred(self, heard: Tensor) -> Tensor:
        """(n, s) -> (n, 1): how far the regression will be wrong, 1 as usual."""
        return (heard @ self.stir[:-1] + self.stir[-1]).clamp(*STIRS).exp()[:, None]

    def foretold(self, past: Tensor) -> Tensor:
        """(n, 140) -> (n, 14), in spreads."""
        return past @ self.follow

    def given(self, past: Tensor, heard: Tensor) -> Tensor:
        """(n, 140) in spreads and (n, s) -> (n, width): what stays the same while a knot is drawn."""
        if self.training:
            frames, voices = heard[:, : self.sizes[0]], heard[:, self.sizes[0] :]
            heard = torch.cat([frames + self.noise * torch.randn_like(frames), voices], 1)
        return self.told(torch.cat([past, self.ear(heard)], 1))  # type: ignore[no-any-return]

    def velocity(self, x: Tensor, time: Tensor, given: Tensor) -> Tensor:
        """(n, 14), (n, 1), (n, width) -> (n, 14): noise - error at x = (1 - time) error + time noise."""
        angle = math.pi * time
        times = torch.cat([time, time**2, angle.sin(), angle.cos()], 1)
        return self.head(functional.silu(self.layers(given + self.moving(torch.cat([x, times], 1)))))  # type: ignore[no-any-return]

    def forward(self, features: Tensor, voice: Tensor, past: Tensor, noise: Tensor) -> Tensor:
        """(n, 46, 1152), (n, 16, 2), (n, 10, 14), (n, 14) -> the next knot (n, 14)."""
        return self.drawn(self.heard(features, voice)[:, 0], past, noise)

    def drawn(self, heard: Tensor, past: Tensor, noise: Tensor) -> Tensor:
        """(n, s), (n, 10, 14), (n, 14) -> the next knot (n, 14), by the midpoint method.

        Euler's, at as many calls, would draw errors of four fifths of their spread.
        """
        knots = (past / self.spread).flatten(1)
        given, x, step = self.given(knots, heard), noise, 1 / self.steps
        for i in range(self.steps):
            time = torch.full_like(x[:, :1], 1 - i * step)
            middle = x - step / 2 * self.velocity(x, time, given)
            x = x - step * self.velocity(middle, time - step / 2, given)
        return self.spread * (self.foretold(knots) + self.stirred(heard) * (x @ self.error.T))
