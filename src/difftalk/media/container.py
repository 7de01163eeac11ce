"""Containers: any file with sound or video in it, opened and decoded, over its damaged stretches.

Knows nothing of samples or pictures: `audio` and `video` read those.
"""

from __future__ import annotations

import codecs
import logging
import re
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from stat import S_ISREG
from typing import TypeVar, cast, overload
from urllib.parse import unquote

import av
from av.audio.stream import AudioStream
from av.codec.context import ThreadType
from av.container import InputContainer
from av.packet import Packet
from av.stream import Disposition
from av.video.stream import VideoStream

from difftalk.errors import MediaError

_FILE_ADDRESS = re.compile(r"file:/+(localhost/+)?", re.IGNORECASE)  # a path has lost the second of two slashes
_READ_ERRORS = 100  # errors in a row that the container may give before the file counts as ended
_ADDRESS = re.compile(r"(?!file:)[a-z][a-z0-9+.-]+:/|www\.|(m\.)?youtube\.com/|youtu\.be/", re.IGNORECASE)
_LOOKED_AT = 4096  # bytes of what may be a text
_TEXT = "{}: is a text file; give an audio or video file"
log = logging.getLogger(__name__)
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


def packets(container: InputContainer, stream: _StreamT, damage: Damage) -> Iterator[Packet[_StreamT]]:
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
        log.warning("%s: damaged %s packets skipped: %d", name, stream.type, damage.packets)


def seconds_of(time: int | None, stream: AudioStream | VideoStream) -> float | None:
    """A time stamp of the stream in seconds on its file's clock."""
    return None if time is None or stream.time_base is None else float(time * stream.time_base)
