"""The paper's two tables as protocols: what each condition adds, and the model beside others.

    difftalk evaluate DATA -o report --table ablation --model MODEL

Columns are the paper's: PSNR, SSIM and LPIPS of the whole crop, and the sync judge's confidence and offset. A clip
speaks its own words, pose and surroundings its own. Figures of other data are not to be set beside these.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

import numpy as np

from difftalk.arrays import Array, Image
from difftalk.data.clip import Clip, ClipFrame, References, frame_indices
from difftalk.errors import InputError
from difftalk.evaluation.metrics.curves import Figures
from difftalk.evaluation.metrics.perception import lpips_distance
from difftalk.evaluation.metrics.pictures import psnr, ssim
from difftalk.evaluation.metrics.take import Performance, of_clip, pasted
from difftalk.evaluation.protocols.bench import (
    Bench,
    Outcome,
    held_from,
    predicted_conditions,
    shown,
    strips_of,
    sync_figures,
)
from difftalk.evaluation.protocols.portraits import painting
from difftalk.model import Model

TABLES: Final = ("ablation", "comparison")
STRIDE: Final = 5  # frames between those that are judged as pictures
# Rows of the ablation: what the renderer does without. Those above "ours" add one condition after the other.
PUBLISHED_ROWS: Final[Mapping[str, tuple[str, ...]]] = {
    "audio alone": ("landmarks", "reference", "masked"),
    "+ landmarks": ("reference", "masked"),
    "+ reference": ("masked",),
    "ours": (),
    "not progressive": ("previous",),
    "not smoothed": ("smoothing",),
}
OWN_ROWS: Final[Mapping[str, tuple[str, ...]]] = {
    "audio alone": ("mouth", "reference", "previous"),
    "+ landmarks": ("reference", "previous"),
    "+ reference": ("previous",),
    "ours": (),
}


def ablation(clip: Clip, bench: Bench) -> Outcome:
    """The model with one condition more in every row; of the shipped kind the composite stays in all of them."""
    rows = PUBLISHED_ROWS if bench.model.settings.renderer == "published" else OWN_ROWS
    return _outcome(clip, bench, {name: _drawn(clip, bench, bench.model, without) for name, without in rows.items()})


def comparison(clip: Clip, bench: Bench, shipped: Model | None = None) -> Outcome:
    """The model beside a mouth that does not move, the plain painter and, unless it is that, the shipped model.

    shipped: what stands for the shipped model, if it is another.
    """
    model, shipped = bench.model, shipped or Model.load(threads=bench.model.threads)
    systems = {"ours": model}
    if model.hash != shipped.hash:
        systems["shipped"] = shipped
    systems["painter"] = painting(shipped)
    made = {name: _drawn(clip, bench, system, ()) for name, system in systems.items()}
    return _outcome(clip, bench, {"held": held_from(of_clip(clip, bench.seconds)), **made})


def _drawn(clip: Clip, bench: Bench, model: Model, without: tuple[str, ...]) -> Performance:
    """The clip's frames with its own words, drawn one after the other."""
    if bench.outputs is not None:
        raise InputError("tables render by themselves; judge videos of other tools with `chosen=strict`")
    pictures, heard, indices = References(clip), predicted_conditions(clip, model), frame_indices(clip, bench.seconds)
    frames = (ClipFrame(pictures, int(index), model.geometry) for index in indices)
    made = shown(frames, (heard(int(index)) for index in indices), model, without=without)
    return Performance([pasted(one.frame, one.picture) for one in made], clip.meshes[indices])


def _outcome(clip: Clip, bench: Bench, made: Mapping[str, Performance]) -> Outcome:
    truth, lpips, waveform = of_clip(clip, bench.seconds), lpips_distance(), clip.sample.sound(bench.seconds)
    figures: dict[str, Figures] = {"truth": sync_figures(truth, bench, waveform)}
    shown = [_picture(frame) for frame in truth.frames[::STRIDE]]
    for name, performance in made.items():
        pictures = [_picture(frame) for frame in performance.frames[::STRIDE]]
        pairs = list(zip(shown, pictures, strict=True))
        figures[name] = {
            "crop_psnr": float(np.mean([psnr(*pair) for pair in pairs])),
            "crop_ssim": float(np.mean([ssim(*pair) for pair in pairs])),
            "crop_lpips": float(lpips(pictures, shown).mean()),
        } | sync_figures(performance, bench, waveform)
    return Outcome(figures, strips=strips_of({"truth": truth, **made}))


def _picture(frame: Image) -> Array:
    return frame.astype(np.float32) / 127.5 - 1
