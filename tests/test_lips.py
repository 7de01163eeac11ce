"""Lips as they are pasted: no crack between lips that close, edges as sharp as the source, dots evened."""

from __future__ import annotations

import cv2
import numpy as np
import pytest

from difftalk.arrays import Array, Image
from difftalk.face.finder import Face
from difftalk.face.landmarks import INNER_LIPS
from difftalk.face.mouth import target_mesh
from difftalk.face.space import FEATHER, REGION, REGION_X, REGION_Y, Alignment, crop_region, patch_of
from difftalk.model import Model
from difftalk.render.composite import composites
from difftalk.render.inner_mouth import interior
from difftalk.render.lips import Lips, filled
from difftalk.render.paste import Drawn, Layer, paste
from difftalk.render.references import Reference, Scene
from difftalk.render.surroundings import RimFollower
from difftalk.render.warp import warp
from drawn import SETTINGS

FINE = 4  # pixels of the source for one of the aligned space
SKIN, DARK = 200, 10


@pytest.fixture(scope="module")
def meshes(model: Model, face: Face, alignment: Alignment) -> dict[float, Array]:
    """Aligned meshes by how far the drawn mouth is opened beyond its neutral, eye distances."""
    geometry, pose = model.geometry, model.geometry.pose(face.points)
    neutral, row = geometry.closed(pose.remove(face.points).astype(np.float32)), geometry.opening_row()
    shapes = {by: row * by / (row @ row) for by in (0.0, 0.05, 0.1, 0.3)}
    return {
        by: alignment.points(target_mesh(geometry, pose=pose, neutral=neutral, shape=shape.astype(np.float32)))
        for by, shape in shapes.items()
    }


def face_of(mesh: Array) -> Image:
    """(1024, 1024, 3): plain skin with a dark mouth, four times the aligned space."""
    image = np.full((256 * FINE * 4, 256 * FINE * 4, 3), SKIN, np.uint8)
    polygon = (mesh[INNER_LIPS, :2] * FINE + 0.5) * 4 - 0.5
    cv2.fillPoly(image, [np.round(polygon * 16).astype(np.int32)], (DARK,) * 3, cv2.LINE_8, 4)
    return np.asarray(cv2.resize(image, (256 * FINE, 256 * FINE), interpolation=cv2.INTER_AREA), np.uint8)


def pasted(shown: Array, wanted: Array, truth: Image, turn: float = 0.0, source: Image | None = None) -> Image:
    """The mouth of `wanted` pasted from a picture of `shown`, where the networks draw what `truth` has there.

    In region and patch alike. turn: radians by which the pictures are turned about the corner. source: another picture
    of `shown`.
    """
    linear = np.array([[np.cos(turn), np.sin(turn)], [-np.sin(turn), np.cos(turn)]]) / FINE
    placed = Alignment(np.concatenate([linear, np.zeros((2, 1))], 1))
    source = face_of(shown) if source is None else source
    image, truth = (turned(picture, placed) for picture in (source, truth))
    reference, true = Reference.of(image, placed, shown), Reference.of(truth, placed, wanted)
    scene = Scene(reference.aligned, placed)
    made = composites(reference, reference, wanted, SETTINGS, scene, RimFollower())
    pictures = (crop_region(true.aligned), true.patch())
    layers = [Layer(p.astype(np.float32) / 127.5 - 1, c) for p, c in zip(pictures, made, strict=True)]
    drawn = Drawn((layers[0], layers[1]), wanted, reference, SETTINGS)
    return turned(paste(image, placed, reference, drawn), placed, back=True)


def turned(image: Image, placed: Alignment, *, back: bool = False) -> Image:
    how = cv2.INTER_LINEAR if back else cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
    size = image.shape[1::-1]
    return np.asarray(
        cv2.warpAffine(image, FINE * placed.matrix, size, flags=how, borderMode=cv2.BORDER_REPLICATE), np.uint8
    )


@pytest.mark.parametrize("turn", [0.0, 0.2])
def test_lips_that_meet_leave_no_crack(meshes: dict[float, Array], turn: float) -> None:
    plain = np.full((256 * FINE, 256 * FINE, 3), SKIN, np.uint8)
    out = pasted(meshes[0.3], meshes[0.0], plain, turn)[region()].astype(int)
    assert np.abs(out - SKIN).max() < 40
    assert (np.abs(out - SKIN) > 20).mean() < 1e-4


@pytest.mark.parametrize("wide", [0.05, 0.1])
def test_edges_lie_where_they_belong(meshes: dict[float, Array], wide: float) -> None:
    truth = face_of(meshes[wide])
    wrong = np.abs(pasted(meshes[0.3], meshes[wide], truth)[region()].astype(int) - truth[region()]).max(2)
    assert (wrong > 80).sum() < 20


def test_a_mouth_as_it_was_stays(meshes: dict[float, Array]) -> None:
    truth = face_of(meshes[0.3])
    wrong = np.abs(pasted(meshes[0.3], meshes[0.3], truth)[region()].astype(int) - truth[region()])
    assert wrong.mean() < 0.1


def region() -> tuple[slice, slice]:
    """Where the mask is 1, of a picture that is not turned."""
    return tuple(slice((a + FEATHER) * FINE, (b - FEATHER) * FINE) for a, b in (REGION_Y, REGION_X))  # type: ignore[return-value]


@pytest.mark.parametrize("close", [False, True])
def test_change_is_even_along_lips_that_meet(meshes: dict[float, Array], *, close: bool) -> None:
    def found(wanted: Array) -> Lips:
        grid, moved = patch_of(wanted) if close else REGION, warp(meshes[0.3], wanted, settings=SETTINGS)
        moved = moved.on(grid, wanted) if close else moved
        inside = interior(meshes[0.3], wanted, SETTINGS, grid)
        lips = Lips.of(meshes[0.3], wanted, moved.map, moved.inner, inside, SETTINGS)
        assert lips is not None
        assert lips.zoom == grid.zoom
        return lips

    shut, opened = found(meshes[0.0]), found(meshes[0.3])
    dots = np.zeros((*shut.near.shape, 3), np.float32)
    dots[:, np.arange(dots.shape[1]) // shut.zoom % 4 == 0] = 1
    middle = shut.shut == 1
    assert middle.sum() > 50 * shut.zoom**2
    assert dots[middle].std() > 0.4
    assert shut.joined(dots, SETTINGS)[middle].std() < 0.1
    np.testing.assert_array_equal(shut.joined(dots, SETTINGS)[~shut.near], dots[~shut.near])
    assert opened.apart == 1


def test_filled_is_what_of_a_pixel_is_covered() -> None:
    corners = np.array([[2.25, 3.0], [7.5, 3.0], [7.5, 5.5], [2.25, 5.5]], np.float32) - np.float32(0.5)
    mask = filled(corners, (9, 10))
    assert mask[4, 5] == 1
    assert mask[0].max() == 0
    assert mask.sum() == pytest.approx(5.25 * 2.5, rel=0.16)


def test_what_no_reference_shows_is_as_the_networks_drew_it(meshes: dict[float, Array]) -> None:
    """Lips that were shut open on what is drawn, without an outline."""
    truth = face_of(meshes[0.3])
    wrong = np.abs(pasted(meshes[0.0], meshes[0.3], truth)[region()].astype(int) - truth[region()]).max(2)
    inside = cv2.erode((truth[region()][..., 0] == DARK).astype(np.uint8), np.ones((9, 9))) > 0
    assert inside.sum() > 1000
    assert wrong[inside].max() < 12


def test_gaps_of_teeth_that_are_drawn_dark_are_no_black_lines(meshes: dict[float, Array]) -> None:
    mouth, dim = face_of(meshes[0.3]) == DARK, 60
    teeth = np.full_like(mouth, SKIN, np.uint8)
    teeth[:, ::24] = teeth[:, 1::24] = teeth[:, 2::24] = 100
    source, truth = (np.where(mouth, inside, face_of(meshes[0.3])).astype(np.uint8) for inside in (teeth, dim))
    inner = cv2.erode(mouth[..., 0].astype(np.uint8), np.ones((25, 25), np.uint8)) > 0
    assert pasted(meshes[0.3], meshes[0.3], truth, source=source)[inner].min() > 0.4 * dim
    assert (
        pasted(meshes[0.3], meshes[0.3], source, source=source)[inner].min() < 110
    )  # teeth that are drawn keep theirs


def test_lips_beyond_the_region(meshes: dict[float, Array]) -> None:
    away = meshes[0.1] + np.array([400, 0, 0], np.float32)
    moved, inside = warp(meshes[0.3], away, settings=SETTINGS), interior(meshes[0.3], away, SETTINGS)
    assert Lips.of(meshes[0.3], away, moved.map, moved.inner, inside, SETTINGS) is None
