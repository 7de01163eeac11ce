"""The denoiser: one small convolution UNet on the patch's latents (DiffTalk, section 3.2, made to run on two cores).

Conditions: the composite's features, the reference's latent, the previous output's latent (the paper's progressive
reference), audio tokens by cross-attention, upper-face landmarks and mouth shape as tokens. Predicts the velocity of a
rectified flow (Liu et al. 2023): x_t = (1 - t) latent + t noise, velocity = noise - latent.
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from difftalk.face.mouth import COMPONENTS
from difftalk.graphs import LEFT_OUT
from difftalk.nets.sizes import AUDIO_SIZE, AUDIO_TOKENS, LANDMARKS, LATENT_CHANNELS, DenoiserSizes

CONDITIONS = tuple(LEFT_OUT)  # in the order of `keep`
LANDMARK_TOKENS = 3
TIME_WIDTH = 64
GROUPS = 8
COMPOSITE_WIDTH = 32  # channels of the composite's features that the denoiser sees


class ConditionedResidual(nn.Module):
    """Residual block whose normalised features are scaled and shifted by the condition vector."""

    def __init__(self, width: int, vector: int) -> None:
        super().__init__()
        self.norm = nn.GroupNorm(GROUPS, width)
        self.first, self.second = nn.Conv2d(width, width, 3, padding=1), nn.Conv2d(width, width, 3, padding=1)
        self.modulate = nn.Linear(vector, 2 * width)
        nn.init.zeros_(self.second.weight)
        nn.init.zeros_(self.second.bias)  # type: ignore[arg-type]

    def forward(self, x: Tensor, vector: Tensor) -> Tensor:
        scale, shift = self.modulate(vector)[:, :, None, None].chunk(2, 1)
        y = self.first(F.silu(self.norm(x) * (1 + scale) + shift))
        out: Tensor = x + self.second(F.silu(y))
        return out


class CrossAttention(nn.Module):
    """Every place of a feature map looks at the condition tokens."""

    def __init__(self, width: int, token: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.norm = nn.GroupNorm(GROUPS, width)
        self.query, self.key_value = nn.Linear(width, width), nn.Linear(token, 2 * width)
        self.out = nn.Linear(width, width)
        nn.init.zeros_(self.out.weight)
        nn.init.zeros_(self.out.bias)

    def forward(self, x: Tensor, tokens: Tensor) -> Tensor:
        flat = self.norm(x).flatten(2).transpose(1, 2)
        q, k, v = (
            part.unflatten(-1, (self.heads, -1)).transpose(1, 2)
            for part in (self.query(flat), *self.key_value(tokens).chunk(2, -1))
        )
        seen = F.scaled_dot_product_attention(q, k, v).transpose(1, 2).flatten(2)
        out: Tensor = x + self.out(seen).transpose(1, 2).reshape(x.shape)
        return out


class Denoiser(nn.Module):
    """See `forward`."""

    def __init__(self, sizes: DenoiserSizes) -> None:
        super().__init__()
        self.sizes = sizes
        a, b = sizes.widths
        vector = b
        self.composite = nn.Conv2d(sizes.composite, COMPOSITE_WIDTH, 1)
        self.stem = nn.Conv2d(3 * LATENT_CHANNELS + COMPOSITE_WIDTH, a, 3, padding=1)
        self.audio = nn.Linear(AUDIO_SIZE, sizes.token)
        self.audio_places = nn.Parameter(0.02 * torch.randn(AUDIO_TOKENS, sizes.token))
        self.landmarks = nn.Linear(2 * LANDMARKS, LANDMARK_TOKENS * sizes.token)
        self.shape = nn.Linear(COMPONENTS, sizes.token)
        self.vector = nn.Sequential(
            nn.Linear(TIME_WIDTH + 2 * sizes.token, vector), nn.SiLU(), nn.Linear(vector, vector), nn.SiLU()
        )
        self.high = nn.ModuleList(ConditionedResidual(a, vector) for _ in range(2))
        self.down = nn.Conv2d(a, b, 3, stride=2, padding=1)
        self.low = nn.ModuleList(ConditionedResidual(b, vector) for _ in range(3))
        self.attention = nn.ModuleList(CrossAttention(b, sizes.token, sizes.heads) for _ in range(2))
        self.narrow = nn.Conv2d(b, a, 1)
        self.again = nn.ModuleList(ConditionedResidual(a, vector) for _ in range(2))
        self.out = nn.Conv2d(a, LATENT_CHANNELS, 3, padding=1)
        nn.init.zeros_(self.out.weight)
        nn.init.zeros_(self.out.bias)  # type: ignore[arg-type]

    def forward(
        self,
        noisy: Tensor,
        time: Tensor,
        composite: Tensor,
        reference: Tensor,
        previous: Tensor,
        audio: Tensor,
        landmarks: Tensor,
        shape: Tensor,
        keep: Tensor | None = None,
    ) -> Tensor:
        """Velocity (b, 8, 16, 22).

        noisy, reference, previous: (b, 8, 16, 22) latents. time: (b,) in [0, 1], 1 is pure noise. composite: (b, c, 16,
        22) features at /8. audio: (b, 20, 1152). landmarks: (b, n, 2). shape: (b, 16). keep: (b, 4) of 0 or 1, see
        CONDITIONS.
        """
        if keep is not None:
            audio = audio * keep[:, 0, None, None]
            reference, previous = reference * keep[:, 1, None, None, None], previous * keep[:, 2, None, None, None]
            landmarks, shape = landmarks * keep[:, 3, None, None], shape * keep[:, 3, None]
        heard = self.audio(audio) + self.audio_places
        mouth = self.shape(shape)
        places = self.landmarks(landmarks.flatten(1)).unflatten(1, (LANDMARK_TOKENS, -1))
        tokens = torch.cat([heard, places, mouth[:, None]], 1)
        middle = heard[:, AUDIO_TOKENS // 2 - 3 : AUDIO_TOKENS // 2 + 3].mean(1)
        vector = self.vector(torch.cat([time_features(time), middle, mouth], 1))
        x = self.stem(torch.cat([noisy, reference, previous, self.composite(composite)], 1))
        for block in self.high:
            x = block(x, vector)
        y = self.low[0](self.down(x), vector)
        y = self.low[1](self.attention[0](y, tokens), vector)
        y = self.low[2](self.attention[1](y, tokens), vector)
        x = x + F.interpolate(self.narrow(y), size=x.shape[-2:], mode="nearest")
        for block in self.again:
            x = block(x, vector)
        out: Tensor = self.out(F.silu(x))
        return out


def time_features(time: Tensor) -> Tensor:
    """(b,) in [0, 1] -> (b, 64) sines and cosines (Vaswani et al. 2017, section 3.5)."""
    rates = torch.exp(-math.log(1000.0) * torch.arange(TIME_WIDTH // 2, device=time.device) / (TIME_WIDTH // 2))
    angles = 100.0 * time[:, None] * rates[None]
    return torch.cat([angles.sin(), angles.cos()], 1)
