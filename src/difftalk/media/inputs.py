"""What a user gave: a picture, a video or a sound, each named for what it is before any work begins.

Paths, file objects, arrays and pipes become what the readers take. Knows nothing of faces or models.
"""

from __future__ import annotations

import shutil
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext
from fractions import Fraction
from pathlib import Path
from typing import BinaryIO, Final, Literal, cast

import av
import numpy as np
import PIL.Image
from av.stream import Disposition
from numpy.typing import NDArray

from difftalk.arrays import SAMPLE_RATE, Array
from difftalk.errors import InputError, MediaError, OutputError
from difftalk.media.audio import frame_count
from difftalk.media.container import audio_stream, open_media
from difftalk.media.part import Part
from difftalk.media.picture import GIVEN, Picture, is_picture, moves, of_file

Kind = Literal["picture", "video", "sound"]
Sound = Path | str | BinaryIO | Array  # a file, a binary file object, or (n,) float32, 16 kHz mono in [-1, 1]
Out = Path | str | BinaryIO  # a file, or a binary file object that gets it when it is whole

COMMANDS: Final = {"picture": "animate", "video": "dub"}
STANDARD_INPUT: Final = "-"
LOUDEST: Final = 2.0  # beyond [-1, 1] resampling goes, but not so far: what does is in other units


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


def check_kinds(source: Picture, sound: Path, *, wanted: Literal["picture", "video"]) -> None:
    """Raises InputError unless `source` is what is wanted and `sound` may hold a sound. A moving picture is both."""
    if not isinstance(source, Path | str):  # what has pixels is a picture
        if kind_of(sound) == "picture":
            raise InputError(f"{sound} is a picture; give a sound there, or a video that has one")
        return
    source = Path(source)
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


def picture_of(source: Picture | BinaryIO) -> Picture:
    """What `picture.read` takes; a file object is read to its end."""
    if hasattr(source, "read"):
        return of_file(cast("BinaryIO", source))
    if isinstance(source, Path | str | PIL.Image.Image | np.ndarray):
        return source
    raise InputError(
        f"{GIVEN}: is of type {type(source).__name__}; allowed are a path, a binary file object, a PIL image, an array"
    )


@contextmanager
def watched(video: Path | str | BinaryIO) -> Iterator[Path]:
    """The video as a file that can be read again and again; a file object's content is kept for as long."""
    if isinstance(video, Path | str):
        yield Path(video)
        return
    with _kept("the video that was given") as path:
        _fill(path, video, "the video that was given")
        yield path


@contextmanager
def heard(sound: Sound) -> Iterator[Path]:
    """The sound as a file that can be read again and again.

    What is no file (a pipe, `-` for standard input, a file object, a waveform) is kept in one for as long.
    """
    if isinstance(sound, Path | str):
        name, path = str(sound), Path(sound)
        if name != STANDARD_INPUT and not path.is_fifo():
            yield path
            return
        if name == STANDARD_INPUT:
            name = "standard input"
            if sys.stdin is None or sys.stdin.isatty():
                raise InputError(f"{name}: nothing is piped into it; give a file, or pipe a sound")
        with _kept(name) as kept:
            with nullcontext(sys.stdin.buffer) if name == "standard input" else path.open("rb") as pipe:
                _fill(kept, pipe, name)
            yield kept
        return
    name = "the sound that was given"
    with _kept(name) as kept:
        if isinstance(sound, np.ndarray):
            waveform = waveform_of(sound, name)
            if not waveform.size:
                raise MediaError(f"{name}: holds no samples")
            _write_wav(kept, waveform)
        else:
            _fill(kept, sound, name)
        yield kept


@contextmanager
def written(out: Out) -> Iterator[Path]:
    """Where to write the mp4. A file object gets it at the end; nothing where that is not reached."""
    if isinstance(out, Path | str):
        yield Path(out)
        return
    if not hasattr(out, "write"):
        raise OutputError(f"the output is of type {type(out).__name__}; give a path or a binary file object")
    name = f"the output, a {type(out).__name__},"
    try:
        out.write(b"")  # said before the work, not after it
    except (OSError, TypeError, ValueError) as error:
        raise OutputError(f"{name} takes no bytes ({error}); give a path or a binary file object") from error
    with tempfile.TemporaryDirectory(prefix="difftalk-") as folder:
        path = Path(folder) / "out.mp4"
        yield path
        try:
            with path.open("rb") as file:
                shutil.copyfileobj(file, out)
        except (OSError, TypeError, ValueError) as error:
            raise OutputError(f"{name} takes no bytes ({error})") from error


def place_of(out: Out) -> Path:
    """Where the mp4 is then: of a file object its name, `-` where it has none."""
    name = out if isinstance(out, Path | str) else getattr(out, "name", None)
    return Path(name) if isinstance(name, Path | str) else Path("-")


@contextmanager
def _kept(name: str) -> Iterator[Path]:
    """A file that nobody else can read, for as long; errors of what it holds call it `name`."""
    with Part(Path(tempfile.gettempdir()), mode=0o600) as part:
        try:
            yield part.path
        except InputError as error:
            raise type(error)(str(error).replace(str(part.path), name)) from None


def _fill(path: Path, source: BinaryIO, name: str) -> None:
    if not hasattr(source, "read"):
        raise InputError(f"{name}: is of type {type(source).__name__}; give a path or a binary file object")
    try:
        with path.open("wb") as file:
            shutil.copyfileobj(source, file)
    except ValueError as error:
        raise InputError(f"{name}: cannot be read ({error})") from error
    except OSError as error:
        raise OutputError(f"{name}: cannot be kept in {path.parent} meanwhile ({error.strerror})") from error
    except TypeError:
        raise InputError(f"{name}: is a file object of text; open it with 'rb'") from None


def waveform_of(samples: NDArray[np.floating] | Sequence[float], name: str) -> Array:
    """Samples as they are heard; what is beyond [-1, 1] by a little is cut off. Raises InputError for what is no sound.

    They may be none.
    """
    try:
        waveform = np.asarray(samples)
    except (TypeError, ValueError):
        waveform = np.zeros(0, object)
    loudest = float(np.abs(waveform).max(initial=0)) if waveform.dtype.kind == "f" else 0.0
    if waveform.ndim != 1 or waveform.dtype.kind != "f" or not loudest <= LOUDEST:
        beyond = "" if loudest <= LOUDEST else f" with values up to {loudest:.4g}"
        raise InputError(
            f"{name}: is an array of {waveform.dtype} {waveform.shape}{beyond}; give float32 (samples,), finite, "
            "16 kHz mono in [-1, 1]"
        )
    return np.ascontiguousarray(np.clip(waveform, -1, 1), np.float32)


def _write_wav(path: Path, waveform: Array) -> None:
    with av.open(f"file:{path}", "w", format="wav") as output:
        stream = output.add_stream("pcm_f32le", rate=SAMPLE_RATE, layout="mono")
        for start in range(0, len(waveform), SAMPLE_RATE):
            frame = av.AudioFrame.from_ndarray(waveform[None, start : start + SAMPLE_RATE], "flt", "mono")
            frame.sample_rate, frame.pts = SAMPLE_RATE, start
            output.mux(stream.encode(frame))
        output.mux(stream.encode(None))
