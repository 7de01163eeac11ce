"""The mouth bank: ways of opening a mouth, and the nearest mouth with inertia."""

from __future__ import annotations

import dataclasses

import numpy as np

from difftalk.face.mouth import COMPONENTS
from difftalk.model import Model
from difftalk.render.references import nearest, way_of
from difftalk.talk.portrait import Portrait
from drawn import SETTINGS


def test_ways_tell_openings_apart(model: Model) -> None:
    geometry = model.geometry
    row = geometry.opening_row()
    ways = [
        way_of(geometry.canonical + geometry.offsets(by * row / (row @ row)), SETTINGS)
        for by in (0, 2 * SETTINGS.references.opening_step)
    ]
    assert ways[1][0] - ways[0][0] == 2


def test_the_nearest_in_shape_and_turn() -> None:
    shapes, turns = np.zeros((3, COMPONENTS)), np.array([[0.0, 0], [0, 0], [10, 0]])
    shapes[1, 0] = 2.0
    asked = np.zeros(COMPONENTS)
    assert nearest(shapes, turns, asked, np.zeros(2), None, SETTINGS) == 0
    asked[0] = 1.5
    assert nearest(shapes, turns, asked, np.zeros(2), None, SETTINGS) == 1
    assert nearest(shapes, turns, np.zeros(COMPONENTS), np.array([10.0, 0]), None, SETTINGS) == 2
    assert SETTINGS.references.turn_weight * 10 > 2


def test_the_one_before_is_hard_to_leave() -> None:
    shapes, turns = np.zeros((2, COMPONENTS)), np.zeros((2, 2))
    shapes[1, 0] = 2.0
    asked = np.zeros(COMPONENTS)
    for beyond, found in ((SETTINGS.references.stay / 2 - 0.01, 0), (SETTINGS.references.stay / 2 + 0.01, 1)):
        asked[0] = 1 + beyond
        assert nearest(shapes, turns, asked, np.zeros(2), 0, SETTINGS) == found


def test_reference_nearest_in_turn_with_inertia(still_identity: Portrait) -> None:
    one = still_identity.people[0]
    turns = dataclasses.replace(one, references=one.references * 3, turns=np.array([[0.0, 0], [12, 0], [-24, 5]]))
    assert turns.reference_for(np.array([11, 0]), before=0, settings=SETTINGS) == 1
    assert (
        turns.reference_for(np.array([6 + SETTINGS.references.turn_stay / 2 - 0.1, 0]), before=0, settings=SETTINGS)
        == 0
    )
    assert (
        turns.reference_for(np.array([6 + SETTINGS.references.turn_stay / 2 + 0.1, 0]), before=0, settings=SETTINGS)
        == 1
    )
    assert (
        turns.reference_for(np.array([6 - SETTINGS.references.turn_stay / 2 + 0.1, 0]), before=1, settings=SETTINGS)
        == 1
    )
    assert turns.reference_for(np.array([-40, 0]), before=1, settings=SETTINGS) == 2
