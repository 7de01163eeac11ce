"""A portrait: the identity of a still.

It gives one reference and a neutral that does not depend on what its mouth does. Its frames are the picture, alive.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Generator
from dataclasses import dataclass, replace
from fractions import Fraction
from functools import partial
from math import ceil
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

import numpy as np

from difftalk.arrays import Array, Image, joined, part
from difftalk.errors import FaceError, InputError
from difftalk.face.finder import Face, roi_of
from difftalk.face.mouth import Geometry
from difftalk.face.pose import Pose
from difftalk.face.space import align
from difftalk.media import picture
from difftalk.media.audio import frame_count
from difftalk.media.picture import Picture
from difftalk.overlap import made_ahead
from difftalk.render.cover import Cover, filled_in
from difftalk.render.head_field import HeadField, Moved
from difftalk.render.lids import close_lids
from difftalk.render.references import Person, Reference
from difftalk.settings import Settings
from difftalk.talk import keeping
from difftalk.talk.identity import Identity, Manner, Shot, Sitter, Sitting, check_size, lookout_of
from difftalk.talk.keeping import Kept
from difftalk.talk.life import Life

if TYPE_CHECKING:
    from difftalk.model import Model
    from difftalk.speech.head_motion import HeadMotion


@dataclass(frozen=True)
class Portrait(Identity):
    """people: one. image: (h, w, 3). points: (478, 3) source pixels. cover: what lies before the face."""

    still: ClassVar[bool] = True

    people: list[Person]
    image: Image
    points: Array
    pose: Pose
    cover: Cover | None = None

    def shots(
        self, manner: Manner, head: HeadMotion | None, settings: Settings, first: int = 0
    ) -> Generator[Shot, None, None]:
        life, field = Life(manner, head, settings), None
        if manner.head_motion > 0 and (head is not None or manner.heads):
            field = HeadField.of(self.image, self.points, self.pose, settings)
        return made_ahead(
            partial(self._shot, life.closed(seconds), seconds, settings, moved)
            for number in itertools.count(first)
            for seconds in [float(number / manner.frame_rate)]
            for moved in [None if field is None else partial(_moved, field, life, number)]
        )

    def frame_rate(self, manner: Manner) -> Fraction:
        return manner.frame_rate

    @property
    def size(self) -> tuple[int, int]:
        height, width = self.image.shape[:2]
        return width, height

    def is_over(self, manner: Manner, number: int, seconds: float, heard: float) -> bool:
        return number >= frame_count(heard, manner.frame_rate)

    def sitting(self, shot: Shot, model: Model) -> Sitting | None:
        if shot.sitter is None:
            return None
        return Sitting(shot.image, shot.sitter, model.geometry, scenery=False)

    @property
    def mark(self) -> str:
        return keeping.mark_of_people(self.people, None)

    def kept(self) -> Kept:
        images = keeping.Pictures()
        own = {"image": np.array(images.put(self.image)), "points": self.points}
        arrays = joined(
            own=own,
            pose=keeping.of_poses([self.pose]),
            cover=keeping.of_covers([] if self.cover is None else [self.cover]),
            people=keeping.of_people(self.people, images),
            pictures=images.arrays,
        )
        return Kept({"kind": "portrait", **self._facts()}, arrays)

    @classmethod
    def of_kept(cls, kept: Kept, video: Path | None) -> Portrait:
        if video is not None:
            raise InputError("is a portrait's identity; it needs no `video`")
        state, images = kept.arrays, keeping.pictures(part(kept.arrays, "pictures"))
        (pose,), covers = keeping.poses_of(part(state, "pose")), keeping.covers_of(part(state, "cover"))
        return cls(
            Path(kept.facts["path"]),
            keeping.people_of(part(state, "people"), images),
            images[int(state["own.image"])],
            state["own.points"],
            pose,
            covers[0] if covers else None,
            notes=kept.facts["notes"],
            model=kept.facts["model"],
        )

    def _shot(
        self, closed: float, seconds: float, settings: Settings, moved: Callable[[], Callable[[], Moved | None]] | None
    ) -> Shot:
        image = close_lids(self.image, self.points, closed, settings) if closed > 0 else self.image
        (who,) = self.people
        sitter = Sitter(self.pose, who.references[0].alignment, self.points, who, cover=self.cover)
        return Shot(image, seconds, sitter, moved=moved)


def _moved(field: HeadField, life: Life, number: int) -> Callable[[], Moved | None]:
    """How a frame's head moves, by its number."""
    return partial(field.moved, life.head(number))


def of_still(source: Picture, model: Model, *, size: int | None) -> Portrait:
    """The identity of a portrait.

    size: long side to which a larger picture is shrunk, but not so far that a small face is lost: it keeps up to
    `small_eyes`, and what is then longer than `largest` and `size` is cut to the face's surroundings. None keeps all.
    """
    settings = model.settings
    how = settings.finding
    whole, path = picture.read(source), Path(picture.name_of(source))
    image, notes = _shrunk(whole, size)
    found = model.face_finder.find(image, patient=False)
    if found and found[0].face.eye_distance >= how.min_eye_distance:
        face = found[0].face
    else:
        found = model.face_finder.find(whole)
        if not found:
            raise FaceError(
                f"{path}: no face found; give a picture of a face that looks towards the camera, its eyes at least "
                f"{how.min_eye_distance:.0f} px apart"
            )
        face = found[0].face
        check_size(path, face.eye_distance, settings)
        image, face, notes = _of_small_face(whole, face, model, size, settings)
    if picture.moves(source):
        notes.append("a moving picture: took its first frame; dub takes them all")
    if len(found) > 1:
        x, y = (round(v) for v in roi_of(face.points)[:2])
        notes.append(f"{len(found)} faces: took the largest, at x {x}, y {y}")
    pose = model.geometry.pose(face.points)
    most = how.max_yaw
    if abs(pose.yaw) > most:
        raise FaceError(f"{path}: the head is turned by {abs(pose.yaw):.0f} degrees; at most {most:.0f} are allowed")
    free = pose.remove(face.points)
    neutral = model.geometry.neutral_of_still(free, model.face_finder.blendshapes(face.points))
    lookout = lookout_of(model)
    cover = lookout(image, align(pose), face.points) if lookout is not None else None
    if cover is None or not cover.on_face:
        return replace(portrayed(path, image, face.points, neutral, model.geometry, notes), model=model.hash)
    notes.append(
        "something covers the mouth and stays before it: little of the speech is seen; give a picture without it"
        if cover.hides_mouth(settings)
        else "something lies before the lower face; it stays there, and what is behind it is guessed"
    )
    one = portrayed(path, filled_in(image, cover, settings), face.points, neutral, model.geometry, notes)
    return replace(one, image=image, cover=cover, model=model.hash)


def portrayed(
    path: Path, image: Image, points: Array, neutral: Array, geometry: Geometry, notes: list[str] | None = None
) -> Portrait:
    """The identity of a picture with its mesh (478, 3), source pixels, and neutral (478, 3): it shows its own mouth."""
    pose = geometry.pose(points)
    alignment, turn = align(pose), pose.turn[None]
    reference = Reference.of(image, alignment, alignment.points(points))
    shape = geometry.shape_of(pose.remove(points), neutral)[None]
    person = Person(neutral, [reference], turn, [reference], shape, turn)
    return Portrait(path, [person], image, points, pose, notes=list(notes or []))


def _shrunk(image: Image, size: int | None) -> tuple[Image, list[str]]:
    import cv2

    height, width = image.shape[:2]
    if size is None or max(height, width) <= size:
        return image, []
    scale = size / max(height, width)
    after = (max(1, round(width * scale)), max(1, round(height * scale)))
    note = f"shrunk from {width} x {height} to {after[0]} x {after[1]}; `size` sets the long side"
    return np.asarray(cv2.resize(image, after, interpolation=cv2.INTER_AREA), np.uint8), [note]


def _of_small_face(
    whole: Image, face: Face, model: Model, size: int | None, settings: Settings
) -> tuple[Image, Face, list[str]]:
    """As much of a picture as is worth drawing for its face, which a picture of `size` is too small for."""
    how = settings.still
    if size is None:
        return whole, face, []
    image, notes = _shrunk(whole, max(size, ceil(max(whole.shape) * how.small_eyes / face.eye_distance)))
    points = face.points * (image.shape[1] / whole.shape[1])
    height, width = image.shape[:2]
    if max(height, width) > max(size, how.largest):
        image, corner = _around(image, points, max(size, how.largest))
        points = points - corner
        notes = [
            f"cut to {image.shape[1]} x {image.shape[0]} px about the face; `size={max(height, width)}` keeps more of "
            f"the picture, and takes longer"
        ]
    if image is not whole:
        face = model.face_finder.mesh(image, roi_of(points))
    if face.eye_distance < how.small_eyes * 1.1:
        notes.append(f"the face is small, eyes {face.eye_distance:.0f} px apart; crop the picture for a closer view")
    return image, face, notes


def _around(image: Image, points: Array, size: int) -> tuple[Image, Array]:
    """A part of the picture about the middle of points (n, 3), and its corner (x, y, 0).

    Its long side is `size` px; its shape is the picture's, but no longer than 16 to 9.
    """
    sides = np.array(image.shape[1::-1])
    part = np.minimum(sides, np.maximum(sides * size // max(sides), size * 9 // 16)) // 2 * 2  # as films are
    x, y = np.clip(np.rint(points[:, :2].mean(0) - part / 2), 0, sides - part).astype(int)
    return np.ascontiguousarray(image[y : y + part[1], x : x + part[0]]), np.array([x, y, 0], np.float32)
