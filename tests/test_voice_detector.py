"""Voices told from other sound, at any level, the same in pieces and whole."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from difftalk.arrays import SAMPLE_RATE
from difftalk.model import Model
from difftalk.speech.voice_detector import STEP_SAMPLES, VoiceDetector
from drawn import SETTINGS

Array = NDArray[np.float32]


def chances(model: Model, waveform: Array, *, piece: int = SAMPLE_RATE) -> Array:
    detector = VoiceDetector(model.graph("voice_detector"), SETTINGS)
    return np.concatenate([detector.push(waveform[i : i + piece]) for i in range(0, len(waveform), piece)])


@pytest.mark.parametrize("gain", [1.0, 0.1, 0.01])
def test_a_voice_is_heard_at_any_level(model: Model, waveform: Array, gain: float) -> None:
    assert np.median(chances(model, np.float32(gain) * waveform)) > 0.8


@pytest.mark.parametrize("gain", [0.1, 0.001])
def test_noise_and_tones_are_no_voice(model: Model, gain: float) -> None:
    noise = np.random.default_rng(0).standard_normal(2 * SAMPLE_RATE)
    tone = np.sin(2 * np.pi * 440 * np.arange(2 * SAMPLE_RATE) / SAMPLE_RATE)
    for sound in (noise, tone):
        assert np.median(chances(model, (gain * sound).astype(np.float32))) < 0.1


@pytest.mark.parametrize("piece", [1, 320, 777])
def test_pieces_are_the_whole(model: Model, waveform: Array, piece: int) -> None:
    short = waveform[: 10 * STEP_SAMPLES + 100]
    whole = chances(model, short)
    assert len(whole) == 10
    np.testing.assert_array_equal(chances(model, short, piece=piece), whole)
