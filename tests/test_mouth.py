"""Mouth shapes: the round trip's bounds, neutrals, and that nothing below the nose enters a target mesh."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from safetensors.numpy import save_file

from difftalk.arrays import Array
from difftalk.data.clip import clip_shapes
from difftalk.errors import ModelError
from difftalk.face.finder import Face
from difftalk.face.landmarks import CHIN, LIP_BOTTOM, LIP_TOP, LIPS, UPPER
from difftalk.face.mouth import (
    COMPONENTS,
    Geometry,
    neutral_of_clip,
    opening,
    smooth_opening,
    target_mesh,
)
from difftalk.face.space import align
from difftalk.media import video
from difftalk.model import Model
from drawn import SETTINGS, SHARED

LIPS_BOUND, CHIN_BOUND = 1.0, 2.0  # aligned px, mean over points
TURNED = 20.0  # degrees


@pytest.fixture(scope="module")
def geometry(model: Model) -> Geometry:
    return model.geometry


def shapes(count: int, *, seed: int = 0) -> Array:
    return np.random.default_rng(seed).normal(0, 1, (count, COMPONENTS)).astype(np.float32)


def opened(geometry: Geometry, amount: float) -> Array:
    """A shape that opens the lips by `amount` eye distances."""
    row = geometry.opening_row()
    return (row * amount / (row @ row)).astype(np.float32)


def meshes_of(model: Model, clip: Path, *, every: int) -> Array:
    finder, found = model.face_finder, []
    for number, frame in enumerate(video.read(clip)):
        if number % every == 0:
            found.append(finder.find(frame.image)[0].face.points)
    return np.stack(found)


@pytest.mark.skipif(not SHARED.is_dir(), reason="the shared clips are not beside this checkout")
@pytest.mark.parametrize(
    ("clip", "turned"), [("grid_s31/lbwo3s.mkv", False), ("vox_517600055/517600055.mp4", True)], ids=["front", "turned"]
)
def test_round_trip_keeps_lips_and_chin(model: Model, clip: str, turned: bool) -> None:
    meshes = meshes_of(model, SHARED / "clips" / clip, every=4)
    taken = clip_shapes(model.geometry, meshes)
    errors = {"lips": list[float](), "chin": list[float]()}
    for mesh, pose, shape in zip(meshes, taken.poses, taken.shapes, strict=True):
        if abs(pose.yaw) > TURNED or not turned:
            back = target_mesh(model.geometry, pose=pose, neutral=taken.neutral, shape=shape, upper=mesh)
            apart = np.hypot(*(align(pose).points(back) - align(pose).points(mesh))[:, :2].T)
            errors["lips"].append(apart[LIPS].mean())
            errors["chin"].append(apart[CHIN].mean())
    assert len(errors["lips"]) >= 8
    assert np.mean(errors["lips"]) <= LIPS_BOUND
    assert np.mean(errors["chin"]) <= CHIN_BOUND


@pytest.mark.skipif(not SHARED.is_dir(), reason="the shared clips are not beside this checkout")
def test_neutral_of_one_frame_whatever_its_mouth_does(model: Model) -> None:
    """The widest frame's neutral is nearer to the clip's neutral than the frame itself is, and about as closed."""
    meshes = meshes_of(model, SHARED / "clips/vidtimit_fadg0/fadgo_sa1.mp4", every=5)
    taken = clip_shapes(model.geometry, meshes)
    widest = int(opening(taken.free).argmax())
    guess = model.geometry.neutral_of_still(taken.free[widest], model.face_finder.blendshapes(meshes[widest]))
    assert np.abs(guess - taken.neutral)[LIPS].mean() < 0.7 * np.abs(taken.free[widest] - taken.neutral)[LIPS].mean()
    assert opening(guess) < 0.5 * opening(taken.free[widest])


def test_shape_and_offsets_are_inverse(geometry: Geometry) -> None:
    given = shapes(5)
    free = geometry.canonical + geometry.offsets(given)
    np.testing.assert_allclose(geometry.shape_of(free, geometry.canonical), given, atol=1e-3)
    np.testing.assert_allclose(geometry.shape_of(free[2], geometry.canonical), given[2], atol=1e-3)


def test_shapes_move_the_lower_face_alone(geometry: Geometry) -> None:
    moved = np.abs(geometry.offsets(shapes(3))).max((0, 2)) > 0
    assert set(np.flatnonzero(moved)) <= set(geometry.lower)
    assert not set(geometry.lower) & set(UPPER)
    assert moved[LIPS].all()
    assert moved[CHIN].all()


def test_opening_row_opens(geometry: Geometry) -> None:
    shape = opened(geometry, 0.2)
    before, after = geometry.canonical, geometry.canonical + geometry.offsets(shape)
    assert (after - before)[LIP_BOTTOM, 1] - (after - before)[LIP_TOP, 1] == pytest.approx(0.2, abs=1e-4)
    assert opening(after) > opening(before) + 0.1


def test_pose_rests_on_the_upper_face(geometry: Geometry, face: Face) -> None:
    noisy = face.points.copy()
    lower = np.setdiff1d(np.arange(len(noisy)), UPPER)
    noisy[lower] += np.random.default_rng(0).normal(0, 50, (len(lower), 3)).astype(np.float32)
    np.testing.assert_array_equal(geometry.pose(noisy).rotation, geometry.pose(face.points).rotation)


def test_target_takes_only_the_upper_face_from_its_frame(geometry: Geometry, face: Face) -> None:
    pose, shape = geometry.pose(face.points), shapes(1)[0]
    noise = np.random.default_rng(0).uniform(0, 256, face.points.shape).astype(np.float32)
    noise[UPPER] = face.points[UPPER]
    meshes = [
        target_mesh(geometry, pose=pose, neutral=geometry.canonical, shape=shape, upper=upper)
        for upper in (face.points, noise)
    ]
    np.testing.assert_array_equal(meshes[0], meshes[1])
    np.testing.assert_array_equal(meshes[0][UPPER], face.points[UPPER])
    alone = target_mesh(geometry, pose=pose, neutral=geometry.canonical, shape=shape)
    np.testing.assert_array_equal(meshes[0][LIPS], alone[LIPS])
    assert np.abs(meshes[0][UPPER] - alone[UPPER]).max() > 0.1


def test_own_shape_gives_the_own_mesh(geometry: Geometry, face: Face) -> None:
    pose = geometry.pose(face.points)
    free = pose.remove(face.points)
    back = target_mesh(geometry, pose=pose, neutral=free, shape=np.zeros(COMPONENTS, np.float32))
    np.testing.assert_allclose(back, face.points, atol=1e-3)


def test_neutral_of_a_clip_is_its_most_closed_quarter(geometry: Geometry) -> None:
    amounts = np.random.default_rng(0).permutation(np.linspace(0, 0.4, 40))
    free = np.stack([geometry.canonical + geometry.offsets(opened(geometry, a)) for a in amounts])
    expected = free[np.argsort(amounts)[:10]].mean(0)
    np.testing.assert_allclose(neutral_of_clip(free, SETTINGS), expected, atol=1e-5)
    assert neutral_of_clip(free[:3], SETTINGS).shape == (478, 3)


def test_a_neutral_has_closed_lips(geometry: Geometry) -> None:
    """An open neutral is closed, its upper face untouched; lips that meet stay as they are."""
    wide = geometry.canonical + geometry.offsets(opened(geometry, 0.15))
    shut = geometry.closed(wide)
    assert opening(wide) > 0.12
    assert opening(shut) == pytest.approx(SETTINGS.mouths.rest_opening, abs=0.004)
    np.testing.assert_array_equal(shut[UPPER], wide[UPPER])
    pressed = shut - geometry.offsets(opened(geometry, SETTINGS.mouths.rest_opening / 2))
    np.testing.assert_array_equal(geometry.closed(pressed), pressed)


def test_clip_is_taken_apart(geometry: Geometry, face: Face) -> None:
    pose = geometry.pose(face.points)
    amounts = [0.0] * 8 + [0.1, 0.3]
    shut = geometry.closed(geometry.canonical)
    free = np.stack([shut + geometry.offsets(opened(geometry, a)) for a in amounts])
    taken = clip_shapes(geometry, np.stack([pose.place(points) for points in free]).astype(np.float32))
    np.testing.assert_allclose(taken.free, free, atol=1e-3)
    np.testing.assert_allclose(taken.shapes @ geometry.opening_row(), amounts, atol=5e-3)


def test_opening_and_its_smoothing() -> None:
    points = np.zeros((2, 478, 3))
    points[1, LIP_BOTTOM] = [0.3, 0.4, 0]
    np.testing.assert_allclose(opening(points), [0, 0.5])
    np.testing.assert_allclose(smooth_opening(np.array([0.0, 3, 0, 6])), [1, 1, 3, 4])


def test_geometry_is_saved_and_loaded(geometry: Geometry, tmp_path: Path) -> None:
    geometry.save(tmp_path)
    for name, value in vars(geometry).items():
        loaded: NDArray[np.generic] = getattr(Geometry.load(tmp_path), name)
        np.testing.assert_array_equal(loaded, value)


def test_bad_geometry(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r"no geometry\.safetensors"):
        Geometry.load(tmp_path)
    (tmp_path / "geometry.safetensors").write_bytes(b"nothing of the kind")
    with pytest.raises(ModelError, match="export the model again"):
        Geometry.load(tmp_path)
    save_file({"canonical": np.zeros(3, np.float32)}, tmp_path / "geometry.safetensors")
    with pytest.raises(ModelError, match="export the model again"):
        Geometry.load(tmp_path)
