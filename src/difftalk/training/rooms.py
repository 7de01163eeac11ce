"""Clips heard in other rooms: noise, echo, another tone, level and pitch, so that a motion heeds the words alone.

Made once and kept beside a prepared sample, a pure function of the clip's name and the room's number. A pack has no
sound, and so no rooms. Knows nothing of faces.
"""

from __future__ import annotations

import os
import sys
import zlib
from collections.abc import Sequence
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

from difftalk.arrays import SAMPLE_RATE, Array
from difftalk.data.sample import SPEECH_EXTRA, Sample
from difftalk.model import Model
from difftalk.speech.features import features_of

ECHO_SHARE: Final = 0.6  # of the rooms
ECHO_SECONDS: Final = (0.1, 0.5)
ECHO_GAIN: Final = (0.1, 0.5)  # of all echoes together, over the direct sound
NOISE_DB: Final = (8.0, 30.0)  # speech over noise
NOISE_SLOPES: Final = (0.0, 0.5, 0.8)  # the noise's amplitude falls with the frequency to the power of one of these
TILT_DB: Final = 6.0  # at most, by which low tones are raised or lowered, and high ones lowered or raised
LEVEL_DB: Final = 8.0
PITCHES: Final = (0.9, 1.12)  # by which a voice is higher


def rooms_of(
    samples: Sequence[Sample],
    rooms: int,
    *,
    model: Model | None = None,
    pitches: tuple[float, float] = PITCHES,
) -> list[list[NDArray[np.float16]]]:
    """For each room the (n, 1152) features of each clip, as `Sample.speech`; what is missing is encoded and kept.

    model: the one that the samples were prepared with, the shipped one if None. pitches: by which a voice is higher.
    """
    missing = [(s, n) for s in samples for n in range(rooms) if not _path(s, n).is_file()]
    if missing:
        import soxr

        model = model or Model.load(threads=0)
        print(f"encoding {len(missing)} clips in other rooms, once", file=sys.stderr, flush=True)
        encoder = model.graph("speech_encoder")
        for sample, number in missing:
            rng = np.random.default_rng((zlib.crc32(sample.record.name.encode()), number))
            pitch = float(rng.uniform(*pitches))
            sound = in_a_room(soxr.resample(sample.sound(), pitch * SAMPLE_RATE, SAMPLE_RATE), rng)
            features = features_of(sound, encoder, model.settings, extra=SPEECH_EXTRA)
            _keep(_at_pace(features, pitch, len(sample.speech)), sample, number)
    return [[np.load(_path(sample, number), mmap_mode="r") for sample in samples] for number in range(rooms)]


def in_a_room(waveform: Array, rng: np.random.Generator) -> Array:
    """(n,) samples in [-1, 1], likewise."""
    sound = _echoed(waveform, rng) if rng.random() < ECHO_SHARE else waveform
    count = len(sound)
    octaves = np.fft.rfft(rng.standard_normal(count))
    octaves /= np.arange(1, len(octaves) + 1) ** rng.choice(NOISE_SLOPES)
    noise = np.fft.irfft(octaves, count)
    sound = sound + noise * (sound.std() / max(noise.std(), 1e-9) * _gain(-rng.uniform(*NOISE_DB)))
    spectrum = np.fft.rfft(sound)
    tilt = rng.uniform(-TILT_DB, TILT_DB) * np.linspace(-1, 1, len(spectrum))
    sound = np.fft.irfft(spectrum * _gain(tilt), count)
    return (sound * _gain(rng.uniform(-LEVEL_DB, LEVEL_DB))).clip(-1, 1).astype(np.float32)


def _echoed(sound: Array, rng: np.random.Generator) -> NDArray[np.float64]:
    """With noise that dies away for an echo's response."""
    length = int(SAMPLE_RATE * rng.uniform(*ECHO_SECONDS))
    response = rng.standard_normal(length) * np.exp(-5 * np.arange(length) / length)
    response *= rng.uniform(*ECHO_GAIN) / np.sqrt((response**2).sum())
    response[0] += 1
    size = 1 << (len(sound) + length).bit_length()
    return np.asarray(np.fft.irfft(np.fft.rfft(sound, size) * np.fft.rfft(response, size), size)[: len(sound)])


def _gain(decibels: NDArray[np.float64] | float) -> NDArray[np.float64]:
    return np.asarray(10 ** (np.asarray(decibels) / 20))


def _at_pace(features: Array, pitch: float, count: int) -> Array:
    """Features of a sound that was played faster, at the pace that it had before."""
    places = np.minimum(np.arange(count) / pitch, len(features) - 1.001)
    low = places.astype(np.int64)
    share = (places - low).astype(np.float32)[:, None]
    return np.asarray(features[low] + share * (features[low + 1] - features[low]), np.float32)


def _path(sample: Sample, number: int) -> Path:
    return sample.folder / f"speech-room-{number}.npy"


def _keep(features: Array, sample: Sample, number: int) -> None:
    half = sample.folder / f".speech-room-{number}.{os.getpid()}.npy"
    np.save(half, features.astype(np.float16))
    half.replace(_path(sample, number))
