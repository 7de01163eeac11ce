"""Mouth curves: known shifts, closures and rests are read off as what they are."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from difftalk.evaluation.metrics.curves import (
    best_shift,
    closed_spans,
    closures,
    lip_distance,
    luck,
    mouth_curves,
    opening_correlation,
    opening_spread,
    rest_figures,
    window_shifts,
)
from difftalk.model import Model

Curve = NDArray[np.float64]


@pytest.fixture
def truth() -> Curve:
    """Six seconds of something like speech."""
    walk = np.random.default_rng(0).standard_normal(150).cumsum()
    return np.asarray(np.abs(walk % 4 - 2) * 0.1, np.float64)


def test_a_late_curve_is_found_at_its_shift(truth: Curve) -> None:
    late = np.concatenate([np.full(3, truth[0]), truth[:-3]])
    assert opening_correlation(truth, late, 3) == pytest.approx(1.0, abs=0.01)
    assert opening_correlation(truth, late, 0) < 0.9
    assert best_shift(truth, late)[0] == 3
    assert set(window_shifts(truth, late)) == {3}
    assert set(window_shifts(truth, truth)) == {0}


def test_a_mouth_that_does_not_move_follows_nothing(truth: Curve) -> None:
    assert opening_correlation(truth, np.ones(150), 0) == 0.0
    assert opening_spread(truth, np.ones(150)) == 0.0
    assert np.isnan(window_shifts(truth, np.ones(150))).all()
    assert opening_spread(truth, 2 * truth) == pytest.approx(2.0)


def test_closures_lie_between_openings() -> None:
    curve = np.array([0, 0, 0.1, 0.2, 0.02, 0.01, 0.1, 0.1, 0.02, 0.1, 0.05, 0.01, 0.01, 0.05, 0.09, 0.01, 0.01])
    assert closed_spans(curve) == [(4, 6), (11, 13)]  # not the ends, not the single frame
    assert closed_spans(np.full(20, 0.01)) == closed_spans(np.full(20, 0.2)) == []


def test_recall_and_precision_of_closures() -> None:
    def curve(*closed: int) -> Curve:
        out = np.full(60, 0.15)
        for start in closed:
            out[start : start + 3] = 0.01
        return out

    assert closures(curve(10, 30), curve(11, 50), 0) == (0.5, 0.5)
    assert closures(curve(10, 30), curve(14, 34), 4) == (1.0, 1.0)
    recall, precision = closures(curve(10, 30), np.full(60, 0.01), 0)
    assert recall == 1.0  # always shut meets every closure
    assert np.isnan(precision)  # and makes none


def test_rest_is_measured_beside_speech(truth: Curve) -> None:
    quiet = np.full(60, 0.05)
    assert rest_figures(quiet, truth, 0.05) == pytest.approx({"rest_spread": 0.0, "rest_open": 0.0})
    assert rest_figures(quiet + truth.std(), truth, 0.05)["rest_open"] == pytest.approx(1.0)
    assert rest_figures(truth[:60], truth, 0.0)["rest_spread"] > 0.5
    assert rest_figures(quiet, quiet, 0.05)["rest_spread"] == 1.0  # what never moves cannot rest


def test_curves_do_not_depend_on_where_the_head_is(model: Model) -> None:
    rng = np.random.default_rng(0)
    shapes = rng.standard_normal((30, 16)).astype(np.float32)
    face = (model.geometry.canonical + model.geometry.offsets(shapes)) * 64
    c, s = np.cos(0.3), np.sin(0.3)
    moved = face @ np.array([[c, s, 0], [-s, c, 0], [0, 0, 1]], np.float32) * 1.7 + np.array([40, 9, 0], np.float32)
    one, other = mouth_curves(face, model.geometry), mouth_curves(moved, model.geometry)
    for name in ("opening", "width", "jaw", "rounding"):
        np.testing.assert_allclose(getattr(one, name), getattr(other, name), atol=1e-4)
        assert getattr(one, name).std() > 1e-3
    assert lip_distance(one, other, 0) == pytest.approx(0.0, abs=1e-4)
    assert lip_distance(one, mouth_curves(face[::-1], model.geometry), 0) > 0.01


def test_luck_grows_when_shifts_are_free(truth: Curve) -> None:
    rng = np.random.default_rng(1)
    curves = {name: rng.permutation(truth) for name in "abc"}
    chance = luck(curves, {"a": "x", "b": "y", "c": "x"})
    assert abs(chance["floor"]) < 0.25
    assert chance["free"] > chance["floor"] + 0.05
    assert luck(curves, dict.fromkeys("abc", "x")) == {}
