"""A still's head motion and blinks: small, smooth, fixed by the seed, and off when they are turned off."""

from __future__ import annotations

import numpy as np
import pytest

from difftalk.arrays import Image
from difftalk.face.finder import Face, roi_of
from difftalk.face.landmarks import LOWER_LIDS, UPPER, UPPER_LIDS
from difftalk.face.space import Alignment, align
from difftalk.model import Model
from difftalk.talk.life import Life, _close_lids
from drawn import SETTINGS

TIMES = np.arange(0, 12, 0.04)
BLINKS = (9, 10)  # blendshapes
WIDEST = 0.03  # of a face's width, the most that a head may move


def life(alignment: Alignment, face: Face, *, amount: float = 1.0, seed: int = 0) -> Life:
    return Life(alignment, face.points, amount, seed, SETTINGS)


def still_time(one: Life) -> float:
    """The moment of the largest sway without a blink."""
    return max((t for t in TIMES if one._closed(t) == 0), key=lambda t: float(np.abs(one._sway(t)[:2]).sum()))


def test_turned_off_it_is_the_picture_itself(alignment: Alignment, face: Face, portrait: Image) -> None:
    for seconds in (0.0, 3.3):
        image, placed = life(alignment, face, amount=0).frame(portrait, seconds)
        assert image is portrait
        assert placed is alignment


def test_starts_where_the_picture_is(alignment: Alignment, face: Face, portrait: Image) -> None:
    image, placed = life(alignment, face).frame(portrait, 0.0)
    np.testing.assert_array_equal(image, portrait)
    np.testing.assert_allclose(placed.matrix, alignment.matrix, atol=1e-9)


def test_alignment_goes_with_the_picture(model: Model, alignment: Alignment, face: Face, portrait: Image) -> None:
    """The head's points lie, in the moved alignment, where they lay before; and the picture did move."""
    one = life(alignment, face, amount=2)
    image, placed = one.frame(portrait, still_time(one))
    seen = model.face_finder.mesh(image, roi_of(face.points)).points
    before = model.face_finder.mesh(portrait, roi_of(face.points)).points
    rest = np.abs(placed.points(seen) - alignment.points(before))[UPPER, :2].mean()
    moved = np.linalg.norm((seen - before)[UPPER, :2].mean(0))
    assert moved > 0.6
    assert rest < 0.35 * moved * alignment.scale


def test_motion_is_small_smooth_and_ends_at_the_border(alignment: Alignment, face: Face, portrait: Image) -> None:
    one = life(alignment, face)
    width = np.ptp(face.points[:, 0])
    places = []
    for seconds in TIMES[::4]:
        _, placed = one._moved(portrait, seconds)
        places.append((placed.inverse @ [128, 130, 1]) - (alignment.inverse @ [128, 130, 1]))
    shifts = np.linalg.norm(places, axis=1)
    assert 0.2 * WIDEST * width < shifts.max() <= WIDEST * width
    assert np.linalg.norm(np.diff(places, axis=0), axis=1).max() < 0.02 * width
    image, _ = one._moved(portrait, still_time(one))
    for edge in (np.s_[0], np.s_[-1], np.s_[:, 0], np.s_[:, -1]):
        np.testing.assert_array_equal(image[edge], portrait[edge])
    assert (image != portrait).any(-1).mean() > 0.1


def test_shoulders_and_background_stay(model: Model, face: Face, portrait: Image) -> None:
    large = np.pad(portrait, ((200, 200), (200, 200), (0, 0)), mode="reflect")
    points = (face.points + np.array([200, 200, 0], np.float32)).astype(np.float32)
    placed = align(model.geometry.pose(points))
    one = Life(placed, points, 1.0, 0, SETTINGS)
    image, _ = one._moved(large, still_time(one))
    y, x = np.mgrid[: large.shape[0], : large.shape[1]]
    aligned = np.stack([x, y], -1) @ placed.matrix[:, :2].T + placed.matrix[:, 2]
    reach = np.linalg.norm((aligned - np.array(SETTINGS.life.head_centre)) / np.array(SETTINGS.life.head_size), axis=-1)
    changed = (image != large).any(-1)
    assert not changed[reach > SETTINGS.life.fade + 0.2].any()
    assert changed[reach < 1].mean() > 0.3


def test_seed_fixes_it(alignment: Alignment, face: Face, portrait: Image) -> None:
    one, same, other = (life(alignment, face, seed=seed) for seed in (1, 1, 2))
    np.testing.assert_array_equal(one.frame(portrait, 2.2)[0], same.frame(portrait, 2.2)[0])
    assert (one.frame(portrait, 2.2)[0] != other.frame(portrait, 2.2)[0]).any()


def test_blinks_come_and_go(alignment: Alignment, face: Face) -> None:
    one = life(alignment, face)
    closed = np.array([one._closed(t) for t in np.arange(0, 60, 0.02)])
    starts = np.flatnonzero((closed[1:] > 0) & (closed[:-1] == 0)) * 0.02
    assert closed.min() == 0
    assert closed.max() == 1
    gaps = np.diff(starts)
    assert ((gaps > SETTINGS.life.blink_gap[0] - 0.05) & (gaps < SETTINGS.life.blink_gap[1] + 0.05)).all()
    assert np.abs(np.diff(closed)).max() < 0.5  # lids take their time


def test_a_blink_closes_the_eyes(model: Model, face: Face, portrait: Image) -> None:
    shut = _close_lids(portrait, face.points, 0.92, SETTINGS)
    scores = [
        model.face_finder.blendshapes(model.face_finder.mesh(image, roi_of(face.points)).points)[list(BLINKS)].mean()
        for image in (portrait, shut)
    ]
    assert scores[1] > scores[0] + 0.15


def test_a_blink_moves_nothing_but_the_lids(face: Face, portrait: Image) -> None:
    changed = (_close_lids(portrait, face.points, 1.0, SETTINGS) != portrait).any(-1)
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
    assert _close_lids(portrait, points, 1.0, SETTINGS).shape == portrait.shape


def test_emphasis_is_a_nod(alignment: Alignment, face: Face, portrait: Image) -> None:
    one = life(alignment, face)
    plain, nodding, off = (
        (placed.inverse @ [128, 130, 1])
        for placed in (
            one.frame(portrait, 0.2)[1],
            one.frame(portrait, 0.2, 1.0)[1],
            life(alignment, face, amount=0).frame(portrait, 0.2, 1.0)[1],
        )
    )
    assert nodding[1] - plain[1] > 0.01 / alignment.scale
    np.testing.assert_allclose(nodding[0], plain[0], atol=0.3)
    np.testing.assert_allclose(off, alignment.inverse @ [128, 130, 1])
