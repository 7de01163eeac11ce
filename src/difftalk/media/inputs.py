"""What a user gave: a picture, a video or a sound, each named for what it is before any work begins.

Knows nothing of faces or models.
"""

from __future__ import annotations

import shutil
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from fractions import Fraction
from pathlib import Path
from typing import Final, Literal

from av.stream import Disposition

from difftalk.errors import InputError, MediaError, OutputError
from difftalk.media.audio import frame_count
from difftalk.media.container import audio_stream, open_media
from difftalk.media.part import Part
from difftalk.media.picture import is_picture, moves

Kind = Literal["picture", "video", "sound"]

COMMANDS: Final = {"picture": "animate", "video": "dub"}
STANDARD_INPUT: Final = "-"


def kind_of(path: Path) -> Kind:
    """By its content; a sound's cover picture is no video. Raises MediaError where it is none of them."""
    if is_picture(path):
        return "picture"
    with open_media(path) as container:
        tracks = [track for track in container.streams if getattr(track, "codec_context", None) is not None]
        if any(track.type == "video" and not track.disposition & Disposition.attached_pic for track in tracks):
            return "video"
        if any(track.type == "audio" for track in tracks):
            return "sound"
    raise MediaError(f"{path}: holds neither video nor sound that FFmpeg can decode; give another file")


def check_kinds(source: Path, sound: Path, *, wanted: Literal["picture", "video"]) -> None:
    """Raises InputError unless `source` is what is wanted and `sound` may hold a sound. A moving picture is both."""
    if str(source) == STANDARD_INPUT:
        raise InputError(f"standard input was given for the {wanted}; give a file: a sound alone may be piped in")
    given, second = wanted if moves(source) else kind_of(source), kind_of(sound)
    if given not in (wanted, "picture") and second == wanted:
        raise InputError(f"{source} is a {given} and {sound} a {second}: give the {wanted} first, then the sound")
    if given != wanted and given != "sound":
        raise InputError(f"{source} is a {given}, not a {wanted}; use {COMMANDS[given]} for {given}s")
    if given != wanted:
        raise InputError(f"{source} is a sound; give a {wanted} first, then the sound")
    if second == "picture":
        raise InputError(f"{sound} is a picture; give a sound there, or a video that has one")


def check_length(sound: Path, seconds: float, frame_rate: Fraction) -> None:
    """Raises MediaError where the sound is too short for a frame."""
    if frame_count(seconds, frame_rate) < 1:
        raise MediaError(
            f"{sound}: holds {1000 * seconds:.0f} ms of sound; at {float(frame_rate):.4g} frames/s more than "
            f"{500 / float(frame_rate):.0f} ms are needed"
        )


def track_notes(sound: Path) -> list[str]:
    """Which sound track is heard, where there are several."""
    with open_media(sound) as container:
        tracks, chosen = list(container.streams.audio), audio_stream(container, sound)
        if len(tracks) < 2:
            return []
        tongue = f" ({chosen.metadata['language']})" if chosen.metadata.get("language", "und") != "und" else ""
        number = [track.index for track in tracks].index(chosen.index) + 1
    return [f"sound track {number} of {len(tracks)}{tongue} is used, as players do; for another, give it as a file"]


@contextmanager
def heard(sound: Path | str) -> Iterator[Path]:
    """The sound as a file that can be read again and again: what comes through a pipe, or `-`, is kept for as long."""
    name, path = str(sound), Path(sound)
    if name != STANDARD_INPUT and not path.is_fifo():
        yield path
        return
    if name == STANDARD_INPUT:
        name = "standard input"
        if sys.stdin is None or sys.stdin.isatty():
            raise InputError(f"{name}: nothing is piped into it; give a file, or pipe a sound")
    folder = Path(tempfile.gettempdir())
    with Part(folder, mode=0o600) as part:
        try:
            source = nullcontext(sys.stdin.buffer) if name == "standard input" else path.open("rb")
            with source as pipe, part.path.open("wb") as file:
                shutil.copyfileobj(pipe, file)
        except OSError as error:
            raise OutputError(f"{name}: cannot be kept in {folder} meanwhile ({error.strerror})") from error
        try:
            yield part.path
        except InputError as error:
            raise type(error)(str(error).replace(str(part.path), name)) from None
