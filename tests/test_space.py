"""Poses, alignments and grids are inverse pairs; crops hit their pixels; following smooths but never over a cut."""

from __future__ import annotations

from collections.abc import Sequence
from typing import cast

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from difftalk.arrays import Array, Image
from difftalk.face.finder import Face
from difftalk.face.landmarks import LIPS, UPPER
from difftalk.face.pose import Pose, fit_pose, fit_poses
from difftalk.face.space import (
    ALIGNED_SIZE,
    CLOSE,
    CLOSE_SIZE,
    CLOSE_SPACE,
    EYE_DISTANCE,
    EYE_LINE,
    FEATHER,
    PATCH_SIZE,
    REGION,
    REGION_SIZE,
    REGION_X,
    REGION_Y,
    Alignment,
    Grid,
    align,
    crop_region,
    patch_of,
)
from difftalk.face.tracker import Followed, Tracker, follow
from difftalk.model import Model
from drawn import RATE, SETTINGS

Points = NDArray[np.float64]


def turned(yaw: float, roll: float, scale: float = 50.0, shift: tuple[float, float, float] = (120, 90, 3)) -> Pose:
    """Angles in degrees."""
    a, b = np.radians([yaw, roll])
    around_y = np.array([[np.cos(a), 0, np.sin(a)], [0, 1, 0], [-np.sin(a), 0, np.cos(a)]])
    around_z = np.array([[np.cos(b), -np.sin(b), 0], [np.sin(b), np.cos(b), 0], [0, 0, 1]])
    return Pose(around_z @ around_y, scale, np.array(shift, float))


@pytest.fixture(scope="module")
def canonical(model: Model) -> Points:
    return model.geometry.canonical.astype(np.float64)


@pytest.mark.parametrize("yaw", [-50, 0, 35])
@pytest.mark.parametrize("roll", [-20, 0, 30])
def test_pose_is_recovered(canonical: Points, yaw: float, roll: float) -> None:
    pose = turned(yaw, roll)
    found = fit_pose(pose.place(canonical), canonical)
    np.testing.assert_allclose(found.rotation, pose.rotation, atol=1e-9)
    np.testing.assert_allclose([found.scale, *found.shift], [pose.scale, *pose.shift], atol=1e-6)
    assert found.yaw == pytest.approx(yaw, abs=1e-6)
    if yaw == 0:
        assert found.roll == pytest.approx(roll, abs=1e-6)


def test_place_and_remove_are_inverse(canonical: Points) -> None:
    pose = turned(25, -10)
    np.testing.assert_allclose(pose.remove(pose.place(canonical)), canonical, atol=1e-12)
    np.testing.assert_allclose(pose.place(pose.remove(canonical)), canonical, atol=1e-9)


def test_pose_never_mirrors(canonical: Points) -> None:
    found = fit_pose(canonical * [-1, 1, 1], canonical)
    assert np.linalg.det(found.rotation) == pytest.approx(1)


def test_poses_of_many_are_those_of_each(canonical: Points) -> None:
    rng = np.random.default_rng(0)
    clips = np.stack([turned(yaw, 5).place(canonical) + rng.normal(0, 0.5, canonical.shape) for yaw in (-20, 0, 20)])
    for one, many in zip(clips, fit_poses(clips, canonical), strict=True):
        np.testing.assert_allclose(many.rotation, fit_pose(one, canonical).rotation, atol=1e-9)


@pytest.mark.parametrize("yaw", [0, 40])
def test_eyes_are_level_and_apart_in_three_dimensions(canonical: Points, yaw: float) -> None:
    pose = turned(yaw, 17, scale=33)
    points = align(pose).points(pose.place(canonical))
    right, left = points[[33, 133]].mean(0), points[[362, 263]].mean(0)
    np.testing.assert_allclose((right + left)[:2] / 2, [ALIGNED_SIZE / 2, EYE_LINE], atol=1e-3)
    assert np.linalg.norm(left - right) == pytest.approx(EYE_DISTANCE, abs=1e-3)
    assert left[1] == pytest.approx(right[1], abs=1e-3)
    assert align(pose).scale == pytest.approx(EYE_DISTANCE / 33)


def test_alignment_and_its_inverse() -> None:
    alignment = align(turned(10, -25, scale=80))
    points = np.random.default_rng(0).uniform(0, 500, (50, 2))
    aligned = alignment.points(points)
    assert aligned.shape == (50, 2)
    back = aligned @ alignment.inverse[:, :2].T + alignment.inverse[:, 2]
    np.testing.assert_allclose(back, points, atol=1e-3)


@pytest.mark.parametrize("scale", [40.0, 64.0, 90.0, 260.0])  # the last shrinks by four
def test_crop_hits_its_pixels(scale: float) -> None:
    """In a picture whose colours are its coordinates, the crop shows where each of its pixels comes from."""
    side = 1400
    ramp = np.arange(side) * (250 / side)
    picture = np.zeros((side, side, 3), np.uint8)
    picture[..., 0], picture[..., 1] = np.rint(ramp)[None], np.rint(ramp)[:, None]
    alignment = align(turned(0, 15, scale=scale, shift=(700, 500, 0)))
    y, x = np.mgrid[:ALIGNED_SIZE, :ALIGNED_SIZE]
    source = np.stack([x, y], -1) @ alignment.inverse[:, :2].T + alignment.inverse[:, 2]
    inside = ((source > 20) & (source < side - 20)).all(-1)
    assert inside.mean() > 0.5
    seen = alignment.crop(picture)[..., :2].astype(float)
    assert np.abs(seen - source * (250 / side))[inside].max() < 1.6


@pytest.mark.parametrize("scale", [64.0, 140.0, 300.0])
def test_shrinking_shifts_nothing(scale: float) -> None:
    """The middle of a soft dot lies in the crop where the alignment puts it."""
    y, x = np.mgrid[:1400, :1400]
    spot = np.array([721.3, 633.8])
    dot = 250 * np.exp(-((x - spot[0]) ** 2 + (y - spot[1]) ** 2) / (2 * (0.15 * scale) ** 2))
    alignment = align(turned(0, 0, scale=scale, shift=(700, 600, 0)))
    crop = alignment.crop(np.repeat(np.rint(dot).astype(np.uint8)[..., None], 3, axis=2))[..., 0].astype(float)
    found = [np.average(axis, weights=crop) for axis in np.mgrid[:ALIGNED_SIZE, :ALIGNED_SIZE][::-1]]
    np.testing.assert_allclose(found, alignment.points(spot[None])[0], atol=0.06)


@pytest.mark.parametrize("grid", [REGION, Grid((90.25, 130.75), CLOSE, PATCH_SIZE)])
def test_mask_is_soft_and_whole(grid: Grid) -> None:
    mask = grid.mask
    assert mask.shape == grid.size
    assert (mask[[0, -1]] == 0).all()
    assert (mask[:, [0, -1]] == 0).all()
    assert (mask[FEATHER:-FEATHER, FEATHER:-FEATHER] == 1).all()
    np.testing.assert_allclose(mask, mask[::-1, ::-1], atol=1e-6)
    assert (np.diff(mask[grid.size[0] // 2, : FEATHER + 1]) > 0).all()
    assert mask is grid.mask  # made once
    assert not mask.flags.writeable


def test_region_is_a_view() -> None:
    aligned = np.zeros((ALIGNED_SIZE, ALIGNED_SIZE, 3), np.uint8)
    crop_region(aligned)[:] = 7
    assert (aligned[REGION_Y[0] : REGION_Y[1], REGION_X[0] : REGION_X[1]] == 7).all()
    assert (aligned == 7).all(2).sum() == REGION_SIZE[0] * REGION_SIZE[1]


# --- grids and close-ups ----------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def mesh(face: Face, alignment: Alignment) -> Array:
    """The portrait's aligned mesh (478, 3)."""
    return alignment.points(face.points)


@pytest.mark.parametrize("grid", [REGION, Grid((90.25, 130.75), CLOSE, PATCH_SIZE)])
def test_a_grids_places_are_where_its_points_are(grid: Grid) -> None:
    """Its pixels' places, asked for as points, are the pixels; its matrix leads from pixels to places."""
    x, y = grid.places
    height, width = grid.size
    assert (x.shape, y.shape) == ((width,), (height, 1))
    places = np.stack(np.broadcast_arrays(x, y), -1)
    rows, columns = np.mgrid[:height, :width]
    pixels = np.stack([columns, rows], -1)
    np.testing.assert_allclose(grid.points(places), pixels, atol=1e-4)
    np.testing.assert_allclose(pixels @ grid.matrix[:, :2].T + grid.matrix[:, 2], places, atol=1e-4)


def test_the_regions_grid_is_the_region() -> None:
    x, y = REGION.places
    np.testing.assert_array_equal(x, np.arange(*REGION_X))
    np.testing.assert_array_equal(y[:, 0], np.arange(*REGION_Y))


def test_a_grid_shows_ramps_of_another_exactly(mesh: Array) -> None:
    """What the region holds, on the patch at twice the scale; and back, where the patch lies."""
    patch = patch_of(mesh)
    for one, other in ((patch, REGION), (REGION, patch)):
        x, y = np.broadcast_arrays(*other.places)
        wanted_x, wanted_y = np.broadcast_arrays(*one.places)
        found = one.of(np.stack([x, y, 3 * x - 2 * y + 1], -1).astype(np.float32), other)
        assert found.shape == (*one.size, 3)
        assert found.dtype == np.float32
        within = (wanted_x >= x.min()) & (wanted_x <= x.max()) & (wanted_y >= y.min()) & (wanted_y <= y.max())
        assert within.sum() > 4000
        wanted = np.stack([wanted_x, wanted_y, 3 * wanted_x - 2 * wanted_y + 1], -1)
        np.testing.assert_allclose(found[within], wanted[within], atol=0.02)
        np.testing.assert_allclose(found[..., 0], np.clip(wanted_x, x.min(), x.max()), atol=0.02)  # as at the border


@pytest.mark.parametrize("away", [(0.0, 0.0), (3.3, -7.7), (-0.49, 0.26)])
def test_a_patch_holds_the_lips_at_whole_close_pixels(mesh: Array, away: tuple[float, float]) -> None:
    points = mesh + np.array([*away, 0], np.float32)
    patch = patch_of(points)
    assert (patch.zoom, patch.size) == (CLOSE, PATCH_SIZE)
    first = CLOSE * np.array(patch.corner) + (CLOSE - 1) / 2  # px of the close space
    np.testing.assert_array_equal(first, np.rint(first))
    lips = patch.points(points[LIPS, :2])
    height, width = PATCH_SIZE
    rim = FEATHER / 2  # the portrait smiles widely
    assert lips.min() > rim
    assert (lips < np.array([width, height]) - 1 - rim).all()
    middle = lips.mean(0)
    np.testing.assert_allclose(middle[0], (width - 1) / 2, atol=0.51)
    assert 0 < (height - 1) / 2 - middle[1] < 8  # more room below, where jaws open to


@pytest.mark.parametrize(("roll", "scale"), [(0.0, 40.0), (25.0, 40.0), (-40.0, 210.0)])
def test_a_patch_is_the_faces_however_large_and_turned_its_picture_is(
    canonical: Points, roll: float, scale: float
) -> None:
    """Of the mesh as it lies aligned: a picture's size and a head's roll are gone."""
    upright = turned(0, 0, scale=64)
    plain = patch_of(align(upright).points(upright.place(canonical)))
    pose = turned(0, roll, scale=scale, shift=(410, -33, 8))
    np.testing.assert_allclose(patch_of(align(pose).points(pose.place(canonical))).corner, plain.corner, atol=0.51)


def test_a_patch_is_of_one_scale_whatever_the_mouth_does(canonical: Points) -> None:
    """128 px an eye distance in three dimensions: not more for a small mouth, an open one, nor for a turned head."""
    eyes = canonical[[33, 133]].mean(0) - canonical[[362, 263]].mean(0)
    middle, wide, pursed = canonical[LIPS].mean(0), canonical.copy(), canonical.copy()
    for points, by in ((wide, (1.5, 3.0, 1.0)), (pursed, (0.5, 0.6, 1.3))):
        points[LIPS] = middle + (points[LIPS] - middle) * by
    for yaw in (0, 35):
        pose = turned(yaw, 10, scale=50)
        patches = [patch_of(align(pose).points(pose.place(points))) for points in (canonical, wide, pursed)]
        assert patches[0] == patches[1] == patches[2]
        x_axis = pose.place(np.stack([canonical[0], canonical[0] + pose.rotation.T @ [np.linalg.norm(eyes), 0, 0]]))
        placed = patches[0].points(align(pose).points(x_axis)[:, :2])
        assert np.linalg.norm(placed[1] - placed[0]) == pytest.approx(CLOSE * EYE_DISTANCE, rel=1e-5)


@pytest.mark.parametrize("scale", [40.0, 64.0, 110.0, 260.0])  # px between the eyes in the source
def test_a_close_up_is_the_crop_at_twice_its_size(canonical: Points, scale: float) -> None:
    side = 1200
    noise = np.random.default_rng(0).integers(0, 256, (14, 14, 3), np.uint8)
    picture = np.asarray(cv2.resize(noise, (side, side), interpolation=cv2.INTER_CUBIC), np.uint8)
    pose = turned(0, 12, scale=scale, shift=(600, 480, 0))
    placed = align(pose)
    points = placed.points(pose.place(canonical))
    close, corner = placed.close_up(picture, points)
    assert close.shape == (*CLOSE_SIZE, 3)
    lips = CLOSE * points[LIPS, :2] + (CLOSE - 1) / 2 - corner
    assert (lips > 30).all()
    assert (lips < np.array(CLOSE_SIZE[::-1]) - 30).all()
    begin = corner + corner % CLOSE  # of the first whole aligned pixel
    skip = (begin - corner)[::-1]
    whole = close[skip[0] :, skip[1] :]
    height, width = whole.shape[0] // CLOSE, whole.shape[1] // CLOSE
    whole = whole[: CLOSE * height, : CLOSE * width].astype(float)
    mean = whole.reshape(height, CLOSE, width, CLOSE, 3).mean((1, 3))
    x, y = begin // CLOSE
    assert np.abs(mean - placed.crop(picture)[y : y + height, x : x + width]).max() <= 2


def test_the_close_space_leads_to_the_aligned_one(mesh: Array, alignment: Alignment, portrait: Image) -> None:
    """Its middles of two by two pixels are those of the aligned pixels."""
    middles = np.array([[0.5, 0.5], [200.5, 300.5]])
    np.testing.assert_allclose(CLOSE_SPACE.points(middles), [[0, 0], [100, 150]], atol=1e-5)
    _, corner = alignment.close_up(portrait, mesh)
    to_close = alignment.close(corner)
    source = np.array([[100.0, 120.0], [131.5, 140.25]])
    found = source @ to_close[:, :2].T + to_close[:, 2] + corner
    np.testing.assert_allclose(CLOSE_SPACE.points(found), alignment.points(source), atol=1e-4)


class Scripted:
    """A tracker that sees what it is told."""

    def __init__(self, poses: Sequence[Pose | None], canonical: Points) -> None:
        self._faces = iter(
            [None if pose is None else Face(pose.place(canonical).astype(np.float32), 1.0) for pose in poses]
        )

    def __call__(self, image: Image) -> Face | None:
        return next(self._faces)


def followed(poses: Sequence[Pose | None], canonical: Points) -> list[Followed]:
    frames = [(np.full((4, 4, 3), number, np.uint8), number / float(RATE)) for number in range(len(poses))]
    return list(follow(frames, cast("Tracker", Scripted(poses, canonical)), canonical, SETTINGS))


def middles(frames: Sequence[Followed]) -> Points:
    """Where each frame's alignment takes the eyes' middle from, x in source pixels."""
    out = [frame.alignment.inverse @ [128, EYE_LINE, 1] for frame in frames if frame.alignment is not None]
    return np.array(out)[:, 0]


def at(x: float) -> Pose:
    return turned(0, 0, shift=(x, 90, 0))


def test_every_frame_comes_once_and_in_order(canonical: Points) -> None:
    for count in (1, SETTINGS.following.smoothing_reach, 3 * SETTINGS.following.smoothing_reach):
        frames = followed([at(100)] * count, canonical)
        assert [int(frame.image[0, 0, 0]) for frame in frames] == list(range(count))
        assert [frame.seconds for frame in frames] == [n / 25 for n in range(count)]


def test_jitter_is_smoothed_and_even_motion_kept(canonical: Points) -> None:
    noise = np.random.default_rng(0).normal(0, 1, 40)
    assert middles(followed([at(100 + n) for n in noise], canonical)).std() < 0.6 * noise.std()
    even = middles(followed([at(100 + n) for n in range(40)], canonical))
    np.testing.assert_allclose(even[5:-5], 100 + np.arange(40)[5:-5], atol=1e-3)


def test_an_upside_down_head_is_smoothed_over_its_whole_turn(canonical: Points) -> None:
    """Its roll is 179 degrees in one frame and -179 in the next."""
    frames = followed([turned(0, roll) for roll in (179, -179) * 5], canonical)
    for frame in frames:
        assert frame.alignment is not None
        assert frame.alignment.matrix[0, 0] / frame.alignment.scale == pytest.approx(-1, abs=1e-3)


def test_smoothing_stops_at_cuts_and_gaps(canonical: Points) -> None:
    cut = middles(followed([at(100)] * 6 + [at(160)] * 6, canonical))
    np.testing.assert_allclose(cut, [100] * 6 + [160] * 6, atol=1e-3)
    frames = followed([at(100)] * 6 + [None] + [at(110)] * 6, canonical)
    assert [frame.alignment is None for frame in frames] == [n == 6 for n in range(13)]
    np.testing.assert_allclose(middles(frames), [100] * 6 + [110] * 6, atol=1e-3)


def test_smoothing_looks_no_farther_than_its_reach(canonical: Points) -> None:
    one, other = [at(100.0)] * 20, [at(100.0)] * 20
    other[15] = at(104)
    same = middles(followed(one, canonical)) == middles(followed(other, canonical))
    assert same.tolist() == [abs(n - 15) > SETTINGS.following.smoothing_reach for n in range(20)]


def test_lower_face_moves_no_alignment(canonical: Points) -> None:
    lower = np.setdiff1d(np.arange(len(canonical)), UPPER)
    points = turned(20, 5).place(canonical)
    noisy = points.copy()
    noisy[lower] += np.random.default_rng(0).normal(0, 30, (len(lower), 3))
    poses = [fit_pose(p[UPPER], canonical[UPPER]) for p in (points, noisy)]
    assert isinstance(align(poses[0]), Alignment)
    np.testing.assert_array_equal(align(poses[0]).matrix, align(poses[1]).matrix)
