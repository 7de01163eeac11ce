"""Speech features: 16 kHz waveform -> 1152 numbers at 50 Hz, the same whether the audio comes whole or in pieces.

A frozen Whisper-tiny encoder (Radford et al. 2022) looks at windows of 3.0 s, one every 160 ms; only the 8 features
that end 200 ms before a window's right edge are kept, since features settle with what follows them. Feature i stands
for the 20 ms that begin at i / 50 s. It is what three of the encoder's four blocks say, the second to the last: lips
are heard better half-way up than at the top. A soft voice is made louder, window by window. Knows nothing of faces.
"""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING, Final

import numpy as np
from numpy.typing import NDArray

from difftalk.arrays import SAMPLE_RATE, Array, State
from difftalk.settings import Settings

if TYPE_CHECKING:
    from difftalk.engine import Graph


FEATURE_RATE: Final = 50  # Hz
LAYER_SIZE: Final = 384  # of one block of the encoder
FEATURE_LAYERS: Final = 3  # blocks that speak, the last of them at the end
FEATURE_SIZE: Final = FEATURE_LAYERS * LAYER_SIZE
WINDOW_SECONDS: Final = 3.0
HOP_SECONDS: Final = 0.16
SETTLE_SECONDS: Final = 0.2  # audio that must follow a feature inside its window
SAMPLES_A_FEATURE: Final = SAMPLE_RATE // FEATURE_RATE
BLOCK: Final = round(HOP_SECONDS * FEATURE_RATE)  # features a window gives
_WINDOW: Final = round(WINDOW_SECONDS * SAMPLE_RATE)
_HOP: Final = round(HOP_SECONDS * SAMPLE_RATE)
_SETTLE: Final = round(SETTLE_SECONDS * SAMPLE_RATE)
LEVEL_SAMPLES: Final = SAMPLE_RATE // FEATURE_RATE  # a level is of 20 ms
_EMPTY: Final = -119.0  # dBFS, digital silence
_FFT: Final = 400
_MEL_HOP: Final = 160
_MELS: Final = 80


class SpeechStream:
    """Features of audio that arrives in pieces. `push` gives what has settled, `finish` the rest."""

    def __init__(self, encoder: Graph, settings: Settings) -> None:
        self._encoder, self._settings = encoder, settings
        self._buffer = np.zeros(_WINDOW - _HOP - _SETTLE, np.float32)  # the window before the first block
        self._samples = 0  # of audio received
        self._features = 0  # given out

    def push(self, waveform: Array) -> Array:
        """(n,) samples at 16 kHz in [-1, 1] -> (m, 1152) newly settled features, m a multiple of 8."""
        self._samples += len(waveform)
        self._buffer = np.concatenate([self._buffer, waveform.astype(np.float32)])
        blocks = []
        while len(self._buffer) >= _WINDOW:
            blocks.append(self._encode(self._buffer[:_WINDOW]))
            self._buffer = self._buffer[_HOP:]
        self._features += sum(map(len, blocks))
        return np.concatenate([np.zeros((0, FEATURE_SIZE), np.float32), *blocks])

    def state(self) -> State:
        """What it remembers; `restore` takes it back."""
        return {"buffer": self._buffer, "counts": np.array([self._samples, self._features])}

    def restore(self, state: State) -> None:
        self._buffer, (self._samples, self._features) = state["buffer"], map(int, state["counts"])

    def finish(self, *, extra: int = 0) -> Array:
        """Features up to the end of the audio and `extra` beyond it, silence following. No `push` after this."""
        wanted = -(-self._samples // SAMPLES_A_FEATURE) + extra
        missing = -(-(wanted - self._features) // BLOCK) if wanted > self._features else 0
        samples = self._samples
        settled = self._features * SAMPLES_A_FEATURE + missing * _HOP + _SETTLE
        out = self.push(np.zeros(max(0, settled - samples), np.float32))
        return out[: max(0, wanted - (self._features - len(out)))]

    def _encode(self, window: Array) -> Array:
        gain = gain_of(window, self._settings)
        heard = window if gain == 1 else window * np.float32(gain)
        features = self._encoder(mel=log_mel(heard)[None])["features"][0]
        end = len(features) - round(SETTLE_SECONDS * FEATURE_RATE)
        return np.asarray(features[end - BLOCK : end], np.float32)


def levels_of(waveform: Array) -> Array:
    """(n,) samples -> (n // 320,) dBFS of every 20 ms."""
    count = len(waveform) // LEVEL_SAMPLES
    power = (waveform[: count * LEVEL_SAMPLES].reshape(count, LEVEL_SAMPLES) ** 2).mean(1)
    return np.asarray(10 * np.log10(power + 1e-12), np.float32)


def gain_of(window: Array, settings: Settings) -> float:
    """What makes a soft voice loud enough; 1 for a voice of ordinary level, and for steady noise."""
    how = settings.features
    levels = levels_of(window)
    top, sounding = float(levels.max()), levels[levels > _EMPTY]
    if top >= how.soft or not len(sounding) or top - np.quantile(sounding, 0.1) < how.speech_range:
        return 1.0
    return float(10 ** (min(2 * (how.soft - top), how.raised - top) / 20))


def features_of(waveform: Array, encoder: Graph, settings: Settings, *, extra: int = 0) -> Array:
    """(n,) samples -> (ceil(n / 320) + extra, 1152) features: the stream, run to its end."""
    stream = SpeechStream(encoder, settings)
    return np.concatenate([stream.push(waveform), stream.finish(extra=extra)])


def silence_features(encoder: Graph, settings: Settings, *, seconds: float = 4.0, seed: int = 0) -> Array:
    """(k, n, 1152): features of digital silence and of white and brown noise at -70 to -45 dBFS."""
    rng, count, out = np.random.default_rng(seed), round(seconds * SAMPLE_RATE), []
    for level in (None, -70.0, -62.0, -55.0, -55.0, -50.0, -45.0):
        for brown in (False, True):
            noise = rng.standard_normal(count)
            noise = np.cumsum(noise) if brown else noise
            noise = noise - np.convolve(noise, np.ones(400) / 400, mode="same") if brown else noise
            gain = 0.0 if level is None else 10 ** (level / 20) / noise.std()
            out.append(features_of((gain * noise).astype(np.float32), encoder, settings))
    return np.stack(out)


@lru_cache(maxsize=1)
def _mel_filters() -> Array:
    """(80, 201) Slaney filter bank, as Whisper's mel_filters."""
    step = np.log(6.4) / 27

    def to_hz(mel: NDArray[np.float64]) -> NDArray[np.float64]:
        return np.asarray(np.where(mel < 15, mel * 200 / 3, 1000 * np.exp(step * (mel - 15))))

    top = 15 + np.log(SAMPLE_RATE / 2 / 1000) / step
    points = to_hz(np.linspace(0, top, _MELS + 2))
    width, ramps = np.diff(points), points[:, None] - np.linspace(0, SAMPLE_RATE / 2, _FFT // 2 + 1)[None]
    weights = np.maximum(0, np.minimum(-ramps[:-2] / width[:-1, None], ramps[2:] / width[1:, None]))
    return (weights * (2.0 / (points[2:] - points[:-2]))[:, None]).astype(np.float32)


@lru_cache(maxsize=1)
def _hann() -> Array:
    return (0.5 - 0.5 * np.cos(2 * np.pi * np.arange(_FFT) / _FFT)).astype(np.float32)


def log_mel(waveform: Array) -> Array:
    """(n,) samples -> (80, n / 160) log-mel, Whisper's scaling (Radford et al. 2022, section 2.2)."""
    padded = np.pad(waveform, _FFT // 2, mode="reflect")
    frames = np.lib.stride_tricks.sliding_window_view(padded, _FFT)[::_MEL_HOP][: len(waveform) // _MEL_HOP]
    power = np.abs(np.fft.rfft(frames * _hann(), axis=1)).astype(np.float32) ** 2
    log = np.log10(np.maximum(_mel_filters() @ power.T, 1e-10))
    return np.asarray((np.maximum(log, log.max() - 8.0) + 4.0) / 4.0, np.float32)
