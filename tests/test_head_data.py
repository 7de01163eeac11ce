"""Training data of the head's motion from a prepared clip: rows by number, silence that calms, people alike."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from difftalk.data.sample import Sample
from difftalk.model import Model
from difftalk.speech.features import FEATURE_SIZE
from difftalk.speech.head_motion import KNOT_FRAMES, KNOT_SIZE, PAST_KNOTS, POSE_SIZE, VOICE_FRAMES, VOICE_SIZE
from difftalk.speech.motion import FUTURE_FEATURES, PAST_FEATURES
from difftalk.training import head_data
from difftalk.training.head_data import (
    FIRST,
    STILLED,
    STRETCH,
    HeadSource,
    Way,
    amounts_of,
    knots_of,
    quietened,
    ways_of,
)

FRAMES = 200


def wandering(seed: int = 0, amount: float = 1.0) -> Way:
    """Somebody who speaks all the while; features tell their own place."""
    rng = np.random.default_rng(seed)
    poses = amount * np.cumsum(rng.standard_normal((FRAMES, POSE_SIZE)), 0)
    rows = np.arange(-PAST_FEATURES, 2 * FRAMES + FUTURE_FEATURES)
    features = np.repeat(rows[:, None], FEATURE_SIZE, 1).astype(np.float16)
    return Way(
        features, np.ones((FRAMES, VOICE_SIZE), np.float32), poses.astype(np.float32), np.ones(FRAMES, np.float32)
    )


@pytest.fixture
def source(sample: Sample, painter_model: Model, monkeypatch: pytest.MonkeyPatch) -> HeadSource:
    monkeypatch.setattr(head_data, "ways_of", lambda sample, model: [wandering()])
    return HeadSource([sample], painter_model, batch_size=6, validation=[sample])


def test_rows_are_a_function_of_the_step(source: HeadSource) -> None:
    one, again, other = source.batch(1), source.batch(1), source.batch(2)
    assert torch.equal(one.knots, again.knots)
    assert not torch.equal(one.knots, other.knots)
    assert one.features.shape == (6, 8 * STRETCH + PAST_FEATURES + FUTURE_FEATURES, FEATURE_SIZE)
    assert one.voice.shape == (6, VOICE_FRAMES + KNOT_FRAMES * (STRETCH - 1), VOICE_SIZE)
    assert one.knots.shape == (6, PAST_KNOTS + STRETCH, KNOT_SIZE)
    assert one.mask.shape == (6, STRETCH)


def test_a_knot_is_heard_where_it_stands(source: HeadSource) -> None:
    """Its own features are the eight up to it, as in a stream: those of the four frames before it."""
    whole = source.validation()[0]
    assert float(whole.features[0, PAST_FEATURES, 0]) == 2 * FIRST
    way = wandering()
    scale = float(whole.knots[0, PAST_KNOTS - 1, 0]) / way.poses[FIRST, 0]
    np.testing.assert_allclose(whole.knots[0, PAST_KNOTS, 0], scale * way.poses[FIRST + KNOT_FRAMES, 0], rtol=1e-4)
    assert whole.mask.all()


def test_a_knots_speed_is_that_of_the_frames_around_it() -> None:
    poses = np.arange(10, dtype=np.float32)[:, None] * np.ones((1, POSE_SIZE), np.float32)
    knots = knots_of(poses, np.array([4, 8]))
    np.testing.assert_allclose(knots[:, :POSE_SIZE], [[4] * POSE_SIZE, [8] * POSE_SIZE])
    np.testing.assert_allclose(knots[:, POSE_SIZE:], 25)


def test_silence_calms_a_head() -> None:
    way = wandering()
    quiet = quietened(way, 50, 60)
    np.testing.assert_array_equal(quiet.poses[:51], way.poses[:51])
    np.testing.assert_allclose(quiet.poses[80:110], STILLED * way.poses[80:110], rtol=1e-4)
    np.testing.assert_array_equal(quiet.poses[130:], way.poses[130:])
    assert not quiet.voice[50:110].any()
    assert quiet.voice[:50].all()
    assert quiet.voice[110:].all()
    waiting = quietened(Way(way.features, way.voice, way.poses, np.zeros(FRAMES, np.float32)), 50, 60)
    assert waiting.counts[50:110].all()
    assert waiting.counts.sum() == 60


def test_people_are_scaled_to_what_most_do() -> None:
    amounts = amounts_of([[wandering(0, 2.0)], [wandering(0, 0.5)], []], ["one", "two", "nobody"])
    assert amounts["one"] == pytest.approx(4 * amounts["two"], rel=1e-4)
    assert "nobody" not in amounts


def test_of_a_clip_that_is_too_short_nothing_is_learnt(sample: Sample, painter_model: Model) -> None:
    assert len(sample.seconds) < FIRST + KNOT_FRAMES
    assert ways_of(sample, painter_model) == []
