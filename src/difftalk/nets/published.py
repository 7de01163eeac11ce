"""DiffTalk as published (Shen et al., CVPR 2023): VQ first stage, denoising UNet, and the three condition nets.

Written from the paper and from the facts of the published code (docs/paper.md), on diffusers where it has the part.
Latents are three-channel and unscaled (`paper-small` scales its own); the denoiser sees noisy latent, masked frame and
reference, in this order, and one context token: 64 numbers of audio, 64 of landmarks.
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass, field
from typing import Any, Final

import torch
from torch import Tensor, nn

from difftalk.graphs import WINDOWS
from difftalk.render.published import CHARACTERS, SEEN
from difftalk.render.sampler import alphas_cumprod

LATENT: Final = 3  # channels
CODES: Final = 8192
POINTS: Final = len(SEEN)
CONDITION: Final = 64  # numbers of audio, and of landmarks
SMOOTHED: Final = 32  # channels that the attention over the windows looks at
SLOPE: Final = 0.02
HEAD_WIDTH: Final = 32


@dataclass(frozen=True)
class PaperFirstStageSizes:
    """base: channels at full size. multipliers: at each halving, so that their number gives the factor."""

    base: int = 128
    multipliers: tuple[int, ...] = (1, 2, 4)
    groups: int = 32
    codes: int = CODES


@dataclass(frozen=True)
class PaperSizes:
    """base, multipliers: of the UNet. picture: px, side of a frame."""

    base: int = 256
    multipliers: tuple[int, ...] = (1, 2, 3, 4)
    groups: int = 32
    picture: int = 256
    first_stage: PaperFirstStageSizes = field(default_factory=PaperFirstStageSizes)

    @property
    def latent(self) -> int:
        """Side of a latent."""
        return self.picture >> (len(self.first_stage.multipliers) - 1)


# Narrow nets keep 4 and 8 channels a group, as wide ones have: norms of single channels wash out a picture's colours.
_SMALL_FIRST_STAGE: Final = PaperFirstStageSizes(base=16, groups=4, codes=1024)
PAPER_FIRST_STAGE: Final = {
    "paper": PaperFirstStageSizes(),
    "paper-512": PaperFirstStageSizes(multipliers=(1, 2, 2, 4)),
    "paper-small": _SMALL_FIRST_STAGE,
    "paper-debug": PaperFirstStageSizes(base=8, groups=2, codes=16),
}
PAPER: Final = {
    "paper": PaperSizes(),
    "paper-512": PaperSizes(picture=512, first_stage=PAPER_FIRST_STAGE["paper-512"]),
    "paper-small": PaperSizes(base=32, groups=4, picture=128, first_stage=_SMALL_FIRST_STAGE),
    "paper-debug": PaperSizes(
        base=32, multipliers=(1, 1), groups=4, picture=64, first_stage=PAPER_FIRST_STAGE["paper-debug"]
    ),
}


class PaperFirstStage(nn.Module):
    """picture (b, 3, s, s) in [-1, 1] <-> latent (b, 3, s / f, s / f); VQ-f4 as of latent diffusion's model zoo."""

    def __init__(self, sizes: PaperFirstStageSizes) -> None:
        super().__init__()
        from diffusers import VQModel

        self.sizes = sizes
        levels = len(sizes.multipliers)
        self.model: Any = VQModel(  # type: ignore[no-untyped-call]
            down_block_types=("DownEncoderBlock2D",) * levels,
            up_block_types=("UpDecoderBlock2D",) * levels,
            block_out_channels=tuple(sizes.base * m for m in sizes.multipliers),
            layers_per_block=2,
            latent_channels=LATENT,
            num_vq_embeddings=sizes.codes,
            vq_embed_dim=LATENT,
            norm_num_groups=sizes.groups,
        )

    def encode(self, picture: Tensor) -> Tensor:
        """The continuous latent, before it is snapped to the codebook."""
        out: Tensor = self.model.encode(picture).latents
        return out

    def decode(self, latent: Tensor) -> Tensor:
        """Snaps to the codebook, then decodes."""
        out: Tensor = self.model.decode(latent).sample
        return out

    def forward(self, picture: Tensor) -> tuple[Tensor, Tensor]:
        """The picture decoded from its own latent, and the codebook's loss (van den Oord et al. 2017)."""
        latent = self.encode(picture)
        snapped, loss, _ = self.model.quantize(latent)
        decoded: Tensor = self.model.decoder(self.model.post_quant_conv(snapped))
        return decoded, loss


class AudioNet(nn.Module):
    """(n, 16, 29) -> (n, 64): four strided convolutions over a window's steps."""

    def __init__(self) -> None:
        super().__init__()
        widths = (CHARACTERS, 32, 32, 64, 64)
        layers: list[nn.Module] = []
        for before, after in itertools.pairwise(widths):
            layers += [nn.Conv1d(before, after, 3, stride=2, padding=1), nn.LeakyReLU(SLOPE)]
        self.encoder_conv = nn.Sequential(*layers)
        self.encoder_fc1 = nn.Sequential(
            nn.Linear(CONDITION, CONDITION), nn.LeakyReLU(SLOPE), nn.Linear(CONDITION, CONDITION)
        )

    def forward(self, windows: Tensor) -> Tensor:
        out: Tensor = self.encoder_fc1(self.encoder_conv(windows.transpose(1, 2)).flatten(1))
        return out


class AudioSmoothing(nn.Module):
    """(b, 8, 64) -> (b, 64): the windows' mean, weighted by an attention that sees the first 32 channels."""

    def __init__(self) -> None:
        super().__init__()
        widths = (SMOOTHED, 16, 8, 4, 2, 1)
        layers: list[nn.Module] = []
        for before, after in itertools.pairwise(widths):
            layers += [nn.Conv1d(before, after, 3, padding=1), nn.LeakyReLU(SLOPE)]
        self.attentionConvNet = nn.Sequential(*layers)
        self.attentionNet = nn.Sequential(nn.Linear(WINDOWS, WINDOWS), nn.Softmax(1))

    def forward(self, heard: Tensor) -> Tensor:
        scores = self.attentionConvNet(heard[..., :SMOOTHED].transpose(1, 2)).flatten(1)
        weights: Tensor = self.attentionNet(scores)
        return (weights[..., None] * heard).sum(1)


class LandmarkNet(nn.Module):
    """(b, 39, 2) px of the picture -> (b, 64)."""

    def __init__(self) -> None:
        super().__init__()
        self.encoder_fc1 = nn.Sequential(
            nn.Linear(2 * POINTS, 2 * CONDITION),
            nn.LeakyReLU(SLOPE),
            nn.Linear(2 * CONDITION, CONDITION),
            nn.LeakyReLU(SLOPE),
            nn.Linear(CONDITION, CONDITION),
        )

    def forward(self, points: Tensor) -> Tensor:
        out: Tensor = self.encoder_fc1(points.flatten(1))
        return out


class ConditionNets(nn.Module):
    """Audio windows (b, 8, 16, 29) and landmarks (b, 39, 2) -> the context token (b, 1, 128)."""

    def __init__(self) -> None:
        super().__init__()
        self.audio, self.audio_smooth, self.landmarks = AudioNet(), AudioSmoothing(), LandmarkNet()

    def forward(self, windows: Tensor, points: Tensor) -> Tensor:
        heard = self.audio(windows.flatten(0, 1)).unflatten(0, windows.shape[:2])
        return torch.cat([self.audio_smooth(heard), self.landmarks(points)], 1)[:, None]


def denoising_net(sizes: PaperSizes) -> Any:
    """The UNet: attention at half, a quarter and an eighth of the latent's side, one transformer block each."""
    from diffusers import UNet2DConditionModel

    widths = tuple(sizes.base * m for m in sizes.multipliers)
    deeper = len(widths) - 1
    return UNet2DConditionModel(  # type: ignore[no-untyped-call]
        sample_size=sizes.latent,
        in_channels=3 * LATENT,
        out_channels=LATENT,
        down_block_types=("DownBlock2D", *("CrossAttnDownBlock2D",) * deeper),
        up_block_types=(*("CrossAttnUpBlock2D",) * deeper, "UpBlock2D"),
        block_out_channels=widths,
        layers_per_block=2,
        norm_num_groups=sizes.groups,
        cross_attention_dim=2 * CONDITION,
        attention_head_dim=tuple(max(1, width // HEAD_WIDTH) for width in widths),  # number of heads, by its old name
    )


class PublishedDiffTalk(nn.Module):
    """All nets of the published system. The first stage never trains here.

    checkpointing: whether the denoiser's blocks are computed again on the way back, for less memory.
    """

    def __init__(self, sizes: PaperSizes, *, checkpointing: bool = False) -> None:
        super().__init__()
        self.sizes = sizes
        self.denoiser, self.conditions = denoising_net(sizes), ConditionNets()
        if checkpointing:
            self.denoiser.enable_gradient_checkpointing()
        self.first_stage = PaperFirstStage(sizes.first_stage).requires_grad_(False)

    def forward(self, noisy: Tensor, masked: Tensor, reference: Tensor, step: Tensor, context: Tensor) -> Tensor:
        """The noise in `noisy`; latents (b, 3, h, h), time steps (b,) of 0..999, context (b, 1, 128)."""
        seen = torch.cat([noisy, masked, reference], 1)
        out: Tensor = self.denoiser(seen, step, encoder_hidden_states=context).sample
        return out

    @torch.no_grad()
    def encode(self, picture: Tensor) -> Tensor:
        return self.first_stage.encode(picture).float()


def noised(latent: Tensor, step: Tensor, noise: Tensor) -> Tensor:
    """The latent (b, 3, h, h) at time steps (b,) (Ho et al. 2020, equation 4)."""
    share = torch.from_numpy(alphas_cumprod()).to(latent.device)[step].to(latent)[:, None, None, None]
    return share.sqrt() * latent + (1 - share).sqrt() * noise
