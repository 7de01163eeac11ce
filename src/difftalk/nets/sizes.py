"""The named sizes of every net, as one literal table, and the tensor shapes they share.

Budgets are multiply-adds a frame; `tests/test_nets.py` holds them.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from difftalk.face.landmarks import UPPER
from difftalk.graphs import CONTEXT_FEATURES
from difftalk.speech.features import FEATURE_SIZE

LATENT_CHANNELS: Final = 8
LATENT_SIZE: Final = (16, 22)  # height, width: the patch's by 8
FOLDS_SIZE: Final = (72, 88)  # height, width: the region's by 2
SHARPNESS: Final = 2  # numbers that say how sharp a person's pictures are
COMPOSITE_CHANNELS: Final = 5  # RGB, inner mouth, coverage
LANDMARKS: Final = len(UPPER)
AUDIO_TOKENS: Final = CONTEXT_FEATURES
AUDIO_SIZE: Final = FEATURE_SIZE


@dataclass(frozen=True)
class PainterSizes:
    """Widths at /2, /4, /8, /16."""

    widths: tuple[int, int, int, int] = (40, 80, 160, 256)


@dataclass(frozen=True)
class FirstStageSizes:
    """Widths at /2, /4, /8 of the encoder, and of composite path and decoder.

    conditional: whether the decoder sees the composite; without it everything is painted from the latent (an ablation).
    """

    encoder: tuple[int, int, int] = (40, 80, 128)
    decoder: tuple[int, int, int] = (40, 80, 128)
    noise: float = 0.3  # on the normalised latent, in training
    conditional: bool = True


@dataclass(frozen=True)
class DenoiserSizes:
    """widths: at the latent's size and at half of it. composite: the first stage's at /8. token: of a condition."""

    widths: tuple[int, int] = (128, 256)
    composite: int = 128
    token: int = 192
    heads: int = 4


@dataclass(frozen=True)
class FoldsSizes:
    """Widths at half of the region's size, at a quarter and at an eighth."""

    widths: tuple[int, int, int] = (16, 32, 72)


@dataclass(frozen=True)
class CriticSizes:
    """width: of a head's hidden layer."""

    width: int = 64


@dataclass(frozen=True)
class MotionSizes:
    """components: principal ones that `linear` reads; network_components: that the network reads, of all layers.

    width, past, future: of the network's layers, frames a layer sees. members: nets whose mean it is.
    regression: share in that mean of a ridge regression.
    """

    components: int = 64
    network_components: int = 96
    width: int = 80
    members: int = 4
    regression: float = 0.0
    past: tuple[int, ...] = (3, 3, 3, 3, 3)  # together 15 frames
    future: tuple[int, ...] = (1, 1, 1, 1, 0)  # together 4 frames
    input_dropout: float = 0.2
    dropout: float = 0.4
    noise: float = 0.15  # on the whitened components, in training


@dataclass(frozen=True)
class SyncSizes:
    """components: of the features; width: of both towers' layers."""

    components: int = 96
    width: int = 128
    embedding: int = 64
    input_dropout: float = 0.2
    dropout: float = 0.3


@dataclass(frozen=True)
class HeadSizes:
    """components: of the features; ear: numbers for what is heard; width, layers: of the net.

    steps: of the midpoint method. noise, past_noise: on the components and the past's knots, in training, in spreads.
    """

    components: int = 16
    ear: int = 32
    width: int = 160
    layers: int = 3
    steps: int = 5
    past_noise: float = 0.05
    noise: float = 0.15
    dropout: float = 0.1
    ear_dropout: float = 0.3


PAINTER: Final = {"default": PainterSizes(), "debug": PainterSizes((8, 8, 8, 8))}
FIRST_STAGE: Final = {"default": FirstStageSizes(), "debug": FirstStageSizes((8, 8, 8), (8, 8, 8))}
DENOISER: Final = {"default": DenoiserSizes(), "debug": DenoiserSizes((8, 16), 8, 16, 2)}
FOLDS: Final = {"default": FoldsSizes(), "debug": FoldsSizes((8, 8, 8))}
MOTION: Final = {"default": MotionSizes(regression=0.3), "debug": MotionSizes(8, 8, 8, 2, 0.2)}
SYNC: Final = {"default": SyncSizes(), "debug": SyncSizes(8, 8, 8)}
HEAD: Final = {"default": HeadSizes(), "debug": HeadSizes(4, 8, 16, 1, 2)}
