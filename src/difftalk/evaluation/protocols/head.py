"""How a still's head moves beside the clip's own: how far, how fast, and whether with the voice; blinks a minute.

At the poses, before anything is drawn: what a still that hears the clip's sound would do. Knows nothing of pixels.
"""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import NDArray

from difftalk.arrays import Array
from difftalk.data.clip import Clip
from difftalk.data.head_track import HeadTrack, head_tracks
from difftalk.errors import InputError
from difftalk.evaluation.metrics.curves import Figures
from difftalk.evaluation.metrics.head import head_figures
from difftalk.evaluation.protocols.bench import Bench, Outcome
from difftalk.model import Model
from difftalk.speech.features import FEATURE_RATE, levels_of
from difftalk.speech.head_motion import HeadMotion
from difftalk.speech.listener import Voice
from difftalk.speech.motion import MOTION_RATE
from difftalk.talk.identity import Manner
from difftalk.talk.life import Life

SEEDS: Final = 8  # stills of each clip
LEAST_SECONDS: Final = 3.0  # without a cut
BLINKING_SECONDS: Final = 120  # over which blinks are counted


def head(clip: Clip, bench: Bench) -> Outcome:
    """The whole clip, whatever `bench.seconds`; nothing of one that has no 3 seconds without a cut."""
    if bench.outputs is not None:
        raise InputError("head moves by itself; judge videos of other tools with strict")
    track = max(
        head_tracks(clip.sample, bench.model.geometry), key=len, default=HeadTrack(0, np.zeros((0, 7), np.float32))
    )
    if len(track) < LEAST_SECONDS * MOTION_RATE:
        return Outcome({})
    waveform, first = clip.sample.sound(), max(0, track.first + clip.sample.record.offset)
    truth, levels = track.poses, _levels(waveform, first + np.arange(len(track)))
    made = [_figures(way[first:], levels) for way in _ways(waveform, first + len(track), bench.model)]
    mean = {name: float(np.mean([figures[name] for figures in made])) for name in made[0]}
    return Outcome({"truth": _figures(truth, levels), "ours": mean | {"blinks": _blinks(bench.model)}})


def _ways(waveform: Array, frames: int, model: Model) -> list[NDArray[np.float64]]:
    """(frames, 7) of each seed: the head of a still at 25/s, as it is shown."""
    ways = []
    for seed in range(SEEDS):
        voice = Voice(model, head=HeadMotion(model, seed))
        voice.push(waveform)
        voice.finish()
        life = Life(Manner(seed=seed), voice.head, model.settings)
        ways.append(np.stack([life.head(number).row for number in range(frames)]))
    return ways


def _figures(poses: NDArray[np.floating], levels: NDArray[np.floating]) -> Figures:
    return {f"head_{name}": value for name, value in head_figures(poses, levels).items()}


def _levels(waveform: Array, frames: NDArray[np.int64]) -> NDArray[np.float64]:
    """dBFS of frames at 25/s, by number: the louder of their levels."""
    levels, each = levels_of(waveform), FEATURE_RATE // MOTION_RATE
    rows = np.clip(each * frames[:, None] + np.arange(each), 0, len(levels) - 1)
    return np.asarray(levels[rows].max(1), np.float64)


def _blinks(model: Model) -> float:
    """Eyes that close, a minute."""
    counts = []
    for seed in range(SEEDS):
        life = Life(Manner(seed=seed), None, model.settings)
        closed = np.array([life.closed(number / 50) > 0 for number in range(50 * BLINKING_SECONDS)])
        counts.append(np.count_nonzero(closed[1:] & ~closed[:-1]))
    return float(np.mean(counts)) * 60 / BLINKING_SECONDS
