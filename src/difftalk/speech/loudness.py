"""Loudness: audio that arrives in pieces -> how loud it is, whether anybody speaks, whether it is silent.

Keeps the last seconds alone. Knows nothing of what is said, nor of mouths.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Final

import numpy as np
from numpy.typing import NDArray

from difftalk.arrays import SAMPLE_RATE, Array, State, joined, part
from difftalk.speech.features import FEATURE_RATE, LEVEL_SAMPLES, levels_of
from difftalk.speech.voice_detector import STEP_SAMPLES, VoiceDetector

if TYPE_CHECKING:
    from difftalk.model import Model

KEPT_LEVELS_SECONDS: Final = 5.0


class Rows:
    """Rows that are appended at one end and forgotten at the other, addressed by their number from the start."""

    def __init__(self, width: int) -> None:
        self._rows = np.zeros((0, width), np.float32)
        self._first = 0

    @property
    def end(self) -> int:
        return self._first + len(self._rows)

    def append(self, rows: Array) -> None:
        self._rows = np.concatenate([self._rows, rows])

    def forget_before(self, number: int) -> None:
        if number - self._first > 256:
            self._rows, self._first = self._rows[number - self._first :], number

    def at(self, numbers: NDArray[np.int64]) -> Array:
        """Rows by number; those outside are the nearest that there are."""
        return self._rows[np.clip(numbers - self._first, 0, len(self._rows) - 1)]

    def state(self) -> State:
        """What it remembers; `restore` takes it back."""
        return {"rows": self._rows, "first": np.array(self._first)}

    def restore(self, state: State) -> None:
        self._rows, self._first = state["rows"], int(state["first"])


class Loudness:
    """Levels every 20 ms, and chances of a voice; where the model has no detector, the level alone tells."""

    def __init__(self, model: Model) -> None:
        self._settings = model.settings
        found = "voice_detector" in model.graphs
        self._detector = VoiceDetector(model.graph("voice_detector"), model.settings) if found else None
        self._levels, self._chances = Rows(1), Rows(1)
        self._rest = np.zeros(0, np.float32)

    def push(self, waveform: Array) -> None:
        """(n,) samples at 16 kHz."""
        heard = np.concatenate([self._rest, waveform])
        levels = levels_of(heard)
        self._rest = heard[len(levels) * LEVEL_SAMPLES :]
        self._levels.append(levels[:, None])
        if self._detector is not None:
            self._chances.append(self._detector.push(waveform)[:, None])

    def forget_before(self, seconds: float) -> None:
        """Nobody will ask for times more than KEPT_LEVELS_SECONDS before this one."""
        old = seconds - KEPT_LEVELS_SECONDS
        self._levels.forget_before(int(old * FEATURE_RATE))
        self._chances.forget_before(int(old * SAMPLE_RATE / STEP_SAMPLES))

    def state(self) -> State:
        """What it remembers; `restore` takes it back."""
        detector = {} if self._detector is None else self._detector.state()
        rows = joined(levels=self._levels.state(), chances=self._chances.state(), detector=detector)
        return {"rest": self._rest, **rows}

    def restore(self, state: State) -> None:
        self._rest = state["rest"]
        self._levels.restore(part(state, "levels"))
        self._chances.restore(part(state, "chances"))
        if self._detector is not None:
            self._detector.restore(part(state, "detector"))

    def awake(self, seconds: float) -> float:
        """0 where no voice is to be heard around a time, and the mouth rests; 1 where there is one."""
        how = self._settings.loudness
        if self._levels.end == 0:
            return 1.0
        voiced = self._voiced(seconds)
        before, after = how.heard_rows
        rows = np.arange(-how.loud_rows, after + how.fade_rows + 1) + round(seconds * FEATURE_RATE)
        levels = self._levels.at(rows)[:, 0]
        loudest = np.lib.stride_tricks.sliding_window_view(levels, before + after + 1)[-2 * how.fade_rows - 1 :].max(1)
        loud = float(levels.max())
        heard = loud > how.loud or (self._detector is not None and voiced > 0)
        quiet = min(how.quiet, loud - how.quiet_under) if heard else how.quiet
        quiet = max(
            quiet,
            min(self._noise(rows[-1]) + how.noise_over, loud - how.noise_under),
        )
        return voiced * float(np.clip(1 + (loudest - quiet) / how.quiet_fade, 0, 1).mean())

    def _voiced(self, seconds: float) -> float:
        """0 where no voice has been heard for a moment, 1 where there is one, or nobody can tell."""
        how = self._settings.loudness
        if self._chances.end == 0:
            return 1.0
        before, after = how.voice_steps
        rows = np.arange(-before - 2, after + 3) + int(seconds * SAMPLE_RATE / STEP_SAMPLES)
        weights = np.minimum(1, np.arange(1, before + after + 2) / before)
        windows = np.lib.stride_tricks.sliding_window_view(self._chances.at(rows)[:, 0], len(weights))
        chances = (windows * weights).max(1)
        return float(
            np.clip(
                (chances - how.no_voice) / (how.voice - how.no_voice),
                0,
                1,
            ).mean()
        )

    def _noise(self, last: int) -> float:
        """dBFS of what is heard without a voice in the moments up to a level's number; of nothing where unknown."""
        how = self._settings.loudness
        if self._chances.end == 0:
            return -math.inf
        rows = np.arange(max(0, last - how.noise_rows), last + 1)
        levels = self._levels.at(rows)[self._chances_of(rows) < how.no_voice, 0]
        return float(np.median(levels)) if len(levels) >= how.noise_least else -math.inf

    def _chances_of(self, rows: NDArray[np.int64]) -> Array:
        """Of a voice, by levels' numbers."""
        return self._chances.at(rows * LEVEL_SAMPLES // STEP_SAMPLES)[:, 0]

    def emphasis(self, seconds: float, until: float) -> float:
        """How much louder it is at a time than it was before, smoothly, -1 to 1; 0 in silence.

        Nothing after `until` is listened to. A thread that runs ahead may ask.
        """
        how = self._settings.loudness
        if self._levels.end == 0:
            return 0.0
        last = int(until * FEATURE_RATE)
        rows = np.arange(-how.emphasis_rows, how.emphasis_after + 1) + round(seconds * FEATURE_RATE)
        levels = np.maximum(
            self._levels.at(np.minimum(rows, last))[:, 0],
            how.quiet - how.quiet_fade,
        )
        if levels.max() <= how.quiet:
            return 0.0
        now = np.convolve(
            levels[-2 * how.emphasis_after :],
            np.hanning(2 * how.emphasis_after + 2)[1:-1],
            "valid",
        )[0]
        now /= np.hanning(2 * how.emphasis_after + 2).sum()
        return float(np.tanh((now - levels.mean()) / how.emphasis_decibels))

    def silent(self, seconds: float) -> bool:
        """Whether the half second before a time held no sound."""
        how = self._settings.loudness
        last, count = int(seconds * 50), int(how.silence_seconds * 50)
        if last < count or self._levels.end == 0:
            return False
        rows = np.arange(last - count, last)
        if (self._levels.at(rows) >= how.silence_level).any():
            return False
        return self._chances.end == 0 or bool(np.median(self._chances_of(rows)) < how.certain)
