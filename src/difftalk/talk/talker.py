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
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from functools import partial
from pathlib import Path
from typing import Any, BinaryIO, Final

import numpy as np
from numpy.typing import NDArray

from difftalk import __version__
from difftalk.arrays import SAMPLE_RATE
from difftalk.errors import InputError
from difftalk.media import audio, container, inputs, mp4, picture, video
from difftalk.media.inputs import Out, Sound
from difftalk.media.picture import Picture
from difftalk.media.soundtrack import Tail
from difftalk.media.timeline import shown_rate
from difftalk.model import AUTO, Model, check_renderer
from difftalk.overlap import Behind
from difftalk.process import cores
from difftalk.progress import Progress
from difftalk.ranges import MAX_STEPS, SIDES
from difftalk.speech.listener import look_ahead_of
from difftalk.talk import cache as kept_videos
from difftalk.talk.footage import Footage, length_notes, passed_notes, seconds_beyond, way_notes
from difftalk.talk.head_film import heads_of
from difftalk.talk.identity import STILL_RATE, Fit, Identity, Manner
from difftalk.talk.looking import begun
from difftalk.talk.portrait import of_still
from difftalk.talk.session import Session, TalkingFrame, getting_ready

PIECE_SAMPLES: Final = SAMPLE_RATE * 4 // 25  # a file is fed in pieces of 0.16 s, as the speech encoder takes them
COMMENT: Final = f"AI-generated: difftalk {__version__}"


@dataclass(frozen=True)
class Result:
    """What was written.

    path: of a file object its name, `-` where it has none.
    """

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
    steps: int  # of denoising
    seed: int
    precision: dict[str, str]  # of the nets that may be computed in integers
    settings: dict[str, Any]  # that are not what the model's folder says
    notes: list[str]


class Talker:
    """steps: denoising steps. seed: fixes noise, head motion and blinks. articulation: gain of the mouth's movement.

    Threads may share one: each iterates its own stream.
    """

    def __init__(self, model: Model, *, steps: int | None = None, seed: int = 0, articulation: float = 1.0) -> None:
        check_renderer(model)
        if steps is not None and steps < 1:
            raise InputError(f"`steps` was {steps}; allowed are 1 to {MAX_STEPS}")
        self.model = model
        self._manner = Manner(steps=steps or model.settings.steps, seed=seed, articulation=articulation)

    @classmethod
    def from_pretrained(
        cls,
        name_or_folder: Path | str | None = None,
        *,
        engine: str = "openvino",
        threads: int = 0,
        precision: str = AUTO,
        steps: int | None = None,
        seed: int = 0,
        articulation: float = 1.0,
        settings: Sequence[str] = (),
    ) -> Talker:
        """The named model, that in a folder, or the shipped one; nothing is read from any network. Raises ModelError.

        engine: openvino or onnxruntime. threads: of each net; 0: half as many as there are cores, since several frames
        are drawn at once. precision: auto, int8, bf16 or f32; see `Model.load`. steps, seed, articulation: see
        `Manner`. settings: other values than the model's, as "loudness.quiet=-40"; see `settings.py`.

        Raises InputError.
        """
        threads = threads or max(1, cores() // 2)
        model = Model.load(name_or_folder, engine=engine, threads=threads, precision=precision).changed(settings)
        return cls(model, steps=steps, seed=seed, articulation=articulation)

    def save_pretrained(self, folder: Path | str) -> None:
        """Writes the model folder to a new or empty folder."""
        self.model.save(folder)

    def identity(
        self,
        source: Picture | BinaryIO,
        *,
        size: int | None = None,
        cache: bool = True,
        progress: Progress | None = None,
    ) -> Identity:
        """Who speaks, from a portrait or a video. Raises InputError, FaceError.

        source: a path; a portrait also as a binary file object, a PIL image or RGB, uint8 (height, width, 3). size: px,
        long side to which a larger portrait is shrunk; the settings' unless told. See `of_still` for small faces. Of a
        video the first seconds are looked at, the rest while it speaks. cache: what `dub` kept of it is used.
        """
        given = inputs.picture_of(source)
        if isinstance(given, Path | str):
            container.check_file(given)
            if not picture.is_still(given):
                return self._seen(Path(given), cache, progress)
        return of_still(given, self.model, size=self._size(size))

    def _seen(self, path: Path, use_cache: bool, progress: Progress | None) -> Footage:
        """A video as it is in the cache, or its beginning looked at."""
        kept = kept_videos.found(path, self.model) if use_cache else None
        return kept or begun(path, self.model, progress=progress)

    def _size(self, given: int | None) -> int:
        size = self.model.settings.still.size if given is None else given
        if not SIDES[0] <= size <= SIDES[1]:
            raise InputError(f"`size` was {size}; allowed are {SIDES[0]} to {SIDES[1]} px")
        return size

    def session(
        self,
        identity: Identity,
        *,
        head_motion: float = 1.0,
        blinks: float = 1.0,
        head_from: Path | str | None = None,
        frame_rate: Fraction = STILL_RATE,
        fit: Fit = "bounce",
        own_way: float = 1.0,
        progress: Progress | None = None,
    ) -> Session:
        """Sound in by pieces, frames out: see `Session`.

        head_motion, blinks, frame_rate: for stills, as in `Manner`. head_from: a video as whose head a still's moves.
        fit: for videos shorter than the audio. own_way: for videos, in [0, 1], how far the mouth moves as it did in the
        video. progress: of looking at `head_from`.
        """
        manner = replace(
            self._manner, head_motion=head_motion, blinks=blinks, frame_rate=frame_rate, fit=fit, own_way=own_way
        )
        if head_from is not None and head_motion > 0:
            manner = replace(manner, heads=heads_of(Path(head_from), self.model, frame_rate, progress=progress))
        return Session(self.model, identity, manner)

    def stream(
        self,
        identity: Identity,
        pieces: Iterable[NDArray[np.float32]],
        *,
        head_motion: float = 1.0,
        blinks: float = 1.0,
        head_from: Path | str | None = None,
        frame_rate: Fraction = STILL_RATE,
        fit: Fit = "bounce",
        own_way: float = 1.0,
        progress: Progress | None = None,
    ) -> Iterator[TalkingFrame]:
        """Frames as the audio allows, `round(seconds of audio × rate)` of them: a session, run to its end.

        pieces: 16 kHz mono float32 in [-1, 1], of any lengths; those of a list are all at hand, so that drawing goes on
        from one to the next. For the rest see `session`.
        """
        at_hand = isinstance(pieces, Sequence)
        with self.session(
            identity,
            head_motion=head_motion,
            blinks=blinks,
            head_from=head_from,
            frame_rate=frame_rate,
            fit=fit,
            own_way=own_way,
            progress=progress,
        ) as session:
            for piece in pieces:
                yield from session.push(piece, more=at_hand)
            yield from session.finish()

    def animate(
        self,
        portrait: Picture | BinaryIO,
        sound: Sound,
        out: Out,
        *,
        size: int | None = None,
        head_motion: float = 1.0,
        blinks: float = 1.0,
        head_from: Path | str | None = None,
        overwrite: bool = False,
        progress: Progress | None = None,
    ) -> Result:
        """A portrait speaks: writes OUT.mp4 with the sound as it is. Raises InputError, OutputError.

        portrait: see `identity`; head_motion, blinks, head_from: `session`. sound: a file or a pipe, "-" for standard
        input; a binary file object; or a waveform, float32 (samples,), 16 kHz mono in [-1, 1], which becomes AAC. out:
        a path, or a binary file object that gets the video when it is whole.
        """
        began = time.monotonic()
        side = self._size(size)
        replace(self._manner, head_motion=head_motion, blinks=blinks)  # says at once what is not allowed
        source = inputs.picture_of(portrait)
        with inputs.heard(sound) as heard, inputs.written(out) as path:
            inputs.check_kinds(source, heard, wanted="picture")
            waveform = audio.read(heard)
            seconds = len(waveform) / SAMPLE_RATE
            inputs.check_length(heard, seconds, STILL_RATE)
            identity = of_still(source, self.model, size=side)
            identity.notes.extend(inputs.track_notes(heard))
            height, width = identity.image.shape[:2]
            total = audio.frame_count(seconds, STILL_RATE)
            writer = mp4.Writer(
                path,
                width=width,
                height=height,
                frame_rate=STILL_RATE,
                sound=heard,
                overwrite=overwrite,
                comment=COMMENT,
            )
            with writer:
                frames = self.stream(
                    identity,
                    _pieces(waveform),
                    head_motion=head_motion,
                    blinks=blinks,
                    head_from=head_from,
                    progress=progress,
                )
                result = self._write(writer, frames, identity, total, STILL_RATE, began, progress)
        return replace(result, path=inputs.place_of(out))

    def dub(
        self,
        footage: Path | str | BinaryIO,
        sound: Sound,
        out: Out,
        *,
        fit: Fit = "bounce",
        keep_tail: bool = False,
        own_way: float = 1.0,
        cache: bool = True,
        overwrite: bool = False,
        progress: Progress | None = None,
    ) -> Result:
        """A video's person says something else: writes OUT.mp4 in the video's size, framing and rate (see `timeline`).

        footage: a path or a binary file object. own_way: see `session`. sound, out: see `animate`. keep_tail: where the
        video is longer than the sound, the rest of it follows as it is, with its own sound. cache: what is found in the
        video is kept in the user's cache folder, so that it need not be looked at again.
        """
        began = time.monotonic()
        replace(self._manner, fit=fit, own_way=own_way)  # says at once what is not allowed
        with (
            getting_ready(self.model),
            inputs.watched(footage) as path,
            inputs.heard(sound) as heard,
            inputs.written(out) as place,
        ):
            inputs.check_kinds(path, heard, wanted="video")
            waveform, info = audio.read(heard), video.probe(path)
            seconds, rate = len(waveform) / SAMPLE_RATE, shown_rate(info)
            inputs.check_length(heard, seconds, rate)
            beyond = seconds_beyond(info, seconds)
            tail = Tail(path, seconds, info.seconds) if keep_tail and beyond < 0 and info.has_audio else None
            writer = mp4.Writer(
                place,
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
                identity = self._seen(path, cache, progress)
                notes = inputs.track_notes(heard) + length_notes(info, seconds, fit=fit, keep_tail=keep_tail)
                frames: Iterator[TalkingFrame] = self.stream(identity, _pieces(waveform), fit=fit, own_way=own_way)
                total = audio.frame_count(seconds, rate)
                if keep_tail and beyond <= 0:
                    frames, total = _with_tail(frames, identity), max(total, audio.frame_count(info.seconds, rate))
                frames = self._noted(frames, identity, notes, own_way, cache)
                result = self._write(writer, frames, identity, total, rate, began, progress)
        return replace(result, path=inputs.place_of(out))

    def _noted(
        self, frames: Iterator[TalkingFrame], identity: Footage, notes: list[str], own_way: float, use_cache: bool
    ) -> Iterator[TalkingFrame]:
        """The frames; then what was found by then is kept, and what is to be said of it noted."""
        try:
            yield from frames
            if use_cache:
                kept_videos.keep(identity, self.model)
        finally:
            if identity.look is not None:
                identity.look.close()
        identity.notes.extend(way_notes(identity, own_way) + notes)

    def __call__(self, source: Picture, sound: Sound, out: Out, *, overwrite: bool = False) -> Result:
        """`animate` for a picture, `dub` for a video or a picture that moves."""
        if isinstance(source, Path | str):
            container.check_file(source)
            if not picture.is_still(source):
                return self.dub(source, sound, out, overwrite=overwrite)
        return self.animate(source, sound, out, overwrite=overwrite)

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
            self._manner.steps,
            self._manner.seed,
            dict(self.model.chosen),
            self.model.differing,
            notes,
        )


def _pieces(waveform: NDArray[np.float32]) -> list[NDArray[np.float32]]:
    return [waveform[i : i + PIECE_SAMPLES] for i in range(0, len(waveform), PIECE_SAMPLES)]


def _with_tail(frames: Iterator[TalkingFrame], identity: Footage) -> Iterator[TalkingFrame]:
    """The frames, then those of the video that the audio did not reach, untouched."""
    count = 0
    for frame in frames:
        count += 1
        yield frame
    for image, seconds in identity.rest(count):
        yield TalkingFrame(image, seconds, drawn=False, tail=True)
