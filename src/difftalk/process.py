"""The process that a command runs in: what it can print, and how it ends when it is told to from outside.

Knows nothing of the work. Workers are other processes, started with `multiprocessing`.
"""

from __future__ import annotations

import contextlib
import io
import os
import signal
import sys
from multiprocessing import parent_process
from threading import Thread
from types import FrameType
from typing import Final

ENDING: Final = tuple(getattr(signal, name) for name in ("SIGTERM", "SIGHUP") if hasattr(signal, name))
STOPPED: Final = tuple(128 + number for number in (signal.SIGINT, *ENDING))  # exit codes of processes told to end


def replace_unprintable() -> None:
    """What the terminal's encoding lacks is printed as a question mark."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="replace")


def end_in_order() -> None:
    """SIGTERM and SIGHUP raise SystemExit, so that what is half written is cleared away; not where they are ignored."""
    with contextlib.suppress(ValueError):  # only the main thread may
        for number in ENDING:
            if signal.getsignal(number) == signal.SIG_DFL:
                signal.signal(number, _end)


def end_with_parent() -> None:
    """In a worker: Ctrl-C is for the process that began it, and it ends when that one has ended, however that was."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    Thread(target=_leave_with_parent, daemon=True).start()


def _end(number: int, frame: FrameType | None) -> None:
    for other in ENDING:
        signal.signal(other, signal.SIG_IGN)
    raise SystemExit(128 + number)


def _leave_with_parent() -> None:
    parent = parent_process()
    assert parent is not None
    parent.join()
    os._exit(1)
