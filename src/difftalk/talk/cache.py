"""The cache: what was found in videos, in the user's cache folder, so that none is looked at twice.

A video is known by its content, wherever it lies; what another model or version found is not used. The folder holds
`MOST_BYTES`, then what was not used for longest goes. A folder that cannot be written, or a file that is damaged, stops
nobody. Knows nothing of what is found.
"""

from __future__ import annotations

import hashlib
import os
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Final

from difftalk import __version__
from difftalk.engine.openvino import default_cache
from difftalk.errors import InputError, OutputError
from difftalk.talk import keeping
from difftalk.talk.footage import Footage
from difftalk.talk.looking import going_on

if TYPE_CHECKING:
    from difftalk.model import Model

MOST_BYTES: Final = 500_000_000
ENDING: Final = ".video"


def folder() -> Path:
    """`difftalk/videos` in the user's cache folder."""
    return default_cache().parent / "videos"


def found(video: Path, model: Model) -> Footage | None:
    """What was kept of a video with this model; None where there is nothing that can be used."""
    with suppress(OSError):
        for file in folder().glob(f"{video.stat().st_size}-*-{_made_by(model)}{ENDING}"):
            if (one := _read(file, video, model)) is not None:
                os.utime(file)
                return one
    return None


def keep(footage: Footage, model: Model) -> None:
    """Keeps what has been looked at, where that is more than what is there already."""
    if footage.look is None or not footage.look.found_more:
        return
    with suppress(OSError, InputError, OutputError):
        kept = footage.kept(whole=False)
        video = kept.facts["video"]
        file = folder() / f"{video['bytes']}-{video['sha256'][:16]}-{_made_by(model)}{ENDING}"
        folder().mkdir(mode=0o700, parents=True, exist_ok=True)
        if not file.exists() or _looked(file) < kept.facts["looked"]:
            keeping.write(file, kept, overwrite=True)
        _make_room()


def _read(file: Path, video: Path, model: Model) -> Footage | None:
    try:
        kept = keeping.read(file)
        mark = kept.facts["video"]
        stat = video.stat()
        if (mark["path"], mark["changed"]) != (str(video.absolute()), stat.st_mtime_ns):
            mark["changed"] = None  # elsewhere, or touched: its content is asked
        one = Footage.of_kept(kept, video)
    except InputError:  # damaged, or another video
        return None
    one = replace(one, path=video, info=replace(one.info, path=video))
    return one if kept.facts["whole"] else going_on(one, model, kept.facts["looked"])


def _looked(file: Path) -> int:
    """Frames that had been looked at; none of a file that cannot be read."""
    try:
        return int(keeping.read(file).facts["looked"])
    except InputError:
        return 0


def _make_room() -> None:
    """The files that were not used for longest go, until the rest is small enough."""
    files = sorted((file.stat().st_mtime, file.stat().st_size, file) for file in folder().glob(f"*{ENDING}"))
    held = sum(size for _, size, _ in files)
    for _, size, file in files:
        if held <= MOST_BYTES:
            break
        file.unlink()
        held -= size


def _made_by(model: Model) -> str:
    """12 hex digits of model and version."""
    return hashlib.sha256(f"{model.hash} {__version__}".encode()).hexdigest()[:12]
