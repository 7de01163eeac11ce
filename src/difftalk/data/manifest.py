"""Manifests: which clips a folder holds, and what is known of each.

A folder with manifest.csv (path, person, split, rights, perhaps language; offsets.csv beside it) or any folder of
videos, where the folder a video lies in names the person. Opens no video.
"""

from __future__ import annotations

import csv
import hashlib
import os
import re
from collections import Counter
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

from difftalk.errors import InputError

SUFFIXES: Final = {".mp4", ".mkv", ".mov", ".avi", ".mpg", ".mpeg", ".webm", ".m4v", ".mts", ".flv", ".wmv", ".ts"}


@dataclass(frozen=True)
class Entry:
    """A clip to prepare. offset: frames at 25/s by which the mouth leads its audio; None when it is to be measured."""

    path: Path
    name: str
    person: str
    split: str = "train"
    rights: str = "own"
    offset: int | None = None
    offset_r: float = 0.0
    language: str = ""


def find_clips(source: Path, *, rights: str | None = None, split: str | None = None) -> list[Entry]:
    """The clips of a folder, by manifest.csv where there is one. rights, split: keep only these."""
    if not source.is_dir():
        raise InputError(f"{source} is not a folder; give a folder of videos or one with a manifest.csv")
    clips = _from_manifest(source) if (source / "manifest.csv").is_file() else _from_folder(source)
    chosen = [c for c in clips if rights in (None, c.rights) and split in (None, c.split)]
    if not chosen:
        wanted = " and ".join(
            f"{name} {value!r}" for name, value in (("rights", rights), ("split", split)) if value is not None
        )
        kinds = ", ".join(sorted({f"{clip.rights} / {clip.split}" for clip in clips}))
        raise InputError(
            f"{source} has no clip" + (f" with {wanted}; it has {kinds}" if clips else "; videos are sought")
        )
    taken = Counter(clip.name for clip in clips)
    return [clip if taken[clip.name] == 1 else replace(clip, name=_longer_name(clip)) for clip in chosen]


def _name_of(path: str) -> str:
    name = re.sub(r"[^A-Za-z0-9._-]+", "_", str(Path(path).with_suffix(""))).removeprefix("clips_")
    return name if name.strip(".") else "_"  # a folder of its own, not the one it is in


def _longer_name(clip: Entry) -> str:
    """Apart from that of talk.mov beside talk.mp4."""
    return f"{clip.name}-{hashlib.sha256(os.fsencode(clip.path)).hexdigest()[:8]}"


def _from_manifest(source: Path) -> list[Entry]:
    offsets: dict[str, dict[str, str]] = {}
    if (source / "offsets.csv").is_file():
        with (source / "offsets.csv").open(newline="", encoding="utf-8", errors="surrogateescape") as file:
            offsets = {row["path"]: row for row in csv.DictReader(file)}
    with (source / "manifest.csv").open(newline="", encoding="utf-8", errors="surrogateescape") as file:
        rows = list(csv.DictReader(file))
    missing = {"path", "person", "split", "rights"} - set(rows[0] if rows else ())
    if missing:
        raise InputError(f"{source / 'manifest.csv'} lacks the columns {', '.join(sorted(missing))}")
    clips = []
    for row in rows:
        known = offsets.get(row["path"])
        clip = Entry(
            source / row["path"],
            _name_of(row["path"]),
            row["person"],
            row["split"],
            row["rights"],
            language=row.get("language") or "",
        )
        if known is not None:
            clip = replace(clip, offset=int(known["offset_frames"]), offset_r=float(known["r_at_offset"]))
        clips.append(clip)
    return clips


def _from_folder(source: Path) -> list[Entry]:
    files = sorted(p for p in source.rglob("*") if p.suffix.lower() in SUFFIXES and p.is_file())
    people = {p: p.parent.name if p.parent != source else p.stem for p in files}
    return [Entry(p, _name_of(str(p.relative_to(source))), people[p]) for p in files]
