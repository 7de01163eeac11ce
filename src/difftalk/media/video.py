"""Frames in: any video or moving picture to RGB frames.

Frames come one at a time, upright, with the time at which they are shown; a damaged packet loses only itself and
leaves a gap in time, so go by a frame's `seconds`, never by its number. Knows no faces, features or models.

    info = video.probe("clip.mov")
    with mp4.Writer("out.mp4", width=info.width, height=info.height, frame_rate=info.frame_rate) as writer:
        for frame in video.read("clip.mov"):
            writer.write(frame.image, seconds=frame.seconds)
"""

from collections.abc import Generator, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from fractions import Fraction
from itertools import chain
from pathlib import Path
from typing import cast

import av
import numpy as np
from av.container import InputContainer
from av.sidedata.sidedata import SideData
from av.stream import Discard
from av.video.reformatter import ColorPrimaries, ColorRange, Colorspace, ColorTrc, Interpolation, VideoReformatter
from av.video.stream import VideoStream
from numpy.typing import NDArray

from difftalk.arrays import Image
from difftalk.errors import MediaError
from difftalk.media.clock import RATE_DENOMINATOR, frame_rate, nominal_rate
from difftalk.media.container import Damage, open_media, packets, video_stream
from difftalk.media.marks import Mark, marked, sought
from difftalk.media.picture import HEIF_BRANDS, frames, moves, over_white
from difftalk.stages import timed_each

LONGEST_PIXEL = Fraction(3, 2)  # long side over short; where pixels are longer they are made square: faces keep form
_NO_PIXEL = 4  # long side over short; beyond it the file is taken to be wrong


# Anything less darkens every picture by one to two levels; decoded pictures go through planar RGB for the same reason.
_INTO_RGB = Interpolation.BICUBIC | Interpolation.ACCURATE_RND
_HDR = (ColorTrc.SMPTE2084, ColorTrc.ARIB_STD_B67)  # PQ and HLG, the phones'
MATRIX, RANGE, TRC, PRIMARIES = Colorspace.ITU709, ColorRange.MPEG, ColorTrc.BT709, ColorPrimaries.BT709  # written
_MATRICES = frozenset({0, 1, 4, 5, 6, 7, 9, 10})  # AVCOL_SPC_* that swscale converts; others are taken as untagged
_HD = 720  # lines; untagged video of this size and over is BT.709, below it is BT.601, as players do


@dataclass(frozen=True)
class VideoInfo:
    """What is known of a video from its packets and its first frame."""

    path: Path
    width: int  # as shown, rotation applied; very oblong pixels made square
    height: int
    frame_rate: Fraction  # the mean, where it is not constant
    constant_rate: bool
    frame_count: int  # packets; damaged ones will not become frames
    seconds: float
    has_audio: bool
    pixel_aspect: Fraction  # width of a pixel over its height, as shown


@dataclass(frozen=True, eq=False)
class Frame:
    """One picture and when it is shown."""

    image: Image
    mark: Mark
    damaged: bool  # decoded from damaged data: parts may be wrong

    @property
    def seconds(self) -> float:
        """From the first frame."""
        return self.mark.seconds


def probe(path: Path | str) -> VideoInfo:
    """Size, rate and length of a video, from its packets' time stamps; only the first frame is decoded."""
    if moves(path):
        return _probe_pictures(Path(path))
    first: av.VideoFrame | None = None
    with open_media(path) as container:
        stream = _track(container, path)
        has_audio = any(track.codec_context is not None for track in container.streams.audio)
        for other in container.streams:
            other.discard = other.discard if other is stream else Discard.all
        stamps: list[int | None] = []
        for packet in chain(packets(container, stream, Damage()), [None]):
            if packet is not None and not packet.is_discard:
                stamps.append(packet.dts if packet.pts is None else packet.pts)
            if first is None:
                with suppress(av.FFmpegError):
                    first = next(iter(stream.decode(packet)), None)
        if first is None:
            raise MediaError(f"{path}: its video track holds no frame that can be decoded")
        times = np.sort([float(stamp * (stream.time_base or 0)) for stamp in stamps if stamp is not None])
        rate, constant = frame_rate(times if len(times) == len(stamps) else np.zeros(0), nominal_rate(stream))
        seconds = len(stamps) / rate if constant else times[-1] - times[0] + 1 / rate
        width, height, aspect = first.width, first.height, stream.sample_aspect_ratio or Fraction(1)
        if _shown_size(first, aspect) != (width, height):
            (width, height), aspect = _shown_size(first, aspect), Fraction(1)
        if _transposes(_display_matrix(first)):
            width, height, aspect = height, width, 1 / aspect
    return VideoInfo(Path(path), width, height, rate, constant, len(stamps), float(seconds), has_audio, aspect)


@timed_each("decode")
def read(path: Path | str, *, first: int = 0, marks: Sequence[Mark] = ()) -> Generator[Frame, None, None]:
    """The video's frames from number `first` on, lazily: one in memory at a time, times strictly increasing.

    marks: of all frames, from an earlier reading: then little before `first` is decoded, where the file can be sought.
    """
    if moves(path):
        yield from _moving(path, first)
        return
    if marks:
        with open_media(path) as container:
            track = _track(container, path)
            found = sought(container, track, marks, first)
            if found is not None:
                yield from _pictures(path, found, first, track.sample_aspect_ratio)
                return
    with open_media(path) as container:
        track = _track(container, path)
        yield from _pictures(path, marked(container, track), first, track.sample_aspect_ratio)


def _moving(path: Path | str, first: int) -> Iterator[Frame]:
    seconds = 0.0
    for number, (image, shown) in enumerate(frames(path)):
        if number >= first:
            yield Frame(image, Mark(number, seconds, None, key=False), damaged=False)
        seconds += shown


def _pictures(
    path: Path | str, found: Iterator[tuple[Mark, av.VideoFrame]], first: int, aspect: Fraction | None
) -> Iterator[Frame]:
    convert: _Converter | None = None
    for mark, frame in found:
        convert = convert or _Converter(frame, aspect or Fraction(1))
        if mark.number < first:
            continue
        try:
            image = convert(frame)
        except (av.FFmpegError, ValueError) as error:
            raise MediaError(f"{path}: pixels in the form {frame.format.name} cannot be read") from error
        yield Frame(image, mark, damaged=frame.is_corrupt)
    if convert is None:
        raise MediaError(f"{path}: its video track holds no frame that can be decoded")


def _probe_pictures(path: Path) -> VideoInfo:
    shown = [(image.shape, seconds) for image, seconds in frames(path)]
    starts = np.cumsum([0.0, *(each for _, each in shown)])
    ends = float(starts[-1])
    mean = Fraction(len(shown) / ends).limit_denominator(RATE_DENOMINATOR)
    rate, constant = frame_rate(starts[:-1], mean)
    height, width = shown[0][0][:2]
    return VideoInfo(path, width, height, rate, constant, len(shown), ends, has_audio=False, pixel_aspect=Fraction(1))


def _track(container: InputContainer, path: Path | str) -> VideoStream:
    """The video track; of a picture that Pillow could not read FFmpeg would show one tile."""
    name, brand = container.format.name, container.metadata.get("major_brand")
    if name == "image2" or name.endswith("_pipe") or brand in HEIF_BRANDS:
        raise MediaError(f"{path}: is a picture, and cannot be read; save it as JPEG or PNG")
    return video_stream(container, path)


class _Converter:
    """Decoded frames to upright RGB, all of the first one's size and orientation."""

    def __init__(self, first: av.VideoFrame, aspect: Fraction) -> None:
        self._reformatter = VideoReformatter()
        self._size, self._turn = _shown_size(first, aspect), _display_matrix(first)
        self._usual = Colorspace.ITU709 if min(first.width, first.height) >= _HD else Colorspace.ITU601

    def __call__(self, frame: av.VideoFrame) -> Image:
        form = "gbrap" if any(part.is_alpha for part in frame.format.components) else "gbrp"
        matrix = None if frame.format.is_rgb or frame.colorspace in _MATRICES else self._usual
        trc, primaries = (TRC, PRIMARIES) if frame.color_trc in _HDR else (None, None)
        flat = self._reformatter.reformat(
            frame, *self._size, form, matrix, interpolation=_INTO_RGB, dst_color_trc=trc, dst_color_primaries=primaries
        )
        image = np.asarray(flat.to_ndarray(), np.uint8)
        return np.ascontiguousarray(_turned(over_white(image) if image.shape[2] == 4 else image, self._turn))


def _shown_size(frame: av.VideoFrame, aspect: Fraction) -> tuple[int, int]:
    """Width and height, px, in which a face has its form, before any turn: as stored, but for very oblong pixels."""
    if LONGEST_PIXEL < aspect <= _NO_PIXEL:
        return round(frame.width * aspect / 2) * 2, frame.height
    if LONGEST_PIXEL < 1 / aspect <= _NO_PIXEL:
        return frame.width, round(frame.height / aspect / 2) * 2
    return frame.width, frame.height


def _display_matrix(frame: av.VideoFrame) -> NDArray[np.int32]:
    """[[a, b], [c, d]]: a pixel at (x, y) is shown at (ax + cy, bx + dy), but for a shift."""
    data = frame.side_data.get("DISPLAYMATRIX")
    whole = np.eye(3, dtype=np.int32) if data is None else np.frombuffer(bytes(cast("SideData", data)), np.int32)
    return whole.reshape(3, 3)[:2, :2]


def _transposes(matrix: NDArray[np.int32]) -> bool:
    return bool(2 * np.abs(np.diag(matrix)).sum() < np.abs(matrix).sum())


def _turned(image: Image, matrix: NDArray[np.int32]) -> Image:
    """As a player shows it; angles between quarter turns go to the nearest one."""
    if _transposes(matrix):
        image, matrix = image.transpose(1, 0, 2), matrix[::-1]
    return image[:: -1 if matrix[1, 1] < 0 else 1, :: -1 if matrix[0, 0] < 0 else 1]
