"""Training data of the published system: its data layout -> batches, each a pure function of (seed, step).

A sample is a frame, the same without what is to be drawn, another frame of its class as the reference, and the
conditions. Knows nothing of losses or nets, nor of how the folder was made.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
import torch
from numpy.typing import NDArray

from difftalk.arrays import Array, Image
from difftalk.data.hdtf import Hdtf
from difftalk.render.published import SEEN, mask_of, masked
from difftalk.training.batches import PaperBatch

VALIDATION_CLASSES: Final = 12  # at most
VALIDATION_SHARES: Final = (1 / 3, 2 / 3)  # where in a class its frames for validation lie

Row = dict[str, NDArray[np.float32]]  # one sample of a batch, by the names of PaperBatch


@dataclass(frozen=True)
class Pair:
    """A frame of a class and its reference."""

    c: int
    frame: int
    reference: int


class PaperSource:
    """Batches for the published nets; every listed frame is as likely. picture_size: px, side of their pictures.

    held_out: the split for validation; without it that of the training is looked at.
    """

    def __init__(
        self, data: Hdtf, *, batch_size: int, picture_size: int, seed: int = 0, held_out: Hdtf | None = None
    ) -> None:
        self._data, self._held_out = data, data if held_out is None else held_out
        self._batch_size, self._size, self._seed = batch_size, picture_size, seed

    def batch(self, step: int) -> PaperBatch:
        rng = np.random.default_rng((self._seed, step))
        rows = []
        for place in rng.integers(len(self._data.frames), size=self._batch_size).tolist():
            c, frame = self._data.frames[place]
            pair = Pair(c, frame, int(rng.choice(self._data.far_frames(c, frame))))
            rows.append(row_of(self._data, pair, self._size))
        return _stack(rows)

    def validation(self) -> list[PaperBatch]:
        """Two frames of each of up to 12 classes, spread evenly, the same at every call; references as in training."""
        rows = [row_of(self._held_out, pair, self._size) for pair in validation_pairs(self._held_out)]
        return [_stack(rows[i : i + self._batch_size]) for i in range(0, len(rows), self._batch_size)]


def validation_pairs(data: Hdtf) -> list[Pair]:
    """The frames of validation; the reference of each is the middle one of those far away."""
    listed: dict[int, list[int]] = {}
    for c, frame in data.frames:
        listed.setdefault(c, []).append(frame)
    classes = sorted(listed)
    places = np.linspace(0, len(classes) - 1, min(len(classes), VALIDATION_CLASSES)).round().astype(int)
    pairs = []
    for c in (classes[place] for place in places):
        for share in VALIDATION_SHARES:
            frame = listed[c][int(share * len(listed[c]))]
            far = data.far_frames(c, frame)
            pairs.append(Pair(c, frame, int(far[len(far) // 2])))
    return pairs


def row_of(data: Hdtf, pair: Pair, size: int) -> Row:
    """One sample, pictures size x size."""
    picture = data.picture(pair.c, pair.frame)
    landmarks = data.landmarks(pair.c, pair.frame) * np.float32(size / len(picture))
    planes = _planes(picture, size)
    return {
        "picture": planes,
        "masked": masked(planes, mask_of(landmarks, size)),
        "reference": _planes(data.picture(pair.c, pair.reference), size),
        "audio": data.audio(pair.c, pair.frame),
        "landmarks": landmarks[SEEN],
    }


def _planes(picture: Image, size: int) -> Array:
    """RGB uint8 (s, s, 3) -> (3, size, size) in [-1, 1]."""
    import cv2

    resized = cv2.resize(picture, (size, size), interpolation=cv2.INTER_AREA)
    return np.asarray(resized.transpose(2, 0, 1) / np.float32(127.5) - 1, np.float32)


def _stack(rows: Sequence[Row]) -> PaperBatch:
    return PaperBatch(**{name: torch.from_numpy(np.stack([row[name] for row in rows])) for name in rows[0]})
