"""What each condition of the denoiser does, and each further step: teacher with one thing changed at a time.

Conditions are left out as in training's dropout (DiffTalk's ablation, without training anew), or
taken from elsewhere in the clip. *change* is how far the inner mouth moves from what the
model draws by default, *change_outside* how far the skin does.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Final

import numpy as np
from numpy.typing import NDArray

from difftalk.arrays import Array, Image
from difftalk.data.clip import Clip, ClipFrame, References, frame_indices
from difftalk.errors import InputError
from difftalk.evaluation.metrics.curves import Figures
from difftalk.evaluation.metrics.pictures import region_of
from difftalk.evaluation.metrics.take import pasted
from difftalk.evaluation.protocols.bench import SHEET_FRAMES, Bench, Outcome, own_conditions, shown
from difftalk.evaluation.protocols.teacher import picture_figures
from difftalk.face.space import crop_region, region_mask
from difftalk.render.warp import inner_mouth
from difftalk.speech.listener import Conditions

SECONDS: Final = 2.0  # of each clip
AROUND: Final = 16  # px around the inner mouth that belong to it, so that what is beyond is skin
SETTLED: Final = 5  # frames after which a frame is judged, so that the progressive reference has begun


def _own(_clip: Clip, _index: int, own: Conditions) -> Conditions:
    return own


def _elsewhere(clip: Clip, index: int, own: Conditions) -> Conditions:
    return replace(own, audio=clip.audio((index + len(clip) // 2) % len(clip)))


@dataclass(frozen=True)
class Change:
    """One way to draw.

    heard: what is heard instead, of the clip, a frame's number and its own. other_mouth: whether the mouth is taken
    from the warp's reference, as with a still, instead of the mouth bank.
    """

    steps: int = 1
    seed: int = 0
    without: tuple[str, ...] = ()
    heard: Callable[[Clip, int, Conditions], Conditions] = _own
    other_mouth: bool = False


CHANGES: Final[Mapping[str, Change]] = {
    "ours": Change(),
    "2 steps": Change(steps=2),
    "4 steps": Change(steps=4),
    "8 steps": Change(steps=8),
    "another seed": Change(seed=1),
    "no audio": Change(without=("audio",)),
    "no mouth shape": Change(without=("mouth",)),
    "no reference": Change(without=("reference",)),
    "not progressive": Change(without=("previous",)),
    "other audio": Change(heard=_elsewhere),
    "no mouth bank": Change(other_mouth=True),
}


def conditions(clip: Clip, bench: Bench) -> Outcome:
    """Every change of CHANGES on the same frames of the clip."""
    if bench.outputs is not None:
        raise InputError("protocol conditions renders by itself; it cannot judge videos of another tool")
    indices = frame_indices(clip, min(bench.seconds, SECONDS))
    references = References(clip)
    judged = [int(i) for i in indices[SETTLED::SETTLED]]
    truths = [region_of(clip.sample.frame(i)) for i in judged]
    drawn = {name: _drawn(change, references, indices, bench) for name, change in CHANGES.items()}
    pictures = {name: [shown[i] for i in judged] for name, shown in drawn.items()}
    meshes = [clip.meshes[i] for i in judged]
    figures = {name: _figures(shown, pictures["ours"], truths, meshes) for name, shown in pictures.items()}
    return Outcome(figures, strips=_strips(pictures, truths, references, judged))


def _drawn(change: Change, references: References, indices: NDArray[np.int64], bench: Bench) -> dict[int, Array]:
    """The region (144, 176, 3) of every frame, drawn one after the other."""
    clip, model = references.clip, bench.model
    own = own_conditions(clip, model)
    frames = (
        ClipFrame(references, int(index), model.geometry, true_mouth=True, alone=change.other_mouth)
        for index in indices
    )
    heard = (change.heard(clip, int(index), own(int(index))) for index in indices)
    made = shown(frames, heard, model, steps=change.steps, seed=change.seed, without=change.without)
    return {int(index): one.picture for index, one in zip(indices, made, strict=True)}


def _figures(shown: list[Array], ours: list[Array], truths: list[Array], meshes: list[Array]) -> Figures:
    mouths = [inner_mouth(mesh) for mesh in meshes]
    beyond = [region_mask() * (_widened(inside) == 0) for inside in mouths]
    return picture_figures(shown, truths, meshes) | {
        "change": _difference(shown, ours, mouths),
        "change_outside": _difference(shown, ours, beyond),
    }


def _difference(shown: list[Array], ours: list[Array], weights: list[Array]) -> float:
    """Mean over frames of the weighted grey-level difference."""
    parts = [
        (np.abs(a - b).mean(2) * weight).sum() / max(float(weight.sum()), 1.0) * 127.5
        for a, b, weight in zip(shown, ours, weights, strict=True)
    ]
    return float(np.mean(parts))


def _widened(inside: Array) -> Array:
    """The inner mouth and what lies within AROUND of it."""
    import cv2

    size = (2 * AROUND + 1, 2 * AROUND + 1)
    return np.asarray(cv2.dilate(inside, cv2.getStructuringElement(cv2.MORPH_ELLIPSE, size)))


def _strips(
    pictures: Mapping[str, list[Array]], truths: list[Array], references: References, judged: list[int]
) -> dict[str, list[Image]]:
    chosen = np.linspace(0, len(judged) - 1, min(len(judged), SHEET_FRAMES)).astype(int)
    rows = {"truth": truths, **pictures}
    aligned = {i: references.clip.sample.frame(judged[i]) for i in chosen}
    return {name: [crop_region(pasted(aligned[i], shown[i])) for i in chosen] for name, shown in rows.items()}
