"""Motion: speech features -> mouth shapes at 25 frames/s, as they settle; and a clip's lip/audio offset.

The graph is a valid convolution over a fixed window: 4 frames from their own 8 features, 30 before and 8 after. So a
stream and a whole file give the same numbers. Knows nothing of pixels.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import numpy as np
from numpy.typing import NDArray

from difftalk.arrays import Array, State
from difftalk.face.mouth import COMPONENTS, Geometry
from difftalk.speech.features import BLOCK, FEATURE_SIZE, HOP_SECONDS, SETTLE_SECONDS

if TYPE_CHECKING:
    from difftalk.engine import Graph


SOUNDS: Final = 16  # leading components of the speech features that a speaker's own way hears
MOTION_RATE: Final = 25  # mouth shapes a second
PAST_FEATURES: Final = 30  # 0.6 s
FUTURE_FEATURES: Final = BLOCK  # 0.16 s, so that a frame needs one speech block beyond its own
LOOK_AHEAD_SECONDS: Final = SETTLE_SECONDS + 2 * HOP_SECONDS  # audio that must follow a frame before it is shown


@dataclass(frozen=True)
class Heard:
    """shapes: (t, 16) mouth shapes at 25/s. sounds: (t, 16), what is heard in each: leading whitened components."""

    shapes: Array
    sounds: Array

    def __len__(self) -> int:
        return len(self.shapes)


class MotionStream:
    """Mouth shapes of features that arrive in pieces."""

    def __init__(self, graph: Graph) -> None:
        self._graph = graph
        self._buffer = np.zeros((0, FEATURE_SIZE), np.float32)
        self._started = False

    def push(self, features: Array) -> Heard:
        """(m, 1152) features -> the frames that are now certain, four at a time. No sounds of a graph without them."""
        nothing = np.zeros((0, COMPONENTS), np.float32), np.zeros((0, SOUNDS), np.float32)
        if not len(features):
            return Heard(*nothing)
        if not self._started:
            self._buffer = np.repeat(features[:1], PAST_FEATURES, 0)
            self._started = True
        self._buffer = np.concatenate([self._buffer, features])
        window, parts = PAST_FEATURES + BLOCK + FUTURE_FEATURES, [nothing]
        while len(self._buffer) >= window:
            made = self._graph(features=self._buffer[None, :window])
            silent = np.zeros((1, len(made["shape"][0]), SOUNDS), np.float32)
            parts.append((made["shape"][0], made.get("sound", silent)[0]))
            self._buffer = self._buffer[BLOCK:]
        shapes, sounds = (np.concatenate(column) for column in zip(*parts, strict=True))
        return Heard(shapes, sounds)

    def state(self) -> State:
        """What it remembers; `restore` takes it back."""
        return {"buffer": self._buffer, "started": np.array(self._started)}

    def restore(self, state: State) -> None:
        self._buffer, self._started = state["buffer"], bool(state["started"])


def heard_of(features: NDArray[np.floating], graph: Graph) -> Heard:
    """(n, 1152) features -> every frame: the stream, run to its end."""
    return MotionStream(graph).push(np.asarray(features, np.float32))


def shapes_of(features: NDArray[np.floating], graph: Graph) -> Array:
    """The mouth shapes (t, 16) alone."""
    return heard_of(features, graph).shapes


def opening_of(shapes: Array, geometry: Geometry) -> NDArray[np.float64]:
    """Inner-lip opening that the shapes add to a neutral, eye distances, to first order."""
    return np.asarray(shapes @ geometry.opening_row(), np.float64)


def pressed(shapes: Array, geometry: Geometry) -> Array:
    """Mouth shapes (t, 16), lips that are all but closed a little nearer: regression to the mean leaves them apart.

    Where the opening is at most the neutral's, all of `press` is taken off it, which draws the lips over each other.
    """
    how = geometry.settings.mouths
    row = geometry.opening_row()
    meets = how.press / (1 + np.exp((shapes @ row - how.press_under) / how.press_over))
    return np.asarray(shapes - meets[:, None] * (row / (row @ row)), np.float32)
