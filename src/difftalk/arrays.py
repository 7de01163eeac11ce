"""What every array is here: numbers, pictures, waveforms.

A picture is (height, width, 3) RGB. A waveform is mono, 16 kHz, in [-1, 1]. A state is what a stream remembers, as
named arrays, so that it can be kept and go on in another process: `joined` and `part` are each other's inverse.
"""

from __future__ import annotations

from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float32]
Image = NDArray[np.uint8]
State = dict[str, NDArray[Any]]
Part = tuple[slice, slice]  # rows and columns of a picture

SAMPLE_RATE: Final = 16_000  # Hz, what the speech encoder hears


def joined(**parts: State) -> State:
    """One state of several: their arrays' names begin with the parts' names and a dot."""
    return {f"{name}.{key}": value for name, state in parts.items() for key, value in state.items()}


def part(state: State, name: str) -> State:
    """One of the states that were joined; empty where it remembered nothing."""
    return {key.removeprefix(f"{name}."): value for key, value in state.items() if key.startswith(f"{name}.")}


def smoothstep(share: NDArray[np.floating]) -> NDArray[np.float64]:
    """(...): from 0 at 0 and below to 1 at 1 and above, level at both ends."""
    share = np.clip(share, 0, 1)
    return np.asarray(share * share * (3 - 2 * share))


def part_of(mask: NDArray[Any], margin: int = 0) -> Part | None:
    """The part of a mask (h, w), 0 and above, that holds all over 0, `margin` px wider; None of an empty one."""
    rows, columns = np.flatnonzero(mask.max(1)), np.flatnonzero(mask.max(0))
    if not len(rows):
        return None
    return (
        slice(max(0, int(rows[0]) - margin), int(rows[-1]) + margin + 1),
        slice(max(0, int(columns[0]) - margin), int(columns[-1]) + margin + 1),
    )


def hwc(planes: Array) -> Array:
    """(3, h, w) -> (h, w, 3)."""
    import cv2

    return np.asarray(cv2.merge(list(planes)), np.float32)
