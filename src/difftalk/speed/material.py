"""What the bench works on: the demo's portrait and voice at other sizes and lengths, and films of the portrait moving.

Drawn once, and kept in the folder for temporary files, so that no data is needed beside the package.
"""

from __future__ import annotations

import math
import tempfile
import wave
from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Final

import numpy as np
from PIL import Image as Pillow

import difftalk
from difftalk.arrays import SAMPLE_RATE, Image
from difftalk.media import audio, mp4, picture
from difftalk.media.part import Part

DEMO: Final = Path(difftalk.__file__).parent / "demo"
PORTRAIT, VOICE = DEMO / "portrait.jpg", DEMO / "voice.wav"
RATE: Final = 25  # frames/s of a film
DRAWN: Final = 1  # grows with any change to what is drawn


@dataclass(frozen=True)
class Case:
    """A job by name. Sizes in px."""

    name: str
    width: int
    height: int
    film: bool

    def source(self, seconds: float) -> Path:
        """The picture or film; of a film, so many seconds."""
        return film(self.width, self.height, seconds) if self.film else still(self.width, self.height)


CASES: Final = {
    case.name: case
    for case in (
        Case("portrait-512", 512, 512, film=False),
        Case("portrait-1024", 1024, 1024, film=False),
        Case("dub-720p", 1280, 720, film=True),
        Case("dub-1080p", 1920, 1080, film=True),
    )
}


def folder() -> Path:
    """Where what is drawn is kept."""
    place = Path(tempfile.gettempdir()) / f"difftalk-bench-{DRAWN}"
    place.mkdir(exist_ok=True)
    return place


def voice(seconds: float) -> Path:
    """The demo's voice, again and again."""
    path = folder() / f"voice-{seconds:g}.wav"
    if not path.is_file():
        count = round(seconds * SAMPLE_RATE)
        spoken = np.resize(audio.read(VOICE), count)
        with Part(path.parent) as part, wave.open(str(part.path), "wb") as file:
            file.setparams((1, 2, SAMPLE_RATE, count, "NONE", ""))
            file.writeframes(np.rint(np.clip(spoken, -1, 1) * 32767).astype("<i2").tobytes())
            file.close()
            part.path.replace(path)
    return path


def still(width: int, height: int) -> Path:
    """The demo's portrait, its middle, in another size."""
    path = folder() / f"portrait-{width}x{height}.png"
    if not path.is_file():
        whole = picture.read(PORTRAIT)
        low = min(whole.shape[0] / height, whole.shape[1] / width)
        box = _centred(whole, width * low, height * low)
        resized = Pillow.fromarray(whole).resize((width, height), Pillow.Resampling.LANCZOS, box)
        with Part(path.parent) as part:
            resized.save(part.path, "PNG", compress_level=1)
            part.path.replace(path)
    return path


def film(width: int, height: int, seconds: float) -> Path:
    """The portrait before a grey wall, drifting, nodding to and fro, and coming nearer and farther."""
    path = folder() / f"film-{width}x{height}-{seconds:g}.mp4"
    if not path.is_file():
        with mp4.Writer(path, width=width, height=height, frame_rate=Fraction(RATE), overwrite=True) as writer:
            for image in _frames(width, height, round(seconds * RATE)):
                writer.write(image)
    return path


def _frames(width: int, height: int, count: int) -> Iterator[Image]:
    import cv2

    whole = picture.read(PORTRAIT)
    scale = height / whole.shape[0]
    for number in range(count):
        time = number / RATE
        turn = math.radians(3 * math.sin(1.3 * time))
        size = scale * (1 + 0.05 * math.sin(0.7 * time))
        place = np.array([width, height]) / 2 + height * np.array(
            [0.06 * math.sin(0.9 * time), 0.02 * math.sin(2 * time)]
        )
        linear = size * np.array([[math.cos(turn), -math.sin(turn)], [math.sin(turn), math.cos(turn)]])
        matrix = np.column_stack([linear, place - linear @ np.array(whole.shape[1::-1]) / 2])
        image = cv2.warpAffine(whole, matrix, (width, height), flags=cv2.INTER_CUBIC, borderValue=(128, 128, 128))
        yield np.asarray(image, np.uint8)


def _centred(whole: Image, width: float, height: float) -> tuple[float, float, float, float]:
    """Left, top, right and bottom of the middle of a picture."""
    left, top = (whole.shape[1] - width) / 2, (whole.shape[0] - height) / 2
    return left, top, left + width, top + height
