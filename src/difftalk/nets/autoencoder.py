"""The conditional first stage: the latent carries only what the composite lacks.

The encoder sees a region's picture. The decoder sees the latent and, through a light path with skips, the composite at
full resolution; texture passes through it. Nearest relative: `AsymmetricAutoencoderKL` (Zhu et al. 2023). The latent is
normalised per channel by running statistics and, in training, noised: it has a rate (section 3 of Rombach et al. 2022
uses a KL term for that) and the decoder learns to forgive a denoiser's small errors.
"""

from __future__ import annotations

from typing import Final

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from difftalk.nets.blocks import Down, Paint, Residual, Up, told
from difftalk.nets.sizes import COMPOSITE_CHANNELS, LATENT_CHANNELS, SHARPNESS, FirstStageSizes

STATISTICS_MOMENTUM: Final = 0.01


class Encoder(nn.Module):
    """picture (b, 3, 128, 176) in [-1, 1] -> normalised latent (b, 8, 16, 22), about unit variance a channel."""

    def __init__(self, sizes: FirstStageSizes) -> None:
        super().__init__()
        a, b, c = sizes.encoder
        self.stem = nn.Conv2d(12, a, 3, padding=1)
        self.level2 = Residual(a)
        self.level4, self.level8 = Down(a, b, blocks=1), Down(b, c, blocks=2)
        self.out = nn.Conv2d(c, LATENT_CHANNELS, 3, padding=1)
        self.register_buffer("mean", torch.zeros(LATENT_CHANNELS))
        self.register_buffer("std", torch.ones(LATENT_CHANNELS))
        self.register_buffer("seen", torch.zeros(()))

    def forward(self, picture: Tensor) -> Tensor:
        x = self.level2(self.stem(F.pixel_unshuffle(picture, 2)))
        raw = self.out(F.silu(self.level8(self.level4(x)))).float()
        mean, std = self._batch_statistics(raw) if self.training else (self.mean, self.std)
        out: Tensor = (raw - mean[:, None, None]) / std[:, None, None]  # type: ignore[index]
        return out

    def _batch_statistics(self, raw: Tensor) -> tuple[Tensor, Tensor]:
        """The batch's own, gradient included: with statistics that lag behind, growing without end beats the noise."""
        mean, std = raw.mean((0, 2, 3)), raw.std((0, 2, 3)).clamp_min(1e-4)
        momentum = torch.where(self.seen == 0, 1.0, STATISTICS_MOMENTUM)  # type: ignore[arg-type]
        self.mean.lerp_(mean.detach(), momentum)  # type: ignore[operator]
        self.std.lerp_(std.detach(), momentum)  # type: ignore[operator]
        self.seen.fill_(1)  # type: ignore[operator]
        return mean, std


class CompositePath(nn.Module):
    """composite (b, 5, 128, 176), sharpness (b, 2) of the person's pictures -> features at /2, /4, /8."""

    def __init__(self, sizes: FirstStageSizes) -> None:
        super().__init__()
        a, b, c = sizes.decoder
        self.stem = nn.Conv2d(4 * COMPOSITE_CHANNELS, a, 3, padding=1)
        self.level4, self.level8 = Down(a, b, blocks=0), Down(b, c, blocks=1)
        self.sharpness = told(SHARPNESS, c)

    def forward(self, composite: Tensor, sharpness: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        x2 = self.stem(F.pixel_unshuffle(composite, 2))
        x4 = self.level4(F.silu(x2))
        return x2, x4, self.level8(F.silu(x4)) + self.sharpness(sharpness)[:, :, None, None]


class Decoder(nn.Module):
    """latent (b, 8, 16, 22), composite and its features -> picture (b, 3, 128, 176), about [-1, 1]."""

    def __init__(self, sizes: FirstStageSizes) -> None:
        super().__init__()
        a, b, c = sizes.decoder
        self.conditional = sizes.conditional
        self.stem = nn.Conv2d(LATENT_CHANNELS, c, 3, padding=1)
        self.level8 = nn.Sequential(Residual(c), Residual(c), Residual(c))
        self.up4, self.up2 = Up(c, b, blocks=2), Up(b, a, blocks=2)
        self.paint = Paint(a)

    def forward(self, latent: Tensor, composite: Tensor, half: Tensor, quarter: Tensor, eighth: Tensor) -> Tensor:
        return self.parts(latent, composite, half, quarter, eighth)[0]

    def parts(
        self, latent: Tensor, composite: Tensor, half: Tensor, quarter: Tensor, eighth: Tensor
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Picture, residual and gate, for the loss."""
        if not self.conditional:
            half, quarter, eighth = (torch.zeros_like(features) for features in (half, quarter, eighth))
        x = self.level8(self.stem(latent * self.window(composite)) + eighth)
        x = self.up2(self.up4(x, quarter), half)
        out: tuple[Tensor, Tensor, Tensor] = self.paint(x, composite, whole=not self.conditional)
        return out

    def window(self, composite: Tensor) -> Tensor:
        """(b, 1, 16, 22): where the latent is heard."""
        window = mouth_window(composite)
        return window if self.conditional else torch.ones_like(window)


def mouth_window(composite: Tensor) -> Tensor:
    """composite (b, 5, 128, 176) -> (b, 1, 16, 22) in [0, 1]: where the latent is heard.

    That is the mouth and 16 to 24 px of the patch around it. Elsewhere the composite says all there is to say; a
    latent heard there carries background that no denoiser can know.
    """
    inner = F.max_pool2d(composite[:, 3:4], 8, 8)
    return F.avg_pool2d(F.max_pool2d((4 * inner).clamp(max=1), 5, 1, 2), 3, 1, 1)


class FirstStage(nn.Module):
    """Encoder, composite path and decoder together."""

    def __init__(self, sizes: FirstStageSizes) -> None:
        super().__init__()
        self.sizes = sizes
        self.encoder, self.composite_path, self.decoder = Encoder(sizes), CompositePath(sizes), Decoder(sizes)

    def encode(self, picture: Tensor) -> Tensor:
        out: Tensor = self.encoder(picture)
        return out

    def decode(self, latent: Tensor, composite: Tensor, sharpness: Tensor) -> Tensor:
        return self.decode_parts(latent, composite, sharpness)[0]

    def decode_parts(self, latent: Tensor, composite: Tensor, sharpness: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        return self.decoder.parts(latent, composite, *self.composite_path(composite, sharpness))
