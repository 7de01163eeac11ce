"""A part: a hidden file that is written beside its place until it is whole, and goes when its process does.

    with Part(folder) as part:
        ...  # write part.path
        part.path.replace(folder / "out.mp4")

It is locked as long as its process lives, so that the next one to write in the folder can tell what is left of one that
was killed, and removes it. Knows nothing of what is written.
"""

from __future__ import annotations

import secrets
import sys
from contextlib import suppress
from pathlib import Path
from typing import BinaryIO

if sys.platform != "win32":  # there an open file cannot be removed
    import fcntl


class Part:
    """A file in `folder`; `mode`: who may read it."""

    def __init__(self, folder: Path, *, mode: int = 0o666) -> None:
        self.path, self._mode = _hidden(folder), mode
        self._file: BinaryIO | None = None

    def make(self) -> None:
        """New, empty and locked, after what is left of others has been removed; OSError where that cannot be."""
        folder = self.path.parent
        for left in folder.glob(".difftalk-*.part"):
            with suppress(OSError), left.open("r+b") as file:
                _lock(file)
                left.unlink()
        while True:
            self.path.touch(self._mode, exist_ok=False)
            if self._hold():
                return
            self.path = _hidden(folder)

    def remove(self) -> None:
        """What lies there goes; nothing happens where it has got its name."""
        with suppress(OSError):
            self.path.unlink()
        if self._file is not None:
            self._file.close()

    def __enter__(self) -> Part:
        self.make()
        return self

    def __exit__(self, *_: object) -> None:
        self.remove()

    def _hold(self) -> bool:
        """Locks it; False where another process has just taken it for one that is left."""
        if sys.platform == "win32":
            return True
        try:
            self._file = self.path.open("r+b")
            _lock(self._file)
        except (FileNotFoundError, BlockingIOError):
            return False
        except OSError:  # a file system without locks: nothing is removed there
            return True
        return self.path.exists()


def _hidden(folder: Path) -> Path:
    return folder / f".difftalk-{secrets.token_hex(6)}.part"


def _lock(file: BinaryIO) -> None:
    if sys.platform != "win32":
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
