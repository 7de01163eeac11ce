"""Hidden files: what is left of others goes, what is being written stays."""

from __future__ import annotations

from pathlib import Path

import pytest

from difftalk.media.part import Part


def test_a_part_goes_and_a_whole_one_stays(tmp_path: Path) -> None:
    with Part(tmp_path) as part:
        part.path.write_text("half")
    assert not list(tmp_path.iterdir())
    with Part(tmp_path) as part:
        part.path.write_text("whole")
        part.path.replace(tmp_path / "out")
    assert [path.read_text() for path in tmp_path.iterdir()] == ["whole"]


def test_what_is_left_goes_and_what_is_held_stays(tmp_path: Path) -> None:
    (tmp_path / ".difftalk-0123456789ab.part").touch()
    (tmp_path / ".mine.part").touch()
    with Part(tmp_path) as one, Part(tmp_path) as other:
        assert {path.name for path in tmp_path.iterdir()} == {one.path.name, other.path.name, ".mine.part"}


def test_one_that_is_taken_for_a_left_one_is_made_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Another process comes between making and locking."""
    touch, made = Path.touch, list[Path]()

    def taken_once(path: Path, mode: int = 0o666, exist_ok: bool = True) -> None:
        touch(path, mode, exist_ok)
        made.append(path)
        if len(made) == 1:
            path.unlink()

    monkeypatch.setattr(Path, "touch", taken_once)
    with Part(tmp_path) as part:
        assert made[-1] == part.path
        assert part.path.exists()
    assert len(made) == 2
