"""A still's head: the same way whatever the pieces, from kept state too, without a seam; at rest in silence."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any, cast

import numpy as np
import pytest
from numpy.typing import NDArray
from safetensors.numpy import load, save

from difftalk.arrays import SAMPLE_RATE, Array
from difftalk.model import Model
from difftalk.speech.features import FEATURE_SIZE, SpeechStream
from difftalk.speech.head_motion import KNOT_SECONDS, KNOT_SIZE, NAMES, POSE_SIZE, HeadMotion, between
from difftalk.speech.loudness import Loudness
from difftalk.speech.motion import LOOK_AHEAD_SECONDS

PIECES = (SAMPLE_RATE, SAMPLE_RATE // 50, 7001)


class Wandering:
    """A graph whose every input counts."""

    def __call__(self, **inputs: NDArray[Any]) -> dict[str, NDArray[Any]]:
        heard = inputs["features"][0, :, :KNOT_SIZE].mean(0) * inputs["voice"][0, :, 0].mean()
        knot = 0.8 * inputs["past"][:, -1] + 0.02 * inputs["past"].mean(1) + heard + 0.1 * inputs["noise"]
        return {"knot": knot.astype(np.float32)}


def with_head(graph: object) -> Model:
    return cast("Model", SimpleNamespace(graph=lambda name: graph))


class Listening:
    """Sound goes in, the head moves."""

    def __init__(self, graph: object, model: Model, seed: int = 0) -> None:
        self.head, self.loudness = HeadMotion(with_head(graph), seed), Loudness(model)
        self.speech = SpeechStream(model.graph("speech_encoder"), model.settings)

    def push(self, waveform: Array) -> None:
        self.loudness.push(waveform)
        self.head.push(self.speech.push(waveform), self.loudness)

    def finish(self) -> None:
        self.head.push(self.speech.finish(extra=48), self.loudness)


def moved(graph: object, model: Model, waveform: Array, *, piece: int = SAMPLE_RATE, seed: int = 0) -> Array:
    """(n, 7): the poses 100 times a second, each taken as soon as it has settled."""
    listening, poses = Listening(graph, model, seed), list[Array]()
    for start in range(0, len(waveform), piece):
        listening.push(waveform[start : start + piece])
        while len(poses) / 100 < listening.head.settled:
            poses.append(listening.head.at(len(poses) / 100))
    listening.finish()
    poses += [listening.head.at(i / 100) for i in range(len(poses), len(waveform) // 160)]
    return np.stack(poses)


@pytest.fixture(scope="module")
def sound(waveform: Array) -> Array:
    return np.concatenate([waveform, np.zeros(8000, np.float32), waveform])


@pytest.mark.parametrize("piece", PIECES)
def test_pieces_are_the_whole(painter_model: Model, sound: Array, piece: int) -> None:
    whole = moved(Wandering(), painter_model, sound, piece=len(sound))
    np.testing.assert_array_equal(moved(Wandering(), painter_model, sound, piece=piece), whole)
    assert whole.shape == (len(sound) // 160, POSE_SIZE)
    assert (whole.std(0) > 0.01).all()


def test_the_seed_and_the_sound_decide(painter_model: Model, sound: Array) -> None:
    one, other = (moved(Wandering(), painter_model, sound, seed=seed) for seed in (1, 2))
    np.testing.assert_array_equal(moved(Wandering(), painter_model, sound, seed=1), one)
    assert np.abs(one - other).max() > 0.05
    assert np.abs(one - moved(Wandering(), painter_model, sound * 0, seed=1)).max() > 0.05


def test_a_kept_state_goes_on_bit_for_bit(painter_model: Model, sound: Array) -> None:
    whole = moved(Wandering(), painter_model, sound)
    first, second = Listening(Wandering(), painter_model), Listening(Wandering(), painter_model)
    half = len(sound) // 2
    first.push(sound[:half])
    kept = load(save(first.head.state()))
    second.head.restore(kept)
    second.speech, second.loudness = first.speech, first.loudness
    second.push(sound[half:])
    second.finish()
    start = int(100 * first.head.settled) - 50
    poses = [second.head.at(i / 100) for i in range(start, len(whole))]
    np.testing.assert_array_equal(np.stack(poses), whole[start:])


def test_it_settles_within_the_look_ahead(painter_model: Model, sound: Array) -> None:
    listening, piece = Listening(Wandering(), painter_model), SAMPLE_RATE // 50
    for end in range(piece, len(sound), piece):
        listening.push(sound[end - piece : end])
        assert listening.head.settled >= end / SAMPLE_RATE - LOOK_AHEAD_SECONDS
    assert listening.head.settled > 0.5 * len(sound) / SAMPLE_RATE


def test_it_begins_with_the_stills_own_pose(painter_model: Model, sound: Array) -> None:
    head = HeadMotion(with_head(Wandering()))
    assert not head.at(0.0).any()
    assert head.settled == 0
    head.push(np.zeros((0, FEATURE_SIZE), np.float32), Loudness(painter_model))
    assert head.settled == 0
    assert np.abs(moved(Wandering(), painter_model, sound)[0]).max() == 0


def test_knots_are_met_without_a_seam(painter_model: Model, sound: Array) -> None:
    """Neither place nor speed jumps at a knot: both change there as anywhere else."""
    listening = Listening(Wandering(), painter_model)
    listening.push(sound)
    knots = np.arange(1, int(listening.head.settled / KNOT_SECONDS)) * KNOT_SECONDS
    step = 1e-3
    poses = np.stack([[listening.head.at(t + i * step) for i in (-2, -1, 0, 1, 2)] for t in knots]).astype(np.float64)
    speeds = np.diff(poses, axis=1) / step
    assert np.abs(np.diff(poses, axis=1)).max() < 0.02
    usual = np.abs(speeds).mean()
    assert np.abs(speeds[:, 2] - speeds[:, 1]).mean() < 0.1 * usual


def test_a_cubic_has_its_knots_places_and_speeds() -> None:
    before, after = np.random.default_rng(0).standard_normal((2, KNOT_SIZE)).astype(np.float32)
    np.testing.assert_allclose(between(before, after, 0.0), before[:POSE_SIZE], atol=1e-6)
    np.testing.assert_allclose(between(before, after, 1.0), after[:POSE_SIZE], atol=1e-6)
    for share, knot, way in ((0.0, before, 1), (1.0, after, -1)):
        near = between(before, after, share + way * 1e-3)
        speed = way * (near - knot[:POSE_SIZE]) / (1e-3 * KNOT_SECONDS)
        np.testing.assert_allclose(speed, knot[POSE_SIZE:], atol=0.1)


# --- the trained net --------------------------------------------------------------------------------------------------


def noisy(seconds: float, level: float) -> Array:
    count = round(seconds * SAMPLE_RATE)
    return (10 ** (level / 20) * np.random.default_rng(3).standard_normal(count)).astype(np.float32)


@pytest.fixture(scope="module")
def spoken() -> Array:
    from difftalk.media import audio
    from difftalk.model import SHIPPED

    return audio.read(SHIPPED.parent / "demo" / "voice.wav")[: 5 * SAMPLE_RATE]


@pytest.mark.parametrize("level", [-120.0, -55.0])
def test_the_trained_head_comes_to_rest_in_silence(model: Model, spoken: Array, level: float) -> None:
    sound = np.concatenate([spoken, noisy(5, level)])
    poses = np.stack([moved(model.graph("head"), model, sound, seed=seed) for seed in range(2)])
    speeds = np.linalg.norm(np.diff(poses[..., :3], axis=1), axis=2) * 100
    speaking, silent = speeds[:, 100:480].mean(), speeds[:, 700:].mean()
    assert speaking > 2  # degrees a second
    assert silent < 0.4 * speaking
    assert silent > 0.01 * speaking
    assert np.abs(poses[:, 700:, :3]).max() < 2.5


def test_the_trained_head_stays_about_the_stills_own_pose(model: Model, spoken: Array) -> None:
    sound = np.concatenate([spoken] * 6)
    poses = np.stack([moved(model.graph("head"), model, sound, seed=seed) for seed in range(2)])
    spread = poses.std((0, 1))
    assert dict(zip(NAMES, spread, strict=True))["yaw"] > 1
    assert (np.abs(poses.mean((0, 1))) < 1.0 * spread).all()
    assert (np.abs(poses).max((0, 1)) < 8 * spread).all()
