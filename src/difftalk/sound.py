"""Sound through: the user's own sound into an mp4, untouched where every browser plays it there, else as AAC.

    with video.Writer("out.mp4", width=512, height=512, sound="voice.m4a") as writer:  # holds a `Sound`

Knows neither pictures nor what the networks hear.
"""

from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path
from typing import cast

import av
import numpy as np
from av.audio.stream import AudioStream
from av.container import OutputContainer
from av.packet import Packet

from difftalk.audio import JITTER_AFTER_LOSS, Damage, audio_stream, gapless, open_media, packets, seconds_of
from difftalk.errors import MediaError

# What Chrome, Firefox and Safari all play inside mp4: this, and MP3. AC-3, E-AC-3, ALAC, Opus, FLAC, PCM and other
# profiles are legal there too, but one of them at least is silent.
_AAC_PROFILES = ("LC", "HE-AAC", "HE-AACv2")
_MP3_LOWEST_RATE = 16_000  # Hz; mp4 has no MPEG-2.5
_AAC_RATES = (8000, 11025, 12000, 16000, 22050, 24000, 32000, 44100, 48000, 64000, 88200, 96000)  # Hz
_AAC_LAYOUTS = {1: "mono", 2: "stereo", 3: "3.0", 4: "4.0", 5: "5.0"}  # and 5.1 for more
_AAC_BIT_RATE = 128_000  # bit/s at least
_AAC_BIT_RATE_CHANNEL = 64_000  # bit/s a channel


class Sound:
    """The user's own sound on its way into an mp4: copied packet by packet where browsers play it, else AAC.

    Starts at time 0 of the output whatever its own start, and ends at `seconds`, if given. `mux_until` keeps step
    with the pictures, so nothing gathers in memory.
    """

    def __init__(self, path: Path | str, *, seconds: float | None = None) -> None:
        self._path, self._limit = path, seconds
        self._container = open_media(path)
        try:
            self._in = audio_stream(self._container, path)
        except MediaError:
            self.close()
            raise
        codec = self._in.codec_context.codec.canonical_name
        self.copied = (codec == "aac" and self._in.profile in _AAC_PROFILES) or (
            codec == "mp3" and self._in.sample_rate >= _MP3_LOWEST_RATE
        )

    def attach(self, output: OutputContainer) -> None:
        """Add the track to `output`, before anything is written there."""
        self._output = output
        if self.copied:
            self._out = output.add_stream_from_template(self._in)
            self._queue = self._copy()
        else:
            self._out = output.add_stream("aac", rate=_aac_rate(self._in.sample_rate))
            self._out.codec_context.layout = _AAC_LAYOUTS.get(self._in.channels, "5.1")
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
        """Let go of the source file."""
        self._container.close()

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
            if self._limit is not None and pts >= self._limit * rate:
                return
            duration = round((seconds_of(packet.duration, self._in) or 0.0) * rate) or length or 1
            last, due = pts, pts + (length or duration)
            packet.time_base, packet.pts, packet.dts = Fraction(1, rate), pts, pts
            packet.duration, packet.stream = duration, self._out
            yield packet

    def _encode(self) -> "Iterator[Packet[AudioStream]]":
        rate, layout, done = self._out.codec_context.sample_rate, self._out.codec_context.layout.name, 0
        limit = None if self._limit is None else round(self._limit * rate)
        for frame in _reshaped(gapless(self._container, self._in), layout, rate):
            piece = frame if limit is None else _shortened(frame, limit - done)
            if piece is None:
                break
            piece.pts, piece.time_base = done, Fraction(1, rate)
            done += piece.samples
            yield from cast("list[Packet[AudioStream]]", self._out.encode(piece))
        if done:
            yield from cast("list[Packet[AudioStream]]", self._out.encode(None))


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


def _shortened(frame: av.AudioFrame, samples: int) -> av.AudioFrame | None:
    """At most `samples` of a planar float frame; None when none are left."""
    if samples <= 0 or samples >= frame.samples:
        return frame if samples > 0 else None
    array = np.ascontiguousarray(frame.to_ndarray()[:, :samples], np.float32)
    short = av.AudioFrame.from_ndarray(array, format="fltp", layout=frame.layout.name)
    short.sample_rate = frame.sample_rate
    return short
