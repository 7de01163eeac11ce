"""The cache: a video is looked at once, wherever it lies; nothing that is wrong with the cache stops anybody."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from difftalk.model import Model
from difftalk.talk import cache
from difftalk.talk.footage import Footage
from difftalk.talk.looking import begun
from difftalk.talk.talker import Talker

Wave = NDArray[np.float32]


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(cache, "folder", lambda: tmp_path / "videos")
    return tmp_path / "videos"


def pictures(talker: Talker, identity: Footage, sound: Wave) -> NDArray[np.uint8]:
    return np.stack([frame.image for frame in talker.stream(identity, [sound])])


def test_a_video_is_known_again(talker: Talker, clip: Path, waveform: Wave, place: Path, tmp_path: Path) -> None:
    """Where it lay, elsewhere, and touched; not by another model, nor with another content."""
    model, here = talker.model, Path(shutil.copy(clip, tmp_path / "here.mp4"))
    assert cache.found(here, model) is None
    one = begun(here, model)
    expected = pictures(talker, one, waveform[:8000])
    cache.keep(one, model)
    (file,) = place.iterdir()
    there = Path(shutil.copy(here, tmp_path / "there.mp4"))
    for video in (here, there):
        again = cache.found(video, model)
        assert again is not None
        assert again.path == again.info.path == video
        np.testing.assert_array_equal(pictures(talker, again, waveform[:8000]), expected)
    os.utime(here)
    assert cache.found(here, model) is not None
    assert cache.found(here, model.changed(["watching.eased=3"])) is None
    content = bytearray(here.read_bytes())
    content[len(content) // 2] ^= 1
    here.write_bytes(content)
    assert cache.found(here, model) is None
    assert list(place.iterdir()) == [file]


def test_dub_keeps_and_uses_it(talker: Talker, clip: Path, voice: Path, place: Path, tmp_path: Path) -> None:
    told = list[str]()

    def dub(name: str, *, cache: bool = True) -> bytes:
        talker.dub(clip, voice, tmp_path / name, cache=cache, progress=lambda what, *_: told.append(what))
        return (tmp_path / name).read_bytes()

    plain = dub("plain.mp4", cache=False)
    assert not place.exists()
    assert dub("first.mp4") == plain
    assert place.stat().st_mode & 0o077 == 0  # it holds faces
    assert "looking" in told
    told.clear()
    assert dub("second.mp4") == plain
    assert "looking" not in told


@pytest.mark.parametrize("damage", [b"", b"hello"])
def test_a_damaged_file_is_made_anew(model: Model, clip: Path, place: Path, damage: bytes) -> None:
    one = begun(clip, model)
    cache.keep(one, model)
    (file,) = place.iterdir()
    file.write_bytes(damage or file.read_bytes()[:-100])
    assert cache.found(clip, model) is None
    cache.keep(one, model)
    assert cache.found(clip, model) is not None


def test_a_folder_that_cannot_be_written_stops_nobody(model: Model, clip: Path, place: Path) -> None:
    place.write_bytes(b"a file")
    assert cache.found(clip, model) is None
    cache.keep(begun(clip, model), model)
    assert place.read_bytes() == b"a file"


def test_what_was_not_used_for_longest_goes(
    model: Model, clip: Path, place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cache.keep(begun(clip, model), model)
    (file,) = place.iterdir()
    others = [file.with_name(f"{number}-0-0{cache.ENDING}") for number in range(3)]
    for number, other in enumerate(others):
        shutil.copy(file, other)
        os.utime(other, (number, number))
    monkeypatch.setattr(cache, "MOST_BYTES", round(2.5 * file.stat().st_size))
    cache.keep(begun(clip, model), model)
    assert set(place.iterdir()) == {file, others[2]}
