"""Sound as it comes: samples of every kind and WAV, cut anywhere, are the same waveform."""

from __future__ import annotations

import io
import wave
from typing import Any, BinaryIO, cast

import numpy as np
import pytest
from numpy.typing import NDArray

from difftalk.errors import InputError, MediaError
from difftalk.media import pcm
from difftalk.media.pcm import Form

KINDS = {"u8": ("u1", 128, 127), "s16le": ("<i2", 0, 32767), "s32le": ("<i4", 0, 2**31 - 1), "f32le": ("<f4", 0, 1)}


class Dribbling(io.RawIOBase):
    """Gives a few bytes at a time, as a pipe may."""

    def __init__(self, data: bytes, most: int) -> None:
        self._data, self._most = io.BytesIO(data), most

    def read(self, size: int = -1) -> bytes:
        return self._data.read(min(size, self._most))


def read(data: bytes, form: Form | None = None, *, most: int = 7) -> tuple[int, NDArray[np.float32]]:
    rate, pieces = pcm.read(cast("BinaryIO", Dribbling(data, most)), form or Form())
    return rate, np.concatenate([np.zeros(0, np.float32), *pieces])


def sound(count: int = 500) -> NDArray[np.float64]:
    return 0.8 * np.sin(np.arange(count) / 9)


def samples(kind: str, channels: int = 1) -> bytes:
    name, middle, half = KINDS[kind]
    both = sound()[:, None] * np.linspace(1, 0.5, channels)
    return (both * half + middle).astype(name).tobytes()


@pytest.mark.parametrize("channels", [1, 2])
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("most", [1, 7, 5000])
def test_samples_of_every_kind(kind: str, channels: int, most: int) -> None:
    rate, found = read(samples(kind, channels), Form(kind, 24_000, channels), most=most)
    assert rate == 24_000
    expected = sound() * np.linspace(1, 0.5, channels).mean()
    np.testing.assert_allclose(found, expected, atol=0.02 if kind == "u8" else 1e-3)


def wav(channels: int = 1, width: int = 2) -> bytes:
    file = io.BytesIO()
    with wave.open(file, "wb") as written:
        written.setparams((channels, width, 44_100, 0, "NONE", ""))
        written.writeframes(samples({1: "u8", 2: "s16le", 4: "s32le"}[width], channels))
    return file.getvalue()


@pytest.mark.parametrize("width", [1, 2, 4])
def test_wav_says_what_it_is(width: int) -> None:
    rate, found = read(wav(2, width), Form("f32le", 8000, 1))
    assert rate == 44_100
    np.testing.assert_allclose(found, sound() * 0.75, atol=0.02 if width == 1 else 1e-3)


def test_wav_of_a_stream_with_more_in_its_head() -> None:
    """Lengths are unknown, and there is a list before the samples; floats as FFmpeg writes them."""
    head = b"RIFF\xff\xff\xff\xffWAVEfmt \x28\x00\x00\x00\xfe\xff\x01\x00" + (16_000).to_bytes(4, "little")
    head += (64_000).to_bytes(4, "little") + b"\x04\x00\x20\x00\x16\x00\x20\x00\x04\x00\x00\x00\x03\x00" + bytes(14)
    head += b"LIST\x03\x00\x00\x00abc\x00data\xff\xff\xff\xff"
    rate, found = read(head + samples("f32le"))
    assert rate == 16_000
    np.testing.assert_allclose(found, sound(), atol=1e-6)


def test_what_is_left_of_a_moment_is_left_out() -> None:
    assert len(read(samples("s16le")[:-1])[1]) == 499
    assert len(read(b"")[1]) == 0
    assert len(read(b"\0\0")[1]) == 1


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (b"RIFF....FILE" + bytes(40), "begins like WAV and is none"),
        (b"RIFF....WAVE", "ends before its samples"),
        (b"RIFF....WAVEfmt \x10\0\0\0\x06\0\x01\0" + bytes(8) + b"\x01\0\x08\0" + bytes(40), "8 bits of form 6"),
    ],
)
def test_wav_that_is_none(data: bytes, words: str) -> None:
    with pytest.raises(MediaError, match=words):
        read(data)


def test_forms_that_are_none() -> None:
    forms: list[dict[str, Any]] = [{"kind": "mp3"}, {"rate": 100}, {"channels": 0}, {"channels": 9}]
    for wrong in forms:
        with pytest.raises(InputError, match="allowed are"):
            Form(**wrong)


def test_no_such_microphone() -> None:
    with pytest.raises(MediaError, match="no such device"):
        pcm.microphone("nosuch:thing")
