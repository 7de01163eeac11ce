"""The rim: surroundings that stand still or go with the head, and that nothing inside the region is looked at."""

from __future__ import annotations

import cv2
import numpy as np
import pytest

from difftalk.arrays import Array, Image
from difftalk.face.space import REGION_SIZE, REGION_X, REGION_Y, Alignment
from difftalk.render.surroundings import RIM, RimFollower, field, spread, still_scene
from drawn import SETTINGS

STILL = np.eye(2, 3)


@pytest.fixture(scope="module")
def texture() -> Image:
    """Smooth random surroundings, (400, 400, 3)."""
    noise = np.random.default_rng(0).integers(0, 256, (50, 50, 3), np.uint8)
    return np.asarray(cv2.resize(noise, (400, 400), interpolation=cv2.INTER_CUBIC), np.uint8)


def crop(texture: Image, x: float, y: float) -> tuple[Image, Alignment]:
    """An aligned picture whose upper left corner lies at (x, y) of the texture."""
    alignment = Alignment(np.array([[1.0, 0, -x], [0, 1.0, -y]]))
    return alignment.crop(texture), alignment


def test_weights_are_shares_and_nearest_counts_most() -> None:
    weights = spread(RIM, SETTINGS.surroundings)
    np.testing.assert_allclose(weights.sum(1), 1)
    assert (weights.argmax(1) == np.arange(len(RIM))).all()


def test_one_motion_everywhere_is_spread_as_it_is() -> None:
    motion = np.tile(np.array([3.0, -2.0], np.float32), (len(RIM), 1))
    assert field(motion, SETTINGS).shape == (*REGION_SIZE, 2)
    np.testing.assert_allclose(field(motion, SETTINGS), np.broadcast_to([3.0, -2.0], (*REGION_SIZE, 2)), atol=1e-4)


def test_still_scene_undoes_both_alignments() -> None:
    frame = Alignment(np.array([[0.9, 0.1, 5.0], [-0.1, 0.9, 8.0]]))
    reference = Alignment(np.array([[1.1, -0.2, 3.0], [0.2, 1.1, -4.0]]))
    source = np.array([[10.0, 20.0], [200.0, 90.0]])
    seen = frame.points(source).astype(np.float64)
    scene = still_scene(frame, reference)
    np.testing.assert_allclose(seen @ scene[:, :2].T + scene[:, 2], reference.points(source), atol=1e-3)


def test_surroundings_that_stand_still(texture: Image) -> None:
    (frame, here), (reference, there) = crop(texture, 70, 60), crop(texture, 52, 66)
    motion = RimFollower()(frame, reference, still_scene(here, there), SETTINGS)
    np.testing.assert_allclose(motion, np.broadcast_to([18.0, -6.0], motion.shape), atol=0.3)


def test_surroundings_that_go_with_the_head(texture: Image) -> None:
    frame, _ = crop(texture, 60, 60)
    moved = still_scene(Alignment(np.array([[1.0, 0, -80.0], [0, 1.0, -50]])), Alignment(STILL))
    assert np.abs(RimFollower()(frame, frame, moved, SETTINGS)).max() < 0.3


def test_flow_finds_what_neither_guess_says(texture: Image) -> None:
    (frame, _), (reference, _) = crop(texture, 62, 61), crop(texture, 60, 60)
    motion = RimFollower()(frame, reference, STILL, SETTINGS)
    np.testing.assert_allclose(np.median(motion, 0), [2.0, 1.0], atol=0.5)


def test_flow_is_smoothed_until_reset(texture: Image) -> None:
    (frame, _), (reference, _) = crop(texture, 62, 60), crop(texture, 60, 60)
    follower = RimFollower()
    assert np.abs(follower(reference, reference, STILL, SETTINGS)).max() < 0.1
    lagging = float(np.median(follower(frame, reference, STILL, SETTINGS)[:, 0]))
    assert 0.5 < lagging < 1.2
    follower.reset()
    assert np.median(follower(frame, reference, STILL, SETTINGS)[:, 0]) == pytest.approx(2.0, abs=0.5)


def test_nothing_inside_the_region_is_looked_at(texture: Image) -> None:
    (frame, here), (reference, there) = crop(texture, 70, 60), crop(texture, 60, 64)

    def motion(image: Image) -> Array:
        return RimFollower()(image, reference, still_scene(here, there), SETTINGS)

    noisy = frame.copy()
    noisy[slice(*REGION_Y), slice(*REGION_X)] = 0
    np.testing.assert_array_equal(motion(frame), motion(noisy))
