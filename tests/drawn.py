"""Clips and sounds that tests draw on the spot, and what they read off them."""

from __future__ import annotations

import wave
from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import cv2
import numpy as np
from numpy.typing import NDArray

import difftalk
from difftalk import video
from difftalk.align import Alignment, region_mask
from difftalk.face import Image
from difftalk.paste import _box
from difftalk.waveform import SAMPLE_RATE

DEMO = Path(difftalk.__file__).parent / "demo"
SHARED = Path(__file__).parents[2] / "shared" / "data"  # real clips; not in the repository
RATE = Fraction(25)


def write_wav(path: Path, waveform: NDArray[np.float32], *, rate: int = SAMPLE_RATE) -> Path:
    with wave.open(str(path), "wb") as file:
        file.setparams((1, 2, rate, len(waveform), "NONE", "not compressed"))
        file.writeframes((np.clip(waveform, -1, 1) * 32767).astype("<i2").tobytes())
    return path


def moving(image: Image, count: int) -> list[Image]:
    """The picture, shifted right by a pixel a frame."""
    return [np.roll(image, number, axis=1) for number in range(count)]


def draw_clip(
    path: Path,
    frames: Sequence[Image],
    *,
    rate: Fraction = RATE,
    sound: Path | None = None,
    times: Sequence[float] | None = None,
) -> Path:
    height, width = frames[0].shape[:2]
    with video.Writer(path, width=width, height=height, frame_rate=rate, sound=sound, crf=10) as writer:
        for number, frame in enumerate(frames):
            writer.write(frame, times[number] if times is not None else None)
    return path


def without_face(image: Image) -> Image:
    """A picture of the same size with no face in it: slanted stripes."""
    y, x = np.mgrid[: image.shape[0], : image.shape[1]]
    return np.repeat(((x + y) % 64 + 80).astype(np.uint8)[..., None], 3, axis=2)


def packets(path: Path) -> list[bytes]:
    """The sound's packets as they lie in the file."""
    with av.open(str(path)) as container:
        return [bytes(packet) for packet in container.demux(container.streams.audio[0]) if packet.size]


def images(path: Path) -> NDArray[Any]:
    """(t, h, w, 3) of a whole clip."""
    return np.stack([frame.image for frame in video.read(path)])


def weight_in(frame: Image, alignment: Alignment) -> NDArray[np.float32]:
    """The mask's weight at every pixel of a frame."""
    box, to_box = _box(frame, alignment)
    assert box is not None
    x0, y0, x1, y1 = box
    out = np.zeros(frame.shape[:2], np.float32)
    out[y0:y1, x0:x1] = cv2.warpAffine(region_mask(), to_box, (x1 - x0, y1 - y0), borderValue=(0.0,))
    return out
