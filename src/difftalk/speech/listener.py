"""A voice: audio that arrives in pieces -> what a frame at any settled time needs to know of it.

Keeps only what later frames can still ask for, so an hour of audio costs no more than a second. Knows nothing of
pixels.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import numpy as np

from difftalk.arrays import Array, State, joined, part
from difftalk.face.mouth import COMPONENTS
from difftalk.graphs import context_of
from difftalk.speech.features import FEATURE_RATE, FEATURE_SIZE, SpeechStream, features_of
from difftalk.speech.head_motion import HeadMotion
from difftalk.speech.loudness import Loudness, Rows
from difftalk.speech.motion import LOOK_AHEAD_SECONDS, MOTION_RATE, Heard, MotionStream, heard_of, pressed
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


def listened(waveform: Array, model: Model) -> Heard:
    """What is heard in a waveform, and what the usual person's mouth would do to it, at 25/s."""
    features = features_of(waveform, model.graph("speech_encoder"), model.settings, extra=TAIL_FEATURES)
    return heard_of(features, model.graph(model.settings.motion))


class Voice:
    """articulation: gain of the mouth shapes. own_way, own_share: the speaker's, how far.

    head: that moves with the voice, if any.
    """

    def __init__(
        self,
        model: Model,
        *,
        articulation: float = 1.0,
        own_way: OwnWay | None = None,
        own_share: float = 1.0,
        head: HeadMotion | None = None,
    ) -> None:
        motion, self._geometry, self._articulation = model.settings.motion, model.geometry, articulation
        self._settings, self._own_way, self._own_share = model.settings, own_way, own_share
        self._before, self._after = context_of(model.settings.renderer)
        self._speech, self._motion = (
            SpeechStream(model.graph("speech_encoder"), model.settings),
            MotionStream(model.graph(motion)),
        )
        self._features, self._shapes = Rows(FEATURE_SIZE), Rows(COMPONENTS)
        self.loudness, self.head = Loudness(model), head
        self.heard = False  # whether the mouth has had anything to say yet
        self._ended = False

    @timed("speech")
    def push(self, waveform: Array) -> None:
        """(n,) samples at 16 kHz."""
        self.loudness.push(waveform)
        self._take(self._speech.push(waveform))

    @timed("speech")
    def finish(self) -> None:
        """No more audio follows."""
        self._take(self._speech.finish(extra=TAIL_FEATURES))
        self._ended = True

    def _take(self, features: Array) -> None:
        self._features.append(features)
        heard = self._motion.push(features)
        shapes = heard.shapes if self._own_way is None else self._own_way(heard, self._own_share)
        self._shapes.append(pressed(shapes, self._geometry))
        if self.head is not None:
            self.head.push(features, self.loudness)

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
        awake = self.loudness.awake(seconds)
        self.heard |= awake > 0
        shape = shape * np.float32(self._articulation * awake)
        rows = np.arange(-self._before, self._after) + round(seconds * FEATURE_RATE)
        old = seconds - KEPT_SECONDS
        self._features.forget_before(int(old * FEATURE_RATE))
        self._shapes.forget_before(int(old * MOTION_RATE))
        self.loudness.forget_before(seconds)
        return Conditions(self._features.at(rows), shape.astype(np.float32), self.loudness.silent(seconds))

    def state(self) -> State:
        """What it remembers; `restore` takes it back, in a voice that was made alike."""
        parts = joined(
            speech=self._speech.state(),
            motion=self._motion.state(),
            features=self._features.state(),
            shapes=self._shapes.state(),
            loudness=self.loudness.state(),
            head={} if self.head is None else self.head.state(),
        )
        return {"flags": np.array([self.heard, self._ended]), **parts}

    def restore(self, state: State) -> None:
        self.heard, self._ended = map(bool, state["flags"])
        self._speech.restore(part(state, "speech"))
        self._motion.restore(part(state, "motion"))
        self._features.restore(part(state, "features"))
        self._shapes.restore(part(state, "shapes"))
        self.loudness.restore(part(state, "loudness"))
        if self.head is not None:
            self.head.restore(part(state, "head"))
