"""The sync judge: whether a mouth and a sound belong together, from pictures and log-mel alone.

    scores = Judge.shipped().scores(frames, waveform)  # aligned (256, 256, 3) at 25/s, 16 kHz

Offset, confidence and distance are syncnet_python's (Chung & Zisserman 2016; windows of 5 frames, shifts of ± 15). It
shares no net, no features, no seed with what it judges, and nothing but evaluation imports it. Knows nothing of data
sets.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from functools import lru_cache
from pathlib import Path
from typing import Final, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file

from difftalk.arrays import Array, Image
from difftalk.errors import DataError
from difftalk.evaluation.judge.net import MELS_A_FRAME, MOUTH_SIZE, WINDOW, JudgeNet, JudgeSizes
from difftalk.evaluation.metrics.curves import NEAR, REACH
from difftalk.evaluation.metrics.curves import WINDOW as STRETCH
from difftalk.nets.stored import stored
from difftalk.speech.features import log_mel

WEIGHTS: Final = "judge.safetensors"
VIEW_Y: Final = (104, 224)  # of the aligned frame: what training may slide and turn in
VIEW_X: Final = (48, 208)
VIEW_SIZE: Final = (60, 80)  # height, width; half of it
SOUND_RANGE: Final = 1.5  # log-mel units (60 dB) under the loudest that are heard
CHUNK: Final = 256  # frames embedded at once
SAMPLES_LEAST: Final = 400  # that a mel frame needs


@dataclass(frozen=True)
class SyncScores:
    """offset: the shift of least distance, frames at 25/s by which the mouth leads its audio.

    syncnet_python prints the offset's negative. confidence: LSE-C, distance: LSE-D. curve: (31,) mean distance at
    shifts -15 to 15; nan where no window reaches that far.
    """

    offset: int
    confidence: float
    distance: float
    curve: NDArray[np.float64]

    @classmethod
    def of(cls, curve: NDArray[np.float64]) -> SyncScores:
        """From the mean distance at shifts -15 to 15."""
        if not np.isfinite(curve).any():
            raise DataError(
                f"a clip with no full window cannot be judged; give at least {WINDOW} frames and their audio"
            )
        least = float(np.nanmin(curve))
        return cls(int(np.nanargmin(curve)) - REACH, float(np.nanmedian(curve)) - least, least, curve)


class SyncJudge(Protocol):
    """Whoever embeds 5-frame windows of pictures and of sound in one space, and so can tell when they fit."""

    def see(self, frames: Sequence[Image]) -> Array:
        """(t,) aligned RGB uint8 (256, 256, 3) at 25/s -> (t - 4, d)."""

    def hear(self, waveform: Array) -> Array:
        """(n,) float at 16 kHz -> (about n / 640 - 4, d)."""

    def scores(self, frames: Sequence[Image], waveform: Array) -> SyncScores:
        """Of a clip. Raises DataError where there is no full window."""


def distances(video: Array, audio: Array, *, padded: bool) -> NDArray[np.float64]:
    """Windows (t, d), (u, d) -> (t, 31): how far each of the video is from the audio's at shifts -15 to 15.

    Past the audio's ends there is nan; padded: an embedding of zeros, as in syncnet_python.
    """
    if not len(video):
        return np.zeros((0, 2 * REACH + 1))
    there = np.full((len(video) + 2 * REACH, video.shape[1]), 0.0 if padded else np.nan)
    kept = audio[: len(video) + REACH]
    there[REACH : REACH + len(kept)] = kept
    windows = np.lib.stride_tricks.sliding_window_view(there, 2 * REACH + 1, axis=0).transpose(0, 2, 1)
    return np.asarray(np.linalg.norm(video[:, None].astype(np.float64) - windows, axis=-1))


def mean_curve(table: NDArray[np.float64]) -> NDArray[np.float64]:
    """(t, 31) distances -> (31,) means over the windows that exist."""
    there = np.isfinite(table)
    count = there.sum(0)
    total = np.where(there, table, 0.0).sum(0)
    return np.where(count > 0, total / np.maximum(count, 1), np.nan)


def window_offsets(table: NDArray[np.float64], hop: int) -> NDArray[np.int64]:
    """(t, 31) distances -> the shift found in each stretch of 50 frames, `hop` frames apart.

    Stretches as in curves.window_shifts. A shift counts where all of the stretch's sound exists.
    """
    out, rows = [], STRETCH - WINDOW + 1
    for start in range(NEAR, len(table) - rows - NEAR + 1, hop):
        curve = table[start : start + rows].mean(0)
        if np.isfinite(curve).any():
            out.append(int(np.nanargmin(curve)) - REACH)
    return np.array(out, np.int64)


@dataclass(frozen=True)
class Judge:
    """The one trained here. header: what trained it."""

    net: JudgeNet
    header: dict[str, str]

    @classmethod
    @lru_cache(maxsize=1)
    def shipped(cls) -> Judge:
        return cls.load(stored(WEIGHTS))

    @classmethod
    def load(cls, path: Path) -> Judge:
        """Raises DataError."""
        try:
            with safe_open(path, "pt") as file:
                header = dict(file.metadata() or {})
                weights = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
            net = JudgeNet(JudgeSizes(**json.loads(header["sizes"])))
            net.load_state_dict(
                {name: value.float() if value.is_floating_point() else value for name, value in weights.items()}
            )
        except (SafetensorError, OSError, KeyError, TypeError, ValueError, RuntimeError) as error:
            raise DataError(
                f"{path} is not a judge ({type(error).__name__}); give a file that Judge.save wrote"
            ) from None
        return cls(net.eval().requires_grad_(False), header)

    def save(self, path: Path) -> None:
        """fp16 safetensors; the inverse of `load`."""
        weights = {
            name: (value.half() if value.is_floating_point() else value).contiguous()
            for name, value in self.net.state_dict().items()
        }
        save_file(weights, path, metadata=self.header | {"sizes": json.dumps(asdict(self.net.sizes))})
        path.chmod(0o644)  # safetensors writes for the owner alone

    def see(self, frames: Sequence[Image]) -> Array:
        """See SyncJudge. The clip's mean mouth is taken for the person's."""
        return self.see_views(np.stack([view(frame) for frame in frames]))

    def hear(self, waveform: Array) -> Array:
        """See SyncJudge."""
        return self.hear_mel(log_mel(waveform)) if len(waveform) > SAMPLES_LEAST else self._nothing()

    def see_views(self, views: NDArray[np.uint8]) -> Array:
        """(t, 60, 80, 3) -> (t - 4, d)."""
        if len(views) < WINDOW:
            return self._nothing()
        mouths = mouth_input(grey(views))
        starts = range(0, mouths.shape[1] - WINDOW + 1, CHUNK)
        with torch.inference_mode():
            pieces = [torch.from_numpy(mouths[None, :, start : start + CHUNK + WINDOW - 1]) for start in starts]
            return torch.cat([self.net.see(piece)[0] for piece in pieces]).numpy()

    def hear_mel(self, mel: Array) -> Array:
        """(80, n) log-mel -> (n // 4 - 4, d)."""
        frames = mel.shape[1] // MELS_A_FRAME
        if frames < WINDOW:
            return self._nothing()
        with torch.inference_mode():
            return self.net.hear(torch.from_numpy(heard(mel)[None, :, : frames * MELS_A_FRAME]))[0].numpy()

    def _nothing(self) -> Array:
        return np.zeros((0, self.net.sizes.embedding), np.float32)

    def scores(self, frames: Sequence[Image], waveform: Array) -> SyncScores:
        """See SyncJudge.

        Means are over windows whose sound exists: embeddings here have length 1, so that the zeros with which
        syncnet_python pads would be nearer than any wrong sound.
        """
        if not len(frames):
            raise DataError("a clip without frames cannot be judged")
        return SyncScores.of(mean_curve(distances(self.see(frames), self.hear(waveform), padded=False)))


def view(frame: Image) -> Image:
    """Aligned frame (256, 256, 3) -> its lower face at half the size (60, 80, 3)."""
    import cv2

    part = frame[VIEW_Y[0] : VIEW_Y[1], VIEW_X[0] : VIEW_X[1]]
    return cv2.resize(part, VIEW_SIZE[::-1], interpolation=cv2.INTER_AREA)  # type: ignore[return-value]


def grey(views: NDArray[np.uint8]) -> Array:
    """(t, 60, 80, 3) -> the middle (t, 48, 64) in grey, 0 to 255."""
    y, x = ((whole - part) // 2 for whole, part in zip(VIEW_SIZE, MOUTH_SIZE, strict=True))
    middle = views[:, y : y + MOUTH_SIZE[0], x : x + MOUTH_SIZE[1]].astype(np.float32)
    return np.asarray(middle @ np.array([0.299, 0.587, 0.114], np.float32))


def mouth_input(mouths: Array, mean: Array | None = None) -> Array:
    """Grey mouths (t, 48, 64) -> (2, t, 48, 64): as they are, and as they differ from the clip's mean, in its units."""
    mean = mouths.mean(0) if mean is None else mean
    unit = float(mean.std()) + 4.0
    return np.stack([(mouths - mean.mean()) / unit, (mouths - mean) * (2 / unit)]).astype(np.float32)


def heard(mel: Array) -> Array:
    """Log-mel (80, n) -> the same without its far quiet, every band around its own mean: gain and microphone go."""
    loud = np.maximum(mel, mel.max() - SOUND_RANGE)
    return np.ascontiguousarray((loud - loud.mean(1, keepdims=True)) * 5, np.float32)
