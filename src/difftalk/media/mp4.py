"""Frames and the user's own sound to an mp4 that plays everywhere."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
from av.container import OutputContainer
from av.packet import Packet
from av.video.reformatter import Interpolation, VideoReformatter
from av.video.stream import VideoStream

from difftalk.arrays import Image
from difftalk.errors import OutputError
from difftalk.media.clock import RATE_DENOMINATOR
from difftalk.media.container import is_address
from difftalk.media.part import Part
from difftalk.media.soundtrack import Sound, Tail
from difftalk.media.video import MATRIX, PRIMARIES, RANGE, TRC
from difftalk.stages import timed

CRF = 17  # x264's quality: 18 is taken for indistinguishable by eye
# At 512², ms on one core, Mbit/s, PSNR: ultrafast 1.7, 1.9, 44.9; superfast 2.6, 1.1, 44.8; fast 6.6, 0.6, 44.6
PRESET = "superfast"
_TICKS = 90_000  # 1/s at least, so that any source's time stamps survive
_INTO_YUV = Interpolation.BILINEAR | Interpolation.ACCURATE_RND


class Film:
    """A track of pictures as every player shows them: x264, yuv420p, BT.709, limited range, of an even size.

    size: as written, px. clock: `Clockwork` of its frame rate, of which the container must know the tick.
    """

    def __init__(
        self,
        container: OutputContainer,
        clock: Clockwork,
        *,
        width: int,
        height: int,
        options: dict[str, str],
        pixel_aspect: Fraction = Fraction(1),
    ) -> None:
        self._frame_shape, self.clock, self.last = (height, width, 3), clock, -1
        self.size = even(width, height)
        self.stream = container.add_stream("libx264", rate=clock.rate, options=options, time_base=clock.tick)
        context = self.stream.codec_context
        (context.width, context.height), context.pix_fmt = self.size, "yuv420p"
        context.sample_aspect_ratio, context.colorspace, context.color_range = pixel_aspect, MATRIX, RANGE
        context.color_primaries, context.color_trc = PRIMARIES, TRC
        self._reformatter = VideoReformatter()

    def encode(self, image: Image, seconds: float | None) -> list[Packet[VideoStream]]:
        """A picture (h, w, 3), shown at `seconds` or one frame after the last one. Raises ValueError for another."""
        if image.shape != self._frame_shape or image.dtype != np.uint8:
            raise ValueError(f"a frame is {image.dtype} {image.shape}; not uint8 {self._frame_shape}")
        due = self.last + self.clock.step if self.last >= 0 else 0
        self.last = due if seconds is None else max(round(seconds / self.clock.tick), self.last + 1)
        if self.size != self._frame_shape[1::-1]:
            image = np.pad(image, ((0, image.shape[0] % 2), (0, image.shape[1] % 2), (0, 0)), mode="edge")
        rgb = av.VideoFrame.from_numpy_buffer(np.ascontiguousarray(image), "rgb24")
        frame = self._reformatter.reformat(
            rgb, format="yuv420p", dst_colorspace=MATRIX, dst_color_range=RANGE, interpolation=_INTO_YUV
        )
        frame.color_primaries, frame.color_trc = PRIMARIES, TRC
        frame.pts, frame.time_base = self.last, self.clock.tick
        return self._timed(self.stream.encode(frame))

    def rest(self) -> list[Packet[VideoStream]]:
        """What the encoder still holds."""
        return self._timed(self.stream.encode(None))

    @property
    def shown_until(self) -> float:
        """Seconds at which the last picture begins."""
        return float(self.last * self.clock.tick)

    def _timed(self, packets: list[Packet[VideoStream]]) -> list[Packet[VideoStream]]:
        for packet in packets:
            packet.duration = self.clock.step
        return packets


@dataclass(frozen=True)
class Clockwork:
    """A frame rate, frames/s, as a file counts it: ticks of so many seconds, and so many of them a frame."""

    rate: Fraction
    tick: Fraction
    step: int

    @classmethod
    def of(cls, frame_rate: Fraction) -> Clockwork:
        rate = frame_rate.limit_denominator(RATE_DENOMINATOR)
        fine = -(-_TICKS // rate.numerator)
        return cls(rate, Fraction(1, rate.numerator * fine), rate.denominator * fine)


def even(width: int, height: int) -> tuple[int, int]:
    """H.264 needs even sizes: the last column or row is repeated."""
    return width + width % 2, height + height % 2


class Writer:
    """Frames and sound to an mp4 that plays everywhere: x264, yuv420p, BT.709, limited range, index in front.

    Use it as a context manager: the file gets its name when all is written, and nothing is left behind on an error.
    What cannot work (an existing file, an unwritable folder, a sound file without sound) is said before any work.
    """

    def __init__(
        self,
        path: Path | str,
        *,
        width: int,
        height: int,
        frame_rate: Fraction = Fraction(25),
        sound: Path | str | None = None,
        tail: Tail | None = None,
        overwrite: bool = False,
        comment: str = "",
        pixel_aspect: Fraction = Fraction(1),
        crf: int = CRF,
    ) -> None:
        """`tail`: what is heard after the sound."""
        self.path, self.size = Path(path), even(width, height)
        self.padded = self.size != (width, height)
        clock = Clockwork.of(frame_rate)
        _check_target(self.path, overwrite)
        self._sound = Sound(sound, tail=tail) if sound is not None else None
        self.sound_copied = self._sound is not None and self._sound.copied  # untouched; otherwise encoded to AAC
        self._part = Part(self.path.parent)
        self._container: OutputContainer | None = None
        self._first_dts: int | None = None
        try:
            self._part.make()
            options = {"movflags": "+faststart", "video_track_timescale": str(clock.tick.denominator)}
            self._container = av.open(f"file:{self._part.path}", "w", format="mp4", options=options)
            self._container.metadata["comment"] = comment
            x264 = {"crf": str(crf), "preset": PRESET, "threads": "auto"}
            size = {"width": width, "height": height}
            self._film = Film(self._container, clock, **size, options=x264, pixel_aspect=pixel_aspect)
            if self._sound:
                self._sound.attach(self._container)
        except (av.FFmpegError, OSError) as error:
            self.discard()
            raise _unwritable(self.path, error) from error
        except BaseException:
            self.discard()
            raise

    @timed("encode")
    def write(self, image: Image, seconds: float | None = None) -> None:
        """Append a frame, shown at `seconds` or one frame after the last one."""
        try:
            self._mux(self._film.encode(image, seconds), until=self._film.shown_until)
        except av.FFmpegError as error:
            raise _unwritable(self.path, error) from error
        except ValueError as error:
            raise OutputError(f"{self.path}: {error}") from None

    def close(self) -> None:
        """Write what is left and give the file its name; again, or after `discard`, nothing happens."""
        if self._container is None:
            return
        try:
            if self._film.last < 0:
                raise OutputError(f"{self.path}: not written, there were no frames")
            rest = self._film.rest()
            if rest:
                # A track is as long as the steps between its packets, as they are decoded, and its last packet.
                began = rest[0].dts or 0 if self._first_dts is None else self._first_dts
                rest[-1].duration = (rest[-1].duration or 0) + self._film.last - ((rest[-1].dts or 0) - began)
            self._mux(rest, until=None)
            self._close_container()
            self._part.path.replace(self.path)
        except (av.FFmpegError, OSError) as error:
            raise _unwritable(self.path, error) from error
        finally:
            self.discard()

    def discard(self) -> None:
        """Give up: nothing stays on the disk."""
        # Removed before it is closed, so that closing moves no gigabytes; and after, for systems that keep open files.
        for step in (self._part.remove, self._close_container, self._part.remove):
            with suppress(OSError, av.FFmpegError):
                step()
        if self._sound:
            self._sound.close()

    def __enter__(self) -> Writer:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        (self.close if kind is None else self.discard)()

    def _mux(self, encoded: list[Packet[VideoStream]], *, until: float | None) -> None:
        """Write packets with the sound up to `until` (None: the rest)."""
        assert self._container is not None, "the writer is closed"
        for packet in encoded:
            if self._first_dts is None:
                self._first_dts = packet.dts or 0
            self._container.mux(packet)
        if self._sound:
            self._sound.mux_until(until)

    def _close_container(self) -> None:
        container, self._container = self._container, None
        if container is not None:
            container.close()


def _check_target(path: Path, overwrite: bool) -> None:
    if path.suffix.lower() != ".mp4":
        raise OutputError(f"{path}: videos are written as mp4; give a name that ends in .mp4")
    if path.is_dir():
        raise OutputError(f"{path}: is a folder; give a file name")
    if path.exists() and not overwrite:
        raise OutputError(f"{path}: exists already; give another name or `overwrite=True`")
    if not path.parent.is_dir() and is_address(path):
        raise OutputError(f"{path}: is an address; videos are written to files; give a path")
    if not path.parent.is_dir():
        raise OutputError(f"{path}: the folder {path.parent} does not exist")


def _unwritable(path: Path, error: Exception) -> OutputError:
    return OutputError(f"{path}: cannot be written ({getattr(error, 'strerror', None) or error})")
