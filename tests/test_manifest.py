"""What a folder's manifest, or its folders, say of its clips."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from difftalk.data.manifest import find_clips
from difftalk.errors import InputError


def test_plain_folder(tmp_path: Path) -> None:
    for name in ("ann/one.mp4", "ann/two.MOV", "ann/notes.txt", "bob.mkv", "talk now.mp4"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(b"")
    found = {clip.name: clip.person for clip in find_clips(tmp_path)}
    assert found == {"ann_one": "ann", "ann_two": "ann", "bob": "bob", "talk_now": "talk now"}


def test_names_never_collide(tmp_path: Path) -> None:
    for name in ("talk.mp4", "talk.mov", "a_b.mp4", "a/b.mp4", "other.mp4"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(b"")
    names = [clip.name for clip in find_clips(tmp_path)]
    assert len(set(names)) == 5
    assert "other" in names
    assert [clip.name for clip in find_clips(tmp_path)] == names


def test_names_that_are_no_text(tmp_path: Path) -> None:
    """Nor does one name a folder above its own."""
    for name in (b"\xff.mp4", b"\xfe.mp4", b"...mp4"):
        (tmp_path / os.fsdecode(name)).write_bytes(b"")
    names = {clip.name for clip in find_clips(tmp_path)}
    assert len(names) == 3
    assert not names & {".", "..", ""}


@pytest.mark.parametrize(
    ("content", "message"),
    [(None, "no clip; videos are sought"), ("", "lacks the columns"), ("path,person\na.mp4,ann\n", "rights, split")],
)
def test_nothing_to_prepare(tmp_path: Path, content: str | None, message: str) -> None:
    if content is not None:
        (tmp_path / "manifest.csv").write_text(content)
    with pytest.raises(InputError, match=message):
        find_clips(tmp_path)


def test_languages_are_those_of_the_manifest(tmp_path: Path) -> None:
    (tmp_path / "manifest.csv").write_text(
        "path,person,split,rights,language\na.mp4,ann,train,open,fr\nb.mp4,bob,val,open,\n"
    )
    assert [clip.language for clip in find_clips(tmp_path)] == ["fr", ""]
