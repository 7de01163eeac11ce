"""The talker: an identity once, then audio -> frames, lazily. Animates a still, dubs a video; every output passes here.

    talker = Talker.from_pretrained()
    identity = talker.identity("portrait.jpg")
    for frame in talker.stream(identity, pieces):      # pieces of 16 kHz audio, as they come
        show(frame.image)
    talker.animate("portrait.jpg", "voice.wav", "out.mp4")

A file is the stream, run to its end.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from fractions import Fraction
from functools import partial
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

from difftalk import __version__
from difftalk.arrays import SAMPLE_RATE
from difftalk.errors import InputError
from difftalk.media import audio, container, inputs, mp4, picture, video
from difftalk.media.soundtrack import Tail
from difftalk.media.timeline import shown_rate
from difftalk.model import Model, check_renderer
from difftalk.overlap import Behind
from difftalk.speech.listener import look_ahead_of
from difftalk.talk.footage import Footage, length_notes, passed_notes, seconds_beyond
from difftalk.talk.identity import MAX_STEPS, STILL_RATE, Fit, Identity, Manner
from difftalk.talk.portrait import of_still
from difftalk.talk.session import Session, TalkingFrame
from difftalk.talk.watching import of_video

Progress = Callable[[str, int, int], None]  # what is done, how much of it, of how much

STILL_SIZE: Final = 1080  # px: long side of an animated still unless told otherwise
PIECE_SAMPLES: Final = SAMPLE_RATE // 2  # a file is fed in pieces of half a second
COMMENT: Final = f"AI-generated: difftalk {__version__}"


@dataclass(frozen=True)
class Result:
    """What was written."""

    path: Path
    frames: int
    seconds: float
    frames_per_second: float  # of rendering, everything after loading included
    first_frame_seconds: float  # from the call to the first frame, loading included
    look_ahead: float  # seconds of audio that must follow a frame
    width: int
    height: int
    frame_rate: float
    passed_through: int
    model: str  # the model's hash
    notes: list[str]


class Talker:
    """steps: denoising steps. seed: fixes noise, head motion and blinks. articulation: gain of the mouth's movement.

    Threads may share one: each iterates its own stream.
    """

    def __init__(self, model: Model, *, steps: int | None = None, seed: int = 0, articulation: float = 1.0) -> None:
        check_renderer(model)
        if steps is not None and steps < 1:
            raise InputError(f"steps was {steps}; allowed are 1 to {MAX_STEPS}")
        self.model = model
        self._manner = Manner(steps=steps or model.settings.steps, seed=seed, articulation=articulation)

    @classmethod
    def from_pretrained(
        cls,
        name_or_folder: Path | str | None = None,
        *,
        engine: str = "openvino",
        threads: int = 0,
        steps: int | None = None,
        seed: int = 0,
        articulation: float = 1.0,
    ) -> Talker:
        """The named model, that in a folder, or the shipped one; nothing is read from any network. Raises ModelError.

        engine: openvino or onnxruntime. threads: 0: the engine chooses. steps, seed, articulation: see `Manner`.
        """
        model = Model.load(name_or_folder, engine=engine, threads=threads)
        return cls(model, steps=steps, seed=seed, articulation=articulation)

    def save_pretrained(self, folder: Path | str) -> None:
        """Writes the model folder to a new or empty folder."""
        self.model.save(folder)

    def identity(
        self, source: Path | str, *, size: int | None = STILL_SIZE, progress: Callable[[int, int], None] | None = None
    ) -> Identity:
        """Who speaks, from a portrait or a video. Raises FaceError.

        size: long side to which a larger portrait is shrunk; see `of_still` for one whose face is small.
        """
        path = Path(source)
        container.check_file(path)
        return (
            of_still(path, self.model, size=size)
            if picture.is_still(path)
            else of_video(path, self.model, progress=progress)
        )

    def session(
        self,
        identity: Identity,
        *,
        head_motion: float = 1.0,
        frame_rate: Fraction = STILL_RATE,
        fit: Fit = "bounce",
        own_way: float = 1.0,
    ) -> Session:
        """Sound in by pieces, frames out: see `Session`.

        head_motion, frame_rate: for stills. fit: for videos shorter than the audio. own_way: for videos, in [0, 1], how
        far the mouth moves as it did in the video.
        """
        manner = replace(self._manner, head_motion=head_motion, frame_rate=frame_rate, fit=fit, own_way=own_way)
        return Session(self.model, identity, manner)

    def stream(
        self,
        identity: Identity,
        pieces: Iterable[NDArray[np.float32]],
        *,
        head_motion: float = 1.0,
        frame_rate: Fraction = STILL_RATE,
        fit: Fit = "bounce",
        own_way: float = 1.0,
    ) -> Iterator[TalkingFrame]:
        """Frames as the audio allows, `round(seconds of audio × rate)` of them: a session, run to its end.

        pieces: 16 kHz mono float32 in [-1, 1], of any lengths; for the rest see `session`.
        """
        with self.session(
            identity, head_motion=head_motion, frame_rate=frame_rate, fit=fit, own_way=own_way
        ) as session:
            for piece in pieces:
                yield from session.push(piece)
            yield from session.finish()

    def animate(
        self,
        portrait: Path | str,
        sound: Path | str,
        out: Path | str,
        *,
        size: int = STILL_SIZE,
        head_motion: float = 1.0,
        overwrite: bool = False,
        progress: Progress | None = None,
    ) -> Result:
        """A portrait speaks: writes OUT.mp4 with the sound as it is. Raises InputError, OutputError.

        sound: a file or a pipe; "-" is standard input.
        """
        began = time.monotonic()
        if not 64 <= size <= 8192:
            raise InputError(f"size was {size}; allowed are 64 to 8192 px")
        replace(self._manner, head_motion=head_motion)  # says at once what is not allowed
        path = Path(portrait)
        with inputs.heard(sound) as heard:
            inputs.check_kinds(path, heard, wanted="picture")
            waveform = audio.read(heard)
            seconds = len(waveform) / SAMPLE_RATE
            inputs.check_length(heard, seconds, STILL_RATE)
            identity = of_still(path, self.model, size=size)
            identity.notes.extend(inputs.track_notes(heard))
            height, width = identity.image.shape[:2]
            total = audio.frame_count(seconds, STILL_RATE)
            writer = mp4.Writer(
                out,
                width=width,
                height=height,
                frame_rate=STILL_RATE,
                sound=heard,
                overwrite=overwrite,
                comment=COMMENT,
            )
            with writer:
                frames = self.stream(identity, _pieces(waveform), head_motion=head_motion)
                return self._write(writer, frames, identity, total, STILL_RATE, began, progress)

    def dub(
        self,
        footage: Path | str,
        sound: Path | str,
        out: Path | str,
        *,
        fit: Fit = "bounce",
        keep_tail: bool = False,
        own_way: float = 1.0,
        overwrite: bool = False,
        progress: Progress | None = None,
    ) -> Result:
        """A video's person says something else: writes OUT.mp4 in the video's size, framing and rate (see `timeline`).

        own_way: see `stream`. sound: see `animate`. keep_tail: where the video is longer than the sound, the rest of
        it follows as it is, with its own sound.
        """
        began = time.monotonic()
        replace(self._manner, fit=fit, own_way=own_way)  # says at once what is not allowed
        path = Path(footage)
        with inputs.heard(sound) as heard:
            inputs.check_kinds(path, heard, wanted="video")
            waveform, info = audio.read(heard), video.probe(path)
            seconds, rate = len(waveform) / SAMPLE_RATE, shown_rate(info)
            inputs.check_length(heard, seconds, rate)
            beyond = seconds_beyond(info, seconds)
            tail = Tail(path, seconds, info.seconds) if keep_tail and beyond < 0 and info.has_audio else None
            writer = mp4.Writer(
                out,
                width=info.width,
                height=info.height,
                frame_rate=rate,
                sound=heard,
                tail=tail,
                overwrite=overwrite,
                comment=COMMENT,
                pixel_aspect=info.pixel_aspect,
            )
            with writer:  # so that nothing is left behind when the video turns out to have no face
                identity = of_video(
                    path, self.model, progress=None if progress is None else lambda i, n: progress("looking", i, n)
                )
                if identity.own_way is not None and own_way > 0:
                    identity.notes.append(
                        "the mouth moves the speaker's own way, learnt from the video; --own-way 0: as anybody's"
                    )
                identity.notes.extend(inputs.track_notes(heard))
                identity.notes.extend(length_notes(info, seconds, fit=fit, keep_tail=keep_tail))
                frames: Iterator[TalkingFrame] = self.stream(identity, _pieces(waveform), fit=fit, own_way=own_way)
                total = audio.frame_count(seconds, rate)
                if keep_tail and beyond <= 0:
                    frames, total = _with_tail(frames, identity), sum(map(len, identity.times))
                return self._write(writer, frames, identity, total, rate, began, progress)

    def __call__(self, source: Path | str, sound: Path | str, out: Path | str, *, overwrite: bool = False) -> Result:
        """`animate` for a picture, `dub` for a video or a picture that moves."""
        container.check_file(Path(source))
        work = self.animate if picture.is_still(Path(source)) else self.dub
        return work(source, sound, out, overwrite=overwrite)

    def _write(
        self,
        writer: mp4.Writer,
        frames: Iterator[TalkingFrame],
        identity: Identity,
        total: int,
        rate: Fraction,
        began: float,
        progress: Progress | None,
    ) -> Result:
        started, first, count, passed, hidden, tail = time.monotonic(), math.nan, 0, 0, 0, 0
        last, heard = 0.0, False
        with Behind() as sink:
            for frame in frames:
                sink.put(partial(writer.write, frame.image, frame.seconds))
                if count == 0:
                    first = time.monotonic() - began
                count, tail, last = count + 1, tail + frame.tail, frame.seconds
                passed += not frame.drawn and not frame.tail
                heard |= frame.heard
                hidden += frame.mouth_hidden
                if progress is not None:
                    progress("speaking", count, max(total, count))
        spent = time.monotonic() - started
        notes = list(identity.notes)
        if writer.padded:
            notes.append(f"padded to the even size {writer.size[0]} x {writer.size[1]} by one repeated row or column")
        if count > passed + tail and not heard:
            notes.append("no voice was heard in the sound: the mouth stays closed")
        notes.extend(passed_notes(passed, hidden, tail))
        return Result(
            writer.path,
            count,
            last + float(1 / rate),
            count / max(spent, 1e-9),
            first,
            look_ahead_of(self.model.settings.renderer),
            *writer.size,
            float(rate),
            passed,
            self.model.hash,
            notes,
        )


def _pieces(waveform: NDArray[np.float32]) -> Iterator[NDArray[np.float32]]:
    return (waveform[i : i + PIECE_SAMPLES] for i in range(0, len(waveform), PIECE_SAMPLES))


def _with_tail(frames: Iterator[TalkingFrame], identity: Footage) -> Iterator[TalkingFrame]:
    """The frames, then those of the video that the audio did not reach, untouched."""
    count = 0
    for frame in frames:
        count += 1
        yield frame
    for image, seconds in identity.rest(count):
        yield TalkingFrame(image, seconds, drawn=False, tail=True)
