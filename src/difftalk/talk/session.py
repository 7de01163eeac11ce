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

import hashlib
import json
from collections.abc import Generator, Iterator, Sequence
from dataclasses import asdict, dataclass
from fractions import Fraction
from typing import Any

import numpy as np
from numpy.typing import NDArray

from difftalk.arrays import SAMPLE_RATE, Image, State, joined, part
from difftalk.errors import InputError
from difftalk.face.head import HeadPose
from difftalk.media.inputs import waveform_of
from difftalk.model import Model, check_renderer
from difftalk.overlap import beside
from difftalk.render.drawing import Drawing
from difftalk.render.paste import put_before
from difftalk.speech.head_motion import HeadMotion
from difftalk.speech.listener import Voice
from difftalk.talk.identity import Identity, Manner, Shot


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


class Session:
    """One identity speaking. Threads may share the model and the identity, not the session. A context manager."""

    def __init__(self, model: Model, identity: Identity, manner: Manner | None = None) -> None:
        check_renderer(model)
        self._model, self._identity, self._manner = model, identity, manner or Manner()
        self._voice = Voice(
            model,
            articulation=self._manner.articulation,
            own_way=identity.own_way if self._manner.own_way else None,
            own_share=self._manner.own_way,
            head=HeadMotion(model, self._manner.seed) if self._moves_by_itself() else None,
        )
        steps = self._manner.steps or model.settings.steps
        self._drawing = Drawing(model, steps=steps, seed=self._manner.seed)
        self._number, self._samples, self._ended = 0, 0, False
        self._shots: Generator[Shot, None, None] | None = None
        self._next: Shot | None = None  # looked at, not yet drawn

    def _moves_by_itself(self) -> bool:
        """Whether the head goes its own way; of a model without a net for it no head does."""
        manner = self._manner
        wanted = self._identity.still and manner.head_motion > 0 and not manner.heads
        return wanted and "head" in self._model.graphs

    def push(self, piece: NDArray[np.floating] | Sequence[float]) -> Iterator[TalkingFrame]:
        """(n,) samples, 16 kHz mono in [-1, 1] -> the frames that can now be drawn, each when it is asked for.

        Those that are not taken come with the next push. Raises InputError for what is no such sound.
        """
        if self._ended:
            raise InputError("the session was finished; begin a new one for more sound")
        waveform = waveform_of(piece, "the piece of sound")
        self._voice.push(waveform)
        self._samples += len(waveform)
        return self._frames()

    def finish(self) -> Iterator[TalkingFrame]:
        """No more sound follows -> the rest of the frames, `round(seconds of sound x rate)` in all.

        Once more: those that were not taken, as of a session that was kept among them.
        """
        if not self._ended:
            self._voice.finish()
            self._ended = True
        return self._frames()

    def _frames(self) -> Iterator[TalkingFrame]:
        while True:
            shot = self._next = self._next or self._shot()
            heard = self._samples / SAMPLE_RATE
            if self._ended and self._identity.is_over(self._manner, self._number, shot.seconds, heard):
                self.close()
                return
            if self._voice.settled <= shot.seconds:
                return
            frame = self._frame(shot)
            self._number, self._next = self._number + 1, None
            yield frame

    def _shot(self) -> Shot:
        """The next one. Where the source cannot be read, the next call tries again."""
        if self._shots is None:
            self._shots = self._identity.shots(self._manner, self._voice.head, self._model.settings, self._number)
        try:
            return next(self._shots)
        except BaseException:
            self.close()
            raise

    def _frame(self, shot: Shot) -> TalkingFrame:
        sitting = self._identity.sitting(shot, self._model)
        if sitting is None:
            self._drawing.reset()
            return TalkingFrame(shot.image, shot.seconds, drawn=False, mouth_hidden=shot.mouth_hidden)
        conditions, sitter = self._voice.at(shot.seconds), sitting.sitter
        with beside(shot.moved) as moving:
            shown = self._drawing.draw(sitting, conditions, cut=shot.cut)
            image = shown.drawn.onto(shot.image, sitter.alignment, shown.reference)
            image = put_before(image, shot.image, sitter.cover, self._model.settings)
        if (moved := moving()) is not None:
            image = moved(image)
        return TalkingFrame(image, shot.seconds, drawn=True, heard=self._voice.heard)

    def close(self) -> None:
        """Ends the threads that work ahead; a session that is asked for frames again begins them anew."""
        if self._shots is not None:
            self._shots.close()
        self._shots = self._next = None

    def __enter__(self) -> Session:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def state(self) -> State:
        """What it remembers between two frames, as arrays; sound that was pushed and is not yet spoken included."""
        facts = {
            "manner": asdict(self._manner) | {"frame_rate": str(self._manner.frame_rate)},
            "model": self._model.hash,
            "identity": _mark_of(self._identity),
            "number": self._number,
            "samples": self._samples,
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
            for name, now in (("model", model.hash), ("identity", _mark_of(identity))):
                if facts[name] != now:
                    raise InputError(
                        f"the session was kept with the {name} {facts[name]}, this one is {now}; give that one"
                    )
            session = cls(model, identity, manner)
            session._number, session._samples, session._ended = (facts[one] for one in ("number", "samples", "ended"))
            own = {name: _own(array) for name, array in state.items()}
            session._voice.restore(part(own, "voice"))
            session._drawing.restore(part(own, "drawing"))
        except (AttributeError, KeyError, TypeError, ValueError) as error:
            raise InputError(f"not the state of a session ({error}); give what Session.state() returned") from None
        return session


def _own(array: NDArray[Any]) -> NDArray[Any]:
    """A copy, numbers with a point as they were kept: another store may have made them longer."""
    return np.array(array, np.float32 if np.asarray(array).dtype.kind == "f" else None)


def _mark_of(identity: Identity) -> str:
    """12 hex digits that tell identities apart: of whom, what they are drawn from, and how they speak."""
    digest, own_way = hashlib.sha256(), identity.own_way
    for person in identity.people:
        seen = (array for one in [*person.references, *person.mouths] for array in (one.points, one.aligned))
        for array in (person.neutral, person.turns, person.mouth_shapes, *seen):
            digest.update(np.ascontiguousarray(array).tobytes())
    for array in () if own_way is None else (own_way.rest, own_way.turn, own_way.ear):
        digest.update(np.ascontiguousarray(array).tobytes())
    return digest.hexdigest()[:12]
