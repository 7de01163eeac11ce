"""The process that a command runs in: what it can print, and how it ends, of itself or told to from outside.

    raise SystemExit(exit_code_of(command))

Knows nothing of the work. Workers are other processes, started with `multiprocessing`.
"""

from __future__ import annotations

import contextlib
import io
import os
import signal
import sys
from collections.abc import Callable
from multiprocessing import parent_process
from threading import Thread
from types import FrameType
from typing import Final

from difftalk.errors import DifftalkError

ENDING: Final = tuple(getattr(signal, name) for name in ("SIGTERM", "SIGHUP") if hasattr(signal, name))
STOPPED: Final = tuple(128 + number for number in (signal.SIGINT, *ENDING))  # exit codes of processes told to end


def exit_code_of(command: Callable[[], object], *, wording: Callable[[str], str] = str) -> str | int | None:
    """Runs a command: 1, after one line, for what a user can mend; 130 for Ctrl-C, 143 for SIGTERM, 129 for SIGHUP.

    wording: of the message of an error. Where nobody reads what it prints any more, it ends quietly, with 1.
    """
    _ready_streams()
    end_in_order()
    code, refused = _outcome(command, wording)
    unprinted = _unprinted()
    if not isinstance(unprinted or refused, BrokenPipeError | None):
        _complain(
            _refusal(unprinted, "standard output") if unprinted else _refusal(refused, "a file or standard output")
        )
    return code or int((unprinted or refused) is not None)


def _outcome(command: Callable[[], object], wording: Callable[[str], str]) -> tuple[str | int | None, OSError | None]:
    """The exit code, and what the system refused."""
    try:
        command()
    except DifftalkError as error:
        _complain(wording(str(error)))
        return 1, None
    except OSError as error:
        return 1, error
    except KeyboardInterrupt:
        _complain("stopped")
        return STOPPED[0], None
    except SystemExit as end:
        if end.code in STOPPED:
            _complain("stopped")
        return end.code, None
    return 0, None


def _refusal(error: OSError | None, nameless: str) -> str:
    assert error is not None
    return f"{error.filename or nameless}: cannot be read or written ({error.strerror or error})"


def _complain(text: str) -> None:
    """One line on standard error, where that can still be reached."""
    with contextlib.suppress(OSError, ValueError):
        if sys.stderr is not None:
            print(f"difftalk: {text}", file=sys.stderr, flush=True)


def _ready_streams() -> None:
    """What the terminal's encoding lacks is printed as a question mark; a closed stream's number goes to no file."""
    for number in range(3):
        try:
            os.fstat(number)
        except OSError:  # the next file to be opened would get it, and all that libraries write to it
            os.open(os.devnull, os.O_RDWR)
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="replace")


def _unprinted() -> OSError | None:
    """Why what was printed did not arrive, a full disk or a closed pipe; nothing more is printed then."""
    try:
        if sys.stdout is not None:
            sys.stdout.flush()
    except OSError as error:
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, sys.stdout.fileno())  # so that the interpreter's own last flush does not fail
        os.close(nowhere)
        return error
    return None


def cores() -> int:
    """That this process may run on."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


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
