"""Identities on disk: one safetensors file of arrays, with what is no array as JSON in its header.

Lossless: the one that is loaded draws the same frames. Knows people, faces and covers; what else a portrait or footage
holds they put in themselves. A number for each frame is a column, so that an hour of video is a few arrays.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np
from numpy.typing import NDArray

from difftalk.arrays import Image, State, joined, part
from difftalk.errors import InputError, OutputError
from difftalk.face.pose import Pose
from difftalk.face.space import Alignment
from difftalk.media.part import Part
from difftalk.render.cover import Cover
from difftalk.render.references import Person, Reference

if TYPE_CHECKING:
    from difftalk.speech.own_way import OwnWay

FORMAT: Final = 4
HEADER: Final = "difftalk"  # the one name in the file's metadata
PNG_LEVEL: Final = 1  # of 9: what is above takes far longer and saves little
BLOCK: Final = 1 << 24  # bytes of a video that are hashed at a time


@dataclass(frozen=True)
class Kept:
    """What a file holds. facts: as JSON can hold them; `kind` is one of them."""

    facts: dict[str, Any]
    arrays: State


def write(file: Path, kept: Kept, *, overwrite: bool) -> None:
    """Raises OutputError where the file is there already or cannot be written; it gets its name when it is whole."""
    from safetensors.numpy import save

    facts = {"format": FORMAT, **kept.facts}
    try:
        if file.exists() and not overwrite:
            raise OutputError(f"{file}: exists already; give another name or `overwrite=True`")
        with Part(file.parent) as unnamed:
            header = json.dumps(facts | {"digest": _digest(facts, kept.arrays)})
            unnamed.path.write_bytes(save(dict(kept.arrays), {HEADER: header}))
            unnamed.path.replace(file)
    except (OSError, ValueError) as error:  # a name may hold what no name can
        raise OutputError(f"{file}: cannot be written ({getattr(error, 'strerror', None) or error})") from error


def read(file: Path) -> Kept:
    """Raises InputError where it is no whole file that `write` wrote."""
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(file, "np") as opened:
            facts = json.loads((opened.metadata() or {})[HEADER])
            arrays: State = {name: opened.get_tensor(name) for name in opened.keys()}  # noqa: SIM118
        if facts["format"] != FORMAT:
            raise InputError(
                f"{file} has format {facts['format']}, this version reads {FORMAT}; make the identity anew"
            )
        whole = facts.pop("digest") == _digest(facts, arrays)
    except OSError as error:
        raise InputError(f"{file}: cannot be read ({error.strerror or error})") from None
    except (SafetensorError, KeyError, TypeError, ValueError):
        raise InputError(f"{file}: is no identity, or damaged; give a file that Identity.save wrote") from None
    if not whole:
        raise InputError(f"{file}: is damaged; make the identity anew")
    return Kept(facts, arrays)


def _digest(facts: dict[str, Any], arrays: State) -> str:
    digest = hashlib.sha256(json.dumps(facts, sort_keys=True).encode())
    for name, array in sorted(arrays.items()):
        digest.update(f"{name} {array.dtype} {array.shape}".encode())
        digest.update(array.tobytes())
    return digest.hexdigest()


def mark_of(video: Path) -> dict[str, Any]:
    """What a file is known by when it is asked for again. Raises InputError."""
    try:
        stat = video.stat()
        return {
            "path": str(video.absolute()),
            "bytes": stat.st_size,
            "changed": stat.st_mtime_ns,
            "sha256": _sha256(video),
        }
    except OSError as error:
        raise InputError(f"{video}: the identity's video cannot be read any more ({error.strerror})") from None


def known(mark: dict[str, Any], video: Path | None) -> Path:
    """Where the file of a mark lies: `video`, or where it lay. Raises InputError where that is not it.

    It is read whole only where its time is not the one it had.
    """
    path = Path(mark["path"]) if video is None else video
    try:
        stat = path.stat()
        same = stat.st_size == mark["bytes"] and (
            stat.st_mtime_ns == mark["changed"] or _sha256(path) == mark["sha256"]
        )
    except OSError as error:
        raise InputError(
            f"{path}: the identity's video cannot be read ({error.strerror}); where it is elsewhere now, give its path "
            "as `video`"
        ) from None
    if not same:
        raise InputError(
            f"{path}: is not the video that the identity was made of; give that one as `video`, or make the identity "
            "anew"
        )
    return path


def _sha256(path: Path) -> str:
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(BLOCK):
            digest.update(block)
    return digest.hexdigest()


def mark_of_people(people: Sequence[Person], own_way: OwnWay | None) -> str:
    """12 hex digits that tell apart whom, what they are drawn from, and how they speak."""
    digest = hashlib.sha256()
    for person in people:
        seen = (array for one in [*person.references, *person.mouths] for array in (one.points, one.aligned))
        for array in (person.neutral, person.turns, person.mouth_shapes, *seen):
            digest.update(np.ascontiguousarray(array).tobytes())
    for array in () if own_way is None else (own_way.rest, own_way.turn, own_way.ear):
        digest.update(np.ascontiguousarray(array).tobytes())
    return digest.hexdigest()[:12]


# --- parts, each with its inverse -------------------------------------------------------------------------------------


class Pictures:
    """Pictures (h, w, 3) on their way into a file, as PNGs; one that is there twice is written once."""

    def __init__(self) -> None:
        self.arrays: State = {}
        self._held: dict[int, tuple[int, Image]] = {}  # by id: so none is freed, and its id another's

    def put(self, image: Image) -> int:
        """Its number in the file."""
        import cv2

        if id(image) not in self._held:
            number = len(self._held)
            _, png = cv2.imencode(".png", image[..., ::-1], [cv2.IMWRITE_PNG_COMPRESSION, PNG_LEVEL])
            self.arrays[str(number)] = np.asarray(png, np.uint8).ravel()
            self._held[id(image)] = number, image
        return self._held[id(image)][0]


def pictures(state: State) -> list[Image]:
    """What was put into `Pictures`, by number."""
    import cv2

    found = []
    for number in range(len(state)):
        image = cv2.imdecode(state[str(number)], cv2.IMREAD_COLOR)
        assert image is not None  # what was written is what is read
        found.append(np.ascontiguousarray(image[..., ::-1], np.uint8))
    return found


def of_poses(poses: Sequence[Pose]) -> State:
    return {
        "rotation": np.stack([pose.rotation for pose in poses]) if poses else np.zeros((0, 3, 3)),
        "scale": np.array([pose.scale for pose in poses], np.float64),
        "shift": np.stack([pose.shift for pose in poses]) if poses else np.zeros((0, 3)),
    }


def poses_of(state: State) -> list[Pose]:
    columns = zip(state["rotation"], state["scale"].tolist(), state["shift"], strict=True)
    return [Pose(rotation, scale, shift) for rotation, scale, shift in columns]


def of_alignments(alignments: Sequence[Alignment]) -> NDArray[np.float64]:
    """(n, 2, 3)"""
    return np.stack([one.matrix for one in alignments]) if alignments else np.zeros((0, 2, 3))


def alignments_of(matrices: NDArray[np.float64]) -> list[Alignment]:
    return [Alignment(matrix) for matrix in matrices]


def of_covers(covers: Sequence[Cover]) -> State:
    return {
        "shares": np.stack([cover.shares for cover in covers]) if covers else np.zeros((0, 0, 0), np.uint8),
        "alignment": of_alignments([cover.alignment for cover in covers]),
        "mouth": np.array([cover.mouth for cover in covers], np.float64),
        "on_face": np.array([cover.on_face for cover in covers], np.bool_),
    }


def covers_of(state: State) -> list[Cover]:
    placed = alignments_of(state["alignment"])
    columns = zip(state["shares"], placed, state["mouth"].tolist(), state["on_face"].tolist(), strict=True)
    return [Cover(shares, alignment, mouth, on_face) for shares, alignment, mouth, on_face in columns]


def of_people(people: Sequence[Person], images: Pictures) -> State:
    """A reference that a person has twice, of the turn and of the mouth, is written once."""
    references = list({id(one): one for person in people for one in [*person.references, *person.mouths]}.values())
    numbers = {id(one): number for number, one in enumerate(references)}
    state: State = {
        "points": np.stack([one.points for one in references]),
        "alignment": of_alignments([one.alignment for one in references]),
        "origin": np.array([one.origin for one in references], np.int64),
        "image": np.array([images.put(one.image) for one in references], np.int64),
        "aligned": np.array([images.put(one.aligned) for one in references], np.int64),
        "close": np.array([images.put(one.close) for one in references], np.int64),
        "corner": np.array([one.corner for one in references], np.int64),
        "eyes": np.array([one.eyes for one in references]),
    }
    for number, person in enumerate(people):
        own: State = {
            "neutral": person.neutral,
            "turns": person.turns,
            "references": np.array([numbers[id(one)] for one in person.references], np.int64),
            "mouths": np.array([numbers[id(one)] for one in person.mouths], np.int64),
            "mouth_shapes": person.mouth_shapes,
            "mouth_turns": person.mouth_turns,
        }
        state |= joined(**{str(number): own})
    return state


def people_of(state: State, images: Sequence[Image]) -> list[Person]:
    references = [
        Reference(images[image], alignment, points, images[aligned], images[close], (left, top), eyes, (x, y))
        for image, alignment, points, aligned, close, (left, top), eyes, (x, y) in zip(
            state["image"],
            alignments_of(state["alignment"]),
            state["points"],
            state["aligned"],
            state["close"],
            state["corner"].tolist(),
            state["eyes"].tolist(),
            state["origin"].tolist(),
            strict=True,
        )
    ]
    people: list[Person] = []
    while own := part(state, str(len(people))):
        people.append(
            Person(
                own["neutral"],
                [references[number] for number in own["references"]],
                own["turns"],
                [references[number] for number in own["mouths"]],
                own["mouth_shapes"],
                own["mouth_turns"],
            )
        )
    return people
