"""Who speaks: what is found once of a portrait or a video, before any audio.

A still gives one reference and a neutral that does not depend on what its mouth does. A video is read once from end to
end: every frame's pose and alignment, who is in it, and for each person references at different turns of the head and
the mouth bank: references that show the inside of the mouth, opened in different ways. Pictures of the video itself
are not kept.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from difftalk.arrays import Array, Image
from difftalk.errors import FaceError
from difftalk.face.finder import MIN_EYE_DISTANCE
from difftalk.face.pose import Pose
from difftalk.face.space import Alignment
from difftalk.media.marks import Mark
from difftalk.render.cover import Cover, Lookout
from difftalk.render.references import Person
from difftalk.speech.own_way import OwnWay

if TYPE_CHECKING:
    from difftalk.media.video import VideoInfo
    from difftalk.model import Model


@dataclass(frozen=True)
class Tracked:
    """One frame of a video. upper: (45, 3) source pixels.

    zoom: at most 1; how much smaller the face must be for the region to hold the frame's own chin and mouth.
    """

    pose: Pose  # source pixels
    alignment: Alignment
    upper: Array
    zoom: float
    person: int = 0  # number in the identity's people
    cover: Cover | None = None  # what lies before the face
    mouth_hidden: bool = False  # by it, so that the frame is passed through


@dataclass(frozen=True)
class Identity:
    """A portrait (`image` is set) or a video (`info` and `frames` are). people: one of a portrait, or more."""

    path: Path
    people: list[Person]
    image: Image | None = None
    points: Array | None = None  # (478, 3) source pixels, of the image
    pose: Pose | None = None
    info: VideoInfo | None = None
    frames: list[Tracked | None] = field(default_factory=list)
    marks: list[Mark] = field(default_factory=list)  # of the frames
    times: list[list[float]] = field(default_factory=list)  # when each of the frames is shown
    notes: list[str] = field(default_factory=list)
    cover: Cover | None = None  # what lies before the face of the image
    own_way: OwnWay | None = None  # where a video has its own sound, in sync, and one person


def check_size(path: Path, eye_distance: float) -> None:
    if eye_distance < MIN_EYE_DISTANCE:
        raise FaceError(
            f"{path}: the eyes are {eye_distance:.0f} px apart; at least {MIN_EYE_DISTANCE:.0f} are needed; "
            "come nearer, or give more pixels"
        )


def lookout_of(model: Model) -> Lookout | None:
    """None where the model's folder has no net for it: then nothing is taken to lie before a face."""
    return Lookout(model.graph("cover")) if "cover" in model.graphs else None
