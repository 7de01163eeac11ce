"""Pasting: what each pixel says by itself; of a torn warp nothing that lies between is shown, no pixel stands alone."""

from __future__ import annotations

import dataclasses

import cv2
import numpy as np
import pytest

import plain_geometry
from difftalk.arrays import Array, Image
from difftalk.face.finder import Face
from difftalk.face.mouth import target_mesh
from difftalk.face.space import REGION_X, REGION_Y, Alignment, patch_of
from difftalk.model import Model
from difftalk.render.composite import Composite, composites
from difftalk.render.inner_mouth import interior
from difftalk.render.paste import Drawn, Layer, paste
from difftalk.render.references import Reference
from difftalk.render.renderer import shown_of
from difftalk.render.warp import Warp, compose, warp
from drawn import SETTINGS

FINE = 4  # pixels of the source for one of the aligned space
SKIN, DARK = 200, 10
WHOLE = dataclasses.replace(SETTINGS, warp=dataclasses.replace(SETTINGS.warp, tear=50.0))  # no warp is torn
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


@pytest.mark.parametrize(("opened", "shown"), [(0.0, 0.0), (0.05, 0.3), (0.3, 0.3)])
@pytest.mark.parametrize("size", [0.7, 1.0, 2.5])
def test_a_frame_is_what_its_pixels_say_one_by_one(
    model: Model, portrait: Image, face: Face, alignment: Alignment, opened: float, shown: float, size: float
) -> None:
    """Lips that meet, lips that are parted, an open mouth; at fewer pixels than the patch has, and at more."""
    geometry, pose = model.geometry, model.geometry.pose(face.points)
    neutral, row = geometry.closed(pose.remove(face.points).astype(np.float32)), geometry.opening_row()
    mesh, other = (
        alignment.points(target_mesh(geometry, pose=pose, neutral=neutral, shape=row * by / (row @ row)))
        for by in (opened, shown)
    )
    placed = Alignment(alignment.matrix / np.array([[size, size, 1]]))
    frame = np.asarray(cv2.resize(portrait, None, fx=size, fy=size), np.uint8)
    reference = Reference.of(frame, placed, alignment.points(face.points))
    mouth, random = dataclasses.replace(reference, points=other), np.random.default_rng(0)
    layers = []
    for composite in composites(reference, mouth, mesh, WHOLE):
        change = cv2.GaussianBlur(random.standard_normal((*composite.grid.size, 3)).astype(np.float32), (0, 0), 2)
        layers.append(Layer(np.clip(composite.plain + change, -1, 1), composite))
    drawn = Drawn(tuple(layers), mesh, mouth, WHOLE)
    apart = np.abs(
        paste(frame, placed, reference, drawn).astype(int) - plain_geometry.pasted(frame, placed, reference, drawn)
    )
    # places are rounded to 1/32 px, in another box to other ones now and then
    assert (apart > 1).mean() < 2e-4
    assert apart.max() < 12


def test_a_mouth_is_shown_as_its_pixels_say_one_by_one(reference: Reference, face: Face, alignment: Alignment) -> None:
    """What is decoded: greener than any light, held back beside the mouth, crisper within."""
    random = np.random.default_rng(0)
    layers = composites(reference, reference, alignment.points(face.points), SETTINGS)[1].layers
    assert layers[3].max() == 1
    picture = layers[None, :3] + random.uniform(-0.3, 0.5, (1, 3, *layers.shape[1:])).astype(np.float32)
    picture[:, 1] += 0.3
    plain = plain_geometry.shown_of(picture, layers, SETTINGS)
    np.testing.assert_allclose(shown_of(picture, layers, SETTINGS), plain, atol=1e-3)
