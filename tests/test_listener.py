"""A voice in pieces: the same conditions as whole, no sooner than they are certain, and silence told from speech."""

from __future__ import annotations

import dataclasses
import math
from types import SimpleNamespace
from typing import Any, cast

import numpy as np
import pytest
from numpy.typing import NDArray

from difftalk.arrays import SAMPLE_RATE
from difftalk.graphs import CONTEXT_FEATURES
from difftalk.model import Model
from difftalk.speech.features import FEATURE_SIZE
from difftalk.speech.listener import Voice
from difftalk.speech.motion import LOOK_AHEAD_SECONDS

Array = NDArray[np.float32]
PIECE = SAMPLE_RATE // 50


def spoken(model: Model, waveform: Array, *, piece: int, articulation: float = 1.0) -> Voice:
    voice = Voice(model, articulation=articulation)
    for start in range(0, len(waveform), piece):
        voice.push(waveform[start : start + piece])
    voice.finish()
    return voice


def test_pieces_are_the_whole(painter_model: Model, waveform: Array) -> None:
    whole, parts = (spoken(painter_model, waveform, piece=piece) for piece in (SAMPLE_RATE, PIECE))
    for seconds in np.arange(25) / 25:
        one, other = whole.at(seconds), parts.at(seconds)
        assert one.audio.shape == (CONTEXT_FEATURES, FEATURE_SIZE)
        np.testing.assert_array_equal(one.audio, other.audio)
        np.testing.assert_array_equal(one.shape, other.shape)


def test_what_has_settled_is_final(painter_model: Model, waveform: Array) -> None:
    """Every frame taken as soon as it is settled is that of the whole; and it settles within the stated look-ahead."""
    whole, live, taken = spoken(painter_model, waveform, piece=SAMPLE_RATE), Voice(painter_model, articulation=1), 0
    for start in range(0, len(waveform), PIECE):
        live.push(waveform[start : start + PIECE])
        while live.settled > taken / 25:
            np.testing.assert_array_equal(live.at(taken / 25).audio, whole.at(taken / 25).audio)
            np.testing.assert_array_equal(live.at(taken / 25).shape, whole.at(taken / 25).shape)
            taken += 1
        assert taken / 25 >= (start + PIECE) / SAMPLE_RATE - LOOK_AHEAD_SECONDS - 0.08
    assert 8 < taken < 25
    live.finish()
    assert live.settled == math.inf


def test_between_two_frames_shapes_are_mixed(painter_model: Model, waveform: Array) -> None:
    voice = spoken(painter_model, waveform, piece=SAMPLE_RATE)
    low, middle, high = (voice.at(seconds).shape for seconds in (0.4, 0.41, 0.44))
    np.testing.assert_allclose(middle, low * 0.75 + high * 0.25, atol=1e-5)
    assert np.abs(high - low).max() > 0.05


def test_articulation_is_a_gain(painter_model: Model, waveform: Array) -> None:
    one, two, none = (spoken(painter_model, waveform, piece=SAMPLE_RATE, articulation=a) for a in (1.0, 2.0, 0.0))
    np.testing.assert_allclose(two.at(0.5).shape, 2 * one.at(0.5).shape, atol=1e-6)
    assert (none.at(0.5).shape == 0).all()
    assert np.abs(one.at(0.5).shape).max() > 0.1


def test_silence_of_half_a_second(painter_model: Model, waveform: Array) -> None:
    rng = np.random.default_rng(0)
    loud = waveform / np.abs(waveform).max()
    noise = rng.normal(0, 10 ** (-60 / 20), 12_800).astype(np.float32)  # 0.8 s at -60 dBFS
    voice = spoken(painter_model, np.concatenate([loud[:8000], noise, loud[:8000]]), piece=PIECE)
    assert [voice.loudness.silent(seconds) for seconds in (0.2, 0.4, 0.9, 1.01, 1.2, 1.4, 1.7)] == [
        False, False, False, True, True, False, False,
    ]  # fmt: skip
    assert [voice.at(seconds).silent for seconds in (0.4, 1.2)] == [False, True]


def test_the_mouth_rests_where_nothing_is_heard(painter_model: Model, waveform: Array) -> None:
    rng = np.random.default_rng(0)
    hiss = (10 ** (-55 / 20) * rng.standard_normal(SAMPLE_RATE)).astype(np.float32)
    voice = spoken(painter_model, np.concatenate([waveform, hiss, waveform]), piece=PIECE)
    curve = [float(np.abs(voice.at(seconds).shape).max()) for seconds in np.arange(75) / 25]
    assert max(curve[31:42]) == 0  # 0.22 s after the sound ended, until 0.3 s before it begins again
    assert min(curve[5:25]) > 0
    assert min(curve[50:70]) > 0


def test_memory_is_bounded(painter_model: Model) -> None:
    """What lies more than two seconds back is forgotten, and what is asked for is still right."""
    rng = np.random.default_rng(0)
    waveform = rng.normal(0, 0.1, 12 * SAMPLE_RATE).astype(np.float32)
    features = {"speech_encoder": lambda mel: {"features": np.resize(mel, (1, 150, FEATURE_SIZE))}}
    graphs: dict[str, Any] = {**features, "linear": painter_model.graph("linear")}
    held = {"graphs": {}, "settings": painter_model.settings, "geometry": painter_model.geometry}
    quick = cast("Model", SimpleNamespace(graph=graphs.__getitem__, **held))
    voice, fresh = (spoken(quick, waveform, piece=SAMPLE_RATE) for _ in range(2))
    whole = len(fresh._features._rows)
    for number in range(25 * 11):
        voice.at(number / 25)
    np.testing.assert_array_equal(voice.at(11).audio, fresh.at(11).audio)
    np.testing.assert_array_equal(voice.at(11).shape, fresh.at(11).shape)
    assert len(voice._features._rows) < whole - 5 * 50


@pytest.mark.parametrize("samples", [0, 100])
def test_hardly_any_audio(painter_model: Model, samples: int) -> None:
    voice = spoken(painter_model, np.zeros(samples, np.float32), piece=PIECE)
    assert np.isfinite(voice.at(0.0).shape).all()
    assert not voice.loudness.silent(0.0)


def test_emphasis_is_where_it_gets_louder(painter_model: Model) -> None:
    rng = np.random.default_rng(0)
    gains = np.repeat([0.03, 0.25, 0.03], [SAMPLE_RATE, SAMPLE_RATE // 2, SAMPLE_RATE])
    voice = spoken(painter_model, (gains * rng.standard_normal(len(gains))).astype(np.float32), piece=PIECE)
    even, loud, after = (voice.loudness.emphasis(seconds, 1e9) for seconds in (0.8, 1.25, 2.2))
    assert abs(even) < 0.05
    assert loud > 0.4
    assert after < -0.1
    steps = np.diff([voice.loudness.emphasis(seconds, 1e9) for seconds in np.arange(0.5, 2, 0.04)])
    assert np.abs(steps).max() < 0.25  # a nod, not a jerk


def test_emphasis_does_not_listen_ahead(painter_model: Model) -> None:
    rng = np.random.default_rng(0)
    loud, quiet = (gain * rng.standard_normal(SAMPLE_RATE).astype(np.float32) for gain in (0.2, 0.02))
    one, other = (
        spoken(painter_model, np.concatenate([quiet, end]).astype(np.float32), piece=PIECE) for end in (loud, quiet)
    )
    assert one.loudness.emphasis(0.9, 0.98) == pytest.approx(other.loudness.emphasis(0.9, 0.98), abs=1e-6)
    assert one.loudness.emphasis(0.9, 2.0) > other.loudness.emphasis(0.9, 2.0) + 0.05


def test_silence_has_no_emphasis(painter_model: Model) -> None:
    assert spoken(painter_model, np.zeros(SAMPLE_RATE, np.float32), piece=PIECE).loudness.emphasis(0.5, 1.0) == 0
    assert Voice(painter_model, articulation=1).loudness.emphasis(0.5, 1.0) == 0


def test_no_mouth_closes_between_words_and_soft_voices_are_heard(painter_model: Model, waveform: Array) -> None:
    loud = waveform / np.abs(waveform).max()
    gap = np.zeros(round(0.3 * SAMPLE_RATE), np.float32)
    words = np.concatenate([loud, gap, loud])
    whole = spoken(painter_model, words, piece=SAMPLE_RATE)
    moments = np.arange(24, 34) / 25  # around the gap
    assert all(whole.loudness.awake(float(seconds)) == 1 for seconds in moments)
    soft = spoken(painter_model, (10 ** (-36 / 20) * words).astype(np.float32), piece=SAMPLE_RATE)
    assert all(soft.loudness.awake(float(seconds)) == 1 for seconds in moments)


def speech_between(sound: Array, waveform: Array) -> Array:
    """2 s of a sound, a second of voice over it, 2 s of it."""
    out = np.resize(sound, 5 * SAMPLE_RATE).astype(np.float32)
    out[2 * SAMPLE_RATE : 3 * SAMPLE_RATE] += waveform
    return out


def chords(seconds: float) -> Array:
    """A triad, swelling four times a second, at about -15 dBFS."""
    time = np.arange(round(seconds * SAMPLE_RATE)) / SAMPLE_RATE
    tones = sum(np.sin(2 * np.pi * hertz * time) for hertz in (220.0, 277.2, 329.6))
    return np.asarray(0.15 * tones * (0.6 + 0.4 * np.sin(8 * np.pi * time)), np.float32)


@pytest.mark.parametrize("sound", ["hiss -50", "hiss -45", "hiss -40", "chords"])
def test_only_voices_move_the_mouth(painter_model: Model, waveform: Array, sound: str) -> None:
    kind, _, level = sound.partition(" ")
    noise = np.random.default_rng(0).standard_normal(5 * SAMPLE_RATE).astype(np.float32)
    loud = waveform / np.abs(waveform).max()
    heard = speech_between(chords(5) if kind == "chords" else 10 ** (float(level) / 20) * noise, loud)
    voice = spoken(painter_model, heard, piece=PIECE)
    curve = np.array([voice.loudness.awake(seconds) for seconds in np.arange(125) / 25])
    assert curve[:38].mean() < 0.15
    assert curve[55:72].min() > 0.9
    assert curve[105:].mean() < 0.15
    assert voice.heard is False  # nothing has been asked for yet
    voice.at(2.5)
    assert voice.heard


def test_a_soft_voice_moves_the_mouth_as_much(model: Model, waveform: Array) -> None:
    row = model.geometry.opening_row()

    def opening(gain: float) -> Array:
        sound = (np.round(waveform * gain * 32767) / 32767).astype(np.float32)
        voice = spoken(model, sound, piece=SAMPLE_RATE)
        return np.array([voice.at(seconds).shape @ row for seconds in np.arange(25) / 25])

    usual, soft = opening(1.0), opening(0.01)
    assert 0.8 < soft.std() / usual.std() < 1.2
    assert np.corrcoef(usual, soft)[0, 1] > 0.95


def test_a_soft_voice_is_not_silence(painter_model: Model, waveform: Array) -> None:
    soft = 0.003 * waveform / np.abs(waveform).max()
    assert not spoken(painter_model, soft.astype(np.float32), piece=PIECE).loudness.silent(0.8)


def test_without_a_detector_the_level_alone_tells(painter_model: Model) -> None:
    graphs = {name: entry for name, entry in painter_model.graphs.items() if name != "voice_detector"}
    plain = dataclasses.replace(painter_model, graphs=graphs, _loaded={})
    sound = np.concatenate([chords(1.0), np.zeros(SAMPLE_RATE, np.float32)])
    voice = spoken(plain, sound, piece=PIECE)
    assert (voice.loudness.awake(0.5), voice.loudness.awake(1.6)) == (1, 0)
    assert spoken(painter_model, sound, piece=PIECE).loudness.awake(0.5) < 1
