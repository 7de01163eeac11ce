"""Speech features: Whisper's log-mel, and the same numbers whether audio comes whole or in pieces."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from difftalk.arrays import SAMPLE_RATE, Array
from difftalk.model import Model
from difftalk.speech.features import (
    BLOCK,
    FEATURE_SIZE,
    SAMPLES_A_FEATURE,
    SETTLE_SECONDS,
    SpeechStream,
    features_of,
    gain_of,
    log_mel,
)
from drawn import SETTINGS

PIECE = SAMPLE_RATE // 50  # 20 ms


class Echo:
    """An encoder whose features are its input's: feature i is columns 2 i and 2 i + 1 of the log-mel."""

    calls = 0

    def __call__(self, **inputs: NDArray[Any]) -> dict[str, NDArray[Any]]:
        self.calls += 1
        rows = inputs["mel"][0].T.reshape(150, 160)
        return {"features": np.pad(rows, ((0, 0), (0, FEATURE_SIZE - 160)))[None]}


def pieces(waveform: Array, length: int) -> Iterator[Array]:
    return (waveform[i : i + length] for i in range(0, len(waveform), length))


def in_pieces(waveform: Array, length: int, stream: SpeechStream, *, extra: int = 0) -> Array:
    return np.concatenate([*(stream.push(piece) for piece in pieces(waveform, length)), stream.finish(extra=extra)])


def slow_log_mel(waveform: Array) -> NDArray[np.float64]:
    """Whisper's log_mel_spectrogram, sum by sum: every frame, every frequency, every filter."""

    def mel_of(hz: float) -> float:
        return hz * 3 / 200 if hz < 1000 else 15 + np.log(hz / 1000) * 27 / np.log(6.4)

    def hz_of(mel: float) -> float:
        return mel * 200 / 3 if mel < 15 else 1000 * np.exp((mel - 15) * np.log(6.4) / 27)

    edges = [hz_of(mel_of(8000) * i / 81) for i in range(82)]
    padded = np.concatenate([waveform[200:0:-1], waveform, waveform[-2:-202:-1]]).astype(np.float64)
    time = np.arange(400)
    window = 0.5 - 0.5 * np.cos(2 * np.pi * time / 400)
    waves = np.exp(-2j * np.pi * np.outer(np.arange(201), time) / 400)
    out = np.zeros((80, len(waveform) // 160))
    for frame in range(out.shape[1]):
        power = np.abs(waves @ (padded[frame * 160 : frame * 160 + 400] * window)) ** 2
        for band in range(80):
            low, top, high = edges[band : band + 3]
            for bin_, hz in enumerate(np.arange(201) * 40.0):
                rise = max(0.0, min((hz - low) / (top - low), (high - hz) / (high - top)))
                out[band, frame] += rise * 2 / (high - low) * power[bin_]
    log = np.log10(np.maximum(out, 1e-10))
    return np.asarray((np.maximum(log, log.max() - 8) + 4) / 4)


def test_log_mel_is_whispers(waveform: Array) -> None:
    short = waveform[2000:4400]
    fast = log_mel(short)
    assert fast.shape == (80, 15)
    np.testing.assert_allclose(fast, slow_log_mel(short), atol=2e-4)


def test_log_mel_of_silence_and_full_scale() -> None:
    assert np.ptp(log_mel(np.zeros(1600, np.float32))) == 0
    tone = np.sin(2 * np.pi * 1000 * np.arange(16000) / SAMPLE_RATE).astype(np.float32)
    mel = log_mel(tone)
    assert np.isfinite(mel).all()
    assert 20 < mel[:, 50].argmax() < 30  # 1 kHz is mel 15 of 45.2, band 26


@pytest.mark.parametrize("length", [PIECE, 777, 20_000])
def test_pieces_are_the_whole(model: Model, waveform: Array, length: int) -> None:
    encoder = model.graph("speech_encoder")
    whole = features_of(waveform, encoder, SETTINGS)
    np.testing.assert_array_equal(in_pieces(waveform, length, SpeechStream(encoder, SETTINGS)), whole)
    assert whole.std() > 0.1


@pytest.mark.parametrize("samples", [0, 1, 320, 321, 2559, 2560, 16_000, 47_999])
@pytest.mark.parametrize("extra", [0, 5, 48])
def test_count_of_features(samples: int, extra: int) -> None:
    wanted = -(-samples // SAMPLES_A_FEATURE) + extra
    waveform = np.full(samples, 0.1, np.float32)
    assert features_of(waveform, Echo(), extra=extra, settings=SETTINGS).shape == (wanted, FEATURE_SIZE)


def test_feature_stands_for_its_own_time() -> None:
    """A click at 0.6 s is heard in the features around 30."""
    waveform = np.zeros(SAMPLE_RATE, np.float32)
    waveform[round(0.61 * SAMPLE_RATE)] = 1
    loudness = features_of(waveform, Echo(), SETTINGS)[:, :160].max(1)
    assert abs(int(loudness.argmax()) - 30) <= 1


def test_what_has_settled_never_changes(waveform: Array) -> None:
    """A feature is given as soon as 200 ms follow it, and depends on nothing after that."""
    stream, other = SpeechStream(Echo(), SETTINGS), waveform.copy()
    settled = stream.push(waveform[:8000])
    need = round(SETTLE_SECONDS * SAMPLE_RATE)
    assert len(settled) == (8000 - need) // SAMPLES_A_FEATURE // BLOCK * BLOCK
    other[8000:] = 0
    np.testing.assert_array_equal(settled, features_of(other, Echo(), SETTINGS)[: len(settled)])
    np.testing.assert_array_equal(settled, features_of(waveform, Echo(), SETTINGS)[: len(settled)])


def test_one_call_a_block(waveform: Array) -> None:
    encoder = Echo()
    features_of(waveform, encoder, SETTINGS)
    assert encoder.calls == -(-50 // BLOCK)


def test_only_a_soft_voice_is_made_louder(waveform: Array) -> None:
    window, rng = np.resize(np.append(waveform, np.zeros(8000, np.float32)), 48_000), np.random.default_rng(0)
    window += rng.normal(0, 1e-4, 48_000).astype(np.float32)
    assert gain_of(window, SETTINGS) == 1
    assert 1 < gain_of(window * np.float32(0.05), SETTINGS) < gain_of(window * np.float32(0.01), SETTINGS) < 100
    assert gain_of(rng.normal(0, 0.003, 48_000).astype(np.float32), SETTINGS) == 1  # steady hiss
    assert gain_of(np.zeros(48_000, np.float32), SETTINGS) == 1


def test_a_soft_voice_says_the_same(model: Model, waveform: Array) -> None:
    encoder = model.graph("speech_encoder")
    loud = features_of(waveform, encoder, SETTINGS)
    soft = (np.round(waveform * 0.01 * 32767) / 32767).astype(np.float32)
    made = features_of(soft, encoder, SETTINGS)
    assert np.corrcoef(made.ravel(), loud.ravel())[0, 1] > 0.95
    np.testing.assert_array_equal(in_pieces(soft, 777, SpeechStream(encoder, SETTINGS)), made)
