"""What each graph takes: shapes, how much of the speech, what may be left out, and which graphs a renderer needs."""

from __future__ import annotations

from typing import Final

LATENT_SHAPE: Final = (1, 8, 16, 22)
CONTEXT_FEATURES: Final = 20  # speech features around a frame, ± 200 ms
LEFT_OUT: Final = {  # conditions that can be left out -> the denoiser's inputs
    "audio": ("audio",),
    "reference": ("reference",),
    "previous": ("previous",),
    "mouth": ("landmarks", "shape"),
}
NEEDED: Final = {
    "painter": ["folds", "painter"],
    "denoiser": ["folds", "encoder", "composite_path", "denoiser", "decoder"],
    "published": ["published_encoder", "published_conditions", "published_denoiser", "published_decoder"],
}
WINDOWS: Final = 8  # of audio, of as many frames: four before, the frame's own, three after
WINDOW_STEPS: Final = 16  # speech features in a window
FRAME_STEPS: Final = 2  # speech features in a frame, at 25/s
BEFORE: Final = WINDOWS // 2 * FRAME_STEPS + WINDOW_STEPS // 2  # speech features before a frame's position
CONTEXT: Final = BEFORE + (WINDOWS // 2 - 1) * FRAME_STEPS + WINDOW_STEPS // 2  # all that are looked at


def context_of(renderer: str) -> tuple[int, int]:
    """Speech features before a frame's position, and from it on, that a renderer of this name is given."""
    if renderer == "published":
        return BEFORE, CONTEXT - BEFORE
    return CONTEXT_FEATURES // 2, CONTEXT_FEATURES // 2
