"""A voice: audio that arrives in pieces -> what a frame at any settled time needs to know of it.

Keeps only what later frames can still ask for, so an hour of audio costs no more than a second. Knows nothing of
pixels.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import numpy as np
from numpy.typing import NDArray

from difftalk.arrays import SAMPLE_RATE, Array, State, joined, part
from difftalk.face.mouth import COMPONENTS
from difftalk.graphs import context_of
from difftalk.speech.features import FEATURE_RATE, FEATURE_SIZE, SpeechStream
from difftalk.speech.head_motion import HeadMotion
from difftalk.speech.loudness import Loudness, Rows
from difftalk.speech.motion import LOOK_AHEAD_SECONDS, MOTION_RATE, SOUNDS, Heard, MotionStream, pressed
from difftalk.stages import timed

if TYPE_CHECKING:
    from difftalk.model import Model
    from difftalk.speech.own_way import OwnWay

TAIL_FEATURES: Final = 48  # beyond the audio's end, silence following
KEPT_SECONDS: Final = 2.0


@dataclass(frozen=True)
class Conditions:
    """What a frame hears. audio: (20, 1152), see `context_of`. shape: (16,) of the mouth.

    silent: whether nothing was to be heard for a while.
    """

    audio: Array
    shape: Array
    silent: bool = False


def look_ahead_of(renderer: str) -> float:
    """Seconds of audio that must follow a frame before a renderer of this name can draw it."""
    return LOOK_AHEAD_SECONDS + max(0, context_of(renderer)[1] - context_of("denoiser")[1]) / FEATURE_RATE


class Listening:
    """What is heard in sound that arrives in pieces, and what the usual person's mouth would do to it, at 25/s."""

    def __init__(self, model: Model) -> None:
        self._speech = SpeechStream(model.graph("speech_encoder"), model.settings)
        self._motion = MotionStream(model.graph(model.settings.motion))
        self.heard = Heard(np.zeros((0, COMPONENTS), np.float32), np.zeros((0, SOUNDS), np.float32))

    def push(self, waveform: Array) -> None:
        """(n,) samples at 16 kHz."""
        self._take(self._speech.push(waveform))

    def finish(self) -> None:
        """No more sound follows."""
        self._take(self._speech.finish(extra=TAIL_FEATURES))

    def _take(self, features: Array) -> None:
        more = self._motion.push(features)
        self.heard = Heard(
            np.concatenate([self.heard.shapes, more.shapes]), np.concatenate([self.heard.sounds, more.sounds])
        )


def listened(waveform: Array, model: Model) -> Heard:
    """What is heard in a whole waveform."""
    listening = Listening(model)
    listening.push(waveform)
    listening.finish()
    return listening.heard


class Voice:
    """articulation: gain of the mouth shapes. own_share: how far a speaker's own way is gone.

    head: that moves with the voice, if any.
    """

    def __init__(
        self,
        model: Model,
        *,
        articulation: float = 1.0,
        own_share: float = 1.0,
        head: HeadMotion | None = None,
    ) -> None:
        motion, self._geometry, self._articulation = model.settings.motion, model.geometry, articulation
        self._settings, self._own_share = model.settings, own_share
        self._before, self._after = context_of(model.settings.renderer)
        self._speech, self._motion = (
            SpeechStream(model.graph("speech_encoder"), model.settings),
            MotionStream(model.graph(motion)),
        )
        self._features, self._shapes, self._sounds = Rows(FEATURE_SIZE), Rows(COMPONENTS), Rows(SOUNDS)
        self.loudness, self.head = Loudness(model), head
        self.heard = False  # whether the mouth has had anything to say yet
        self._ended = False
        self._samples = 0  # of sound so far
        self._hushed: list[tuple[float, float]] = []  # seconds from and to which the mouth stays closed

    @timed("speech")
    def push(self, waveform: Array) -> None:
        """(n,) samples at 16 kHz."""
        if self._hushed and math.isinf(self._hushed[-1][1]):
            sounding = np.flatnonzero(np.abs(waveform) > 10 ** (self._settings.loudness.nothing / 20))
            if len(sounding):
                self._hushed[-1] = self._hushed[-1][0], (self._samples + int(sounding[0])) / SAMPLE_RATE
        self._samples += len(waveform)
        self.loudness.push(waveform)
        self._take(self._speech.push(waveform))

    def hush(self, seconds: float) -> None:
        """From this time on the mouth closes, and stays so until sound that is still to come is heard."""
        if not self._hushed or not math.isinf(self._hushed[-1][1]):
            self._hushed.append((seconds, math.inf))

    @timed("speech")
    def finish(self) -> None:
        """No more audio follows."""
        self._take(self._speech.finish(extra=TAIL_FEATURES))
        self._ended = True

    def _take(self, features: Array) -> None:
        self._features.append(features)
        heard = self._motion.push(features)
        self._shapes.append(heard.shapes)
        self._sounds.append(heard.sounds)
        if self.head is not None:
            self.head.push(features, self.loudness)

    @property
    def settled(self) -> float:
        """Seconds: frames before this time can be drawn."""
        heard = (self._features.end - self._after) / FEATURE_RATE
        return math.inf if self._ended else min(heard, (self._shapes.end - 1) / MOTION_RATE)

    def at(self, seconds: float, own_way: OwnWay | None = None) -> Conditions:
        """What a frame at a settled time hears. Times never go back by more than a second.

        own_way: the speaker's, as far as it is known.
        """
        place = seconds * MOTION_RATE
        low = math.floor(place)
        pair = self._made(np.array([low, low + 1]), own_way)
        shape = pair[0] + np.float32(place - low) * (pair[1] - pair[0])
        awake = self.loudness.awake(seconds)
        self.heard |= awake > 0
        shape = shape * np.float32(self._articulation * awake * self._open(seconds))
        rows = np.arange(-self._before, self._after) + round(seconds * FEATURE_RATE)
        old = seconds - KEPT_SECONDS
        self._hushed = [(start, end) for start, end in self._hushed if end > old]
        self._features.forget_before(int(old * FEATURE_RATE))
        self._shapes.forget_before(int(old * MOTION_RATE))
        self._sounds.forget_before(int(old * MOTION_RATE))
        self.loudness.forget_before(seconds)
        return Conditions(self._features.at(rows), shape.astype(np.float32), self.loudness.silent(seconds))

    def _open(self, seconds: float) -> float:
        """0 where the mouth has been told to be closed, 1 elsewhere."""
        closing = self._settings.loudness.hush_seconds
        return min(
            (max(0.0, 1 - (seconds - start) / closing) for start, end in self._hushed if start <= seconds < end),
            default=1.0,
        )

    def _made(self, numbers: NDArray[np.int64], own_way: OwnWay | None) -> Array:
        """(n, 16): shapes by number, as the speaker makes them."""
        heard = Heard(self._shapes.at(numbers), self._sounds.at(numbers))
        shapes = heard.shapes if own_way is None or self._own_share == 0 else own_way(heard, self._own_share)
        return pressed(shapes, self._geometry)

    def state(self) -> State:
        """What it remembers; `restore` takes it back, in a voice that was made alike."""
        parts = joined(
            speech=self._speech.state(),
            motion=self._motion.state(),
            features=self._features.state(),
            shapes=self._shapes.state(),
            sounds=self._sounds.state(),
            loudness=self.loudness.state(),
            head={} if self.head is None else self.head.state(),
        )
        hushed = np.array(self._hushed, np.float64).reshape(-1, 2)
        own = {"flags": np.array([self.heard, self._ended]), "samples": np.array(self._samples), "hushed": hushed}
        return {**own, **parts}

    def restore(self, state: State) -> None:
        self.heard, self._ended = map(bool, state["flags"])
        self._samples, self._hushed = int(state["samples"]), [(start, end) for start, end in state["hushed"].tolist()]
        self._speech.restore(part(state, "speech"))
        self._motion.restore(part(state, "motion"))
        self._features.restore(part(state, "features"))
        self._shapes.restore(part(state, "shapes"))
        self._sounds.restore(part(state, "sounds"))
        self.loudness.restore(part(state, "loudness"))
        if self.head is not None:
            self.head.restore(part(state, "head"))
