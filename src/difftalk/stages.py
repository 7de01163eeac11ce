"""Stages: when each part of the work began and ended, and in which thread. Nothing is noted unless somebody asks.

    with stages.noted() as spans:
        talker.animate("me.jpg", "voice.wav", "out.mp4")

Parts of the work name themselves where they are defined, `@timed("paste")`. Knows nothing of what they do.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Generator, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from functools import wraps
from typing import ParamSpec, TypeAlias, TypeVar, cast

Given = ParamSpec("Given")
Returned = TypeVar("Returned")
Item = TypeVar("Item")
Items: TypeAlias = Generator[Item, None, None]


@dataclass(frozen=True)
class Span:
    """One run of a stage. begin, end: seconds of `time.perf_counter`."""

    stage: str
    thread: str
    begin: float
    end: float


_notes: list[Span] | None = None  # the process's: stages run in threads that nobody hands anything to


@contextmanager
def noted() -> Iterator[list[Span]]:
    """The spans of all threads that end within the block, in the order in which they end."""
    global _notes
    assert _notes is None, "one at a time"
    spans: list[Span] = []
    _notes = spans
    try:
        yield spans
    finally:
        _notes = None


def timed(stage: str) -> Callable[[Callable[Given, Returned]], Callable[Given, Returned]]:
    """A function whose runs are a stage."""

    def named(work: Callable[Given, Returned]) -> Callable[Given, Returned]:
        @wraps(work)
        def run(*args: Given.args, **kwargs: Given.kwargs) -> Returned:
            if _notes is None:
                return work(*args, **kwargs)
            begin = time.perf_counter()
            try:
                return work(*args, **kwargs)
            finally:
                _note(stage, begin)

        return run

    return named


def timed_each(stage: str) -> Callable[[Callable[Given, Items[Item]]], Callable[Given, Items[Item]]]:
    """A function that gives items one by one; making each of them is a run of the stage."""

    def named(work: Callable[Given, Items[Item]]) -> Callable[Given, Items[Item]]:
        @wraps(work)
        def run(*args: Given.args, **kwargs: Given.kwargs) -> Items[Item]:
            end, items = object(), work(*args, **kwargs)
            step: Callable[[Items[Item], object], Item | object] = timed(stage)(next)
            with closing(items):
                while (item := step(items, end)) is not end:
                    yield cast("Item", item)

        return run

    return named


def _note(stage: str, begin: float) -> None:
    if _notes is not None:
        _notes.append(Span(stage, threading.current_thread().name, begin, time.perf_counter()))
