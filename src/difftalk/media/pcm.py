"""Sound as it comes: plain samples or WAV through a pipe, or a microphone, piece by piece.

    rate, pieces = pcm.read(sys.stdin.buffer, Form())
    for piece in pieces:                   # (n,) float32 mono in [-1, 1], at `rate`
        live.hear(piece)

Knows nothing of what the networks hear.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import BinaryIO, Final

import av
import numpy as np

from difftalk.arrays import Array
from difftalk.errors import InputError, MediaError

KINDS: Final = {"u8": "<u1", "s16le": "<i2", "s32le": "<i4", "f32le": "<f4"}  # as FFmpeg calls them
RATES: Final = (8_000, 192_000)  # Hz
MOST_CHANNELS: Final = 8
PIECE: Final = 4096  # bytes that are waited for at most
_WAV_KINDS: Final = {(1, 8): "u8", (1, 16): "s16le", (1, 32): "s32le", (3, 32): "f32le"}  # by format and bits
_EXTENSIBLE: Final = 0xFFFE


@dataclass(frozen=True)
class Form:
    """What plain samples are. kind: of KINDS. rate: Hz. WAV says it itself."""

    kind: str = "s16le"
    rate: int = 16_000
    channels: int = 1

    def __post_init__(self) -> None:
        if self.kind not in KINDS:
            raise InputError(f"`kind` was {self.kind!r}; allowed are {', '.join(KINDS)}")
        if not RATES[0] <= self.rate <= RATES[1]:
            raise InputError(f"`rate` was {self.rate}; allowed are {RATES[0]} to {RATES[1]} Hz")
        if not 1 <= self.channels <= MOST_CHANNELS:
            raise InputError(f"`channels` was {self.channels}; allowed are 1 to {MOST_CHANNELS}")

    @property
    def width(self) -> int:
        """Bytes of a moment."""
        return np.dtype(KINDS[self.kind]).itemsize * self.channels

    def samples(self, data: bytes) -> Array:
        """Whole moments -> (n,) mono in [-1, 1]."""
        raw = np.frombuffer(data, KINDS[self.kind]).reshape(-1, self.channels).astype(np.float32).mean(1)
        if self.kind == "f32le":
            return np.asarray(np.clip(np.nan_to_num(raw), -1, 1), np.float32)
        half = np.float32(2 ** (8 * np.dtype(KINDS[self.kind]).itemsize - 1))
        return np.asarray(raw / half - (1 if self.kind == "u8" else 0), np.float32)


def read(source: BinaryIO, form: Form) -> tuple[int, Iterator[Array]]:
    """The rate, Hz, and the samples of a pipe as they come. WAV is known by its first bytes."""
    head = _exactly(source, 4)
    if head == b"RIFF":
        form, head = _wav(source, form), b""
    return form.rate, _pieces(source, form, head)


def _pieces(source: BinaryIO, form: Form, rest: bytes) -> Iterator[Array]:
    take = getattr(source, "read1", source.read)  # whatever is there, without waiting for more
    while True:
        whole = len(rest) // form.width * form.width
        if whole:
            yield form.samples(rest[:whole])
        if not (data := take(PIECE)):
            return
        rest = rest[whole:] + data


def _exactly(source: BinaryIO, count: int) -> bytes:
    """As many bytes; fewer at the end."""
    data = b""
    while len(data) < count and (more := source.read(count - len(data))):
        data += more
    return data


def _wav(source: BinaryIO, form: Form) -> Form:
    """Reads a WAV's head behind its first four bytes, up to its samples. Lengths of a stream are not to be believed."""
    if _exactly(source, 8)[4:] != b"WAVE":
        raise MediaError("the sound begins like WAV and is none; give s16le, or WAV")
    while True:
        head = _exactly(source, 8)
        name, length = head[:4], int.from_bytes(head[4:], "little")
        if name == b"data":
            return form
        if len(head) < 8:
            raise MediaError("the WAV that comes in ends before its samples")
        content = _exactly(source, length + length % 2) if length < 1 << 20 else b""
        if name == b"fmt " and len(content) >= 16:
            tag, channels = (int.from_bytes(content[at : at + 2], "little") for at in (0, 2))
            bits = int.from_bytes(content[14:16], "little")
            if tag == _EXTENSIBLE:
                tag = int.from_bytes(content[24:26], "little")
            if (tag, bits) not in _WAV_KINDS:
                raise MediaError(f"the WAV that comes in has {bits} bits of form {tag}; give 16 bits")
            kind, rate = _WAV_KINDS[tag, bits], int.from_bytes(content[4:8], "little")
            form = replace(form, kind=kind, rate=rate, channels=channels)


def microphone(name: str) -> tuple[int, Iterator[Array]]:
    """As `read`, from a device that FFmpeg knows: FORMAT:DEVICE, as alsa:default. Raises MediaError."""
    form, _, device = name.partition(":")
    try:
        container = av.open(device or "default", format=form)
        rate = container.streams.audio[0].rate
    except (av.FFmpegError, ValueError, OSError, IndexError) as error:
        raise MediaError(
            f"{name}: no such device ({getattr(error, 'strerror', None) or error}); give FORMAT:DEVICE as FFmpeg "
            "names them here, or pipe sound in"
        ) from None
    return rate, _recorded(container, rate)


def _recorded(container: av.container.InputContainer, rate: int) -> Iterator[Array]:
    resampler = av.AudioResampler(format="flt", layout="mono", rate=rate)
    with container:
        for frame in container.decode(audio=0):
            for part in resampler.resample(frame):
                yield np.ascontiguousarray(part.to_ndarray().reshape(-1), np.float32)
