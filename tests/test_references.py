"""The mouth bank: ways of opening a mouth, and the nearest mouth with inertia."""

from __future__ import annotations

import dataclasses

import cv2
import numpy as np
import pytest

from difftalk.arrays import Image
from difftalk.face.finder import Face
from difftalk.face.landmarks import LIPS
from difftalk.face.mouth import COMPONENTS
from difftalk.face.space import CLOSE, CLOSE_SIZE, Alignment, patch_of
from difftalk.model import Model
from difftalk.render.references import Reference, nearest, way_of
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


# --- close-ups --------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def reference(portrait: Image, alignment: Alignment, face: Face) -> Reference:
    return Reference.of(portrait, alignment, alignment.points(face.points))


@pytest.mark.parametrize("away", [(0.0, 0.0), (7.5, -4), (-10, 12.5), (31, 0), (-31, 40), (0, -300)])
def test_a_patch_is_cut_out_of_the_close_up(reference: Reference, away: tuple[float, float]) -> None:
    """Also where it lies partly or wholly beyond it: there as at the border."""
    own = patch_of(reference.points)
    patch = dataclasses.replace(own, corner=(own.corner[0] + away[0], own.corner[1] + away[1]))
    left, top = (round(CLOSE * c + (CLOSE - 1) / 2) - at for c, at in zip(patch.corner, reference.corner, strict=True))
    margin, (height, width) = 700, patch.size
    wide = np.pad(reference.close, ((margin, margin), (margin, margin), (0, 0)), mode="edge")
    expected = wide[margin + top : margin + top + height, margin + left : margin + left + width]
    np.testing.assert_array_equal(reference.close_at(patch), expected)
    if away == (0.0, 0.0):
        np.testing.assert_array_equal(reference.patch(), expected)
        assert 0 <= top <= CLOSE_SIZE[0] - height
        assert 0 <= left <= CLOSE_SIZE[1] - width


def test_the_close_up_and_the_aligned_frame_show_the_same(reference: Reference) -> None:
    """At the same aligned places; the close-up as sharp as the picture allows."""
    lips = reference.points[None, LIPS, :2]  # as one row of a map
    near, far = reference.seen(CLOSE), reference.seen(1)
    for seen, at in ((near, near.places(lips)), (far, far.places(lips))):
        assert (at > 0).all()
        assert (at < np.array(seen.image.shape[1::-1]) - 1).all()
    shown = [
        cv2.remap(s.image, s.places(lips), None, cv2.INTER_LINEAR).astype(int)  # type: ignore[call-overload]
        for s in (near, far)
    ]
    assert np.abs(shown[0] - shown[1]).mean() < 4


def test_a_kept_reference_shows_the_same_mouth(reference: Reference) -> None:
    kept = reference.kept(SETTINGS)
    np.testing.assert_array_equal(kept.close, reference.close)
    assert (kept.corner, kept.eyes) == (reference.corner, reference.eyes)


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
