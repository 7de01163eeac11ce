"""Composites: nothing moves where nothing moved, pixels follow their mesh points, and there is one chin."""

from __future__ import annotations

from dataclasses import replace

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

import plain_geometry
from difftalk.arrays import Array, Image
from difftalk.face.finder import Face
from difftalk.face.landmarks import CHIN, INNER_LIPS, LIP_BOTTOM, OVAL
from difftalk.face.mouth import Geometry, target_mesh
from difftalk.face.space import (
    ALIGNED_SIZE,
    CLOSE_SIZE,
    EYE_LINE,
    REGION,
    REGION_SIZE,
    REGION_X,
    REGION_Y,
    Alignment,
    crop_region,
    patch_of,
)
from difftalk.model import Model
from difftalk.render.inner_mouth import Interior, interior
from difftalk.render.references import Reference
from difftalk.render.warp import compose, inner_mouth, warp
from drawn import SETTINGS

CORNER = np.array([REGION_X[0], REGION_Y[0]])
OUTER_LIPS = [61, 146, 91, 84, 17, 314, 321, 291, 37, 0, 267]


@pytest.fixture(scope="module")
def reference(portrait: Image, alignment: Alignment, face: Face) -> Reference:
    return Reference.of(portrait, alignment, alignment.points(face.points))


@pytest.fixture(scope="module")
def wide(model: Model, face: Face, alignment: Alignment) -> Array:
    """The portrait's mesh with its mouth open by 0.3 eye distances more."""
    geometry, pose = model.geometry, model.geometry.pose(face.points)
    shape = opening_shape(geometry, 0.3)
    return alignment.points(target_mesh(geometry, pose=pose, neutral=pose.remove(face.points), shape=shape))


def opening_shape(geometry: Geometry, amount: float) -> NDArray[np.float32]:
    row = geometry.opening_row()
    return (row * amount / (row @ row)).astype(np.float32)


def sampled(field: Array, points: NDArray[np.floating]) -> NDArray[np.float64]:
    """A (144, 176, c) field at aligned points (n, 2)."""
    at = (points - CORNER).astype(np.float32)[None]
    found = cv2.remap(field, at, None, cv2.INTER_LINEAR)  # type: ignore[call-overload]
    return np.asarray(found[0], np.float64)


def test_reference_is_aligned(reference: Reference, alignment: Alignment, face: Face) -> None:
    np.testing.assert_array_equal(reference.points, alignment.points(face.points))
    assert reference.aligned.shape == (256, 256, 3)
    assert reference.close.shape == (*CLOSE_SIZE, 3)
    assert reference.eyes == pytest.approx(64 / alignment.scale)


def test_same_mesh_moves_nothing(reference: Reference) -> None:
    moved = warp(reference.points, reference.points, settings=SETTINGS)
    y, x = np.mgrid[: REGION_SIZE[0], : REGION_SIZE[1]]
    np.testing.assert_allclose(moved.map, np.stack([x, y], -1) + CORNER, atol=2e-3)
    composite = compose(reference, moved, reference, interior(reference.points, reference.points, SETTINGS))
    outside = moved.inner == 0
    same = crop_region(reference.aligned).transpose(2, 0, 1) / 127.5 - 1
    assert np.abs(composite[:3] - same)[:, outside].max() < 1e-5
    assert outside.mean() > 0.9


def test_channels(reference: Reference, wide: Array) -> None:
    moved, row = warp(reference.points, wide, settings=SETTINGS), np.zeros(REGION_SIZE[1], np.float32)
    nothing = Interior(REGION, row, row, row, row, row, 0.0)
    composite = compose(reference, moved, reference, nothing)
    assert composite.shape == (5, *REGION_SIZE)
    assert composite.dtype == np.float32
    assert (composite[:3, moved.inner == 1] == 0).all()
    assert (np.abs(composite[:3]) <= 1).all()
    np.testing.assert_array_equal(composite[3], moved.inner)
    np.testing.assert_array_equal(composite[4], moved.coverage * (1 - moved.inner))


def test_the_mouth_is_filled_as_far_as_it_is_known(reference: Reference, wide: Array) -> None:
    moved = warp(reference.points, wide, settings=SETTINGS)
    inside = interior(reference.points, wide, SETTINGS)
    white = replace(reference, aligned=np.full_like(reference.aligned, 255))
    for share in (0.5, 1.0):
        composite = compose(reference, moved, white, replace(inside, share=share))
        np.testing.assert_allclose(composite[:3, moved.inner == 1], share)
        np.testing.assert_allclose(composite[4, moved.inner == 1], share)
        outside = moved.inner == 0
        np.testing.assert_array_equal(composite[:, outside], compose(reference, moved, reference, inside)[:, outside])


def test_pixels_follow_their_points(reference: Reference, wide: Array) -> None:
    where = warp(reference.points, wide, settings=SETTINGS).map
    for points in (OUTER_LIPS, CHIN, OVAL[12:24]):
        found = sampled(where, wide[points, :2])
        assert np.abs(found - reference.points[points, :2]).max() < 1.0
    assert wide[LIP_BOTTOM, 1] - reference.points[LIP_BOTTOM, 1] > 8  # so the mouth did open


def test_one_chin(reference: Reference, wide: Array) -> None:
    """Down from the lips, the column through the chin reads the reference from top to bottom, once."""
    where = warp(reference.points, wide, settings=SETTINGS).map
    x = round(float(wide[152, 0])) - REGION_X[0]
    below = round(float(wide[17, 1])) - REGION_Y[0] + 2
    assert np.diff(where[below:, x, 1]).min() > -0.05


def test_a_patch_is_moved_as_the_region_is(reference: Reference, wide: Array) -> None:
    """Its map says the same of the same places; its inner mouth has an edge as sharp as its own pixels."""
    moved, patch = warp(reference.points, wide, settings=SETTINGS), patch_of(wide)
    near = moved.on(patch, wide)
    assert near.grid == patch
    assert near.map.shape == (*patch.size, 2)
    for points in (OUTER_LIPS, [INNER_LIPS[5]]):
        at = patch.points(wide[points, :2]).astype(np.float32)[None]
        found = cv2.remap(near.map, at, None, cv2.INTER_LINEAR)[0]  # type: ignore[call-overload]
        assert np.abs(found - sampled(moved.map, wide[points, :2])).max() < 0.3
    np.testing.assert_array_equal(near.inner, inner_mouth(wide, patch))
    area = cv2.contourArea(wide[INNER_LIPS, :2].astype(np.float32))
    assert near.inner.sum() == pytest.approx(4 * area, rel=0.05)
    assert ((near.inner > 0) & (near.inner < 1)).sum() < 1.5 * 2 * ((moved.inner > 0) & (moved.inner < 1)).sum()
    assert near.coverage[near.inner == 1].all()


def test_a_patchs_composite_is_the_close_up(reference: Reference) -> None:
    """Where nothing moves, outside the mouth, to the bit."""
    patch = patch_of(reference.points)
    moved = warp(reference.points, reference.points, settings=SETTINGS).on(patch, reference.points)
    inside = interior(reference.points, reference.points, SETTINGS, patch)
    composite = compose(reference, moved, reference, inside)
    assert composite.shape == (5, *patch.size)
    outside = moved.inner == 0
    same = reference.patch().transpose(2, 0, 1) / 127.5 - 1
    assert np.abs(composite[:3] - same)[:, outside].max() < 0.02
    assert np.abs(composite[:3] - same)[:, outside].mean() < 1e-3


def test_movement_decays_to_the_border(reference: Reference, wide: Array) -> None:
    moved = warp(reference.points, wide, settings=SETTINGS)
    y, x = np.mgrid[: REGION_SIZE[0], : REGION_SIZE[1]]
    away = np.linalg.norm(moved.map - (np.stack([x, y], -1) + CORNER), axis=-1)
    chin = np.linalg.norm(wide[152] - reference.points[152])
    assert max(away[0].max(), away[-1].max(), away[:, 0].max(), away[:, -1].max()) < 0.15 * chin
    assert away.max() > 0.9 * chin
    centre, tip = np.array([ALIGNED_SIZE / 2, EYE_LINE]), reference.points[152, :2]
    below = (tip + (tip - centre) * 0.15)[None]  # a finger's breadth under the chin: the throat comes along
    assert np.linalg.norm(below - sampled(moved.map, below)) > 0.3 * chin
    assert (moved.coverage[[0, 0, -1, -1], [0, -1, 0, -1]] == 0).all()


def test_coverage_is_the_face(reference: Reference, wide: Array) -> None:
    moved = warp(reference.points, wide, settings=SETTINGS)
    hull = np.zeros(REGION_SIZE, np.uint8)
    cv2.fillConvexPoly(hull, cv2.convexHull(np.round(wide[OVAL, :2] - CORNER).astype(np.int32)), 1)
    assert (moved.coverage == hull).mean() > 0.97
    assert moved.coverage[moved.inner == 1].all()


def test_inner_mouth_is_its_polygon(reference: Reference, wide: Array) -> None:
    closed, opened = inner_mouth(reference.points), inner_mouth(wide)
    for mask, points in ((closed, reference.points), (opened, wide)):
        area = cv2.contourArea(points[INNER_LIPS, :2].astype(np.float32))
        assert mask.sum() == pytest.approx(area, rel=0.1, abs=12)
        assert ((mask >= 0) & (mask <= 1)).all()
        middle = [np.average(axis, weights=mask) for axis in np.mgrid[:144, :176][::-1]]
        moments = cv2.moments(points[INNER_LIPS, :2].astype(np.float32))
        expected = np.array([moments["m10"], moments["m01"]]) / moments["m00"]
        assert np.abs(middle + CORNER - expected).max() < 0.6
    assert opened.sum() > closed.sum() + 100


@pytest.mark.parametrize("yaw", [-40, 40])
def test_turned_head(model: Model, reference: Reference, yaw: float) -> None:
    """Triangles that face away are dropped: what is covered reads pixels of the face, in their order."""
    canonical = model.geometry.canonical.astype(np.float64)
    angle = np.radians(yaw)
    turn = np.array([[np.cos(angle), 0, np.sin(angle)], [0, 1, 0], [-np.sin(angle), 0, np.cos(angle)]])
    start, end = (((canonical @ r.T) * 64 + [128, 72, 0]).astype(np.float32) for r in (np.eye(3), turn))
    moved = warp(start, end, settings=SETTINGS)
    assert np.isfinite(moved.map).all()
    nose = moved.map[round(float(end[4, 1])) - REGION_Y[0], round(float(end[4, 0])) - REGION_X[0]]
    assert np.abs(nose - start[4, :2]).max() < 1.5
    rows = moved.map[20:100, :, 0]
    covered = (moved.coverage[20:100, 1:] > 0) & (moved.coverage[20:100, :-1] > 0)
    assert (np.diff(rows, axis=1)[covered] > 0).mean() > 0.97


def test_a_warp_is_what_its_triangles_say_one_by_one(reference: Reference, wide: Array) -> None:
    turned = reference.points.copy()
    turned[:, 0] += 0.6 * (turned[:, 2] - turned[4, 2])  # its nose before its cheek
    for target in (reference.points, wide, turned):
        moved = warp(reference.points, target, settings=SETTINGS)
        where, coverage = plain_geometry.warped(reference.points, target, SETTINGS)
        np.testing.assert_allclose(moved.map, where, atol=1e-3)
        np.testing.assert_array_equal(moved.coverage, coverage)
        np.testing.assert_array_equal(moved.inner, plain_geometry.inner_mouth(target, moved.grid))


@pytest.mark.parametrize("close", [False, True])
def test_a_composite_is_what_its_pixels_say_one_by_one(reference: Reference, wide: Array, *, close: bool) -> None:
    halfway = ((reference.points + wide) / 2).astype(np.float32)
    for mouth in (reference, replace(reference, points=wide)):
        moved = warp(reference.points, halfway, settings=SETTINGS)
        moved = moved.on(patch_of(halfway), halfway) if close else moved
        made = compose(reference, moved, mouth, interior(mouth.points, halfway, SETTINGS, moved.grid))
        plain = plain_geometry.composite(reference, mouth, halfway, moved.map, SETTINGS, moved.grid)
        np.testing.assert_allclose(made[:4].transpose(1, 2, 0), plain, atol=1 / 127.5)
