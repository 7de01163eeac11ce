"""The official SyncNet as a judge: reads a user's own `syncnet_v2.model` (Chung & Zisserman 2016, syncnet_python).

    scores = OfficialJudge.load(Path("syncnet_v2.model")).scores(frames, waveform)

Its weights come with nothing here. It sees MFCCs and a face crop of 224 px, cut from the aligned frame where
syncnet_python cuts from its own face detector's box: scores are near the published ones, not the same.
"""

from __future__ import annotations

import pickle
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Final

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from difftalk.arrays import SAMPLE_RATE, Array, Image
from difftalk.errors import DataError
from difftalk.evaluation.judge.judge import SyncScores, distances, mean_curve
from difftalk.evaluation.judge.net import MELS_A_FRAME, WINDOW
from difftalk.speech.motion import MOTION_RATE

EMBEDDING: Final = 1024
FACE_SIZE: Final = 224
FACE_Y: Final = (24, 284)  # of the aligned frame: what its face detector and crop_scale 0.4 would about cut
FACE_X: Final = (-2, 258)
BEYOND: Final = 110  # grey level past the frame
MFCC_FRAMES: Final = MELS_A_FRAME * WINDOW  # of a window, at 100 Hz
CEPSTRA: Final = 13
_FRAME: Final = 400  # samples
_HOP: Final = 160
_FFT: Final = 512
_BANDS: Final = 26
_LIFTER: Final = 22
_PRE_EMPHASIS: Final = 0.97
_FULL_SCALE: Final = 32768.0
CHUNK: Final = 16  # windows embedded at once

Size2 = tuple[int, int]
Size3 = tuple[int, int, int]


def _heard(inputs: int, outputs: int, kernel: Size2 = (3, 3), pad: int = 1) -> list[nn.Module]:
    return [nn.Conv2d(inputs, outputs, kernel, padding=pad), nn.BatchNorm2d(outputs), nn.ReLU()]


def _seen(inputs: int, outputs: int, kernel: Size3 = (1, 3, 3), stride: int = 1, pad: int = 1) -> list[nn.Module]:
    layer = nn.Conv3d(inputs, outputs, kernel, (1, stride, stride), (0, pad, pad))
    return [layer, nn.BatchNorm3d(outputs), nn.ReLU()]


def _joined() -> nn.Sequential:
    return nn.Sequential(nn.Linear(512, 512), nn.BatchNorm1d(512), nn.ReLU(), nn.Linear(512, EMBEDDING))


class SyncNet(nn.Module):
    """The published net, its parts named as in its file."""

    def __init__(self) -> None:
        super().__init__()
        self.netcnnaud = nn.Sequential(
            *_heard(1, 64),
            nn.Identity(),
            *_heard(64, 192),
            nn.MaxPool2d((3, 3), (1, 2)),
            *_heard(192, 384),
            *_heard(384, 256),
            *_heard(256, 256),
            nn.MaxPool2d((3, 3), (2, 2)),
            *_heard(256, 512, (5, 4), 0),
        )
        self.netfcaud, self.netfclip = _joined(), _joined()
        self.netcnnlip = nn.Sequential(
            *_seen(3, 96, (5, 7, 7), 2, 0),
            nn.MaxPool3d((1, 3, 3), (1, 2, 2)),
            *_seen(96, 256, (1, 5, 5), 2, 1),
            nn.MaxPool3d((1, 3, 3), (1, 2, 2), (0, 1, 1)),
            *_seen(256, 256),
            *_seen(256, 256),
            *_seen(256, 256),
            nn.MaxPool3d((1, 3, 3), (1, 2, 2)),
            *_seen(256, 512, (1, 6, 6), 1, 0),
        )

    def hear(self, windows: Tensor) -> Tensor:
        """(n, 1, 13, 20) MFCCs -> (n, 1024)."""
        out: Tensor = self.netfcaud(self.netcnnaud(windows).flatten(1))
        return out

    def see(self, faces: Tensor) -> Tensor:
        """(3, n + 4, 224, 224) BGR, 0 to 255 -> (n, 1024): only the first layer looks along time."""
        out: Tensor = self.netfclip(self.netcnnlip(faces[None])[0, :, :, 0, 0].T)
        return out


@dataclass(frozen=True)
class OfficialJudge:
    """Same interface as `Judge`."""

    net: SyncNet

    @classmethod
    def load(cls, path: Path) -> OfficialJudge:
        """Raises DataError on anything but a syncnet_v2.model."""
        wanted = "give syncnet_python's syncnet_v2.model"
        try:
            weights = torch.load(path, map_location="cpu", weights_only=True)
        except (OSError, RuntimeError, EOFError, ValueError, pickle.UnpicklingError) as error:
            raise DataError(f"{path} is not a file of torch weights ({type(error).__name__}); {wanted}") from None
        net = SyncNet()
        expected = net.state_dict()
        if not isinstance(weights, dict) or not expected.keys() <= weights.keys() | _counters(expected):
            raise DataError(f"{path} does not hold SyncNet's weights; {wanted}")
        wrong = [n for n in expected if n in weights and getattr(weights[n], "shape", None) != expected[n].shape]
        if wrong or weights.keys() - expected.keys():
            raise DataError(f"{path} holds weights of another net than SyncNet's; {wanted}")
        net.load_state_dict(weights, strict=False)
        return cls(net.eval().requires_grad_(False))

    def see(self, frames: Sequence[Image]) -> Array:
        """See SyncJudge."""
        pieces = [np.zeros((0, EMBEDDING), np.float32)]
        with torch.inference_mode():
            for start in range(0, len(frames) - WINDOW + 1, CHUNK):
                faces = np.stack([face_crop(frame) for frame in frames[start : start + CHUNK + WINDOW - 1]])
                pieces.append(self.net.see(torch.from_numpy(faces).permute(3, 0, 1, 2).float()).numpy())
        return np.concatenate(pieces)

    def hear(self, waveform: Array) -> Array:
        """See SyncJudge."""
        cepstra = torch.from_numpy(mfcc(waveform))
        if cepstra.shape[1] < MFCC_FRAMES:
            return np.zeros((0, EMBEDDING), np.float32)
        windows = cepstra.unfold(1, MFCC_FRAMES, MELS_A_FRAME).transpose(0, 1)[:, None]
        with torch.inference_mode():
            return self.net.hear(windows).numpy()

    def scores(self, frames: Sequence[Image], waveform: Array) -> SyncScores:
        """See SyncJudge; windows and padding are syncnet_python's."""
        count = min(len(frames), len(waveform) * MOTION_RATE // SAMPLE_RATE) - WINDOW
        if count < 1:
            raise DataError(f"a clip this short cannot be judged; give more than {WINDOW} frames and their audio")
        video, audio = self.see(frames)[:count], self.hear(waveform)[:count]
        return SyncScores.of(mean_curve(distances(video, audio, padded=True)))


def _counters(expected: dict[str, Tensor]) -> set[str]:
    """Batch counters, which old files lack."""
    return {name for name in expected if name.endswith("num_batches_tracked")}


def face_crop(frame: Image) -> Image:
    """Aligned RGB frame (256, 256, 3) -> BGR face (224, 224, 3)."""
    import cv2

    scale = FACE_SIZE / (FACE_X[1] - FACE_X[0])
    matrix = np.array([[scale, 0, -FACE_X[0] * scale], [0, scale, -FACE_Y[0] * scale]])
    bgr = np.ascontiguousarray(frame[..., ::-1])
    return cv2.warpAffine(bgr, matrix, (FACE_SIZE, FACE_SIZE), flags=cv2.INTER_LINEAR, borderValue=(BEYOND,) * 3)  # type: ignore[return-value]


def mfcc(waveform: Array) -> Array:
    """(n,) at 16 kHz in [-1, 1] -> (13, m) at 100 Hz: the defaults of python_speech_features, which SyncNet heard."""
    sound = waveform.astype(np.float64) * _FULL_SCALE
    sound = np.append(sound[:1], sound[1:] - _PRE_EMPHASIS * sound[:-1])
    count = 1 + max(0, -(-(len(sound) - _FRAME) // _HOP))
    padded = np.pad(sound, (0, max(0, (count - 1) * _HOP + _FRAME - len(sound))))
    frames = np.lib.stride_tricks.sliding_window_view(padded, _FRAME)[::_HOP][:count]
    power = np.abs(np.fft.rfft(frames, _FFT)) ** 2 / _FFT
    tiny = np.finfo(float).eps
    bands = np.log(np.maximum(power @ _bands().T, tiny))
    cepstra = bands @ _cosines().T * (1 + _LIFTER / 2 * np.sin(np.pi * np.arange(CEPSTRA) / _LIFTER))
    cepstra[:, 0] = np.log(np.maximum(power.sum(1), tiny))
    return np.asarray(cepstra.T, np.float32)


@lru_cache(maxsize=1)
def _bands() -> NDArray[np.float64]:
    """(26, 257) triangles between whole bins, HTK's mel."""
    mels = np.linspace(0, 2595 * np.log10(1 + SAMPLE_RATE / 2 / 700), _BANDS + 2)
    edges = np.floor((_FFT + 1) * 700 * (10 ** (mels / 2595) - 1) / SAMPLE_RATE)
    bins = np.arange(_FFT // 2 + 1)
    low, middle, high = edges[:-2, None], edges[1:-1, None], edges[2:, None]
    rising, falling = (bins - low) / (middle - low), (high - bins) / (high - middle)
    inside = (bins >= low) & (bins < high)
    return np.asarray(np.where(inside, np.where(bins < middle, rising, falling), 0.0))


@lru_cache(maxsize=1)
def _cosines() -> NDArray[np.float64]:
    """(13, 26) orthonormal DCT-II."""
    order, band = np.arange(CEPSTRA)[:, None], np.arange(_BANDS)[None]
    table = np.sqrt(2 / _BANDS) * np.cos(np.pi * order * (2 * band + 1) / (2 * _BANDS))
    table[0] /= np.sqrt(2)
    return np.asarray(table)
