"""A look over a video that runs ahead of its drawing: as far as the frame that is to be drawn asks for, no farther.

    footage = begun(path, model)     # its first seconds have been looked at
    footage.look.go_on(number)       # all is known now that frame is drawn from

Several sessions may ask; whoever asks first looks. Knows nothing of sound that is to be spoken.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from threading import Lock
from typing import TYPE_CHECKING, TypeVar

from difftalk.progress import Progress
from difftalk.talk.footage import Footage
from difftalk.talk.knowledge import first_look, look_at
from difftalk.talk.watching import Watch

if TYPE_CHECKING:
    from difftalk.model import Model

Found = TypeVar("Found")


def begun(path: Path, model: Model, *, progress: Progress | None = None) -> Footage:
    """The identity of a video whose first seconds have been looked at, until there are faces to draw on.

    progress: "looking", frames done, frames in all. Raises FaceError where the whole video has none.
    """
    watch = Watch(path, model)
    first = first_look(watch.info, model.settings)
    while (watch.taken < first or not watch.large_enough()) and watch.step():
        if progress is not None:
            progress("looking", watch.taken, max(watch.taken, min(first, watch.info.frame_count)))
    footage = watch.footage()
    return replace(footage, look=Looking(footage, model, watch))


def going_on(footage: Footage, model: Model, looked: int) -> Footage:
    """Footage of which so many frames had been looked at when it was kept."""
    return replace(footage, look=Looking(footage, model, looked=looked))


class Looking:
    """watch: which fills the footage's lists. looked: frames of which something was known before."""

    def __init__(self, footage: Footage, model: Model, watch: Watch | None = None, *, looked: int = 0) -> None:
        self._footage, self._model, self._watch = footage, model, watch
        self._looked, self._lock = looked if watch is None else watch.taken, Lock()

    @property
    def taken(self) -> int:
        """Frames of which something is known, and one more where it is known that there are no more."""
        return self._looked + self.ended

    @property
    def ended(self) -> bool:
        return self._watch is not None and self._watch.ended

    @property
    def found_more(self) -> bool:
        """Than was known when it was kept."""
        return self._watch is not None

    def go_on(self, number: int | None) -> None:
        """Until all is known that the frame of this number is drawn from; None: to the video's end.

        A look that failed, or was kept on disk, begins anew and finds again what is known.
        """
        wanted = None if number is None else look_at(number, self._footage.info, self._model.settings)
        with self._lock:
            if self.ended or (wanted is not None and wanted <= self._looked):
                return
            watch = self._watch = self._watch or Watch(self._footage.path, self._model)
            try:
                while (wanted is None or watch.taken < wanted) and watch.step():
                    pass
            except BaseException:
                self.close()
                raise
            self._learn(watch)

    def close(self) -> None:
        """Ends the thread that reads ahead."""
        if self._watch is not None and not self._watch.ended:
            self._watch.close()
            self._watch = None

    def _learn(self, watch: Watch) -> None:
        """What the footage does not have yet."""
        one = self._footage
        _extend(one.frames, watch.frames)
        _extend(one.times, watch.times)
        _extend(one.stages, watch.stages)
        _extend(one.marks, watch.marks)
        one.notes[:] = watch.notes()
        self._looked = max(self._looked, watch.taken)


def _extend(known: list[Found], found: list[Found]) -> None:
    if known is not found:
        known.extend(found[len(known) :])
