"""Sound in: any audio or video file, or a stream of pieces, to a 16 kHz mono waveform.

`read` and `Resampler` make what the networks hear. Damaged packets lose only themselves: what is lost becomes silence
of the same length, so time is kept. It does not know pictures, features or models; `video.py` and `sound.py` open and
decode their files with `open_media` and `decode`.

    waveform = audio.read("speech.m4a")    # float32 (samples,), 16 kHz, in [-1, 1]
"""

import codecs
import logging
import re
from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from functools import lru_cache
from itertools import chain
from pathlib import Path
from stat import S_ISREG
from typing import Any, TypeVar, cast, overload
from urllib.parse import unquote

import av
import numpy as np
import soxr
from av.audio.stream import AudioStream
from av.codec.context import ThreadType
from av.container import InputContainer
from av.packet import Packet
from av.stream import Disposition
from av.video.stream import VideoStream
from numpy.typing import NDArray

from difftalk.errors import MediaError
from difftalk.waveform import SAMPLE_RATE

_JITTER = 0.04  # s; time stamps of honest files wander by less, a lost stretch is longer
JITTER_AFTER_LOSS = 0.005  # s; once a packet is known to be lost, its length is believed
_CLOCK_RESET = 600.0  # s; a longer gap (or a step back) is a clock that was reset, not lost sound
_PHASE_SECONDS = 0.25  # half-life of what is known of how channels go together
_CANCELLED = 0.5  # of the power that channels have apart, left in their sum: they are against each other
_LOST = 1e-4  # of the loudest channel's power
_READ_ERRORS = 100  # errors in a row that the container may give before the file counts as ended

_MOST_CHANNELS = 7  # PyAV 18.1 crashes on the samples of a planar frame with more

_ADDRESS = re.compile(r"(?!file:)[a-z][a-z0-9+.-]+:/|www\.|(m\.)?youtube\.com/|youtu\.be/", re.IGNORECASE)
_FILE_ADDRESS = re.compile(r"file:/+(localhost/+)?", re.IGNORECASE)  # a path has lost the second of two slashes
_LOOKED_AT = 4096  # bytes of what may be a text
_TEXT = "{}: is a text file; give an audio or video file"

_log = logging.getLogger(__name__)
_StreamT = TypeVar("_StreamT", bound=AudioStream | VideoStream)


@dataclass
class Damage:
    """Counts what had to be skipped."""

    packets: int = 0


def check_file(path: Path | str) -> None:
    """MediaError unless there is a file with something in it."""
    path = Path(path)
    try:
        if path.is_dir():
            raise MediaError(f"{path}: is a folder; give a file")
        if not S_ISREG(path.stat().st_mode):
            raise MediaError(f"{path}: is a pipe or a device; give a file (a sound alone may come through a pipe)")
        if path.stat().st_size == 0:
            raise MediaError(f"{path}: is empty (0 bytes)")
    except FileNotFoundError as error:
        if _FILE_ADDRESS.match(str(path)):
            given = unquote(_FILE_ADDRESS.sub("/", str(path)))
            raise MediaError(f"{path}: is an address; give the file's path: {given}") from None
        if _ADDRESS.match(str(path)):
            address = str(path).replace(":/", "://", 1)
            raise MediaError(f"{address}: is an address; download it first, then give the file") from None
        raise MediaError(f"{path}: no such file") from error
    except OSError as error:
        raise MediaError(f"{path}: cannot be opened ({error.strerror})") from error


def is_address(path: Path) -> bool:
    """Whether it reads as one of the web or of a file."""
    return bool(_ADDRESS.match(str(path)) or _FILE_ADDRESS.match(str(path)))


def open_media(path: Path | str) -> InputContainer:
    """Open any container that FFmpeg reads; MediaError says in one line why not."""
    check_file(path)
    try:
        # "file:" keeps a colon in a name from being read as a protocol
        container = av.open(f"file:{path}", "r", metadata_errors="replace")
    except (av.FFmpegError, OSError, ValueError) as error:
        if _is_text(path):
            raise MediaError(_TEXT.format(path)) from None
        reason = getattr(error, "strerror", None) or str(error)
        raise MediaError(f"{path}: cannot be read as audio or video ({reason})") from error
    drawn = container.format.name == "tty"  # FFmpeg draws text files as video
    if drawn or (not (container.streams.audio or container.streams.video) and _is_text(path)):
        container.close()
        raise MediaError(_TEXT.format(path))
    return container


def _is_text(path: Path | str) -> bool:
    """Whether it begins as one."""
    try:
        with Path(path).open("rb") as file:
            return "\0" not in codecs.getincrementaldecoder("utf-8")().decode(file.read(_LOOKED_AT))
    except (OSError, UnicodeDecodeError):
        return False


def video_stream(container: InputContainer, path: Path | str) -> VideoStream:
    """The video track that a player would show; cover pictures of music files do not count."""
    tracks = [s for s in container.streams.video if not s.disposition & Disposition.attached_pic]
    return _chosen(tracks, container.streams.best("video"), path, "video")


def audio_stream(container: InputContainer, path: Path | str) -> AudioStream:
    """The audio track that a player would play."""
    return _chosen(list(container.streams.audio), container.streams.best("audio"), path, "audio")


def _chosen(tracks: list[_StreamT], best: object, path: Path | str, kind: str) -> _StreamT:
    known = [track for track in tracks if track.codec_context is not None]
    if not known:
        reason = f"has {kind} in a codec that FFmpeg does not know" if tracks else f"has no {kind} track"
        raise MediaError(f"{path}: {reason}; give a file with {kind}")
    track = next((track for track in known if track is best), known[0])
    # Frame threads would report a damaged packet at another one, and lose what is in flight at the end.
    track.codec_context.thread_type = ThreadType.SLICE
    return track


def packets(container: InputContainer, stream: _StreamT, damage: Damage) -> "Iterator[Packet[_StreamT]]":
    """The stream's packets, going on behind damaged stretches of the file."""
    errors = 0
    while errors < _READ_ERRORS:
        try:
            for packet in container.demux(stream):
                errors = 0
                if packet.size:  # an empty packet would tell the decoder that the stream has ended
                    yield cast("Packet[_StreamT]", packet)
            return
        except av.FFmpegError:
            errors += 1
            damage.packets += errors == 1


@overload
def decode(container: InputContainer, stream: AudioStream, damage: Damage) -> Iterator[av.AudioFrame]: ...
@overload
def decode(container: InputContainer, stream: VideoStream, damage: Damage) -> Iterator[av.VideoFrame]: ...
def decode(
    container: InputContainer, stream: AudioStream | VideoStream, damage: Damage
) -> Iterator[av.AudioFrame] | Iterator[av.VideoFrame]:
    """Decoded frames; packets that cannot be decoded are skipped, counted, and named in one warning at the end."""
    for packet in chain(packets(container, stream, damage), [None]):
        try:
            frames = stream.decode(packet)
        except av.FFmpegError:
            damage.packets += 1
            continue
        yield from frames
    if damage.packets:
        name = container.name.removeprefix("file:")
        _log.warning("%s: damaged %s packets skipped: %d", name, stream.type, damage.packets)


def read(path: Path | str, *, from_video_start: bool = False) -> NDArray[np.float32]:
    """The whole sound of a file: (samples,), 16 kHz mono in [-1, 1].

    Sample 0 is the track's first sample or, `from_video_start`, the moment of the first video frame: sound before it
    is cut off, sound that starts later is preceded by silence.
    """
    parts: list[NDArray[np.float32]] = []
    resampler: Resampler | None = None
    start: float | None = None
    mono = _Mono()
    with open_media(path) as container:
        stream = audio_stream(container, path)
        for frame in gapless(container, stream):
            if start is None:
                start = seconds_of(frame.pts, stream) or 0.0
            if resampler is None or resampler.source_rate != frame.sample_rate:
                parts += [resampler.finish()] if resampler else []
                resampler = Resampler(frame.sample_rate)
            parts.append(resampler.push(mono(frame)))
    parts += [resampler.finish()] if resampler else []
    if start is None or not any(part.size for part in parts):
        raise MediaError(f"{path}: its audio track holds no samples that can be decoded")
    waveform = np.clip(np.concatenate(parts), -1.0, 1.0)
    if not from_video_start:
        return waveform
    lead = round((start - video_start(path)) * SAMPLE_RATE)
    if lead <= -waveform.size:
        raise MediaError(f"{path}: its audio track ends before the first video frame")
    return np.pad(waveform, (lead, 0)) if lead > 0 else waveform[-lead:]


def frame_count(seconds: float, frame_rate: Fraction) -> int:
    """How many frames last `seconds`: never cut the last word, never add to it."""
    return round(seconds * frame_rate)


class Resampler:
    """Sound in pieces of any length to 16 kHz; the sum of its outputs does not depend on where the cuts are."""

    def __init__(self, sample_rate: int) -> None:
        self.source_rate = sample_rate
        self._stream = soxr.ResampleStream(sample_rate, SAMPLE_RATE, 1, dtype="float32")

    def push(self, piece: NDArray[np.float32]) -> NDArray[np.float32]:
        """`piece`: (samples,) mono in [-1, 1] at the source's rate. Returns what is ready, perhaps nothing."""
        ready: NDArray[np.float32] = self._stream.resample_chunk(np.ascontiguousarray(piece, np.float32))
        return ready

    def finish(self) -> NDArray[np.float32]:
        """The rest, once, after the last piece."""
        rest: NDArray[np.float32] = self._stream.resample_chunk(np.zeros(0, np.float32), last=True)
        return rest


def seconds_of(time: int | None, stream: AudioStream | VideoStream) -> float | None:
    """A time stamp of the stream in seconds on its file's clock."""
    return None if time is None or stream.time_base is None else float(time * stream.time_base)


def video_start(path: Path | str) -> float:
    """When the first frame that can be decoded is shown, on the file's clock: what `video.read` calls 0 s."""
    with open_media(path) as container:
        stream = video_stream(container, path)
        for frame in decode(container, stream, Damage()):
            return seconds_of(frame.pts, stream) or 0.0
    raise MediaError(f"{path}: its video track holds no frame that can be decoded")


def gapless(container: InputContainer, stream: AudioStream) -> Iterator[av.AudioFrame]:
    """Decoded sound with silence where time stamps show that some is missing."""
    damage, seen, due = Damage(), 0, None
    for frame in decode(container, stream, damage):
        if frame.samples == 0 or frame.sample_rate <= 0:
            continue
        allowed = JITTER_AFTER_LOSS if damage.packets > seen else _JITTER
        if due is None and damage.packets:  # the very beginning was lost
            due = seconds_of(stream.start_time, stream)
        at = seconds_of(frame.pts, stream)
        if at is not None:
            gap = 0.0 if due is None else at - due
            if due is not None and allowed < gap < _CLOCK_RESET:
                silence = round(gap * frame.sample_rate)
                yield from _silence(silence, _narrowed(frame), round(due / (stream.time_base or 1)))
            if due is None or gap > allowed or gap < -1.0:
                due = at
        due = None if due is None else due + frame.samples / frame.sample_rate
        seen = damage.packets
        yield _narrowed(frame)


def _narrowed(frame: av.AudioFrame) -> av.AudioFrame:
    """7.1 and wider sound as 5.1."""
    if frame.layout.nb_channels <= _MOST_CHANNELS:
        return frame
    pts, narrow = frame.pts, av.AudioResampler(format="flt", layout="5.1", rate=frame.sample_rate)
    try:
        frame = narrow.resample(frame)[0]
    except av.FFmpegError as error:
        raise MediaError(
            f"sound of {frame.layout.nb_channels} channels cannot be mixed; give stereo or mono"
        ) from error
    frame.pts = pts
    return frame


def _silence(samples: int, like: av.AudioFrame, pts: int) -> Iterator[av.AudioFrame]:
    """In pieces of at most a second, in the form of `like`; `pts` is the first one's."""
    rest = 128 if like.format.name in ("u8", "u8p") else 0
    while samples > 0:
        frame = av.AudioFrame(like.format, like.layout.name, min(samples, like.sample_rate))
        frame.sample_rate, frame.pts = like.sample_rate, pts
        for plane in frame.planes:
            plane.update(bytes([rest]) * plane.buffer_size)
        samples -= frame.samples
        yield frame


class _Mono:
    """Frames -> (samples,) in [-1, 1]; speech sits in the centre of a surround sound, so that leads.

    Channels that cancel each other are turned the same way; where next to nothing is left, the loudest is taken.
    """

    def __init__(self) -> None:
        self._channels: tuple[str, ...] = ()
        self._products = np.zeros((0, 0), np.float32)  # of channel and channel, summed over the last moments

    def __call__(self, frame: av.AudioFrame) -> NDArray[np.float32]:
        channels, planes = tuple(channel.name for channel in frame.layout.channels), _planes(frame)
        if channels != self._channels:
            self._channels, self._products = channels, np.zeros((len(channels), len(channels)), np.float32)
        kept = 0.5 ** (frame.samples / frame.sample_rate / _PHASE_SECONDS)
        self._products = np.float32(kept) * self._products + planes @ planes.T
        mixed: NDArray[np.float32] = np.clip(self._weights() @ planes, -1.0, 1.0)
        return mixed

    def _weights(self) -> NDArray[np.float32]:
        weights: NDArray[np.float32] = _weights(self._channels)
        power = self._products.diagonal()
        alone = weights**2 * power
        if weights @ self._products @ weights < _CANCELLED * alone.sum():
            weights = weights * np.where(self._products[alone.argmax()] < 0, np.float32(-1), np.float32(1))
        if weights @ self._products @ weights < _LOST * power.max():
            weights = np.eye(len(weights), dtype=np.float32)[power.argmax()]
        return weights


def _planes(frame: av.AudioFrame) -> NDArray[np.float32]:
    """(channels, samples) in [-1, 1]."""
    array: NDArray[Any] = frame.to_ndarray()
    planar = array if frame.format.is_planar else array.reshape(-1, frame.layout.nb_channels).T
    if planar.dtype == np.uint8:
        scaled = planar.astype(np.float32) / 128 - 1
    elif planar.dtype.kind == "i":
        scaled = planar.astype(np.float32) / 2 ** (8 * planar.dtype.itemsize - 1)
    else:
        scaled = np.nan_to_num(planar.astype(np.float32), posinf=1.0, neginf=-1.0)  # damaged float codecs
    return np.asarray(scaled, np.float32)


@lru_cache
def _weights(channels: tuple[str, ...]) -> NDArray[np.float32]:
    """Centre 1, left and right 1/√2, behind 1/2, no bass effects; their sum is 1, so nothing clips."""
    known = {"FC": 1.0, "FL": 0.7071, "FR": 0.7071, "DL": 0.7071, "DR": 0.7071, "LFE": 0.0, "LFE2": 0.0}
    weights = np.array([known.get(name, 0.5) for name in channels], np.float32)
    return weights / weights.sum() if weights.any() else np.full_like(weights, 1 / len(weights))
