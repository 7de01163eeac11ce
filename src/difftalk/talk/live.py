"""Live: a session that is heard and seen while it speaks.

    with Fragments(out, ...) as film:
        live = Live(session, film, sample_rate=rate)
        live.run(pieces)                 # until they end; `interrupt` from another thread or a signal

Sound that comes in faster than it is spoken waits; where none comes it is silence, so that the film goes on and whoever
is in it lives. Knows nothing of where sound comes from, nor of where the film goes.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from threading import Event, Thread
from typing import Final

import numpy as np

from difftalk.arrays import Array
from difftalk.media.audio import Resampler
from difftalk.media.fragments import Fragments
from difftalk.talk.session import Session, TalkingFrame

TURN: Final = 0.04  # seconds from one look at what has come in to the next
FADE: Final = 0.01  # seconds in which a sound that is broken off ends


@dataclass
class Spoken:
    """What has been shown. late: seconds by which a frame was later than its usual delay, the most. idle: of silence
    that was put where no sound came."""

    frames: int = 0
    seconds: float = 0.0
    late: float = 0.0
    idle: float = 0.0
    interrupted: int = 0


class _Incoming:
    """Pieces of sound on their way, taken in a thread of their own, which holds nothing else: it may wait for ever."""

    def __init__(self) -> None:
        self.waiting = deque[Array]()
        self.told, self.ended = Event(), False  # told: there is something to do
        self._error: BaseException | None = None

    def take_from(self, pieces: Iterable[Array]) -> None:
        Thread(target=self._take, args=(pieces,), daemon=True).start()

    def _take(self, pieces: Iterable[Array]) -> None:
        try:
            for piece in pieces:
                self.waiting.append(piece)
                self.told.set()
        except BaseException as error:  # it is the speaker's to tell
            self._error = error
        self.ended = True
        self.told.set()

    def check(self) -> None:
        """Raises what went wrong."""
        if self._error is not None:
            raise self._error


class Live:
    """sample_rate: of the sound that comes in, Hz. clock: seconds; None: all is spoken as it comes, as in a file."""

    def __init__(
        self,
        session: Session,
        film: Fragments,
        *,
        sample_rate: int,
        clock: Callable[[], float] | None = time.monotonic,
    ) -> None:
        self._session, self._film, self._rate, self._clock = session, film, sample_rate, clock
        self._resampler, self._step = Resampler(sample_rate), float(1 / session.frame_rate)
        self._unheard = np.zeros(0, np.float32)  # was given to the session and is not in the film yet
        self._incoming, self._broken_off = _Incoming(), False
        self._end: BaseException | None = None
        self._taken = 0  # samples
        self.spoken = Spoken()

    def run(self, pieces: Iterable[Array]) -> Spoken:
        """Speaks until the pieces, (n,) mono at the sample rate, end. They are waited for in a thread of their own."""
        incoming, began = self._incoming, self._clock() if self._clock else 0.0
        incoming.take_from(pieces)
        while not (incoming.ended and not incoming.waiting):
            if self._clock is None:
                incoming.told.wait()
                incoming.told.clear()
            else:
                time.sleep(TURN)
            if self._broken_off:
                self._break_off()
            self._hear(self._due(began), began)
            self._check_end()
        incoming.check()
        self._show(self._session.push(self._resampler.finish()), began)
        self._show(self._session.finish(), began)
        self._film.hear(self._unheard)
        return self.spoken

    def interrupt(self) -> None:
        """What waits or is not shown yet is not spoken: the mouth closes within 0.2 s. Any thread may call it."""
        self._broken_off = True
        self._incoming.told.set()

    def stop(self, reason: BaseException) -> None:
        """`run` raises this between two frames; a signal's handler may say so, which must not raise within them."""
        self._end = reason
        self._incoming.told.set()

    def _check_end(self) -> None:
        if self._end is not None:
            raise self._end

    def _due(self, began: float) -> Array:
        """What is to be heard now: all that is there or, by the clock, as much as time has passed."""
        wanted = None if self._clock is None else round((self._clock() - began) * self._rate) - self._taken
        parts, count = list[Array](), 0
        while self._incoming.waiting and (wanted is None or count < wanted):
            piece = self._incoming.waiting.popleft()
            rest = None if wanted is None else piece[wanted - count :]
            if rest is not None and len(rest):
                self._incoming.waiting.appendleft(rest)
                piece = piece[: wanted - count] if wanted is not None else piece
            parts.append(piece)
            count += len(piece)
        if wanted is not None and count < wanted and not self._incoming.ended:
            parts.append(np.zeros(wanted - count, np.float32))
            self.spoken.idle += (wanted - count) / self._rate
        return np.concatenate(parts) if parts else np.zeros(0, np.float32)

    def _hear(self, sound: Array, began: float) -> None:
        self._taken += len(sound)
        self._unheard = np.concatenate([self._unheard, sound])
        self._show(self._session.push(self._resampler.push(sound)), began)

    def _show(self, frames: Iterator[TalkingFrame], began: float) -> None:
        """Each frame, then the sound up to the next one."""
        for frame in frames:
            self._check_end()
            self._film.show(frame.image, frame.seconds)
            now = round((frame.seconds + self._step) * self._rate)
            count = max(0, now - (self._taken - len(self._unheard)))
            self._film.hear(self._unheard[:count])
            self._unheard = self._unheard[count:]
            self.spoken.frames, self.spoken.seconds = self.spoken.frames + 1, frame.seconds + self._step
            if self._clock is not None and not self._incoming.ended:
                late = self._clock() - began - frame.seconds - self._session.delay
                self.spoken.late = max(self.spoken.late, late)

    def _break_off(self) -> None:
        self._broken_off = False
        self._incoming.waiting.clear()
        self._session.interrupt()
        fading = min(len(self._unheard), round(FADE * self._rate))
        self._unheard[:fading] *= np.linspace(1, 0, fading, dtype=np.float32)
        self._unheard[fading:] = 0
        self.spoken.interrupted += 1
