"""Mouth patches: each figure of the inner mouth can fail, and by as much as what was done to it."""

from __future__ import annotations

import cv2
import numpy as np
import pytest

from difftalk.arrays import Array, Image
from difftalk.evaluation.metrics.patch import BOX, PATCH, Patch, inner_figures, paired_figures
from difftalk.face.landmarks import INNER_LIPS, LIP_BOTTOM, LIP_TOP, LIPS
from difftalk.face.space import Alignment

MIDDLE = (128, 150)  # px, aligned: of the mouth
SOURCE = Alignment(np.array([[0.5, 0, 10], [0, 0.5, 20]], np.float64))  # eyes 128 px apart, the face's corner off 0
ROWS = ("inner_texture", "tint", "lightness", "inner_lpips", "inner_early")


def lips(height: float = 12) -> Array:
    """Inner lips on an ellipse of 44 px and twice the height about the middle; the outer ones with them."""
    points = np.zeros((478, 3), np.float32)
    points[LIPS, :2] = MIDDLE
    angle = np.linspace(0, 2 * np.pi, len(INNER_LIPS), endpoint=False)
    points[INNER_LIPS, 0], points[INNER_LIPS, 1] = MIDDLE[0] + 22 * np.cos(angle), MIDDLE[1] + height * np.sin(angle)
    points[LIP_TOP, :2], points[LIP_BOTTOM, :2] = (MIDDLE[0], MIDDLE[1] - height), (MIDDLE[0], MIDDLE[1] + height)
    return points


def place() -> tuple[int, int]:
    """Where the mouth's middle lies in the source, px."""
    x, y = SOURCE.inverse[:, :2] @ np.array(MIDDLE) + SOURCE.inverse[:, 2]
    return round(x), round(y)


def face() -> Image:
    """Skin, red lips and a dark mouth with a row of teeth, at the source's size."""
    image = np.full((500, 500, 3), (200, 160, 140), np.uint8)
    centre = place()
    cv2.ellipse(image, centre, (60, 40), 0, 0, 360, (180, 90, 90), -1)
    cv2.ellipse(image, centre, (44, 24), 0, 0, 360, (60, 30, 30), -1)
    for left in range(centre[0] - 30, centre[0] + 30, 12):
        cv2.rectangle(image, (left, centre[1] - 14), (left + 9, centre[1] + 4), (220, 215, 200), -1)
    return np.asarray(cv2.GaussianBlur(image, (0, 0), 0.7), np.uint8)


def figures(made: Image, true: Image) -> dict[str, float]:
    """Of two frames each, all alike."""
    pair = [[Patch.of(image, SOURCE, lips())] * 2 for image in (made, true)]
    return inner_figures(*pair) | paired_figures(*pair)


def tinted(image: Image, lab: tuple[float, float, float]) -> Image:
    """With so much L*, a*, b* more."""
    before = np.asarray(cv2.cvtColor(image.astype(np.float32) / 255, cv2.COLOR_RGB2LAB))
    made = np.asarray(cv2.cvtColor(before + np.array(lab, np.float32), cv2.COLOR_LAB2RGB))
    return np.rint(np.clip(made, 0, 1) * 255).astype(np.uint8)


def test_a_patch_is_the_mouth_at_128_px_an_eye_distance() -> None:
    image = np.zeros((500, 500, 3), np.uint8)
    x, y = place()
    image[y, x] = image[y, x + 20] = 255
    patch = Patch.of(image, SOURCE, lips())
    assert patch.picture.shape == (PATCH[1], PATCH[0], 3)
    assert patch.box.shape == (BOX[1], BOX[0], 3)
    assert [tuple(place) for place in np.argwhere(patch.picture[..., 0] > 128)] == [(56, 80), (56, 100)]
    assert patch.inner[56, 80]
    assert np.pi * 40 * 20 < patch.inner.sum() < np.pi * 44 * 24  # without its rim


def test_a_patch_stays_at_the_true_mouth() -> None:
    shown = lips() + np.array([5, 0, 0], np.float32)
    patch = Patch.of(face(), SOURCE, shown, lips())
    assert (patch.picture == Patch.of(face(), SOURCE, lips()).picture).all()
    assert np.flatnonzero(patch.inner.any(0)).mean() == pytest.approx(90, abs=1)


def test_the_truth_against_itself() -> None:
    assert figures(face(), face()) == pytest.approx(dict.fromkeys(ROWS, 0.0) | {"inner_texture": 1.0}, abs=1e-5)


def test_blur_takes_texture() -> None:
    soft = figures(np.asarray(cv2.GaussianBlur(face(), (0, 0), 3), np.uint8), face())
    assert soft["inner_texture"] < 0.4
    assert soft["inner_lpips"] > 0.05
    noise = np.random.default_rng(0).normal(0, 15, face().shape)
    assert figures(np.clip(face() + noise, 0, 255).astype(np.uint8), face())["inner_texture"] > 1.2


def test_a_tint_is_found_in_its_size() -> None:
    green = figures(tinted(face(), (0, -6, 3)), face())
    assert green["tint"] == pytest.approx(np.hypot(6, 3), abs=0.5)
    assert green["lightness"] < 0.5
    dark = figures(tinted(face(), (-5, 0, 0)), face())
    assert dark["lightness"] == pytest.approx(5, abs=0.5)
    assert dark["tint"] < 1


def test_skin_and_lips_do_not_count() -> None:
    other, inner = face(), Patch.of(face(), SOURCE, lips()).inner
    corner = np.array(place()) - [80, 56]
    keep = np.zeros(other.shape[:2], np.bool_)
    keep[corner[1] : corner[1] + PATCH[1], corner[0] : corner[0] + PATCH[0]] = inner
    other[~cv2.dilate(keep.astype(np.uint8), np.ones((3, 3))).astype(np.bool_)] = (10, 200, 10)
    found = figures(other, face())
    assert (found["inner_texture"], found["tint"], found["lightness"]) == pytest.approx((1, 0, 0), abs=1e-6)


def test_a_shift_is_seen_and_more_of_it_more() -> None:
    near, far = (figures(np.roll(face(), pixels, axis=1), face()) for pixels in (2, 8))
    assert 0.005 < near["inner_lpips"] < far["inner_lpips"]
    assert 0 < near["inner_early"] < far["inner_early"]


def test_shut_mouths_are_not_judged() -> None:
    shut = [Patch.of(face(), SOURCE, lips(height=2))] * 3
    assert not shut[0].is_open
    assert all(np.isnan(value) for value in (inner_figures(shut, shut) | paired_figures(shut, shut)).values())
