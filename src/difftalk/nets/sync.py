"""The sync expert: do these mouth shapes go with this sound? A loss for motion; the judge of evaluation is another net.

Two towers as in SyncNet (Chung & Zisserman 2016), but from the speech encoder's features and from mouth shapes, so it
costs next to nothing: embedding i of both is of the frames i to i + 4.
"""

from __future__ import annotations

from typing import Final

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from difftalk.face.mouth import COMPONENTS
from difftalk.nets.sizes import SyncSizes
from difftalk.speech.features import FEATURE_SIZE
from difftalk.speech.motion import FUTURE_FEATURES, PAST_FEATURES

SYNC_WINDOW: Final = 5  # frames at 25/s
_REACH: Final = 2  # frames of sound heard before and after a window


class SyncExpert(nn.Module):
    """See `forward`. mean, basis: of the features' whitened principal components."""

    mean: Tensor
    basis: Tensor

    def __init__(self, sizes: SyncSizes) -> None:
        super().__init__()
        self.register_buffer("mean", torch.zeros(FEATURE_SIZE))
        self.register_buffer("basis", torch.zeros(FEATURE_SIZE, sizes.components))
        width, out = sizes.width, sizes.embedding
        self.ears = nn.Sequential(
            nn.Dropout1d(sizes.input_dropout),
            nn.Conv1d(sizes.components, width, 2, stride=2),
            nn.SiLU(),
            nn.Dropout(sizes.dropout),
            nn.Conv1d(width, width, SYNC_WINDOW),
            nn.SiLU(),
            nn.Dropout(sizes.dropout),
            nn.Conv1d(width, out, 2 * _REACH + 1),
        )
        self.eyes = nn.Sequential(
            nn.Conv1d(COMPONENTS, width, 3),
            nn.SiLU(),
            nn.Dropout(sizes.dropout),
            nn.Conv1d(width, width, SYNC_WINDOW - 2),
            nn.SiLU(),
            nn.Dropout(sizes.dropout),
            nn.Conv1d(width, out, 1),
        )
        self.sharpness = nn.Parameter(torch.tensor(2.3))  # log of the logits' scale

    def forward(self, features: Tensor, shapes: Tensor) -> tuple[Tensor, Tensor]:
        """features (b, 2 t + 38, 1152), shapes (b, t, 16) -> of sound and mouth each (b, t - 4, e), of length 1."""
        first, last = PAST_FEATURES - 2 * _REACH, FUTURE_FEATURES - 2 * _REACH
        near = (features[:, first : features.shape[1] - last] - self.mean) @ self.basis
        heard, seen = self.ears(near.transpose(1, 2)), self.eyes(shapes.transpose(1, 2))
        return F.normalize(heard, dim=1).transpose(1, 2), F.normalize(seen, dim=1).transpose(1, 2)
