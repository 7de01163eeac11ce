"""Pasting a torn warp: nothing that lies between is shown, no pixel stands alone, and a whole warp is left as it is."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from difftalk.arrays import Array, Image
from difftalk.face.finder import Face
from difftalk.face.space import REGION_X, REGION_Y, Alignment, patch_of
from difftalk.render.composite import Composite
from difftalk.render.inner_mouth import interior
from difftalk.render.paste import Drawn, Layer, paste
from difftalk.render.references import Reference
from difftalk.render.warp import Warp, compose, warp
from drawn import SETTINGS

FINE = 4  # pixels of the source for one of the aligned space
SKIN, DARK = 200, 10
STRIPE = slice(60, 66)  # columns of the aligned space that are dark, beside the mouth


@pytest.fixture(scope="module")
def reference(face: Face, alignment: Alignment) -> Reference:
    """Plain skin with a dark stripe, four times the aligned space."""
    placed = Alignment(np.array([[1 / FINE, 0, 0], [0, 1 / FINE, 0]]))
    image = np.full((256 * FINE, 256 * FINE, 3), SKIN, np.uint8)
    image[:, STRIPE.start * FINE : STRIPE.stop * FINE] = DARK
    return Reference.of(image, placed, alignment.points(face.points))


def pasted(reference: Reference, where: Array) -> Image:
    """The region (144 x 4, 176 x 4) of a warp pasted by networks that leave everything as it is."""
    mesh = reference.points
    whole = dataclasses.replace(warp(mesh, mesh, settings=SETTINGS), map=where)
    drawn = Drawn(
        tuple(unchanged(reference, w) for w in (whole, whole.on(patch_of(mesh), mesh))),
        mesh,
        reference,
        SETTINGS,
    )
    out = paste(np.full_like(reference.image, SKIN), reference.alignment, reference, drawn)
    return out[FINE * REGION_Y[0] : FINE * REGION_Y[1], FINE * REGION_X[0] : FINE * REGION_X[1]]


def unchanged(reference: Reference, moved: Warp) -> Layer:
    inside = interior(reference.points, reference.points, SETTINGS, moved.grid)
    composite = Composite(compose(reference, moved, reference, inside), moved, inside)
    return Layer(composite.layers[:3].transpose(1, 2, 0), composite)


def plain(reference: Reference) -> Warp:
    return warp(reference.points, reference.points, settings=SETTINGS)


def test_a_tear_does_not_show_what_lies_between(reference: Reference) -> None:
    """Columns jump from one side of the stripe to the other, as at the outline of a turned face."""
    where = plain(reference).map.copy()
    where[:, : STRIPE.stop - REGION_X[0] + 1, 0] -= 12
    assert np.diff(where[:, :, 0], axis=1).max() > 12
    out = pasted(reference, where)
    assert out.min() > SKIN - 10


@pytest.mark.parametrize("away", [(STRIPE.start + 3, 0), (STRIPE.start + 3, 90)])
def test_no_pixel_stands_alone(reference: Reference, away: tuple[int, int]) -> None:
    where = plain(reference).map.copy()
    for row, column in ((20, 60), (90, 130), (120, 90)):
        where[row, column] = away
    out = pasted(reference, where)
    assert out[:, 4 * (STRIPE.stop - REGION_X[0] + 4) :].min() > SKIN - 10


def test_a_whole_warp_is_left_as_it_is(reference: Reference) -> None:
    moved = plain(reference)
    np.testing.assert_array_equal(moved.steady, moved.map)
    assert not moved.torn.any()
    assert pasted(reference, moved.map)[:, (STRIPE.start + 3 - REGION_X[0]) * 4].min() < SKIN
