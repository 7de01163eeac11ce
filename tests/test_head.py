"""Head poses: what is told of two tracked poses, and what a turn about the neck moves."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from difftalk.face.head import NECK, HeadPose, turned
from difftalk.face.pose import Pose


def pose(yaw: float = 0.0, pitch: float = 0.0, roll: float = 0.0, zoom: float = 1.0, place: float = 0.0) -> Pose:
    return Pose(turned(yaw, pitch, roll), 40 * zoom, np.array([100.0 + place, 80.0, 5.0]))


def test_nothing_between_a_pose_and_itself() -> None:
    for rest in (pose(), pose(20, -5, 12)):
        np.testing.assert_allclose(HeadPose.between(rest, rest).row, 0, atol=1e-9)


@pytest.mark.parametrize("roll", [0.0, 90.0, -30.0])
def test_what_is_between_two_poses(roll: float) -> None:
    """As an upright head is seen, however the rest is tilted."""
    rest, upright = pose(roll=roll), turned(roll=roll)
    place = rest.shift + upright @ (4.0, 2.0, 0.0)
    found = HeadPose.between(rest, Pose(upright @ turned(8, -3, 2), 44.0, place))
    np.testing.assert_allclose(found.row, [8, -3, 2, 0.1, 0.05, np.log(1.1), 0], atol=0.03)


def test_the_neck_stays_where_a_head_turns_about_it() -> None:
    for one in (HeadPose.about_neck(9, 0, 0), HeadPose.about_neck(5, 6, -4)):
        moved = one.rotation @ NECK + (one.x, one.y, 0)
        np.testing.assert_allclose(moved[:2], NECK[:2], atol=1e-9)
    left, down = HeadPose.about_neck(9, 0, 0), HeadPose.about_neck(0, 6, 0)
    assert left.x < -0.1
    assert down.y > 0.1


def test_rows_and_amounts() -> None:
    one = HeadPose(1, 2, 3, 0.4, 0.5, 0.6, 0.7)
    assert HeadPose.of_row(one.row) == one
    assert one.times(2) == HeadPose(2, 4, 6, 0.8, 1.0, 1.2, 1.4)
    assert dataclasses.asdict(one)["brow"] == 0.7
