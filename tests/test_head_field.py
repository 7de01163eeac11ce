"""A turned head: the right way, in three dimensions, without folds, and the border and a head at rest as they were."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from numpy.typing import NDArray

from difftalk.arrays import Image
from difftalk.face.finder import Face, roi_of
from difftalk.face.head import HeadPose
from difftalk.face.pose import Pose
from difftalk.model import Model
from difftalk.render.head_field import HeadField
from drawn import SETTINGS

NOSE, EARS = 4, (234, 454)
TURNED = HeadPose.about_neck(8, 0, 0)
POSES = [
    HeadPose.about_neck(yaw, pitch, roll, x, y, zoom, brow)
    for yaw, pitch, roll in itertools.product((-15, 15), repeat=3)
    for x, y, zoom, brow in ((0.3, 0.2, 0.1, 0.1), (-0.3, -0.2, -0.1, -0.1))
]  # beyond what any picture can bear


@pytest.fixture(scope="module")
def pose(model: Model, face: Face) -> Pose:
    return model.geometry.pose(face.points)


@pytest.fixture(scope="module")
def field(portrait: Image, face: Face, pose: Pose) -> HeadField:
    return HeadField.of(portrait, face.points, pose, SETTINGS)


def moved(field: HeadField, pose: HeadPose, image: Image) -> Image:
    change = field.moved(pose)
    assert change is not None
    return change(image)


def mesh(model: Model, image: Image, face: Face) -> NDArray[np.float32]:
    return model.face_finder.mesh(image, roi_of(face.points)).points


def test_at_rest_nothing_moves(field: HeadField) -> None:
    assert field.moved(HeadPose()) is None


def test_the_border_stays(field: HeadField, portrait: Image) -> None:
    for pose in (TURNED, POSES[0], POSES[-1]):
        image = moved(field, pose, portrait)
        for edge in (np.s_[0], np.s_[-1], np.s_[:, 0], np.s_[:, -1]):
            np.testing.assert_array_equal(image[edge], portrait[edge])
        assert (image != portrait).any(-1).mean() > 0.1


@pytest.mark.parametrize("side", [-1, 1])
def test_a_yaw_moves_the_nose_and_leaves_the_ears(
    model: Model, field: HeadField, face: Face, portrait: Image, side: int
) -> None:
    """In the right direction: to the picture's left where it is positive."""
    turned = mesh(model, moved(field, HeadPose.about_neck(8 * side, 0, 0), portrait), face)
    shift = (turned - mesh(model, portrait, face))[:, 0] / face.eye_distance
    assert -side * shift[NOSE] > 0.1
    assert (np.abs(shift[list(EARS)]) < 0.6 * abs(shift[NOSE])).all()


@pytest.mark.parametrize(
    "wanted",
    [HeadPose.about_neck(6, 0, 0), HeadPose.about_neck(0, 5, 0), HeadPose.about_neck(0, 0, 3), HeadPose(x=0.1)],
)
def test_the_face_finder_sees_the_pose(
    model: Model, field: HeadField, face: Face, portrait: Image, wanted: HeadPose
) -> None:
    before, after = (
        model.geometry.pose(mesh(model, image, face)) for image in (portrait, moved(field, wanted, portrait))
    )
    seen, meant = HeadPose.between(before, after).row, field.limited(wanted).row
    np.testing.assert_allclose(seen[:3], meant[:3], atol=2.5)
    np.testing.assert_allclose(seen[3:5], meant[3:5], atol=0.05)
    turns = np.abs(meant[:3]).argmax()
    if meant[turns]:
        assert 0.5 < seen[turns] / meant[turns] < 1.5


def test_nothing_folds_within_the_limits(field: HeadField) -> None:
    for pose in POSES:
        held = field.limited(pose)
        assert field.strain(held).max() < 1
        change = field.moved(pose)
        assert change is not None
        (down, _), (_, right) = ([d[..., axis] for d in np.gradient(change.where[2:-2, 2:-2])[:2]] for axis in (1, 0))
        assert down.min() > 0
        assert right.min() > 0


def test_limits_are_soft(field: HeadField) -> None:
    small = HeadPose.about_neck(1, 0.5, 0.3)
    np.testing.assert_allclose(field.limited(small).row, small.row, rtol=0.05, atol=0.01)
    yaws = [field.limited(HeadPose.about_neck(yaw, 0, 0)).yaw for yaw in (4, 8, 16, 90)]
    assert sorted(yaws) == yaws
    assert yaws[-1] <= SETTINGS.head.limits[0]


def test_a_turned_head_is_turned_little_further(portrait: Image, face: Face, pose: Pose) -> None:
    side = Pose(HeadPose(yaw=38).rotation @ pose.rotation, pose.scale, pose.shift)
    low, high = HeadField.of(portrait, face.points, side, SETTINGS).limits[:, 0]
    assert high <= SETTINGS.head.max_yaw - side.yaw + 1e-6 or high == SETTINGS.head.least_turn
    assert low < -high


def test_a_head_cut_by_the_border_moves_less(portrait: Image, face: Face, pose: Pose, field: HeadField) -> None:
    top = int(face.points[10, 1]) + 6
    points = (face.points - np.array([0, top, 0], np.float32)).astype(np.float32)
    shifted = Pose(pose.rotation, pose.scale, pose.shift - np.array([0, top, 0]))
    cut = HeadField.of(portrait[top:], points, shifted, SETTINGS)
    assert (cut.limits[1, :3] < 0.98 * field.limits[1, :3]).all()


def test_background_far_away_stays(portrait: Image, face: Face, pose: Pose) -> None:
    large = np.pad(portrait, ((200, 200), (200, 200), (0, 0)), mode="reflect")
    beside = np.array([200, 200, 0])
    points, placed = face.points + beside.astype(np.float32), Pose(pose.rotation, pose.scale, pose.shift + beside)
    wide = HeadField.of(large, points, placed, SETTINGS)
    changed = (moved(wide, POSES[3], large) != large).any(-1)
    y, x = np.mgrid[: large.shape[0], : large.shape[1]]
    away = np.hypot(x - placed.shift[0], y - placed.shift[1]) / pose.scale
    assert not changed[away > 4].any()
    assert changed[away < 1].mean() > 0.5


def test_brows_are_raised(model: Model, field: HeadField, face: Face, portrait: Image) -> None:
    rise = (mesh(model, moved(field, HeadPose(brow=0.08), portrait), face) - mesh(model, portrait, face))[:, 1]
    assert rise[[105, 334]].mean() < -0.02 * face.eye_distance
    assert abs(rise[[NOSE, 152]]).max() < 0.03 * face.eye_distance


@pytest.mark.parametrize("where", [(-220.0, 0.0), (0.0, 230.0)])
def test_heads_beyond_the_picture(portrait: Image, face: Face, pose: Pose, where: tuple[float, float]) -> None:
    beside = np.array([*where, 0])
    points, placed = face.points + beside.astype(np.float32), Pose(pose.rotation, pose.scale, pose.shift + beside)
    change = HeadField.of(portrait, points, placed, SETTINGS).moved(TURNED)
    assert change is None or change(portrait).shape == portrait.shape


def test_lines_behind_the_head_stay_straight(portrait: Image, face: Face, pose: Pose) -> None:
    """The same head before a wall and before shelves: what is beside it moves by little, and the head still turns."""
    plain, tilted = np.full_like(portrait, 120), HeadPose.about_neck(6, 0, 6, 0.1)
    shelves = plain.copy()
    shelves[(np.arange(len(plain)) // 10) % 2 == 0] = 200
    shelves[:, (np.arange(plain.shape[1]) // 10) % 2 == 0] = 60
    wall, lined = (HeadField.of(image, face.points, pose, SETTINGS) for image in (plain, shelves))
    beside = (wall.weight < 0.8) & (wall.places[..., 1] < 0.8)
    far, little = (np.hypot(*field.shift(field.limited(tilted))[beside].T).max() for field in (wall, lined))
    assert little < 0.35 * far
    assert little < 0.06
    assert lined.limited(tilted).yaw > 0.9 * wall.limited(tilted).yaw
    assert 0 < lined.limited(tilted).roll <= SETTINGS.head.before_lines[0]
