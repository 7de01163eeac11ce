"""Sound through: the user's own sound into an mp4, untouched where every browser plays it there, else as AAC.

    with mp4.Writer("out.mp4", width=512, height=512, sound="voice.m4a") as writer:  # holds a `Sound`

Knows neither pictures nor what the networks hear.
"""

from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from fractions import Fraction
from itertools import chain
from pathlib import Path
from typing import Any, cast

import av
import numpy as np
from av.audio.stream import AudioStream
from av.container import InputContainer, OutputContainer
from av.packet import Packet
from numpy.typing import NDArray

from difftalk.errors import MediaError
from difftalk.media.audio import JITTER_AFTER_LOSS, gapless, video_start
from difftalk.media.container import Damage, audio_stream, open_media, packets, seconds_of

# What Chrome, Firefox and Safari all play inside mp4: this, and MP3. AC-3, E-AC-3, ALAC, Opus, FLAC, PCM and other
# profiles are legal there too, but one of them at least is silent.
_AAC_PROFILES = ("LC", "HE-AAC", "HE-AACv2")
_MP3_LOWEST_RATE = 16_000  # Hz; mp4 has no MPEG-2.5
_AAC_RATES = (8000, 11025, 12000, 16000, 22050, 24000, 32000, 44100, 48000, 64000, 88200, 96000)  # Hz
_AAC_LAYOUTS = {1: "mono", 2: "stereo", 3: "3.0", 4: "4.0", 5: "5.0"}  # and 5.1 for more
_AAC_BIT_RATE = 128_000  # bit/s at least
_AAC_BIT_RATE_CHANNEL = 64_000  # bit/s a channel


@dataclass(frozen=True)
class Tail:
    """What is heard after the user's sound: a video's own, from `start` to `end`, s from its first frame."""

    path: Path
    start: float
    end: float


class Sound:
    """The user's own sound on its way into an mp4: copied packet by packet where browsers play it, else AAC.

    Starts at time 0 of the output whatever its own start. With a `tail` it ends at the tail's start, where that goes
    on, and both are AAC: a track has one form. `mux_until` keeps step with the pictures, so nothing gathers in memory.
    """

    def __init__(self, path: Path | str, *, tail: Tail | None = None) -> None:
        self._path, self._tail = path, tail
        self._open = ExitStack()
        try:
            self._container, self._in = self._track(path)
            self._rest = self._track(tail.path) if tail else None
        except MediaError:
            self.close()
            raise
        codec = self._in.codec_context.codec.canonical_name
        self.copied = tail is None and (
            (codec == "aac" and self._in.profile in _AAC_PROFILES)
            or (codec == "mp3" and self._in.sample_rate >= _MP3_LOWEST_RATE)
        )

    def _track(self, path: Path | str) -> tuple[InputContainer, AudioStream]:
        container = self._open.enter_context(open_media(path))
        return container, audio_stream(container, path)

    def attach(self, output: OutputContainer) -> None:
        """Add the track to `output`, before anything is written there."""
        self._output = output
        if self.copied:
            self._out = output.add_stream_from_template(self._in)
            self._queue = self._copy()
        else:
            tracks = [self._in, *([self._rest[1]] if self._rest else [])]
            self._out = output.add_stream("aac", rate=_aac_rate(max(track.sample_rate for track in tracks)))
            self._out.codec_context.layout = _AAC_LAYOUTS.get(max(track.channels for track in tracks), "5.1")
            channels = self._out.codec_context.channels
            self._out.codec_context.bit_rate = max(_AAC_BIT_RATE, _AAC_BIT_RATE_CHANNEL * channels)
            self._queue = self._encode()
        self._next = next(self._queue, None)
        if self._next is None:
            raise MediaError(f"{self._path}: its audio track holds no samples that can be decoded")

    def mux_until(self, seconds: float | None) -> None:
        """Write what starts before `seconds`; None: all that is left."""
        while self._next is not None:
            pts = self._next.pts or 0
            if seconds is not None and pts * self._next.time_base >= seconds:
                return
            self._output.mux(self._next)
            self._next = next(self._queue, None)

    def close(self) -> None:
        """Let go of the source files."""
        self._open.close()

    def _copy(self) -> "Iterator[Packet[AudioStream]]":
        """Packets on a clock of samples: time stamps in ms (Matroska, FLV) are smoothed, steps back repaired."""
        rate, length = self._in.sample_rate, self._in.codec_context.frame_size
        shift, last, due = -(seconds_of(self._in.start_time, self._in) or 0.0), None, 0
        for packet in packets(self._container, self._in, Damage()):
            seconds = seconds_of(packet.pts, self._in)
            pts = due if seconds is None else round((seconds + shift) * rate)
            if last is None and self._in.start_time is None:
                shift, pts = shift - pts / rate, 0
            if last is not None and abs(pts - due) <= JITTER_AFTER_LOSS * rate:
                pts = due
            elif last is not None and pts <= last:
                shift, pts = shift + (due - pts) / rate, due
            duration = round((seconds_of(packet.duration, self._in) or 0.0) * rate) or length or 1
            last, due = pts, pts + (length or duration)
            packet.time_base, packet.pts, packet.dts = Fraction(1, rate), pts, pts
            packet.duration, packet.stream = duration, self._out
            yield packet

    def _encode(self) -> "Iterator[Packet[AudioStream]]":
        rate, layout, done = self._out.codec_context.sample_rate, self._out.codec_context.layout.name, 0
        frames = _reshaped(gapless(self._container, self._in), layout, rate)
        if self._tail is not None and self._rest is not None:
            start, end = round(self._tail.start * rate), round(self._tail.end * rate)
            own, began = self._own(layout, rate)
            spoken = _stretch(frames, 0, 0, start, layout, rate)
            frames = chain(spoken, _stretch(own, began, start, end, layout, rate))
        for frame in frames:
            frame.pts, frame.time_base = done, Fraction(1, rate)
            done += frame.samples
            yield from cast("list[Packet[AudioStream]]", self._out.encode(frame))
        if done:
            yield from cast("list[Packet[AudioStream]]", self._out.encode(None))

    def _own(self, layout: str, rate: int) -> tuple[Iterator[av.AudioFrame], int]:
        """The tail's whole sound in the encoder's form, and at which sample of its video it begins."""
        assert self._tail is not None
        assert self._rest is not None
        frames = gapless(*self._rest)
        first = next(frames, None)
        if first is None:
            return iter(()), 0
        seconds = (seconds_of(first.pts, self._rest[1]) or 0.0) - video_start(self._tail.path)
        return _reshaped(chain([first], frames), layout, rate), round(seconds * rate)


def _aac_rate(rate: int) -> int:
    return next((allowed for allowed in _AAC_RATES if allowed >= rate), _AAC_RATES[-1])


def _reshaped(frames: Iterator[av.AudioFrame], layout: str, rate: int) -> Iterator[av.AudioFrame]:
    """The same sound in the encoder's form, also where the source changes its own half way."""
    resampler, form = None, None
    for frame in frames:
        new = (frame.format.name, frame.layout.name, frame.sample_rate)
        if resampler is None or new != form:
            yield from resampler.resample(None) if resampler else ()
            resampler, form = av.AudioResampler(format="fltp", layout=layout, rate=rate), new
        frame.pts = None
        yield from resampler.resample(frame)
    yield from resampler.resample(None) if resampler else ()


def _stretch(
    frames: Iterator[av.AudioFrame], began: int, start: int, end: int, layout: str, rate: int
) -> Iterator[av.AudioFrame]:
    """Samples `start` to `end` of planar float frames of which the first begins at sample `began`; else silence."""
    done = start
    for frame in frames:
        yield from _silent(min(began, end) - done, layout, rate)
        done = max(done, min(began, end))
        piece = frame.to_ndarray()[:, max(0, done - began) : max(0, end - began)]
        if piece.shape[1]:
            yield _framed(piece, layout, rate)
        done += piece.shape[1]
        began += frame.samples
        if done == end:
            return
    yield from _silent(end - done, layout, rate)


def _silent(samples: int, layout: str, rate: int) -> Iterator[av.AudioFrame]:
    """In pieces of at most a second."""
    channels = av.AudioLayout(layout).nb_channels
    for at in range(0, samples, rate):
        yield _framed(np.zeros((channels, min(rate, samples - at)), np.float32), layout, rate)


def _framed(planes: NDArray[Any], layout: str, rate: int) -> av.AudioFrame:
    """(channels, samples) as a frame."""
    frame = av.AudioFrame.from_ndarray(np.ascontiguousarray(planes, np.float32), format="fltp", layout=layout)
    frame.sample_rate = rate
    return frame
