"""What tools/gpu_carry.sh gathers, and what tools/gpu_train.sh starts, in which order and from what."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

TOOLS = Path(__file__).parents[1] / "tools"

# Stands for python: notes how training is called, leaves a run behind, and fails for painters.
PYTHON = """#!/usr/bin/env bash
[ "$1" = -m ] || exit 0
shift 2
echo "$*" >>"$CALLS"
while [ "$1" != -o ]; do kind=${kind:-$1} && shift; done
mkdir -p "$2" && touch "$2/checkpoint.pt"
echo "trained $kind"
[ "$kind" != painter ] || exit 3
"""


def run(command: list[str], **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(command, capture_output=True, text=True, check=False, env={**os.environ, **environment})


@pytest.fixture
def carried(tmp_path: Path) -> Path:
    (tmp_path / "pack").mkdir()
    (tmp_path / "pack" / "pack.json").write_text("{}")
    (tmp_path / "runs" / "folds").mkdir(parents=True)
    (tmp_path / "runs" / "folds" / "weights.safetensors").write_text("folds")
    start = f"denoiser folds={os.path.relpath(tmp_path / 'runs' / 'folds')}"
    done = run([str(TOOLS / "gpu_carry.sh"), str(tmp_path / "pack"), str(tmp_path / "gpu")], START=start)
    assert done.returncode == 0, done.stderr
    return tmp_path / "gpu"


def test_what_is_carried(carried: Path) -> None:
    held = {path.relative_to(carried).as_posix() for path in carried.rglob("*") if path.is_file()}
    assert {
        "train.sh",
        "parcel.py",
        "data/pack.json",
        "start/denoiser.safetensors",
        "src/difftalk/face/space.py",
    } <= held
    assert "start/painter.safetensors" not in held
    assert (carried / "start" / "folds.safetensors").read_text() == "folds"
    assert not any(name.endswith(".onnx") or "evaluation" in name for name in held)
    small = run([str(TOOLS / "gpu_carry.sh"), str(carried / "data"), str(carried.parent / "small")], LIMIT="9")
    assert small.returncode == 1
    assert "the rest; START= takes less along" in small.stderr
    other = run([str(TOOLS / "gpu_carry.sh"), str(carried / "data"), str(carried.parent / "pack")])
    assert "holds something else" in other.stderr


def test_parts_follow_each_other(carried: Path, tmp_path: Path) -> None:
    python, calls, out = tmp_path / "python", tmp_path / "calls", tmp_path / "back"
    python.write_text(PYTHON)
    python.chmod(0o755)
    done = run(
        ["bash", str(carried / "train.sh")],
        PYTHON=str(python),
        CALLS=str(calls),
        OUT=str(out),
        DEVICE="cpu",
        PARTS="joint:2 sharp:2 painter:4 motion:0 folds:2 head:2 first-stage:3",
        SET="schedule.rows=64",
        SET_first_stage="lpips=no optimiser.lr=1e-3",
    )
    assert done.returncode == 1
    assert "trained painter\n== painter failed with code 3; the next part runs" in done.stdout
    assert done.stdout.endswith("failed: painter motion\n")
    joint, sharp, painter, folds, head, stage = calls.read_text().splitlines()
    start, runs = carried / "start" / "denoiser.safetensors", carried / "runs"
    assert joint.startswith(f"denoiser {carried}/data -o {runs}/joint --recipe joint --from {start} --set")
    assert sharp.startswith(f"denoiser {carried}/data -o {runs}/sharp --recipe sharp --from {runs}/joint --set")
    assert folds.startswith(f"folds {carried}/data -o {runs}/folds --from {carried}/start/folds.safetensors --set")
    assert "--from" not in painter + head + stage
    for drawing in (painter, folds):
        assert "--set schedule.steps=1000000" in drawing
        assert "--set schedule.rows=64" in drawing
    assert "schedule.rows" not in head  # it draws no pictures
    assert "schedule.steps" not in head
    assert "--set schedule.rows=64 --set lpips=no --set optimiser.lr=1e-3 --device cpu --minutes" in stage
    minutes = [float(call.split("--minutes ")[1].split()[0]) for call in (joint, sharp, stage)]
    assert minutes[0] == pytest.approx((530 * 2 / 15 - 20) / 60, abs=0.05)
    assert minutes[0] < minutes[1] < minutes[2]  # what is not used goes to those that follow
    assert minutes[2] == pytest.approx((530 - 20) / 60, abs=0.2)


def test_too_few_minutes(carried: Path, tmp_path: Path) -> None:
    done = run(["bash", str(carried / "train.sh")], PYTHON="true", OUT=str(tmp_path), DEVICE="cpu", MINUTES="1")
    assert done.returncode == 1
    assert done.stdout.count("are too short; left out") == 2
    assert "== folds: 50 s" in done.stdout or "== folds: 49 s" in done.stdout  # all that there is
