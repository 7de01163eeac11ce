"""The bench: what is planned, what it says, and what it refuses."""

from __future__ import annotations

import json
import tempfile
from pathlib import Path

import pytest

from conftest import Run
from difftalk.errors import InputError
from difftalk.speed.bench import Plan


def test_jobs_are_every_case_in_every_way() -> None:
    plan = Plan(cases=("portrait-512",), engines=("openvino", "onnxruntime"), threads=(1, 2), processors=("avx2",))
    assert [(job.engine, job.threads, job.processor) for job in plan.jobs] == [
        ("openvino", 1, "avx2"),
        ("openvino", 2, "avx2"),
        ("onnxruntime", 1, "avx2"),
        ("onnxruntime", 2, "avx2"),
    ]


@pytest.mark.parametrize(
    "wrong", [{"cases": ["big"]}, {"engines": ["x"]}, {"precisions": ["f8"]}, {"processors": ["6502"]}]
)
def test_unknown_names_are_refused(wrong: dict[str, list[str]]) -> None:
    with pytest.raises(InputError, match="is not known; allowed: "):
        Plan(**wrong)  # type: ignore[arg-type]


@pytest.mark.parametrize("wrong", [{"threads": [-1]}, {"seconds": 0.5}, {"seconds": float("nan")}, {"repeats": 0}])
def test_numbers_out_of_range_are_refused(wrong: dict[str, float]) -> None:
    with pytest.raises(InputError, match="repeats 1 or more"):
        Plan(**wrong)  # type: ignore[arg-type]


def test_the_command_prints_a_table_and_writes_json_and_a_timeline(
    run: Run, model_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.setattr(tempfile, "tempdir", None)
    out, stages = tmp_path / "figures.json", tmp_path / "stages.png"
    given = ("--case", "portrait-512", "--seconds", 1, "--threads", 1, "--model", model_folder, "-o", out)
    code, said, err = run("bench", *given, "--stages", stages)
    assert (code, err) == (0, "")
    assert "| portrait-512, openvino, auto, 1, whole |" in said
    assert "| paste | 25 |" in said
    assert stages.is_file()
    content = json.loads(out.read_text())
    (row,) = content["figures"]
    assert row["frames"] == 25
    assert row["frames_per_second"] > 0
    assert row["published"] is None
    assert content["processor"]["cores"] >= 1


def test_a_place_that_cannot_be_written_is_refused_first(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("difftalk.speed.bench.measure", lambda *_, **__: pytest.fail("measured"))
    code, _, err = run("bench", "-o", "/nowhere/figures.json")
    assert (code, err.count("\n")) == (1, 1)
    assert "/nowhere" in err


def test_the_command_refuses_in_one_line(run: Run) -> None:
    code, _, err = run("bench", "--case", "big")
    assert code == 1
    assert err == ("difftalk: case 'big' is not known; allowed: portrait-512, portrait-1024, dub-720p, dub-1080p\n")
