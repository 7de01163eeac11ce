"""A session: sound goes in by pieces, frames come out as the sound allows. What it remembers can be kept.

    with talker.session(person) as session:
        for frame in session.push(piece):       # 16 kHz mono float32, as it comes
            show(frame.image)
        for frame in session.finish():
            show(frame.image)

`state` is arrays alone: `safetensors.numpy.save_file(session.state(), "kept.safetensors")`, and in another process, or
on another day, `Session.from_state(talker.model, person, load_file("kept.safetensors"))` goes on with the same frames.
"""

from __future__ import annotations

import json
import math
from collections import deque
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from fractions import Fraction
from functools import partial
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from difftalk.arrays import SAMPLE_RATE, Image, State, joined, part
from difftalk.errors import InputError
from difftalk.face.head import HeadPose
from difftalk.graphs import NEEDED
from difftalk.media.inputs import waveform_of
from difftalk.model import Model, check_renderer
from difftalk.overlap import Behind, Line
from difftalk.render.drawing import Begun, Drawing, Shown
from difftalk.render.head_field import Moved
from difftalk.render.paste import put_before
from difftalk.speech.features import HOP_SECONDS
from difftalk.speech.head_motion import HeadMotion
from difftalk.speech.listener import Voice, look_ahead_of
from difftalk.talk.identity import Identity, Manner, Shot

AT_ONCE: Final = 4  # frames that are drawn at once
AHEAD_SECONDS: Final = 0.5  # from the first of them to the last: a voice is not asked for what is long past


@dataclass(frozen=True)
class TalkingFrame:
    """One frame of the output.

    drawn: False where the source's frame was passed through. mouth_hidden: because something covers the mouth.
    tail: after the end of the audio, as the source has it. heard: whether a voice has been heard by then.
    """

    image: Image  # (h, w, 3) RGB
    seconds: float
    drawn: bool
    mouth_hidden: bool = False
    tail: bool = False
    heard: bool = False


@dataclass(frozen=True)
class _Begun:
    """A frame on its way. drawn: what there is of it, None where its picture is passed through."""

    shot: Shot
    drawn: Begun | None
    moved: Callable[[], Moved | None] | None
    heard: bool


@dataclass(frozen=True)
class _Shown:
    begun: _Begun
    shown: Shown | None


@dataclass(frozen=True)
class _Made:
    """state: of the drawing behind it; None where nothing was drawn."""

    frame: TalkingFrame
    state: State | None


class Session:
    """One identity speaking. Threads may share the model and the identity, not the session. A context manager."""

    def __init__(self, model: Model, identity: Identity, manner: Manner | None = None) -> None:
        check_renderer(model)
        self._model, self._identity, self._manner = model, identity, manner or Manner()
        self._voice = Voice(
            model,
            articulation=self._manner.articulation,
            own_share=self._manner.own_way,
            head=HeadMotion(model, self._manner.seed) if self._moves_by_itself() else None,
        )
        steps = self._manner.steps or model.settings.steps
        self._drawing = Drawing(model, steps=steps, seed=self._manner.seed)
        self._remembered = self._drawing.state()  # behind the last frame that was taken
        self._number, self._samples, self._ended, self._heard = 0, 0, False, False  # number: of frames taken
        self._last = 0.0  # seconds of the last of them
        self._source: Generator[Shot, None, None] | None = None
        self._shots = deque[Shot]()  # from the first one that was not taken on
        stages: dict[str, Callable[[Any], Any]] = {"paint": self._painted, "show": self._shown, "paste": self._pasted}
        # The published renderer takes minutes for a frame, and nobody could stop it in a thread of its own.
        self._line = Line[_Begun, _Made](stages, 0 if model.settings.renderer == "published" else AT_ONCE)

    def _moves_by_itself(self) -> bool:
        """Whether the head goes its own way; of a model without a net for it no head does."""
        manner = self._manner
        wanted = self._identity.still and manner.head_motion > 0 and not manner.heads
        return wanted and "head" in self._model.graphs

    def push(self, piece: NDArray[np.floating] | Sequence[float], *, more: bool = False) -> Iterator[TalkingFrame]:
        """(n,) samples, 16 kHz mono in [-1, 1] -> the frames that can now be drawn, each when it is asked for.

        Those that are not taken come with the next push. more: that is to follow at once: the last frames, which are
        then still being drawn, come with it. Raises InputError for what is no such sound.
        """
        if self._ended:
            raise InputError("the session was finished; begin a new one for more sound")
        waveform = waveform_of(piece, "the piece of sound")
        self._voice.push(waveform)
        self._samples += len(waveform)
        return self._frames(more=more)

    @property
    def frame_rate(self) -> Fraction:
        """Frames/s; the mean, where they vary."""
        return self._identity.frame_rate(self._manner)

    @property
    def delay(self) -> float:
        """Seconds of sound that have been pushed when a frame is drawn, at most, beyond its own time."""
        return look_ahead_of(self._model.settings.renderer) + HOP_SECONDS

    def flush(self) -> Iterator[TalkingFrame]:
        """Nobody says more for now -> the frames of all that was pushed, and of some silence behind it.

        The mouth closes within 0.2 s of the end.
        """
        self._voice.hush(self._samples / SAMPLE_RATE)
        return self.push(np.zeros(math.ceil(self.delay * SAMPLE_RATE), np.float32))

    def interrupt(self) -> None:
        """What was pushed and was not taken yet is not spoken: the mouth closes within 0.2 s, until new sound comes."""
        self._put_back()
        self._voice.hush(self._last)

    def finish(self) -> Iterator[TalkingFrame]:
        """No more sound follows -> the rest of the frames, `round(seconds of sound x rate)` in all.

        Once more: those that were not taken, as of a session that was kept among them.
        """
        if not self._ended:
            self._voice.finish()
            self._ended = True
        return self._frames(more=False)

    def _frames(self, *, more: bool) -> Iterator[TalkingFrame]:
        while True:
            try:
                self._feed()
                if not len(self._line) or (more and not self._line.full):
                    break
                made = self._line.take()
            except BaseException:
                self.close()
                raise
            self._take(made)
            yield made.frame
        if self._is_over():
            self.close()

    def _feed(self) -> None:
        """Begins with the frames that can be drawn, as many as are drawn at once."""
        while not self._line.full and not self._is_over():
            shot = self._upcoming()
            first = self._shots[0].seconds
            if self._voice.settled <= shot.seconds or shot.seconds > first + AHEAD_SECONDS:
                return
            self._line.put(self._begun(shot))

    def _is_over(self) -> bool:
        """Whether the frame that would be begun next is none."""
        heard = self._samples / SAMPLE_RATE
        number = self._number + len(self._line)
        return self._ended and self._identity.is_over(self._manner, number, self._upcoming().seconds, heard)

    def _upcoming(self) -> Shot:
        """The next one to begin with. Where the source cannot be read, the next call tries again."""
        if self._source is None:
            self._source = self._identity.shots(self._manner, self._voice.head, self._model.settings, self._number)
        while len(self._shots) <= len(self._line):
            self._shots.append(next(self._source))
        return self._shots[len(self._line)]

    def _begun(self, shot: Shot) -> _Begun:
        """All of a frame that asks for the voice, or for who is seen."""
        sitting = self._identity.sitting(shot, self._model)
        if sitting is None:
            return _Begun(shot, None, None, heard=False)
        conditions = self._voice.at(shot.seconds, shot.own_way)
        moved = None if shot.moved is None else shot.moved()
        return _Begun(shot, self._drawing.lay(sitting, conditions, cut=shot.cut), moved, heard=self._voice.heard)

    def _painted(self, begun: _Begun) -> _Begun:
        return begun if begun.drawn is None else replace(begun, drawn=self._drawing.paint(begun.drawn))

    def _shown(self, begun: _Begun) -> _Shown:
        return _Shown(begun, None if begun.drawn is None else self._drawing.show(begun.drawn))

    def _pasted(self, made: _Shown) -> _Made:
        begun, shot, shown = made.begun, made.begun.shot, made.shown
        if begun.drawn is None or shown is None or shot.sitter is None:
            return _Made(TalkingFrame(shot.image, shot.seconds, drawn=False, mouth_hidden=shot.mouth_hidden), None)
        image = shown.drawn.onto(shot.image, shot.sitter.alignment, shown.reference)
        image = put_before(image, shot.image, shot.sitter.cover, self._model.settings)
        if begun.moved is not None and (moved := begun.moved()) is not None:
            image = moved(image)
        return _Made(TalkingFrame(image, shot.seconds, drawn=True, heard=begun.heard), begun.drawn.state)

    def _take(self, made: _Made) -> None:
        self._number, self._heard = self._number + 1, self._heard or made.frame.heard
        self._remembered, self._last = made.state or self._remembered, made.frame.seconds
        self._shots.popleft()

    def _put_back(self) -> None:
        """Forgets the frames that nobody has taken yet, so that they are begun with again."""
        self._line.drop()
        self._drawing.restore(self._remembered)
        self._voice.heard = self._heard

    def close(self) -> None:
        """Ends the threads that work ahead; a session that is asked for frames again begins them anew."""
        self._put_back()
        self._line.close()
        if self._source is not None:
            self._source.close()
        self._source = None
        self._shots.clear()

    def __enter__(self) -> Session:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def state(self) -> State:
        """What it remembers between two frames, as arrays; sound that was pushed and is not yet spoken included.

        Frames that were begun and not taken are begun again.
        """
        self._put_back()
        facts = {
            "manner": asdict(self._manner) | {"frame_rate": str(self._manner.frame_rate)},
            "model": self._model.hash,
            "identity": self._identity.mark,
            "number": self._number,
            "samples": self._samples,
            "last": self._last,
            "ended": self._ended,
        }
        held = joined(voice=self._voice.state(), drawing=self._drawing.state())
        return {"session": np.frombuffer(json.dumps(facts, default=np.generic.item).encode(), np.uint8), **held}

    @classmethod
    def from_state(cls, model: Model, identity: Identity, state: State) -> Session:
        """The session that goes on where `state` was taken; the state stays as it is.

        Raises InputError for another model or identity, and for what no session gave.
        """
        try:
            facts: dict[str, Any] = json.loads(np.asarray(state["session"], np.uint8).tobytes())
            kept = facts["manner"]
            heads = tuple(HeadPose(**pose) for pose in kept["heads"])
            manner = Manner(**kept | {"frame_rate": Fraction(kept["frame_rate"]), "heads": heads})
            for name, now in (("model", model.hash), ("identity", identity.mark)):
                if facts[name] != now:
                    raise InputError(
                        f"the session was kept with the {name} {facts[name]}, this one is {now}; give that one"
                    )
            session = cls(model, identity, manner)
            session._number, session._samples, session._ended = (facts[one] for one in ("number", "samples", "ended"))
            session._last = facts["last"]
            own = {name: _own(array) for name, array in state.items()}
            session._voice.restore(part(own, "voice"))
            session._heard, session._remembered = session._voice.heard, part(own, "drawing")
            session._drawing.restore(session._remembered)
        except (AttributeError, KeyError, TypeError, ValueError) as error:
            raise InputError(f"not the state of a session ({error}); give what Session.state() returned") from None
        return session


@contextmanager
def getting_ready(model: Model) -> Iterator[None]:
    """Meanwhile what a first frame needs is compiled."""
    needed = ("speech_encoder", model.settings.motion, *NEEDED[model.settings.renderer])
    with Behind(len(needed)) as meanwhile:
        for name in needed:
            meanwhile.put(partial(_compile, model, name))
        yield


def _compile(model: Model, name: str) -> None:
    model.graph(name)


def _own(array: NDArray[Any]) -> NDArray[Any]:
    """A copy, numbers with a point as they were kept: another store may have made them longer."""
    return np.array(array, np.float32 if np.asarray(array).dtype.kind == "f" else None)
