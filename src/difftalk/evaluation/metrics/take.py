"""Performances: a talking face as every measurement sees it, whoever made it.

Frames in the aligned space at 25 a second with the mesh tracked in them. The truth, a model's output, a cheat and
another tool's video all come in this form, so that all are judged alike. Knows nothing of protocols.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

from difftalk.arrays import Array, Image
from difftalk.data.clip import Clip, frame_indices
from difftalk.errors import DataError
from difftalk.evaluation.metrics.curves import OPEN, Figures, MouthCurves, mouth_curves
from difftalk.evaluation.metrics.perception import IdentityNet
from difftalk.evaluation.metrics.pictures import mouth_look
from difftalk.face.mouth import Geometry, opening
from difftalk.face.space import REGION_X, REGION_Y, Alignment, crop_region, region_mask
from difftalk.face.tracker import Tracker, follow
from difftalk.media import video
from difftalk.model import Model
from difftalk.render.warp import inner_mouth, warp
from difftalk.settings import Settings
from difftalk.speech.motion import MOTION_RATE

IDENTITY_STRIDE: Final = 25  # frames
OPEN_FRAMES: Final = 3  # frames with an open mouth that a texture needs


@dataclass(frozen=True)
class Performance:
    """frames: (t,) aligned RGB (256, 256, 3), 25/s. meshes: (t, 478, 3) in them."""

    frames: list[Image]
    meshes: Array

    def __len__(self) -> int:
        return len(self.frames)

    def curves(self, geometry: Geometry) -> MouthCurves:
        return mouth_curves(self.meshes, geometry)


def of_clip(clip: Clip, seconds: float) -> Performance:
    """A prepared clip as it is: the truth."""
    indices = frame_indices(clip, seconds)
    return Performance([clip.sample.frame(i) for i in indices], clip.meshes[indices])


def of_frames(frames: Iterable[Image], model: Model, alignment: Alignment | None = None) -> Performance:
    """Pictures at 25/s, tracked. alignment: theirs, where it is known and the same for all; else it is followed.

    Raises DataError where no face is found at all; a frame without one takes the nearest one's mesh.
    """
    placed: Iterator[tuple[Image, Alignment | None, Array | None]]
    if alignment is None:
        timed = ((image, i / MOTION_RATE) for i, image in enumerate(frames))
        followed = follow(timed, Tracker(model.face_finder), model.geometry.canonical, model.settings)
        placed = ((f.image, f.alignment, None if f.face is None else f.face.points) for f in followed)
    else:
        placed = _tracked(frames, model, alignment)
    pictures, meshes, seen, last = list[Image](), list[Array](), list[bool](), Alignment(np.eye(2, 3))
    for image, found, points in placed:
        last = found or last
        pictures.append(last.crop(image))
        meshes.append(last.points(points) if points is not None else np.zeros((478, 3), np.float32))
        seen.append(points is not None)
    there = np.flatnonzero(seen)
    if not len(there):
        raise DataError("no face was found in any frame of an output; give videos with a face")
    nearest = there[np.abs(there[None] - np.arange(len(seen))[:, None]).argmin(1)]
    return Performance(pictures, np.stack(meshes)[nearest])


def _tracked(
    frames: Iterable[Image], model: Model, alignment: Alignment
) -> Iterator[tuple[Image, Alignment | None, Array | None]]:
    tracker = Tracker(model.face_finder)
    for image in frames:
        face = tracker(image)
        yield image, alignment, None if face is None else face.points


def of_video(path: Path, model: Model, seconds: float) -> Performance:
    """A video file, its frames brought to 25/s by time. Raises MediaError, DataError."""

    def at_rate() -> Iterator[Image]:
        number, before = 0, None
        for frame in video.read(path):
            while number / MOTION_RATE < min(seconds, frame.seconds - 1e-6):
                yield frame.image if before is None else before
                number += 1
            before = frame.image
        if before is not None and number / MOTION_RATE < seconds:
            yield before

    return of_frames(at_rate(), model)


def pasted(aligned: Image, region: Array) -> Image:
    """An aligned frame (256, 256, 3) with a drawn region (144, 176, 3) in [-1, 1] under the mask."""
    weight, out = region_mask()[..., None], aligned.copy()
    old = crop_region(aligned).astype(np.float32)
    mixed = (1 - weight) * old + weight * (region + 1) * 127.5
    out[REGION_Y[0] : REGION_Y[1], REGION_X[0] : REGION_X[1]] = np.clip(np.rint(mixed), 0, 255).astype(np.uint8)
    return out


@dataclass(frozen=True)
class Look:
    """texture, area: of the inner mouth. skin, mouth: flicker. identity: (128,) mean embedding."""

    texture: float
    area: float
    skin: float
    mouth: float
    identity: NDArray[np.float64]


def look_of(performance: Performance, geometry: Geometry) -> Look:
    """What a performance looks like by itself, its texture over the frames with an open mouth."""
    return Look(*_mouth(performance, geometry), *flicker(performance), mean_identity(performance))


def look_figures(truth: Look, made: Look) -> Figures:
    """Texture and open area of the inner mouth, and flicker, over the truth's (1 is best); distance of identity.

    Frames need not belong together. Two of one person are under 0.6.
    """
    return {
        "texture": made.texture / truth.texture if truth.texture > 0 else np.nan,
        "open_area": made.area / truth.area if truth.area > 0 else np.nan,
        "flicker_skin": made.skin / max(truth.skin, 1e-9),
        "flicker_mouth": made.mouth / max(truth.mouth, 1e-9),
        "identity": float(np.linalg.norm(truth.identity - made.identity)),
    }


def _mouth(performance: Performance, geometry: Geometry) -> tuple[float, float]:
    """Mean texture over frames with an open mouth, 0 where they are fewer than 3; mean open area over all frames."""
    opened = opening(np.stack([geometry.pose(m).remove(m) for m in performance.meshes])) > OPEN
    looks = [mouth_look(f, m) for f, m in zip(performance.frames, performance.meshes, strict=True)]
    seen = [look.texture for look, is_open in zip(looks, opened, strict=True) if is_open]
    return (
        float(np.mean(seen)) if len(seen) >= OPEN_FRAMES else 0.0,
        float(np.mean([look.area for look in looks])),
    )


def flicker(performance: Performance) -> tuple[float, float]:
    """Mean grey-level difference of consecutive frames once the mesh's motion is taken out: skin, inner mouth."""
    import cv2

    skin, mouth = [], []
    mask = region_mask()
    pairs = zip(performance.frames, performance.frames[1:], performance.meshes, performance.meshes[1:], strict=False)
    for before, now, mesh_before, mesh_now in pairs:
        moved = warp(mesh_before, mesh_now, settings=Settings())
        carried = cv2.remap(before, moved.map, None, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)  # type: ignore[call-overload]
        difference = np.abs(carried.astype(np.float32) - crop_region(now)).mean(2)
        inside = inner_mouth(mesh_now)
        outside = mask * moved.coverage * (1 - np.minimum(1, cv2.dilate(inside, np.ones((5, 5))) * 2))
        skin.append(float((difference * outside).sum() / max(float(outside.sum()), 1e-9)))
        if inside.sum() > 20:
            mouth.append(float((difference * inside).sum() / inside.sum()))
    return (float(np.mean(skin)) if skin else 0.0), (float(np.mean(mouth)) if mouth else 0.0)


def shimmer(performance: Performance) -> float:
    """Mean grey-level difference of consecutive frames inside the mask: what moves though nothing asks for it."""
    weight = region_mask()[..., None] / region_mask().sum() / 3
    pairs = zip(performance.frames, performance.frames[1:], strict=False)
    steps = [np.abs(crop_region(a).astype(np.float32) - crop_region(b)) * weight for a, b in pairs]
    return float(np.sum(steps) / max(1, len(steps)))


def mean_identity(performance: Performance) -> NDArray[np.float64]:
    """(128,) mean identity embedding, of a frame a second."""
    net = IdentityNet.shipped()
    kept = range(0, len(performance), IDENTITY_STRIDE)
    embeddings = [net.embed(performance.frames[i], performance.meshes[i]) for i in kept]
    return np.asarray(np.mean(embeddings, 0), np.float64)
