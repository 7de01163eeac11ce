"""The speaker's own way: half of a clip teaches, the other half judges; and the other way round.

At the mesh, before anything is drawn: the predicted mouth beside the tracked one, the clip's lip/audio offset repaired.
"""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import NDArray

from difftalk.arrays import Array
from difftalk.data.clip import Clip
from difftalk.errors import InputError
from difftalk.evaluation.metrics.curves import Figures, MouthCurves, follow_figures, mouth_curves
from difftalk.evaluation.protocols.bench import Bench, Outcome
from difftalk.face.mouth import Geometry
from difftalk.model import Model
from difftalk.speech.listener import listened
from difftalk.speech.motion import MOTION_RATE, Heard, pressed
from difftalk.speech.own_way import at_rate, learn_aligned

LEAST_SECONDS: Final = 8.0  # of a clip


def own_way(clip: Clip, bench: Bench) -> Outcome:
    """The whole clip, whatever `bench.seconds`; nothing of one under 8 seconds."""
    if bench.outputs is not None:
        raise InputError("own_way predicts by itself; judge videos of other tools with strict")
    heard, shown = _heard(clip, bench.model), at_rate(clip.sample.seconds, clip.shapes)
    return of_halves(heard, shown, clip.neutral, bench.model.geometry)


def of_halves(heard: Heard, shown: Array, neutral: Array, geometry: Geometry) -> Outcome:
    """What is heard in a clip and the shapes (t, 16) that are shown in it, both at 25/s."""
    frames = min(len(heard), len(shown))
    if frames < LEAST_SECONDS * MOTION_RATE:
        return Outcome({})
    halves = np.array_split(np.arange(frames), 2)
    found: dict[str, list[Figures]] = {"usual": [], "ours": []}
    for taught, judged in (halves, halves[::-1]):
        way = learn_aligned(_rows(heard, taught), shown[taught], geometry)
        there = _rows(heard, judged)
        made = {"usual": there.shapes, "ours": there.shapes if way is None else way(there, 1.0)}
        truth = _curves(shown[judged], neutral, geometry)
        for system, shapes in made.items():
            curves = _curves(pressed(shapes, geometry), neutral, geometry)
            found[system].append(follow_figures(truth, curves, 0))
    return Outcome({system: _mean(figures) for system, figures in found.items()})


def _heard(clip: Clip, model: Model) -> Heard:
    """The clip's own sound as the model hears it, brought to its lips."""
    heard, late = listened(clip.sample.sound(), model), clip.sample.record.offset
    rows = np.clip(np.arange(len(heard)) + late, 0, len(heard) - 1)
    return _rows(heard, rows)


def _rows(heard: Heard, rows: NDArray[np.int64]) -> Heard:
    return Heard(heard.shapes[rows], heard.sounds[rows])


def _curves(shapes: Array, neutral: Array, geometry: Geometry) -> MouthCurves:
    return mouth_curves(neutral + geometry.offsets(shapes), geometry)


def _mean(rows: list[Figures]) -> Figures:
    """Of figures of both halves, those that only one has from that one."""
    values = {name: [row[name] for row in rows if np.isfinite(row[name])] for name in rows[0]}
    return {name: float(np.mean(held)) if held else np.nan for name, held in values.items()}
