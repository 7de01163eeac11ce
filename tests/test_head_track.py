"""Head tracks: what a turned, shifted, enlarged drawn face is found to do, in parts between cuts."""

from __future__ import annotations

from types import SimpleNamespace
from typing import TYPE_CHECKING, cast

import numpy as np
import pytest
from numpy.typing import NDArray

from difftalk.arrays import Array
from difftalk.data.head_track import even, head_poses, head_tracks, smooth
from difftalk.face.landmarks import BROWS
from difftalk.model import Model
from difftalk.speech.head_motion import NAMES, POSE_SIZE

if TYPE_CHECKING:
    from difftalk.data.sample import Sample


def turned(degrees: float, axis: int) -> NDArray[np.float64]:
    c, s = np.cos(np.radians(degrees)), np.sin(np.radians(degrees))
    first, second = [i for i in range(3) if i != axis]
    out = np.eye(3)
    out[[first, first, second, second], [first, second, first, second]] = c, -s, s, c
    return out


def faces(model: Model, count: int, moved: str, by: float) -> Array:
    """Drawn faces, 60 px between the eyes, of which every other does something."""
    made = []
    for i in range(count):
        points, amount = model.geometry.canonical.astype(np.float64), by * (i % 2)
        if moved == "brow":
            points[BROWS, 1] -= amount
        axis = {"pitch": 0, "yaw": 1, "roll": 2}.get(moved)
        points = points if axis is None else points @ turned(amount, axis).T
        size = 60 * np.exp(amount if moved == "zoom" else 0)
        shift = [100 + 60 * amount * (moved == "x"), 90 + 60 * amount * (moved == "y"), 0]
        made.append(size * points + shift)
    return np.stack(made).astype(np.float32)


@pytest.mark.parametrize("name", NAMES)
def test_every_number_is_what_its_name_says(model: Model, name: str) -> None:
    by = 5.0 if name in ("yaw", "pitch", "roll") else 0.05
    poses = head_poses(faces(model, 9, name, by), model.geometry)
    found = np.abs(poses[1] - poses[0])
    place = NAMES.index(name)
    assert poses.shape == (9, POSE_SIZE)
    assert found[place] == pytest.approx(by, rel=0.05 if name != "brow" else 0.6)
    scale = np.array([5, 5, 5, 0.05, 0.05, 0.05, 0.05])
    if name != "brow":  # whose points are among those that the pose rests on
        assert (np.delete(found / scale, place) < 0.06).all()
    np.testing.assert_allclose(np.median(poses, 0), 0, atol=1e-6)


def test_signs(model: Model) -> None:
    """To the right and down is more; a raised brow is more; a larger face is more."""
    for name in ("x", "y", "zoom", "brow"):
        poses = head_poses(faces(model, 9, name, 0.05), model.geometry)
        assert poses[1, NAMES.index(name)] > poses[0, NAMES.index(name)]


def test_a_cut_parts_a_clip(model: Model) -> None:
    seconds = np.concatenate([np.arange(20) / 25, 2 + np.arange(30) / 25])
    sample = SimpleNamespace(meshes=faces(model, 50, "yaw", 1.0), seconds=seconds)
    tracks = head_tracks(cast("Sample", sample), model.geometry)
    assert [(track.first, len(track)) for track in tracks] == [(0, 20), (50, 30)]


@pytest.mark.parametrize("rate", [30.0, 50.0])
def test_other_rates_become_25_a_second(rate: float) -> None:
    seconds = np.arange(0.5, 2.5, 1 / rate)
    wave = np.sin(2 * np.pi * 0.5 * seconds)
    track = even(np.tile(wave[:, None], POSE_SIZE), seconds)
    times = (track.first + np.arange(len(track))) / 25
    inner = slice(6, -6)
    np.testing.assert_allclose(track.poses[inner, 0], np.sin(np.pi * times)[inner], atol=0.03)


def test_smoothing_keeps_what_is_slow() -> None:
    times = np.arange(200) / 25
    slow, quick = np.sin(2 * np.pi * 0.5 * times), np.sin(2 * np.pi * 8 * times)
    assert smooth(slow, 0.05)[20:-20].std() / slow[20:-20].std() > 0.95
    assert smooth(quick, 0.05)[20:-20].std() / quick[20:-20].std() < 0.1
    np.testing.assert_allclose(smooth(np.ones((30, 7)), 0.05), 1)
