"""Subjects: a clip's frame as a portrait at the source's own resolution, with the clip's audio."""

from __future__ import annotations

import atexit
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path
from shutil import rmtree
from tempfile import mkdtemp
from typing import Final

import numpy as np
from numpy.typing import NDArray

from difftalk.arrays import SAMPLE_RATE, Array, Image
from difftalk.data.clip import Clip
from difftalk.data.sample import Sample
from difftalk.errors import DataError
from difftalk.evaluation.metrics.pictures import gradient_energy
from difftalk.face.space import ALIGNED_SIZE, REGION_X, REGION_Y, Alignment, region_mask
from difftalk.media import video
from difftalk.model import SHIPPED, GraphEntry, Model, entry_of
from difftalk.nets.painter import Painter
from difftalk.nets.stored import stored
from difftalk.talk.portrait import Portrait, of_still, portrayed
from difftalk.talk.talker import Talker

SHARP_EYES: Final = 100.0  # px between the eyes from which skin sharpness is measured
DEMO: Final = SHIPPED.parent / "demo" / "portrait.jpg"
PORTRAIT_SIDE: Final = 4.0  # eye distances from the face's middle that a portrait shows


@dataclass(frozen=True)
class Subject:
    """Who speaks, and what: 16 kHz mono float32."""

    identity: Portrait
    waveform: Array
    eye_distance: float  # px


def variant(model: Model, *, motion: str | None = None, renderer: str | None = None) -> Model:
    """The same folder with another motion or renderer."""
    settings = replace(
        model.settings, motion=motion or model.settings.motion, renderer=renderer or model.settings.renderer
    )
    return replace(model, settings=settings)


def painting(model: Model) -> Model:
    """The same folder with the plain painter, its own or else the stored one."""
    if "painter" in model.graphs:
        return variant(model, renderer="painter")
    return variant(replace(model, graphs=model.graphs | {"painter": _stored_painter()}), renderer="painter")


@lru_cache(maxsize=1)
def _stored_painter() -> GraphEntry:
    from difftalk.training.export import export_graph
    from difftalk.training.kinds.painter import painter_graphs
    from difftalk.training.kinds.table import load_net

    _, net = load_net(stored("painter.safetensors"))
    assert isinstance(net, Painter)
    spec, folder = painter_graphs(net)["painter"], Path(mkdtemp(prefix="difftalk-"))
    atexit.register(rmtree, folder, ignore_errors=True)
    export_graph(spec.net, folder / "painter.onnx", inputs=spec.inputs, outputs=spec.outputs)
    entry = entry_of(folder / "painter.onnx", spec.precision)
    return replace(entry, file=str(folder / "painter.onnx"))


def subject_of(clip: Clip, model: Model, index: int, seconds: float) -> Subject:
    """The clip's frame `index` as a portrait, at the source's resolution, with at most `seconds` of its audio."""
    sample = clip.sample
    image = source_frames(sample, {index})[index]
    points = sample.meshes[index]
    middle = points[:, :2].mean(0)
    reach = PORTRAIT_SIDE * sample.record.eye_distance
    x0, y0 = np.maximum(np.floor(middle - reach).astype(int), 0)
    x1, y1 = np.minimum(np.ceil(middle + reach).astype(int), [image.shape[1], image.shape[0]])
    image, points = np.ascontiguousarray(image[y0:y1, x0:x1]), points - np.array([x0, y0, 0], np.float32)
    geometry = model.geometry
    pose = geometry.pose(points)
    neutral = geometry.neutral_of_still(pose.remove(points), sample.blendshapes[index])
    identity = portrayed(sample.folder, image, points, neutral, geometry)
    return Subject(identity, sample.sound(seconds), sample.record.eye_distance)


def portrait_of(clip: Clip, model: Model, seconds: float) -> Subject:
    """The demo's portrait with at most `seconds` of the clip's audio."""
    identity = of_still(DEMO, model, size=model.settings.still.size)
    return Subject(identity, clip.sample.sound(seconds), identity.pose.scale)


def source_frames(sample: Sample, numbers: set[int]) -> dict[int, Image]:
    """The source's pictures at the times of the sample's frames."""
    wanted = sorted((float(sample.seconds[number]), number) for number in numbers)
    found: dict[int, Image] = {}
    for frame in video.read(sample.record.source):
        while wanted and frame.seconds >= wanted[0][0] - 1e-3:
            found[wanted.pop(0)[1]] = frame.image
        if not wanted:
            return found
    raise DataError(f"{sample.record.source} is shorter than when it was prepared; run difftalk prepare again")


def sharpness(model: Model, subject: Subject) -> dict[str, float]:
    """Gradient energy of the region outside the inner mouth over the still's; nothing for small faces."""
    image = subject.identity.image
    if subject.eye_distance < SHARP_EYES:
        return {}
    alignment = subject.identity.people[0].references[0].alignment
    weight = _source_weight(alignment, image.shape[:2])
    frames = list(
        Talker(model).stream(subject.identity, [subject.waveform[: SAMPLE_RATE // 2]], head_motion=0, blinks=0)
    )
    before = gradient_energy(image, weight)
    return {"sharpness": float(np.mean([gradient_energy(frame.image, weight) for frame in frames]) / max(before, 1e-9))}


def skin_weight() -> NDArray[np.float32]:
    """(256, 256) in the aligned space: the mask without the mouth at its widest."""
    weight = np.zeros((ALIGNED_SIZE, ALIGNED_SIZE), np.float32)
    weight[REGION_Y[0] : REGION_Y[1], REGION_X[0] : REGION_X[1]] = region_mask()
    weight[128:178, 84:172] = 0
    return weight


def _source_weight(alignment: Alignment, size: tuple[int, int]) -> NDArray[np.float32]:
    import cv2

    height, width = size
    return np.asarray(
        cv2.warpAffine(skin_weight(), alignment.inverse, (width, height), flags=cv2.INTER_LINEAR), np.float32
    )
