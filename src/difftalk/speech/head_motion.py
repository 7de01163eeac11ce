"""Head motion: speech features -> how a still's head moves while it speaks, at any time, as it settles.

    head = HeadMotion(model, seed=0)
    head.push(features, loudness)     # as they settle; the sound of the features was pushed to the loudness before
    pose = head.at(seconds)           # (7,), at a time before head.settled

A pose is what is added to the still's own: yaw, pitch and roll in degrees (see `Pose`; pitch is positive where the head
looks down), the shift of the eyes' middle to the right and down in eye distances, the logarithm of the size, and how
far the brows are raised, in eye distances. The graph gives a knot every 0.16 s, from those before it, what is heard and
noise: a pose and its speed. A cubic goes from knot to knot (Hermite), so neither place nor speed ever jumps. Knows
nothing of pixels.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import numpy as np

from difftalk.arrays import Array, State, joined, part
from difftalk.speech.features import BLOCK, FEATURE_RATE, FEATURE_SIZE
from difftalk.speech.loudness import Loudness, Rows
from difftalk.speech.motion import FUTURE_FEATURES, LOOK_AHEAD_SECONDS, MOTION_RATE, PAST_FEATURES

if TYPE_CHECKING:
    from difftalk.model import Model

NAMES: Final = ("yaw", "pitch", "roll", "x", "y", "zoom", "brow")
POSE_SIZE: Final = len(NAMES)
KNOT_SIZE: Final = 2 * POSE_SIZE  # a pose, and its change in a second
KNOT_FRAMES: Final = BLOCK * MOTION_RATE // FEATURE_RATE  # frames at 25/s from knot to knot
KNOT_SECONDS: Final = KNOT_FRAMES / MOTION_RATE
PAST_KNOTS: Final = 10  # that the next one follows from: 1.6 s
VOICE_FRAMES: Final = 1 + PAST_FEATURES * MOTION_RATE // FEATURE_RATE  # up to the last knot's own
VOICE_SIZE: Final = 2  # whether a voice is heard, and its emphasis
KEPT_SECONDS: Final = 2.0
_NOISE: Final = 3  # apart from what else a seed is used for


class HeadMotion:
    """The head of somebody who speaks. seed: of the noise; the same seed and sound give the same motion."""

    def __init__(self, model: Model, seed: int = 0) -> None:
        self._graph, self._seed = model.graph("head"), seed
        self._features = np.zeros((0, FEATURE_SIZE), np.float32)
        self._voice = np.zeros((VOICE_FRAMES, VOICE_SIZE), np.float32)
        self._knots = Rows(KNOT_SIZE)
        self._knots.append(np.zeros((1, KNOT_SIZE), np.float32))
        self._past = np.zeros((PAST_KNOTS, KNOT_SIZE), np.float32)

    @property
    def settled(self) -> float:
        """Seconds up to which the head's way is known."""
        return (self._knots.end - 1) * KNOT_SECONDS

    def push(self, features: Array, loudness: Loudness) -> None:
        """(m, 1152) features that have settled, as `SpeechStream` gives them."""
        if not len(features):
            return
        if not len(self._features):
            self._features = np.repeat(features[:1], PAST_FEATURES, 0)
        self._features = np.concatenate([self._features, features])
        window = PAST_FEATURES + BLOCK + FUTURE_FEATURES
        while len(self._features) >= window:
            self._step(self._features[:window], loudness)
            self._features = self._features[BLOCK:]

    def _step(self, features: Array, loudness: Loudness) -> None:
        """The next knot."""
        number = self._knots.end
        last = (number - 1) * KNOT_FRAMES
        frames = range(max(0, last - KNOT_FRAMES + 1), last + 1)
        heard = np.array([voice_at(frame / MOTION_RATE, loudness) for frame in frames], np.float32)
        self._voice = np.concatenate([self._voice, heard])[-VOICE_FRAMES:]
        noise = np.random.default_rng((self._seed, _NOISE, number)).standard_normal((1, KNOT_SIZE), np.float32)
        given = {"features": features[None], "voice": self._voice[None], "past": self._past[None], "noise": noise}
        knot = self._graph(**given)["knot"].reshape(1, KNOT_SIZE)
        self._past = np.concatenate([self._past[1:], knot])
        self._knots.append(knot)

    def at(self, seconds: float) -> Array:
        """(7,) at a time from 0 to `settled`; later than that the last pose. Times go back by a second at most."""
        place = min(max(seconds, 0.0), self.settled) / KNOT_SECONDS
        low = int(place)
        before, after = self._knots.at(np.array([low, low + 1]))
        self._knots.forget_before(low - round(KEPT_SECONDS / KNOT_SECONDS))
        return between(before, after, place - low)

    def state(self) -> State:
        """What it remembers; `restore` takes it back."""
        arrays = {"features": self._features, "voice": self._voice, "past": self._past}
        return joined(knots=self._knots.state()) | arrays

    def restore(self, state: State) -> None:
        self._features, self._voice, self._past = state["features"], state["voice"], state["past"]
        self._knots.restore(part(state, "knots"))


def voice_at(seconds: float, loudness: Loudness) -> tuple[float, float]:
    """Whether a voice is heard at a time, 0 to 1, and how it is emphasised, -1 to 1; nothing before 0."""
    awake = loudness.awake(seconds)
    return awake, awake * loudness.emphasis(seconds, seconds + LOOK_AHEAD_SECONDS)


def between(before: Array, after: Array, share: float) -> Array:
    """(7,): the pose at a share of the way from one knot (14,) to the next, by the cubic that has their speeds."""
    (start, leaving), (end, arriving) = np.split(before, 2), np.split(after, 2)
    square, cube = share**2, share**3
    speeds = (cube - 2 * square + share) * leaving + (cube - square) * arriving
    rest = 2 * cube - 3 * square
    return np.asarray((1 + rest) * start - rest * end + KNOT_SECONDS * speeds, np.float32)
