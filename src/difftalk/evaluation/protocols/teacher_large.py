"""The large protocol: teacher at twice the size, on people whose clips have the pixels, beside a control that has not.

What is drawn is pasted into the source's own frame and looked at in a crop of 512 x 512. The control goes the same way
from pictures shrunk to the small crop's resolution: what it lacks is what the source's own pixels give.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Final

import numpy as np
from numpy.typing import NDArray

from difftalk.arrays import Array, Image
from difftalk.data.clip import Clip, ClipFrame, References, frame_indices
from difftalk.errors import InputError
from difftalk.evaluation.metrics.curves import Figures
from difftalk.evaluation.metrics.perception import lpips_distance
from difftalk.evaluation.metrics.pictures import gradient_energy, psnr
from difftalk.evaluation.protocols.bench import Bench, Outcome, own_conditions, shown
from difftalk.evaluation.protocols.portraits import source_frames
from difftalk.face.mouth import Geometry
from difftalk.face.space import ALIGNED_SIZE, EYE_DISTANCE, REGION_X, REGION_Y, Alignment, region_mask
from difftalk.render.drawing import Choice
from difftalk.render.references import Reference, Scene

SCALE: Final = 2  # of the crop over the usual one
STRIDE: Final = 6  # frames
MOUTH: Final = (slice(64, 164), slice(88, 264))  # rows and columns of the large region that hold the mouth

Numbers = NDArray[np.int64]


@dataclass(frozen=True)
class LargeFrame(ClipFrame):
    """A clip's frame at the source's own size. held: references made of `sources`, by number, shrunk by `scale`."""

    sources: Mapping[int, Image] = field(default_factory=dict)
    scale: float = 1.0
    held: dict[int, Reference] = field(default_factory=dict)

    def references(self, choice: Choice) -> tuple[Reference, Reference]:
        return self._reference(choice.reference), self._reference(choice.mouth)

    def scene(self, choice: Choice) -> Scene:
        return Scene.of(*self.picture(self.index))

    def picture(self, number: int) -> tuple[Image, Alignment]:
        return _shrunk(self.sources[number], self.clip.sample.alignment(number), self.scale)

    def _reference(self, number: int) -> Reference:
        if number not in self.held:
            image, alignment = self.picture(number)
            self.held[number] = Reference.of(image, alignment, self.clip.meshes[number])
        return self.held[number]


def large(clip: Clip, bench: Bench) -> Outcome:
    """Nothing for clips whose faces are smaller than the large crop."""
    if bench.outputs is not None:
        raise InputError("protocol large renders by itself; it cannot judge videos of another tool")
    if clip.sample.record.eye_distance < SCALE * EYE_DISTANCE:
        return Outcome({})
    indices = frame_indices(clip, bench.seconds)[::STRIDE]
    sources = source_frames(clip.sample, looked_at(clip, bench.model.geometry, indices, clip.shapes[indices]))
    small = EYE_DISTANCE / clip.sample.record.eye_distance
    truths = [_crop(sources[index], clip.sample.alignment(index)) for index in map(int, indices)]
    drawn = {name: _drawn(clip, bench, indices, sources, scale) for name, scale in (("ours", 1.0), ("small", small))}
    figures = {name: _figures(pictures, truths) for name, pictures in drawn.items()}
    strips = {"truth": truths, **drawn}
    return Outcome(figures, strips={name: [_region(picture) for picture in row[:6]] for name, row in strips.items()})


def looked_at(clip: Clip, geometry: Geometry, indices: Numbers, shapes: Iterable[Array]) -> set[int]:
    """Numbers of the frames, and of all that they are drawn from when they show these mouth shapes (16,)."""
    found, pictures = {int(index) for index in indices}, References(clip)
    before: Choice | None = None
    for index, shape in zip(indices, shapes, strict=True):
        before = ClipFrame(pictures, int(index), geometry).choose(shape, before)
        found |= {before.reference, before.mouth}
    return found


def _drawn(clip: Clip, bench: Bench, indices: Numbers, sources: Mapping[int, Image], scale: float) -> list[Image]:
    """Large crops of the frames as drawn from pictures shrunk by `scale`."""
    own, pictures, held = own_conditions(clip, bench.model), References(clip), dict[int, Reference]()
    frames = [
        LargeFrame(pictures, int(index), bench.model.geometry, True, False, sources, scale, held) for index in indices
    ]
    made = shown(frames, (own(frame.index) for frame in frames), bench.model, apart=STRIDE)
    out = []
    for frame, one in zip(frames, made, strict=True):
        image, alignment = frame.picture(frame.index)
        out.append(_crop(one.drawn.onto(image, alignment, one.reference), alignment))
    return out


def _shrunk(image: Image, alignment: Alignment, scale: float) -> tuple[Image, Alignment]:
    import cv2

    if scale == 1:
        return image, alignment
    size = (round(image.shape[1] * scale), round(image.shape[0] * scale))
    back = np.array([image.shape[1] / size[0], image.shape[0] / size[1]])
    turn, centre = alignment.matrix[:, :2], (back - 1) / 2  # pixels are counted at their middles
    matrix = np.concatenate([turn @ np.diag(back), (turn @ centre + alignment.matrix[:, 2])[:, None]], 1)
    return np.asarray(cv2.resize(image, size, interpolation=cv2.INTER_AREA), np.uint8), Alignment(matrix)


def _crop(image: Image, alignment: Alignment) -> Image:
    """(512, 512, 3)."""
    import cv2

    size = (SCALE * ALIGNED_SIZE, SCALE * ALIGNED_SIZE)
    made = cv2.warpAffine(
        image, SCALE * alignment.matrix, size, flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE
    )
    return np.asarray(made, np.uint8)


def _region(picture: Image) -> Image:
    rows, columns = (slice(SCALE * low, SCALE * high) for low, high in (REGION_Y, REGION_X))
    return picture[rows, columns]


def _figures(pictures: list[Image], truths: list[Image]) -> Figures:
    made, true = ([_region(p).astype(np.float32) / 127.5 - 1 for p in row] for row in (pictures, truths))
    mask = np.asarray(np.kron(region_mask(), np.ones((SCALE, SCALE))), np.float32)
    skin = mask.copy()
    skin[MOUTH] = 0
    lpips = lpips_distance()
    energy = [gradient_energy(_region(p), _binary(skin)) for p in pictures]
    beside = [gradient_energy(_region(p), _binary(skin)) for p in truths]
    return {
        "psnr": float(np.mean([psnr(t, p, mask) for t, p in zip(true, made, strict=True)])),
        "lpips": float(lpips(made, true).mean()),
        "mouth_lpips": float(lpips([p[MOUTH] for p in made], [p[MOUTH] for p in true]).mean()),
        "sharpness": float(np.mean(energy) / max(float(np.mean(beside)), 1e-9)),
    }


def _binary(weight: Array) -> NDArray[np.float64]:
    return (weight > 0.5).astype(np.float64)
