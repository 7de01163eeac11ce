"""The mouth's inside: what is near a lip stays near it, and a closed mouth shows nothing."""

from __future__ import annotations

import numpy as np
import pytest

from difftalk.arrays import Array
from difftalk.face.finder import Face
from difftalk.face.landmarks import LIP_BOTTOM, LIP_TOP, LOWER_EDGE, UPPER_EDGE
from difftalk.face.mouth import target_mesh
from difftalk.face.space import REGION, REGION_X, REGION_Y, Alignment, patch_of
from difftalk.model import Model
from difftalk.render.inner_mouth import interior
from difftalk.render.warp import inner_mouth
from drawn import SETTINGS


@pytest.fixture(scope="module")
def opened(model: Model, face: Face, alignment: Alignment) -> dict[float, Array]:
    """Aligned meshes by how far the drawn mouth is opened beyond its neutral, eye distances."""
    geometry, pose = model.geometry, model.geometry.pose(face.points)
    neutral, row = geometry.closed(pose.remove(face.points).astype(np.float32)), geometry.opening_row()
    shapes = {by: row * by / (row @ row) for by in (0.0, 0.15, 0.3)}
    return {
        by: alignment.points(target_mesh(geometry, pose=pose, neutral=neutral, shape=shape.astype(np.float32)))
        for by, shape in shapes.items()
    }


def test_the_same_mouth_stays_where_it_is(opened: dict[float, Array]) -> None:
    same = interior(opened[0.3], opened[0.3], SETTINGS)
    rows, columns = np.nonzero(inner_mouth(opened[0.3]) == 1)
    found = same.map[rows, columns]
    np.testing.assert_allclose(found, np.stack([columns + REGION_X[0], rows + REGION_Y[0]], 1), atol=0.01)
    assert same.share == 1


def test_a_patch_shows_the_same_inside_finer(opened: dict[float, Array]) -> None:
    """At the aligned places of its pixels it says what the region says of them."""
    patch = patch_of(opened[0.15])
    coarse, fine = (interior(opened[0.3], opened[0.15], SETTINGS, grid) for grid in (REGION, patch))
    assert fine.map.shape == (*patch.size, 2)
    assert fine.share == pytest.approx(coarse.share, abs=0.05)
    inside = inner_mouth(opened[0.15], patch) == 1
    assert inside.sum() > 400
    for one, other in zip(fine.sides(np.s_[:, :]), coarse.sides(np.s_[:, :]), strict=True):
        np.testing.assert_allclose(one[inside], patch.of(other, REGION)[inside], atol=0.35)


@pytest.mark.parametrize(("reference", "target"), [(0.3, 0.15), (0.3, 0.3)])
def test_teeth_keep_their_distance_from_their_lip(opened: dict[float, Array], reference: float, target: float) -> None:
    there, here = opened[reference], opened[target]
    where = interior(there, here, SETTINGS).map
    column = round(float(here[LIP_TOP, 0])) - REGION_X[0]
    for lip, inwards in ((LIP_TOP, 2), (LIP_BOTTOM, -2)):
        row = round(float(here[lip, 1])) + inwards
        distance = where[row - REGION_Y[0], column, 1] - there[lip, 1]
        assert distance == pytest.approx(row - here[lip, 1], abs=0.5)


def test_a_narrow_opening_is_stretched_over_a_wide_one(opened: dict[float, Array]) -> None:
    where = interior(opened[0.15], opened[0.3], SETTINGS).map
    rows, columns = np.nonzero(inner_mouth(opened[0.3]) == 1)
    found = where[rows, columns, 1]
    assert found.min() >= opened[0.15][UPPER_EDGE, 1].min() - 1
    assert found.max() <= opened[0.15][LOWER_EDGE, 1].max() + 1


def test_a_closed_mouth_shows_nothing(opened: dict[float, Array]) -> None:
    assert interior(opened[0.0], opened[0.3], SETTINGS).share == 0
    assert 0 < interior(opened[0.15], opened[0.3], SETTINGS).share <= 1
    assert interior(opened[0.3], opened[0.15], SETTINGS).share == 1


def test_meshes_without_width_are_survived(opened: dict[float, Array]) -> None:
    flat = opened[0.3].copy()
    flat[:, 0] = flat[0, 0]
    for found in (interior(flat, opened[0.3], SETTINGS), interior(opened[0.3], flat, SETTINGS)):
        assert np.isfinite(found.map).all()
        assert 0 <= found.share <= 1
