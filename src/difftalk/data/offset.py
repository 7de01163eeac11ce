"""The lip/audio offset of a prepared clip."""

from __future__ import annotations

from dataclasses import replace
from typing import Final

import numpy as np

from difftalk.data.clip import clip_shapes
from difftalk.data.sample import Record, Sample
from difftalk.face.mouth import opening, smooth_opening
from difftalk.model import Model
from difftalk.speech.motion import MOTION_RATE, opening_of, shapes_of
from difftalk.speech.offset import best_offset

MAX_OFFSET: Final = 10  # frames at 25/s searched for the lip/audio offset
MIN_OFFSET_R: Final = 0.35


def measure_offset(sample: Sample, model: Model, *, reach: int) -> tuple[int, float]:
    """The shift in frames at 25/s by which the mouth leads its audio, and the correlation there.

    truth[i] goes with generated[i + offset]; generated is the linear motion's opening.
    """
    free = clip_shapes(model.geometry, sample.meshes).free
    times = np.arange(0, sample.seconds[-1], 1 / MOTION_RATE)
    truth = smooth_opening(np.interp(times, sample.seconds, opening(free)))
    generated = smooth_opening(opening_of(shapes_of(sample.speech, model.graph("linear")), model.geometry))
    return best_offset(truth, generated, reach=reach)


def with_offset(sample: Sample, model: Model) -> Record:
    """Finds the lip/audio offset with the linear motion; a clip whose offset is not clear is rejected."""

    if "linear" not in model.graphs:
        return sample.record
    offset, r = measure_offset(sample, model, reach=MAX_OFFSET)
    if r < MIN_OFFSET_R:
        return replace(
            sample.record, kept=False, reason=f"lips and audio do not go together (r {r:.2f} at best)", offset_r=r
        )
    return replace(sample.record, offset=offset, offset_r=r)
