"""What the bench works on: of the size and length that is asked for, and drawn once."""

from __future__ import annotations

import tempfile
from pathlib import Path

import pytest

from difftalk.media import audio, picture, video
from difftalk.model import Model
from difftalk.speed.material import CASES, Case, film, still, voice


@pytest.fixture(autouse=True)
def _drawn_here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))


def test_still_has_its_size_and_a_face() -> None:
    image = picture.read(still(320, 200))
    assert image.shape == (200, 320, 3)
    assert len(Model.load().face_finder.find(image)) == 1


def test_film_has_its_size_and_length_and_moves() -> None:
    path = film(160, 90, 0.4)
    info = video.probe(path)
    assert (info.width, info.height, info.frame_count, float(info.frame_rate)) == (160, 90, 10, 25.0)
    first, *_, last = (frame.image.astype(int) for frame in video.read(path))
    assert abs(first - last).max() > 50


def test_voice_is_the_demos_for_as_long_as_is_asked() -> None:
    waveform = audio.read(voice(8))
    assert len(waveform) == 8 * 16_000
    assert abs(waveform).max() > 0.1


def test_what_is_drawn_is_kept() -> None:
    case = Case("tiny", 64, 48, film=True)
    before = case.source(0.2).stat().st_mtime_ns
    assert case.source(0.2).stat().st_mtime_ns == before
    assert [path.name for path in case.source(0.2).parent.iterdir()] == ["film-64x48-0.2.mp4"]


def test_cases_are_named_by_their_size() -> None:
    assert {name: (case.width, case.height, case.film) for name, case in CASES.items()} == {
        "portrait-512": (512, 512, False),
        "portrait-1024": (1024, 1024, False),
        "dub-720p": (1280, 720, True),
        "dub-1080p": (1920, 1080, True),
    }
