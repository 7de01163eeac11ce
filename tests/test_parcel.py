"""What a training run on another machine sends back is what it was."""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
import tarfile
from pathlib import Path
from types import ModuleType

import pytest
import torch

from difftalk.training.batches import FakeSource
from difftalk.training.checkpoint import load_checkpoint
from difftalk.training.kinds.table import kind_of, recipe_named, recipe_of
from difftalk.training.loop import train

PARCEL = Path(__file__).parents[1] / "tools" / "parcel.py"


@pytest.fixture(scope="module")
def parcel() -> ModuleType:
    spec = importlib.util.spec_from_file_location("parcel", PARCEL)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("runs")
    kinds: dict[str, str] = {"first-stage": "first-stage", "joint": "denoiser", "painter": "painter"}
    for name, kind in kinds.items():
        recipe = recipe_named(kind, "debug")
        train(kind_of(recipe), FakeSource(kind), recipe, folder / name, steps=1)
        (folder / f"{name}.log").write_text(f"log of {name}\n")
    return folder


def test_there_and_back(parcel: ModuleType, runs: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out, back = tmp_path / "out", tmp_path / "back"
    out.mkdir()
    assert parcel.main(["send", str(runs), str(out), "joint"]) == 0
    assert (out / "joint.safetensors.0").stat().st_size > 100_000  # all of it
    for name in ("first-stage", "painter", "joint", "missing"):
        parcel.send(runs, out, name, piece=100_000)
    sent = {path.name: path.stat().st_size for path in out.iterdir()}
    assert {"report.tgz", "joint.safetensors.0", "joint.safetensors.1", "painter.safetensors.0"} <= sent.keys()
    assert not any(name.startswith(("first-stage", ".")) for name in sent)  # it lies in the denoiser's run
    assert max(size for name, size in sent.items() if name != "report.tgz") == 100_000
    assert parcel.main(["join", str(out), str(back)]) == 0
    assert {path.name for path in back.glob("*.safetensors")} == {"joint.safetensors", "painter.safetensors"}
    for name in ("joint", "painter"):
        there, here = load_checkpoint(runs / name), load_checkpoint(back / f"{name}.safetensors")
        assert (here.kind, recipe_of(here), here.step) == (there.kind, recipe_of(there), 1)
        for key, value in there.average.items():
            torch.testing.assert_close(here.average[key], value, rtol=1e-3, atol=1e-4)
        assert (back / name / "metrics.jsonl").read_bytes() == (runs / name / "metrics.jsonl").read_bytes()
        assert (back / name / "0000001.jpg").read_bytes().startswith(b"\xff\xd8")
    assert (back / "joint.log").read_text() == "log of joint\n"
    assert "samples/s" in (back / "table.txt").read_text()
    (out / "joint.safetensors.1").write_bytes(b"of another minute")
    capsys.readouterr()
    assert parcel.main(["join", str(out), str(tmp_path / "again")]) == 1
    assert "joint.safetensors is damaged" in capsys.readouterr().err


def test_the_table_names_every_run(parcel: ModuleType, runs: Path, tmp_path: Path) -> None:
    parcel.send(runs, tmp_path, "painter")
    (runs / "joint" / "metrics.jsonl").unlink()  # as in a run's first minute
    parcel.send(runs, tmp_path, "joint")
    head, *lines = parcel.table(runs).splitlines()
    assert head.split()[:4] == ["run", "steps", "seconds", "samples/s"]
    assert any(line.startswith("painter") for line in lines)


def test_what_is_not_understood_is_explained(parcel: ModuleType, capsys: pytest.CaptureFixture[str]) -> None:
    assert parcel.main(["fetch"]) == 2
    assert "parcel.py join OUT FOLDER" in capsys.readouterr().err


def test_a_folder_that_the_terminal_cannot_print(tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    tarfile.open(tmp_path / "out" / "report.tgz", "w:gz").close()
    done = subprocess.run(
        [sys.executable, PARCEL, "join", tmp_path / "out", tmp_path / "läufe"],
        env={**os.environ, "PYTHONIOENCODING": "ascii"}, capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert done.stdout == f"{tmp_path}/l?ufe: \n"
