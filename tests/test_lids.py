"""Lids: an eye is closed by its own skin, and nothing else moves."""

from __future__ import annotations

import cv2
import numpy as np
import pytest

from difftalk.arrays import Image
from difftalk.face.finder import Face, roi_of
from difftalk.face.landmarks import LOWER_LIDS, UPPER_LIDS
from difftalk.model import Model
from difftalk.render.lids import close_lids
from drawn import SETTINGS

BLINKS = (9, 10)  # blendshapes


def test_open_lids_are_the_picture(face: Face, portrait: Image) -> None:
    np.testing.assert_array_equal(close_lids(portrait, face.points, 0.0, SETTINGS), portrait)


def test_a_blink_closes_the_eyes(model: Model, face: Face, portrait: Image) -> None:
    shut = close_lids(portrait, face.points, 1.0, SETTINGS)
    scores = [
        model.face_finder.blendshapes(model.face_finder.mesh(image, roi_of(face.points)).points)[list(BLINKS)].mean()
        for image in (portrait, shut)
    ]
    assert scores[1] > scores[0] + 0.15


def test_nothing_of_the_eye_is_seen(face: Face, portrait: Image) -> None:
    """What was white or iris is skin."""
    shut = close_lids(portrait, face.points, 1.0, SETTINGS)
    for upper, lower in zip(UPPER_LIDS, LOWER_LIDS, strict=True):
        x, y = face.points[[upper[4], lower[4]], :2].mean(0).astype(int)
        above = face.points[upper[4], :2].astype(int) - (0, 2)
        assert np.abs(shut[y, x].astype(int) - portrait[y, x]).max() > 20
        assert np.abs(shut[y, x].astype(int) - portrait[above[1], above[0]]).max() < 90


def test_a_blink_moves_nothing_but_the_lids(face: Face, portrait: Image) -> None:
    changed = (close_lids(portrait, face.points, 1.0, SETTINGS) != portrait).any(-1)
    outside = np.ones_like(changed)
    for upper, lower in zip(UPPER_LIDS, LOWER_LIDS, strict=True):
        points = face.points[[*upper, *lower], :2]
        margin = 0.3 * np.ptp(points[:, 0]) + 2
        (x0, y0), (x1, y1) = (points.min(0) - margin).astype(int), (points.max(0) + 3).astype(int)
        outside[y0:y1, x0:x1] = False
    assert changed.any()
    assert not changed[outside].any()


@pytest.mark.parametrize("where", [(-500.0, 0.0), (240.0, 100.0)])
def test_eyes_beyond_the_picture(face: Face, portrait: Image, where: tuple[float, float]) -> None:
    points = (face.points + np.array([*where, 0], np.float32)).astype(np.float32)
    assert close_lids(portrait, points, 1.0, SETTINGS).shape == portrait.shape


def test_a_rim_stays_and_lids_are_skin(face: Face, portrait: Image) -> None:
    """Dark glasses are drawn right above the eyes: they are as they were, and nothing of them is on the lids."""
    rimmed, unit = portrait.copy(), face.eye_distance
    for upper in UPPER_LIDS:
        line = face.points[list(upper), :2] - (0, 0.11 * unit)
        line += np.linspace(-0.1, 0.1, len(line))[:, None] * (unit, 0)
        cv2.polylines(rimmed, [np.rint(line).astype(np.int32)], False, (8, 8, 8), max(2, round(0.06 * unit)))
    rim = (rimmed != portrait).any(-1)
    shut, plain = (close_lids(image, face.points, 1.0, SETTINGS) for image in (rimmed, portrait))
    assert np.abs(shut[rim].astype(int) - rimmed[rim]).mean() < 4
    for upper, lower in zip(UPPER_LIDS, LOWER_LIDS, strict=True):
        x, y = (0.5 * face.points[upper[4], :2] + 0.5 * face.points[lower[4], :2]).astype(int)
        skin = np.median(portrait[y + round(0.15 * unit) :, x - 3 : x + 4][:6], (0, 1))
        assert shut[y - 1 : y + 2, x - 2 : x + 3].mean() > 0.6 * skin.mean()
    assert not np.array_equal(plain, portrait)


def test_a_lid_comes_down_steadily(face: Face, portrait: Image) -> None:
    """No jump from hardly open to closed."""
    changes = [
        np.abs(close_lids(portrait, face.points, one, SETTINGS).astype(int) - portrait).sum()
        for one in (0.05, 0.3, 0.6, 1.0)
    ]
    assert sorted(changes) == changes
    assert changes[0] < 0.4 * changes[-1]
