"""Films that are watched while they are made: each picture is there at once, with the sound that belongs to it."""

from __future__ import annotations

import io
from fractions import Fraction

import av
import numpy as np
import pytest
from numpy.typing import NDArray

from difftalk.errors import OutputError
from difftalk.media.fragments import Fragments

COUNT = 50
FLASH = 25  # number of the frame that is white, and sounds


def film(out: io.BytesIO, *, rate: Fraction = Fraction(25), sample_rate: int = 16_000) -> list[int]:
    """Writes a film with a flash and a beep at once; bytes behind each frame."""
    lengths = []
    with Fragments(out, width=66, height=49, frame_rate=rate, sample_rate=sample_rate, comment="made") as one:
        for number in range(COUNT):
            one.show(np.full((49, 66, 3), 250 if number == FLASH else 40, np.uint8), number / float(rate))
            count = round((number + 1) / rate * sample_rate) - round(number / rate * sample_rate)
            tone = np.sin(np.arange(count) * 0.3) if number == FLASH else np.zeros(count)
            one.hear(tone.astype(np.float32))
            lengths.append(len(out.getvalue()))
    return lengths


def flash_and_beep(data: bytes) -> tuple[float, float]:
    """Seconds at which they begin, whatever is said of the sound's first samples."""
    with av.open(io.BytesIO(data), "r", options={"ignore_editlist": "1"}) as container:
        bright = [frame.time for frame in container.decode(video=0) if frame.to_ndarray(format="gray").mean() > 150]
    with av.open(io.BytesIO(data), "r", options={"ignore_editlist": "1"}) as container:
        sound = [(frame.time, frame.to_ndarray()[0]) for frame in container.decode(audio=0)]
    start, rate = sound[0][0] or 0.0, 48_000
    heard: NDArray[np.float32] = np.concatenate([samples for _, samples in sound])
    assert len(bright) == 1
    assert bright[0] is not None
    return bright[0], start + float(np.flatnonzero(np.abs(heard) > 0.3)[0]) / rate


@pytest.mark.parametrize("rate", [25, Fraction(30_000, 1001)])
@pytest.mark.parametrize("sample_rate", [16_000, 44_100])
def test_sound_and_picture_are_paired(rate: Fraction | int, sample_rate: int) -> None:
    out = io.BytesIO()
    film(out, rate=Fraction(rate), sample_rate=sample_rate)
    flash, beep = flash_and_beep(out.getvalue())
    assert flash == pytest.approx(FLASH / rate, abs=1e-3)
    assert beep == pytest.approx(FLASH / rate, abs=0.005)
    with av.open(io.BytesIO(out.getvalue()), "r") as container:
        assert container.metadata["comment"] == "made"
        times = [frame.time for frame in container.decode(video=0)]
    np.testing.assert_allclose(np.array(times, float), np.arange(COUNT) / float(rate), atol=1e-3)


def test_it_is_there_while_it_is_made() -> None:
    """What was written by half of the film shows all but the last pictures of it."""
    out = io.BytesIO()
    lengths = film(out)
    assert all(np.diff(lengths[3:]) > 0)
    with av.open(io.BytesIO(out.getvalue()[: lengths[FLASH]]), "r") as container:
        shown = len([packet for packet in container.demux(video=0) if packet.size])
    assert FLASH - 2 <= shown <= FLASH + 1


class Broken(io.BytesIO):
    """Whoever reads goes away after a while."""

    def write(self, data: object) -> int:
        if self.tell() > 3000:
            raise BrokenPipeError(32, "Broken pipe")
        return super().write(data)  # type: ignore[arg-type]


def test_whoever_reads_goes_away() -> None:
    with pytest.raises(BrokenPipeError):
        film(Broken())


def test_pictures_of_another_size() -> None:
    out = io.BytesIO()
    one = Fragments(out, width=64, height=48, frame_rate=Fraction(25), sample_rate=16_000)
    with pytest.raises(OutputError, match=r"not uint8 \(48, 64, 3\)"):
        one.show(np.zeros((48, 62, 3), np.uint8), 0.0)
    one.hear(np.zeros(0, np.float32))
    one.close()
    one.close()
