"""Poses and alignments are inverse pairs; crops hit their pixels; following smooths but never over a cut."""

from __future__ import annotations

from collections.abc import Sequence
from typing import cast

import numpy as np
import pytest
from numpy.typing import NDArray

from difftalk.arrays import Image
from difftalk.face.finder import Face
from difftalk.face.landmarks import UPPER
from difftalk.face.pose import Pose, fit_pose, fit_poses
from difftalk.face.space import (
    ALIGNED_SIZE,
    EYE_DISTANCE,
    EYE_LINE,
    FEATHER,
    REGION_SIZE,
    REGION_X,
    REGION_Y,
    Alignment,
    align,
    crop_region,
    region_mask,
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


def test_mask_is_soft_and_whole() -> None:
    mask = region_mask()
    assert mask.shape == REGION_SIZE
    assert (mask[[0, -1]] == 0).all()
    assert (mask[:, [0, -1]] == 0).all()
    assert (mask[FEATHER:-FEATHER, FEATHER:-FEATHER] == 1).all()
    np.testing.assert_allclose(mask, mask[::-1, ::-1], atol=1e-6)
    assert (np.diff(mask[72, : FEATHER + 1]) > 0).all()


def test_region_is_a_view() -> None:
    aligned = np.zeros((ALIGNED_SIZE, ALIGNED_SIZE, 3), np.uint8)
    crop_region(aligned)[:] = 7
    assert (aligned[REGION_Y[0] : REGION_Y[1], REGION_X[0] : REGION_X[1]] == 7).all()
    assert (aligned == 7).all(2).sum() == REGION_SIZE[0] * REGION_SIZE[1]


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
