"""The large protocol: teacher at twice the size, on people whose clips have the pixels, beside a control that has not.

What is drawn is pasted into the source's own frame and looked at in a crop of 512 x 512. The control goes the same way
from pictures shrunk to the small crop's resolution: what it lacks is what the source's own pixels give.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from difftalk.arrays import Array, Image
from difftalk.data.clip import Clip, Follower, frame_indices
from difftalk.errors import InputError
from difftalk.evaluation.metrics.curves import Figures
from difftalk.evaluation.metrics.perception import lpips_distance
from difftalk.evaluation.metrics.pictures import gradient_energy, psnr
from difftalk.evaluation.protocols.bench import Bench, Outcome
from difftalk.evaluation.protocols.portraits import source_frames
from difftalk.face.space import ALIGNED_SIZE, EYE_DISTANCE, REGION_X, REGION_Y, Alignment, region_mask
from difftalk.render.published_renderer import renderer_of
from difftalk.render.references import Reference, Scene
from difftalk.speech.listener import Conditions

SCALE: Final = 2  # of the crop over the usual one
STRIDE: Final = 6  # frames
MOUTH: Final = (slice(64, 164), slice(88, 264))  # rows and columns of the large region that hold the mouth


@dataclass(frozen=True)
class _Shot:
    """A frame with what it is drawn from, by numbers."""

    index: int
    reference: int
    mouth: int


def large(clip: Clip, bench: Bench) -> Outcome:
    """Nothing for clips whose faces are smaller than the large crop."""
    if bench.outputs is not None:
        raise InputError("protocol large renders by itself; it cannot judge videos of another tool")
    if clip.sample.record.eye_distance < SCALE * EYE_DISTANCE:
        return Outcome({})
    shots = list(_shots(clip, bench))
    sources = source_frames(clip.sample, {n for shot in shots for n in (shot.index, shot.reference, shot.mouth)})
    small = EYE_DISTANCE / clip.sample.record.eye_distance
    truths = [_crop(sources[shot.index], clip.sample.alignment(shot.index)) for shot in shots]
    drawn = {"ours": _drawn(clip, bench, shots, sources, 1.0), "small": _drawn(clip, bench, shots, sources, small)}
    figures = {name: _figures(pictures, truths) for name, pictures in drawn.items()}
    strips = {"truth": truths, **drawn}
    return Outcome(figures, strips={name: [_region(picture) for picture in row[:6]] for name, row in strips.items()})


def _shots(clip: Clip, bench: Bench) -> Iterable[_Shot]:
    follower = Follower(clip)
    for index in map(int, frame_indices(clip, bench.seconds)[::STRIDE]):
        yield _Shot(index, *follower.at(index, clip.shapes[index]))


def _drawn(clip: Clip, bench: Bench, shots: list[_Shot], sources: dict[int, Image], scale: float) -> list[Image]:
    """Large crops of the frames as drawn from pictures shrunk by `scale`; the warp's rim follows frame by frame."""
    renderer = renderer_of(bench.model, steps=bench.model.settings.steps, seed=0)
    held: dict[int, Reference] = {}
    out = []
    for shot in shots:
        for number in (shot.reference, shot.mouth):
            if number not in held:
                image, alignment = _shrunk(sources[number], clip.sample.alignment(number), scale)
                held[number] = Reference(image, alignment, clip.meshes[number], alignment.crop(image))
        image, alignment = _shrunk(sources[shot.index], clip.sample.alignment(shot.index), scale)
        seen = Conditions(clip.audio(shot.index, bench.model.settings.renderer), clip.shapes[shot.index])
        reference, mouth = held[shot.reference], held[shot.mouth]
        made = renderer.draw(reference, mouth, clip.meshes[shot.index], seen, Scene.of(image, alignment))
        out.append(_crop(made.onto(image, alignment, reference), alignment))
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
