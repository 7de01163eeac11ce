"""A film while it is made: fragmented mp4, picture by picture with the sound that belongs to it, to anything that takes
bytes.

Whoever reads it can begin to show it before it ends: every picture and every piece of sound is a fragment of its own.
Knows nothing of clocks, nor of who reads.
"""

from __future__ import annotations

from contextlib import suppress
from fractions import Fraction
from typing import BinaryIO, Final

import av
import numpy as np
from av.container import OutputContainer

from difftalk.arrays import Array, Image
from difftalk.errors import OutputError
from difftalk.media.mp4 import CRF, Clockwork, Film

PRESET: Final = "ultrafast"
KEY_SECONDS: Final = 1.0  # from one picture that can be begun with to the next
SOUND_RATE: Final = 48_000  # Hz
AAC_SAMPLES: Final = 1024  # of a packet; a decoder's first packet is silence, so that the sound's first is left out
BIT_RATE: Final = 128_000  # of the sound, bit/s


class Fragments:
    """Writes to `out`; sample_rate: of the sound that is given, Hz. A context manager."""

    def __init__(
        self,
        out: BinaryIO,
        *,
        width: int,
        height: int,
        frame_rate: Fraction,
        sample_rate: int,
        comment: str = "",
        crf: int = CRF,
    ) -> None:
        clock = Clockwork.of(frame_rate)
        options = {
            "movflags": "+empty_moov+default_base_moof",
            "frag_duration": "1",  # µs: each as soon as the next comes; frag_every_frame gives the first twice its time
            "video_track_timescale": str(clock.tick.denominator),
            "flush_packets": "1",
        }
        self._container: OutputContainer | None = av.open(_Sink(out), "w", format="mp4", options=options)
        self._container.metadata["comment"] = comment
        key = max(1, round(KEY_SECONDS * frame_rate))
        x264 = {"crf": str(crf), "preset": PRESET, "tune": "zerolatency", "g": str(key), "threads": "1"}
        self._film = Film(self._container, clock, width=width, height=height, options=x264)
        self._sound = self._container.add_stream("aac", rate=SOUND_RATE, layout="mono")
        self._sound.codec_context.bit_rate = BIT_RATE
        self._resampler = av.AudioResampler(format="fltp", layout="mono", rate=SOUND_RATE, frame_size=AAC_SAMPLES)
        self._rate, self._samples = sample_rate, 0

    def show(self, image: Image, seconds: float) -> None:
        """A picture (h, w, 3), shown from `seconds` on."""
        assert self._container is not None, "the film is closed"
        try:
            self._container.mux(self._film.encode(image, seconds))
        except ValueError as error:
            raise OutputError(f"the output: {error}") from None

    def hear(self, samples: Array) -> None:
        """(n,) mono in [-1, 1] that follow what has been heard."""
        assert self._container is not None, "the film is closed"
        if not len(samples):
            return
        frame = av.AudioFrame.from_ndarray(np.ascontiguousarray(samples[None], np.float32), "fltp", "mono")
        frame.sample_rate, frame.pts, frame.time_base = self._rate, self._samples, Fraction(1, self._rate)
        self._samples += len(samples)
        self._mux_sound(self._container, frame)

    def close(self) -> None:
        """Writes what the encoders hold; again, nothing happens."""
        container, self._container = self._container, None
        if container is None:
            return
        try:
            if self._film.last >= 0:
                container.mux(self._film.rest())
            self._mux_sound(container, None)
            container.mux(self._sound.encode(None))
        finally:
            container.close()

    def _mux_sound(self, container: OutputContainer, frame: av.AudioFrame | None) -> None:
        for part in self._resampler.resample(frame):
            if part.pts:
                container.mux(self._sound.encode(part))

    def __enter__(self) -> Fragments:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        with suppress(*() if kind is None else (OSError, av.FFmpegError)):  # what went wrong first is what counts
            self.close()


class _Sink:
    """What can only be written to, so that nobody tries to go back; each piece arrives at once."""

    def __init__(self, out: BinaryIO) -> None:
        self._out = out

    def write(self, data: bytes) -> int:
        self._out.write(data)
        self._out.flush()
        return len(data)
