"""The mouth bank: ways of opening a mouth, and the nearest mouth with inertia."""

from __future__ import annotations

import numpy as np

from difftalk.face.mouth import COMPONENTS
from difftalk.model import Model
from difftalk.render.references import OPENING_STEP, STAY, TURN_WEIGHT, nearest, way_of


def test_ways_tell_openings_apart(model: Model) -> None:
    geometry = model.geometry
    row = geometry.opening_row()
    ways = [way_of(geometry.canonical + geometry.offsets(by * row / (row @ row))) for by in (0, 2 * OPENING_STEP)]
    assert ways[1][0] - ways[0][0] == 2


def test_the_nearest_in_shape_and_turn() -> None:
    shapes, turns = np.zeros((3, COMPONENTS)), np.array([[0.0, 0], [0, 0], [10, 0]])
    shapes[1, 0] = 2.0
    asked = np.zeros(COMPONENTS)
    assert nearest(shapes, turns, asked, np.zeros(2), None) == 0
    asked[0] = 1.5
    assert nearest(shapes, turns, asked, np.zeros(2), None) == 1
    assert nearest(shapes, turns, np.zeros(COMPONENTS), np.array([10.0, 0]), None) == 2
    assert TURN_WEIGHT * 10 > 2


def test_the_one_before_is_hard_to_leave() -> None:
    shapes, turns = np.zeros((2, COMPONENTS)), np.zeros((2, 2))
    shapes[1, 0] = 2.0
    asked = np.zeros(COMPONENTS)
    for beyond, found in ((STAY / 2 - 0.01, 0), (STAY / 2 + 0.01, 1)):
        asked[0] = 1 + beyond
        assert nearest(shapes, turns, asked, np.zeros(2), 0) == found
