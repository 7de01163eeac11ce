"""The head of a film: how it is turned and moved from frame to frame, so that a still's head can move as it does.

Its poses are told from the one that it has most, smoothly, at the still's frame rate. Frames without a face are passed
over. Knows nothing of stills.
"""

from __future__ import annotations

import itertools
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from difftalk.errors import FaceError, InputError
from difftalk.face.head import HeadPose
from difftalk.face.pose import Pose
from difftalk.face.tracker import Tracker
from difftalk.media import video
from difftalk.media.inputs import kind_of
from difftalk.overlap import ahead
from difftalk.progress import Progress
from difftalk.settings import Settings

if TYPE_CHECKING:
    from difftalk.model import Model


def heads_of(
    path: Path, model: Model, frame_rate: Fraction, *, progress: Progress | None = None
) -> tuple[HeadPose, ...]:
    """A film's head at so many frames/s, over its first minute. Raises InputError, FaceError."""
    if (kind := kind_of(path)) != "video":
        raise InputError(f"{path} is a {kind}; `head_from` needs a video of a head that moves")
    tracker, info, longest = Tracker(model.face_finder), video.probe(path), model.settings.life.film_seconds
    times, poses = list[float](), list[Pose]()
    frames = ahead((frame.image, frame.seconds) for frame in video.read(path))
    for done, (image, seconds) in enumerate(itertools.takewhile(lambda frame: frame[1] < longest, frames), 1):
        if (face := tracker(image)) is not None:
            times.append(seconds)
            poses.append(model.geometry.pose(face.points))
        if progress is not None:
            progress("looking", done, max(min(info.frame_count, round(longest * float(info.frame_rate))), done))
    frames.close()
    if len(poses) < 2:
        raise FaceError(f"{path}: no face found in it; `head_from` needs a video of a head that moves")
    return _even(np.array(times), poses, float(frame_rate), model.settings)


def _even(times: NDArray[np.float64], poses: list[Pose], rate: float, settings: Settings) -> tuple[HeadPose, ...]:
    """Poses at their times, seconds, smoothed, as so many a second, from the first time on."""
    rest = _usual(poses)
    rows = np.stack([HeadPose.between(rest, pose).row for pose in poses])
    grid = times[0] + np.arange(max(1, round((times[-1] - times[0]) * rate))) / rate
    sigma = settings.following.smoothing_sigma * float(np.median(np.diff(times)))
    apart = (grid[:, None] - times) / sigma
    weight = np.exp(-0.5 * (apart**2 - (apart**2).min(1, keepdims=True)))
    return tuple(map(HeadPose.of_row, weight @ rows / weight.sum(1, keepdims=True)))


def _usual(poses: list[Pose]) -> Pose:
    """The rotation nearest to the medians of all, at the median place and size."""
    turns = np.array([[*pose.turn, pose.roll] for pose in poses])
    nearest = int(np.linalg.norm(turns - np.median(turns, axis=0), axis=1).argmin())
    scale, shift = np.median([pose.scale for pose in poses]), np.median([pose.shift for pose in poses], axis=0)
    return Pose(poses[nearest].rotation, float(scale), shift)
