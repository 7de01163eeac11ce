"""Whether a sync judge can be trusted: on people it never saw, does it find what is known, and fall when it should.

    print(gates(Path("runs/data"), Judge.shipped(), model).text())

Beside it stands the lip curve: the tracked opening against the one that the linear motion hears. Every clip's known
lip/audio offset is repaired first; those offsets were themselves found with the lip curve, which favours it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal

import numpy as np
from numpy.typing import NDArray

from difftalk.arrays import Array
from difftalk.data.clip import clip_shapes
from difftalk.data.sample import Sample, load_samples
from difftalk.errors import DataError
from difftalk.evaluation.judge.data import frame_indices
from difftalk.evaluation.judge.judge import SyncJudge, SyncScores, distances, mean_curve, window_offsets
from difftalk.evaluation.metrics.curves import REACH, window_shifts
from difftalk.face.mouth import opening
from difftalk.model import Model
from difftalk.speech.motion import MOTION_RATE, opening_of, shapes_of

FOUND_LEAST: Final = 0.85  # share of 2-second stretches whose shift must be found within a frame
SHIFTS: Final = (0, 1, 2, 3, 5, 10, 15)  # frames
NOISES: Final = (20, 10, 0)  # dB
SLACK: Final = 0.1  # of the first value: by how much a row may rise and still count as falling


@dataclass(frozen=True)
class Gates:
    """found, found_lips: share of 2-second stretches, a second apart, whose shift is found within a frame.

    steady, steady_lips: the same against the median of what was found in the clip, whatever is known of it.
    margins: how far the distance at a wrong shift (either way, SHIFTS) is under the median of shifts. noisy: confidence
    of clean sound, then at 20, 10, 0 dB of white noise. own, swapped: confidence with the clip's sound and another's.
    """

    people: int
    stretches: int
    found: float
    found_lips: float
    steady: float
    steady_lips: float
    margins: tuple[float, ...]
    noisy: tuple[float, ...]
    own: float
    swapped: float

    @property
    def monotone(self) -> bool:
        """Whether the judge thinks less of sound that is shifted, noisy or another's."""
        return falls(self.margins) and falls(self.noisy) and self.swapped < self.own

    @property
    def passed(self) -> bool:
        return self.found >= FOUND_LEAST and self.monotone

    @property
    def main(self) -> Literal["judge", "lip curve"]:
        """Which of the two is believed first."""
        return "judge" if self.passed and self.found >= self.found_lips else "lip curve"

    def text(self) -> str:
        """A few lines for people."""
        margins = ", ".join(f"{shift}: {value:.3f}" for shift, value in zip(SHIFTS, self.margins, strict=True))
        noisy = ", ".join(f"{value:.3f}" for value in self.noisy)
        return "\n".join(
            (
                f"{self.stretches} stretches of 2 s, {self.people} people; right shift within a frame: "
                f"judge {self.found:.1%}, lip curve {self.found_lips:.1%} (wanted: {FOUND_LEAST:.0%})",
                f"in agreement with the clip's median: judge {self.steady:.1%}, lip curve {self.steady_lips:.1%}",
                f"margin by shift in frames: {margins}",
                f"confidence of clean sound and at {', '.join(map(str, NOISES))} dB: {noisy}",
                f"confidence with its own sound {self.own:.3f}, another clip's {self.swapped:.3f}",
                f"gates {'passed' if self.passed else 'not passed'}; main judge: {self.main}",
            )
        )


@dataclass(frozen=True)
class _Clip:
    """seen: embeddings of the pictures."""

    sample: Sample
    seen: Array


def gates(data: Path, judge: SyncJudge, model: Model, *, split: str = "val") -> Gates:
    """All figures, on a split of prepared data. Raises DataError where no clip is long enough."""
    clips = [_Clip(sample, judge.see(_frames(sample))) for sample in load_samples(data, split=split)]
    tables = [distances(clip.seen, judge.hear(clip.sample.sound()), padded=False) for clip in clips]
    offsets = [clip.sample.record.offset for clip in clips]
    found = [window_offsets(table, MOTION_RATE) for table in tables]
    if not sum(map(len, found)):
        raise DataError(f"{data} holds no clip of split {split} that is long enough to be judged; give 3 s or more")
    lips = [_lip_offsets(clip.sample, model) for clip in clips]
    own, swapped = _swapped(clips, judge)
    return Gates(
        people=len({clip.sample.record.person for clip in clips}),
        stretches=sum(map(len, found)),
        found=_near(found, offsets),
        found_lips=_near(lips, offsets),
        steady=_near(found, [round(float(np.median(row))) if len(row) else 0 for row in found]),
        steady_lips=_near(lips, [round(float(np.median(row))) if len(row) else 0 for row in lips]),
        margins=_margins(clips, judge),
        noisy=_noisy(clips, judge),
        own=own,
        swapped=swapped,
    )


def falls(values: Sequence[float]) -> bool:
    """Whether no value is above the least one before it, but for the slack, and the last is below the first.

    Below 0 there is nothing left to fall.
    """
    shown = np.maximum(values, 0)
    least = np.minimum.accumulate(shown)
    return bool(np.all(shown[1:] <= least[:-1] + SLACK * shown[0]) and shown[-1] < shown[0])


def _near(found: Sequence[NDArray[np.int64]], offsets: Sequence[int]) -> float:
    return float(np.concatenate([np.abs(row - known) <= 1 for row, known in zip(found, offsets, strict=True)]).mean())


def _frames(sample: Sample) -> list[NDArray[np.uint8]]:
    return [sample.frame(int(i)) for i in frame_indices(sample)]


def _lip_offsets(sample: Sample, model: Model) -> NDArray[np.int64]:
    free = clip_shapes(model.geometry, sample.meshes).free
    times = np.arange(0, sample.seconds[-1] + 0.5 / MOTION_RATE, 1 / MOTION_RATE)
    truth = np.interp(times, sample.seconds, opening(free))
    heard = opening_of(shapes_of(sample.speech, model.graph("linear")), model.geometry)
    return np.nan_to_num(window_shifts(truth, heard), nan=REACH + 1).astype(np.int64)


def _repaired(clip: _Clip, audio: Array) -> tuple[Array, Array]:
    """Both from where the known offset lets them begin together."""
    offset = clip.sample.record.offset
    return clip.seen[max(0, -offset) :], audio[max(0, offset) :]


def _curve(clip: _Clip, audio: Array) -> NDArray[np.float64]:
    return mean_curve(distances(*_repaired(clip, audio), padded=False))


def _margins(clips: Sequence[_Clip], judge: SyncJudge) -> tuple[float, ...]:
    curves = np.stack([_curve(clip, judge.hear(clip.sample.sound())) for clip in clips])
    under = np.nanmedian(curves, 1, keepdims=True) - curves
    return tuple(float(np.nanmean(under[:, [REACH - shift, REACH + shift]])) for shift in SHIFTS)


def _noisy(clips: Sequence[_Clip], judge: SyncJudge) -> tuple[float, ...]:
    random, rows = np.random.default_rng(0), []
    for clip in clips:
        sound = clip.sample.sound()
        noise = random.normal(0, 1, len(sound)).astype(np.float32) * np.float32(np.sqrt((sound**2).mean()))
        heard = [sound, *(sound + noise * np.float32(10 ** (-ratio / 20)) for ratio in NOISES)]
        rows.append([SyncScores.of(_curve(clip, judge.hear(one))).confidence for one in heard])
    return tuple(float(value) for value in np.mean(rows, 0))


def _swapped(clips: Sequence[_Clip], judge: SyncJudge) -> tuple[float, float]:
    """Mean confidence with the clip's own sound and with the next other person's, over the same windows."""
    rows = []
    for index, clip in enumerate(clips):
        others = [c for c in (*clips[index:], *clips[:index]) if c.sample.record.person != clip.sample.record.person]
        if not others:
            continue
        sounds = [judge.hear(c.sample.sound()) for c in (clip, others[0])]
        count = min(len(clip.seen), *map(len, sounds))
        rows.append([SyncScores.of(_curve(clip, sound[:count])).confidence for sound in sounds])
    if not rows:
        raise DataError("sound cannot be swapped within one person; give clips of at least two")
    return float(np.mean(rows, 0)[0]), float(np.mean(rows, 0)[1])
