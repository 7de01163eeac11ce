"""A voice: audio that arrives in pieces -> what a frame at any settled time needs to know of it.

Keeps only what later frames can still ask for, so an hour of audio costs no more than a second. Knows nothing of
pixels.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from threading import Lock
from typing import TYPE_CHECKING, Final

import numpy as np
from numpy.typing import NDArray

from difftalk.arrays import SAMPLE_RATE, Array
from difftalk.face.mouth import COMPONENTS
from difftalk.graphs import context_of
from difftalk.speech.features import FEATURE_RATE, FEATURE_SIZE, LEVEL_SAMPLES, SpeechStream, features_of, levels_of
from difftalk.speech.motion import LOOK_AHEAD_SECONDS, MOTION_RATE, Heard, MotionStream, heard_of, pressed
from difftalk.speech.voice_detector import STEP_SAMPLES, VoiceDetector

if TYPE_CHECKING:
    from difftalk.model import Model
    from difftalk.speech.own_way import OwnWay


SILENCE_LEVEL: Final = -50.0  # dBFS
SILENCE_SECONDS: Final = 0.5
QUIET: Final = -47.0  # dBFS under which the mouth begins to rest
QUIET_FADE: Final = 6.0  # dB further down it rests
QUIET_UNDER: Final = 25.0  # dB under the loudest of the last moments, where that is softer
LOUD: Final = -50.0  # dBFS from which it is a voice, however soft
LOUD_ROWS: Final = 90  # levels before a moment of which the loudest counts for that
HEARD_ROWS: Final = (8, 12)  # levels before and after a moment of which the loudest counts: not a gap between words
FADE_ROWS: Final = 3  # levels before and after over which rest and motion are blended
NOISE_ROWS: Final = 200  # levels before a moment among which those without a voice are the room's noise
NOISE_LEAST: Final = 15  # levels without a voice that tell the noise
NOISE_OVER: Final = 9.0  # dB over the noise under which the mouth begins to rest
NOISE_UNDER: Final = 12.0  # dB at least that this stays under the loudest of the last moments
NO_VOICE: Final = 0.1  # chance up to which the mouth rests
VOICE: Final = 0.25  # from which it moves
CERTAIN: Final = 0.5  # from which even what is softer than silence is a voice
VOICE_STEPS: Final = (31, 12)  # of the detector before a moment, counting less and less, and after it
TAIL_FEATURES: Final = 48  # beyond the audio's end, silence following
KEPT_SECONDS: Final = 2.0
KEPT_LEVELS_SECONDS: Final = 5.0
EMPHASIS_ROWS: Final = 70  # levels before a moment beside which it is loud or not
EMPHASIS_AFTER: Final = 16  # levels after it that count, and as many before it
EMPHASIS_DECIBELS: Final = 10.0  # louder by this is well emphasised


class _Rows:
    """Rows that are appended at one end and forgotten at the other, addressed by their number from the start.

    Two threads may use them at once.
    """

    def __init__(self, width: int) -> None:
        self._rows = np.zeros((0, width), np.float32)
        self._first = 0
        self._lock = Lock()

    @property
    def end(self) -> int:
        return self._first + len(self._rows)

    def append(self, rows: Array) -> None:
        with self._lock:
            self._rows = np.concatenate([self._rows, rows])

    def forget_before(self, number: int) -> None:
        with self._lock:
            if number - self._first > 256:
                self._rows, self._first = self._rows[number - self._first :], number

    def at(self, numbers: NDArray[np.int64]) -> Array:
        """Rows by number; those outside are the nearest that there are."""
        with self._lock:
            return self._rows[np.clip(numbers - self._first, 0, len(self._rows) - 1)]


def look_ahead_of(renderer: str) -> float:
    """Seconds of audio that must follow a frame before a renderer of this name can draw it."""
    return LOOK_AHEAD_SECONDS + max(0, context_of(renderer)[1] - context_of("denoiser")[1]) / FEATURE_RATE


def listened(waveform: Array, model: Model) -> Heard:
    """What is heard in a waveform, and what the usual person's mouth would do to it, at 25/s."""
    features = features_of(waveform, model.graph("speech_encoder"), extra=TAIL_FEATURES)
    return heard_of(features, model.graph(model.settings.motion))


class Voice:
    """articulation: gain of the mouth shapes. own_way, own_share: the speaker's, how far."""

    def __init__(
        self, model: Model, *, articulation: float, own_way: OwnWay | None = None, own_share: float = 1.0
    ) -> None:
        motion, self._geometry, self._articulation = model.settings.motion, model.geometry, articulation
        self._own_way, self._own_share = own_way, own_share
        self._before, self._after = context_of(model.settings.renderer)
        self._speech, self._motion = SpeechStream(model.graph("speech_encoder")), MotionStream(model.graph(motion))
        self._detector = (
            VoiceDetector(model.graph("voice_detector")) if "voice_detector" in model.graphs else None
        )  # without one, the level alone says whether somebody speaks
        self._features, self._shapes = _Rows(FEATURE_SIZE), _Rows(COMPONENTS)
        self._levels, self._chances = _Rows(1), _Rows(1)
        self.heard = False  # whether the mouth has had anything to say yet
        self._rest = np.zeros(0, np.float32)
        self._ended = False

    def push(self, waveform: Array) -> None:
        """(n,) samples at 16 kHz."""
        self._take(self._speech.push(waveform))
        joined = np.concatenate([self._rest, waveform])
        levels = levels_of(joined)
        self._rest = joined[len(levels) * LEVEL_SAMPLES :]
        self._levels.append(levels[:, None])
        if self._detector is not None:
            self._chances.append(self._detector.push(waveform)[:, None])

    def finish(self) -> None:
        """No more audio follows."""
        self._take(self._speech.finish(extra=TAIL_FEATURES))
        self._ended = True

    def _take(self, features: Array) -> None:
        self._features.append(features)
        heard = self._motion.push(features)
        shapes = heard.shapes if self._own_way is None else self._own_way(heard, self._own_share)
        self._shapes.append(pressed(shapes, self._geometry))

    @property
    def settled(self) -> float:
        """Seconds: frames before this time can be drawn."""
        heard = (self._features.end - self._after) / FEATURE_RATE
        return math.inf if self._ended else min(heard, (self._shapes.end - 1) / MOTION_RATE)

    def at(self, seconds: float) -> Conditions:
        """What a frame at a settled time hears. Times never go back by more than a second."""
        place = seconds * MOTION_RATE
        low = math.floor(place)
        pair = self._shapes.at(np.array([low, low + 1]))
        shape = pair[0] + np.float32(place - low) * (pair[1] - pair[0])
        awake = self._awake(seconds)
        self.heard |= awake > 0
        shape = shape * np.float32(self._articulation * awake)
        rows = np.arange(-self._before, self._after) + round(seconds * FEATURE_RATE)
        old = seconds - KEPT_SECONDS
        self._features.forget_before(int(old * FEATURE_RATE))
        self._shapes.forget_before(int(old * MOTION_RATE))
        old = seconds - KEPT_LEVELS_SECONDS
        self._levels.forget_before(int(old * FEATURE_RATE))
        self._chances.forget_before(int(old * SAMPLE_RATE / STEP_SAMPLES))
        return Conditions(self._features.at(rows), shape.astype(np.float32))

    def _awake(self, seconds: float) -> float:
        """0 where no voice is to be heard around a time, and the mouth rests; 1 where there is one."""
        if self._levels.end == 0:
            return 1.0
        voiced = self._voiced(seconds)
        before, after = HEARD_ROWS
        rows = np.arange(-LOUD_ROWS, after + FADE_ROWS + 1) + round(seconds * FEATURE_RATE)
        levels = self._levels.at(rows)[:, 0]
        loudest = np.lib.stride_tricks.sliding_window_view(levels, before + after + 1)[-2 * FADE_ROWS - 1 :].max(1)
        loud = float(levels.max())
        heard = loud > LOUD or (self._detector is not None and voiced > 0)
        quiet = min(QUIET, loud - QUIET_UNDER) if heard else QUIET
        quiet = max(quiet, min(self._noise(rows[-1]) + NOISE_OVER, loud - NOISE_UNDER))
        return voiced * float(np.clip(1 + (loudest - quiet) / QUIET_FADE, 0, 1).mean())

    def _voiced(self, seconds: float) -> float:
        """0 where no voice has been heard for a moment, 1 where there is one, or nobody can tell."""
        if self._chances.end == 0:
            return 1.0
        before, after = VOICE_STEPS
        rows = np.arange(-before - 2, after + 3) + int(seconds * SAMPLE_RATE / STEP_SAMPLES)
        weights = np.minimum(1, np.arange(1, before + after + 2) / before)
        windows = np.lib.stride_tricks.sliding_window_view(self._chances.at(rows)[:, 0], len(weights))
        chances = (windows * weights).max(1)
        return float(np.clip((chances - NO_VOICE) / (VOICE - NO_VOICE), 0, 1).mean())

    def _noise(self, last: int) -> float:
        """dBFS of what is heard without a voice in the moments up to a level's number; of nothing where unknown."""
        if self._chances.end == 0:
            return -math.inf
        rows = np.arange(max(0, last - NOISE_ROWS), last + 1)
        levels = self._levels.at(rows)[self._chances_of(rows) < NO_VOICE, 0]
        return float(np.median(levels)) if len(levels) >= NOISE_LEAST else -math.inf

    def _chances_of(self, rows: NDArray[np.int64]) -> Array:
        """Of a voice, by levels' numbers."""
        return self._chances.at(rows * LEVEL_SAMPLES // STEP_SAMPLES)[:, 0]

    def emphasis(self, seconds: float, until: float) -> float:
        """How much louder it is at a time than it was before, smoothly, -1 to 1; 0 in silence.

        Nothing after `until` is listened to. A thread that runs ahead may ask.
        """
        if self._levels.end == 0:
            return 0.0
        last = int(until * FEATURE_RATE)
        rows = np.arange(-EMPHASIS_ROWS, EMPHASIS_AFTER + 1) + round(seconds * FEATURE_RATE)
        levels = np.maximum(self._levels.at(np.minimum(rows, last))[:, 0], QUIET - QUIET_FADE)
        if levels.max() <= QUIET:
            return 0.0
        now = np.convolve(levels[-2 * EMPHASIS_AFTER :], np.hanning(2 * EMPHASIS_AFTER + 2)[1:-1], "valid")[0]
        now /= np.hanning(2 * EMPHASIS_AFTER + 2).sum()
        return float(np.tanh((now - levels.mean()) / EMPHASIS_DECIBELS))

    def silent(self, seconds: float) -> bool:
        """Whether the half second before a time held no sound."""
        last, count = int(seconds * 50), int(SILENCE_SECONDS * 50)
        if last < count or self._levels.end == 0:
            return False
        rows = np.arange(last - count, last)
        if (self._levels.at(rows) >= SILENCE_LEVEL).any():
            return False
        return self._chances.end == 0 or bool(np.median(self._chances_of(rows)) < CERTAIN)


@dataclass(frozen=True)
class Conditions:
    """What the denoiser hears and sees besides pixels. audio: (20, 1152), see `context_of`. shape: (16,)."""

    audio: Array
    shape: Array
