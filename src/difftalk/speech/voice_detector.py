"""Whether somebody speaks or sings: 16 kHz waveform -> a chance every 32 ms, the same in pieces and whole.

Silero's small recurrent net hears 32 ms at a time and remembers. It is given soft sound louder, so that a voice's level
does not matter. Knows nothing of what is said, nor of faces.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import numpy as np

from difftalk.arrays import Array, State
from difftalk.settings import Settings

if TYPE_CHECKING:
    from difftalk.engine import Graph


STEP_SAMPLES: Final = 512
_BEFORE: Final = 64  # samples before a step that are heard with it
_STATE: Final = (2, 1, 128)


class VoiceDetector:
    """Chances of audio that arrives in pieces."""

    def __init__(self, graph: Graph, settings: Settings) -> None:
        self._graph, self._settings = graph, settings
        self._state = np.zeros(_STATE, np.float32)
        self._buffer = np.zeros(_BEFORE, np.float32)
        self._loudness = np.zeros(self._settings.features.loud_steps, np.float32)

    def push(self, waveform: Array) -> Array:
        """(n,) samples at 16 kHz in [-1, 1] -> (m,) chances in [0, 1] of the steps that are now complete."""
        self._buffer = np.concatenate([self._buffer, waveform.astype(np.float32)])
        chances = []
        while len(self._buffer) >= _BEFORE + STEP_SAMPLES:
            chances.append(self._chance(self._buffer[: _BEFORE + STEP_SAMPLES]))
            self._buffer = self._buffer[STEP_SAMPLES:]
        return np.array(chances, np.float32)

    def state(self) -> State:
        """What it remembers; `restore` takes it back."""
        return {"net": self._state, "buffer": self._buffer, "loudness": self._loudness}

    def restore(self, state: State) -> None:
        self._state, self._buffer, self._loudness = state["net"], state["buffer"], state["loudness"]

    def _chance(self, heard: Array) -> float:
        self._loudness = np.append(self._loudness[1:], np.sqrt((heard[_BEFORE:] ** 2).mean()))
        gain = np.clip(
            self._settings.features.loud / max(float(self._loudness.max()), 1e-6), 1, self._settings.features.most_gain
        )
        made = self._graph(input=(heard * np.float32(gain))[None], state=self._state)
        self._state = made["stateN"]
        return float(made["output"][0, 0])
