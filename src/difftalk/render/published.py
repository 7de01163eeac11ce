"""What the published system sees of a frame: 39 landmarks, windows of audio, and a masked picture. In plain arrays.

Facts in docs/paper.md. DeepSpeech, which the published code hears through, is a dead program; where a user has no
arrays of it, 29 principal components of this package's speech features stand in for its 29 characters.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Final

import numpy as np
from numpy.typing import NDArray

from difftalk.arrays import Array
from difftalk.graphs import BEFORE, CONTEXT, FRAME_STEPS, WINDOW_STEPS, WINDOWS
from difftalk.model import SHIPPED
from difftalk.speech.features import LAYER_SIZE

# The 68 landmarks of iBUG 300-W among the mesh's points, as commonly mapped: jaw, brows, nose, eyes, lips.
LANDMARKS_68: Final = np.array(
    [162, 234, 93, 58, 172, 136, 149, 148, 152, 377, 378, 365, 397, 288, 323, 454, 389, 71, 63, 105, 66, 107, 336, 296,
     334, 293, 301, 168, 197, 5, 4, 75, 97, 2, 326, 305, 33, 160, 158, 133, 153, 144, 362, 385, 387, 263, 373, 380, 61,
     39, 37, 0, 267, 269, 291, 405, 314, 17, 84, 181, 78, 82, 13, 312, 308, 317, 14, 87]
)  # fmt: skip
SEEN: Final = np.r_[0:4, 13:48]  # of the 68: those that show no mouth
NOSE: Final = 33  # of the 68: rows below it are masked
CHARACTERS: Final = 29
EMPTY: Final = -1.0  # of masked pixels
_PROJECTION: Final = SHIPPED / "speech_projection.safetensors"


def landmarks_68(mesh: NDArray[np.floating]) -> Array:
    """Mesh (478, 3) -> the 68 landmarks (68, 2), in the mesh's own pixels."""
    return np.asarray(mesh[LANDMARKS_68, :2], np.float32)


@lru_cache(maxsize=1)
def _projection() -> tuple[Array, Array]:
    from safetensors.numpy import load_file

    held = load_file(_PROJECTION)
    return held["mean"].astype(np.float32), held["basis"].astype(np.float32)


def characters_of(features: NDArray[np.floating]) -> Array:
    """Speech features (n, 1152) -> (n, 29): principal components of the encoder's last layer, of unit spread."""
    mean, basis = _projection()
    return np.asarray((features[:, -LAYER_SIZE:].astype(np.float32) - mean) @ basis, np.float32)


def rows_around(position: float) -> NDArray[np.int64]:
    """Numbers of the 30 speech features, at 50 Hz, around a position in them; some may be outside the audio."""
    return np.arange(CONTEXT) - BEFORE + round(position)


def windows_of(heard: Array) -> Array:
    """(30, 29) around a frame -> its windows (8, 16, 29)."""
    return np.stack([heard[FRAME_STEPS * i : FRAME_STEPS * i + WINDOW_STEPS] for i in range(WINDOWS)])


def mask_of(landmarks: NDArray[np.floating], size: int) -> Array:
    """(68, 2) px -> (size, size), 1 where the picture is masked: the rows below the nose.

    The published code masks below landmark 30 when it trains, and below 33, within the jaw, when it runs. This is one
    mask for both: a jaw's outline would tell how far the true mouth is open.
    """
    row = int(np.clip(round(float(landmarks[NOSE, 1])), 0, size - 1))
    mask = np.zeros((size, size), np.float32)
    mask[row:] = 1
    return mask


def masked(picture: Array, mask: Array) -> Array:
    """(3, s, s) in [-1, 1] -> likewise, empty under the mask (s, s)."""
    return np.where(mask > 0, np.float32(EMPTY), picture)
