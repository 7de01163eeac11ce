"""Motion: the same shapes whole or in pieces; the lip/audio offset of a clip."""

from __future__ import annotations

from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, cast

import numpy as np
import pytest
from numpy.typing import NDArray

from difftalk.arrays import Array
from difftalk.data.offset import measure_offset
from difftalk.face.mouth import COMPONENTS, opening
from difftalk.model import Model
from difftalk.speech.features import BLOCK, FEATURE_SIZE
from difftalk.speech.motion import FUTURE_FEATURES, PAST_FEATURES, MotionStream, opening_of, pressed, shapes_of
from difftalk.speech.offset import correlation_at
from drawn import SETTINGS

if TYPE_CHECKING:
    from difftalk.data.sample import Sample


def features(count: int, *, seed: int = 0) -> Array:
    return np.random.default_rng(seed).standard_normal((count, FEATURE_SIZE)).astype(np.float32)


class First:
    """A graph that gives back numbers of each frame's own two features."""

    def __call__(self, **inputs: NDArray[Any]) -> dict[str, NDArray[Any]]:
        features = inputs["features"]
        assert features.shape == (1, PAST_FEATURES + BLOCK + FUTURE_FEATURES, FEATURE_SIZE)
        own = features[:, PAST_FEATURES : PAST_FEATURES + BLOCK : 2, :COMPONENTS]
        return {"shape": own}


@pytest.mark.parametrize("sizes", [[8] * 10, [1] * 80, [3, 77], [0, 80, 0]])
def test_pieces_are_the_whole(painter_model: Model, sizes: list[int]) -> None:
    graph, given = painter_model.graph("linear"), features(80)
    stream, ends = MotionStream(graph), np.cumsum(sizes)
    parts = [stream.push(given[end - size : end]) for end, size in zip(ends, sizes, strict=True)]
    whole = shapes_of(given, graph)
    assert len(whole) == (80 - FUTURE_FEATURES) // BLOCK * (BLOCK // 2)
    np.testing.assert_array_equal(np.concatenate([part.shapes for part in parts]), whole)
    assert sum(len(part.sounds) for part in parts) == len(whole)
    assert whole.std() > 0.1


def test_frame_stands_for_its_own_features() -> None:
    given = features(64)
    np.testing.assert_array_equal(shapes_of(given, First()), given[:56:2, :COMPONENTS])


def test_half_precision_features_are_taken() -> None:
    given = features(64).astype(np.float16)
    assert shapes_of(given, First()).dtype == np.float32


def test_opening_is_first_order(model: Model) -> None:
    shape = np.random.default_rng(0).normal(0, 0.3, (6, COMPONENTS)).astype(np.float32)
    row = model.geometry.opening_row()
    np.testing.assert_allclose(opening_of(shape, model.geometry), shape @ row, atol=1e-6)


def test_lips_that_are_all_but_closed_are_pressed(model: Model) -> None:
    row = model.geometry.opening_row()
    openings = np.linspace(-0.1, 0.4, 101)
    shapes = (openings[:, None] * row / (row @ row)).astype(np.float32)
    after = opening_of(pressed(shapes, model.geometry), model.geometry)
    less = openings - after
    assert less[openings < 0].min() > 0.9 * SETTINGS.mouths.press
    assert less[openings > 0.12].max() < 0.01 * SETTINGS.mouths.press
    assert (np.diff(after) > 0).all()
    held = np.eye(COMPONENTS) - np.outer(row, row) / (row @ row)  # what does not open the mouth stays
    np.testing.assert_allclose(pressed(shapes + 1, model.geometry) @ held, (shapes + 1) @ held, atol=1e-5)


def test_correlation_at_a_shift() -> None:
    wave = np.sin(np.arange(60) * 0.4) + np.random.default_rng(0).normal(0, 0.1, 60)
    assert correlation_at(wave[3:], wave, 3) == pytest.approx(1)
    assert correlation_at(wave, wave[3:], -3) == pytest.approx(1)
    assert correlation_at(wave[3:], wave, 0) < 0.9
    assert correlation_at(wave, np.ones(60), 0) == 0
    assert correlation_at(wave, wave, 58) == 0


@pytest.mark.parametrize("lead", [-4, 0, 3])
def test_offset_is_measured(model: Model, lead: int) -> None:
    """A mouth that does at frame i what the audio says at frame i + lead has that offset."""
    geometry, rng = model.geometry, np.random.default_rng(5)
    curve: NDArray[np.float64] = np.convolve(rng.random(130), np.ones(4) / 4, "same")  # opening by the audio, 25/s
    row = geometry.opening_row()
    unit = row / (row @ row)
    heard = np.zeros((240, FEATURE_SIZE), np.float32)
    heard[:, :COMPONENTS] = np.repeat(curve[:120], 2)[:, None] * unit
    seen = np.array([curve[np.clip(i + lead, 0, None)] for i in range(100)])
    free = geometry.canonical + geometry.offsets(seen[:, None] * unit)
    sample = SimpleNamespace(meshes=(free * 60).astype(np.float32), seconds=np.arange(100) / 25, speech=heard)
    assert np.corrcoef(opening(free), seen)[0, 1] > 0.99
    judge = SimpleNamespace(geometry=geometry, graph=lambda name: First())
    offset, r = measure_offset(cast("Sample", sample), cast("Model", judge), reach=10)
    assert offset == lead
    assert r > 0.95
