"""The sync judge's two towers (after SyncNet, Chung & Zisserman 2016): mouths and log-mel -> embeddings that meet.

Both are valid convolutions along time, so that a whole clip costs no more than its frames: embedding i of the video is
of frames i to i + 4, embedding i of the audio of the 20 mel frames that sound meanwhile. The first layer sees motion (3
frames at once). Knows nothing of clips, files or scores.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import torch
import torch.nn.functional as F
from torch import Tensor, nn

MOUTH_SIZE: Final = (48, 64)  # height, width
WINDOW: Final = 5  # frames at 25/s
MELS: Final = 80
MELS_A_FRAME: Final = 4  # at 100 Hz
TRAITS: Final = 6  # components of the mouth shape that training asks for beside


@dataclass(frozen=True)
class JudgeSizes:
    """stem, widths: channels of the video tower; ears: of the audio tower; hidden, embedding: of both."""

    stem: int = 24
    widths: tuple[int, int, int] = (40, 64, 96)
    ears: tuple[int, int, int] = (32, 64, 96)
    hidden: int = 160
    embedding: int = 64
    dropout: float = 0.25


def _layer(
    inputs: int, outputs: int, kernel: tuple[int, int], stride: tuple[int, int], pad: tuple[int, int]
) -> nn.Module:
    return nn.Sequential(
        nn.Conv2d(inputs, outputs, kernel, stride, pad, bias=False), nn.BatchNorm2d(outputs), nn.ReLU(inplace=True)
    )


class Residual(nn.Module):
    """A 3 × 3 layer (or any) added to its input."""

    def __init__(self, channels: int, kernel: tuple[int, int] = (3, 3)) -> None:
        super().__init__()
        self.layer = _layer(channels, channels, kernel, (1, 1), (kernel[0] // 2, kernel[1] // 2))

    def forward(self, x: Tensor) -> Tensor:
        return x + self.layer(x)  # type: ignore[no-any-return]


class VideoTower(nn.Module):
    """(batch, 2, n + 4, 48, 64) -> features (batch, n, hidden)."""

    def __init__(self, sizes: JudgeSizes) -> None:
        super().__init__()
        a, b, c = sizes.widths
        self.picture = nn.Sequential(
            _layer(6, sizes.stem, (5, 5), (2, 2), (2, 2)),
            _layer(sizes.stem, a, (3, 3), (2, 2), (1, 1)),
            Residual(a),
            _layer(a, b, (3, 3), (2, 2), (1, 1)),
            Residual(b),
            _layer(b, c, (3, 3), (2, 2), (1, 1)),
            nn.Dropout2d(sizes.dropout / 2),
            _layer(c, sizes.hidden, (3, 4), (1, 1), (0, 0)),
        )
        self.motion = _layer(sizes.hidden, sizes.hidden, (1, 3), (1, 1), (0, 0))

    def forward(self, mouths: Tensor) -> Tensor:
        batch, frames = mouths.shape[0], mouths.shape[2]
        threes = torch.cat([mouths[:, :, i : frames - 2 + i] for i in range(3)], 1)
        flat = threes.transpose(1, 2).flatten(0, 1).contiguous(memory_format=torch.channels_last)
        seen = self.picture(flat).flatten(1).view(batch, frames - 2, -1)
        out: Tensor = self.motion(seen.transpose(1, 2)[:, :, None])[:, :, 0].transpose(1, 2)
        return out


class AudioTower(nn.Module):
    """(batch, 80, 4 (n + 4)) log-mel -> features (batch, n, hidden)."""

    def __init__(self, sizes: JudgeSizes) -> None:
        super().__init__()
        a, b, c = sizes.ears
        self.sound = nn.Sequential(
            _layer(1, a, (5, 4), (2, 2), (2, 0)),
            _layer(a, b, (3, 3), (2, 2), (1, 0)),
            Residual(b, (3, 1)),
            _layer(b, c, (3, 3), (2, 1), (1, 0)),
            Residual(c, (3, 1)),
            nn.Dropout2d(sizes.dropout / 2),
            _layer(c, sizes.hidden, (10, 2), (1, 1), (0, 0)),
        )

    def forward(self, mel: Tensor) -> Tensor:
        out: Tensor = self.sound(mel[:, None])[:, :, 0].transpose(1, 2)
        return out


class JudgeNet(nn.Module):
    """Embeddings of length 1. The traits (mouth shape read from pictures, guessed from sound) serve training alone."""

    def __init__(self, sizes: JudgeSizes) -> None:
        super().__init__()
        self.sizes = sizes
        self.video, self.audio = VideoTower(sizes), AudioTower(sizes)
        self.drop = nn.Dropout(sizes.dropout)
        self.video_head = nn.Linear(sizes.hidden, sizes.embedding)
        self.audio_head = nn.Linear(sizes.hidden, sizes.embedding)
        self.video_traits = nn.Linear(sizes.hidden, TRAITS)
        self.audio_traits = nn.Linear(sizes.hidden, TRAITS)

    def see(self, mouths: Tensor) -> Tensor:
        """(batch, 2, n + 4, 48, 64) -> (batch, n, embedding)."""
        return F.normalize(self.video_head(self.drop(self.video(mouths))).float(), dim=-1)

    def hear(self, mel: Tensor) -> Tensor:
        """(batch, 80, 4 (n + 4)) -> (batch, n, embedding)."""
        return F.normalize(self.audio_head(self.drop(self.audio(mel))).float(), dim=-1)

    def forward(self, mouths: Tensor, mel: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Embeddings of both, then traits of both."""
        seen, heard = self.drop(self.video(mouths)), self.drop(self.audio(mel))
        return (
            F.normalize(self.video_head(seen).float(), dim=-1),
            F.normalize(self.audio_head(heard).float(), dim=-1),
            self.video_traits(seen).float(),
            self.audio_traits(heard).float(),
        )
