"""A job of the bench: done in another process, its spans and figures with it."""

from __future__ import annotations

import tempfile
from pathlib import Path

import pytest

from difftalk.errors import InputError
from difftalk.speed import material
from difftalk.speed.job import Job, environment, run
from difftalk.speed.material import Case


@pytest.fixture(autouse=True)
def _drawn_here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.setattr(tempfile, "tempdir", None)


def test_job_is_done(model_folder: Path, tmp_path: Path) -> None:
    done = run(Job("portrait-512", 1.0, model=str(model_folder), threads=1), tmp_path / "cache")
    assert done.frames == 25
    assert done.whole_seconds > done.first_frame_seconds > 0
    assert done.start_seconds > 0
    assert done.peak_bytes > 50_000_000
    names = {span.stage for span in done.spans}
    assert {"speech", "lay", "mesh", "composite", "net folds", "finish", "paste", "encode"} <= names
    assert sum(span.stage == "encode" for span in done.spans) == 25
    assert (tmp_path / "cache" / "difftalk" / "openvino").is_dir()


def test_job_that_cannot_be_done_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"^nowhere is neither a model's folder"):
        run(Job("portrait-512", 1.0, model="nowhere"), tmp_path)


def test_an_older_processor_is_told_to_the_engine() -> None:
    assert environment("whole") == {}
    assert environment("avx2") == {"ONEDNN_MAX_CPU_ISA": "AVX2"}


def test_films_are_dubbed() -> None:
    assert material.CASES["dub-720p"] == Case("dub-720p", 1280, 720, film=True)
