"""`python -m difftalk.training`, which needs torch and what draws and reads data, and nothing else of the package's."""

from __future__ import annotations

import dataclasses
import os
import subprocess
import sys
from pathlib import Path

import pytest

from difftalk.training import __main__ as entry
from difftalk.training.checkpoint import load_checkpoint, save_checkpoint

BARE = """
import sys
class Blocker:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in ("av", "diffusers", "openvino", "rich", "soxr", "threadpoolctl", "typer"):
            raise ModuleNotFoundError(f"{name} is blocked", name=name)
sys.meta_path.insert(0, Blocker())
from difftalk.training.__main__ import main
for kind in ("painter", "first-stage", "denoiser", "motion"):
    main([kind, "-o", f"{sys.argv[1]}/{kind}", "--recipe", "debug", "--steps", "2", "--threads", "1"])
settings = ["--set", "critic=0.2", "--set", "schedule.precision=bf16"]
sharp = ["--recipe", "debug", "--steps", "2", "--threads", "1", *settings, "--from", f"{sys.argv[1]}/denoiser"]
main(["denoiser", "-o", f"{sys.argv[1]}/sharp", *sharp])
from difftalk.training import export, motion_data, published_data, render_data
"""


def test_nets_train_without_what_reads_clips_and_runs_models(tmp_path: Path) -> None:
    """Into a folder that an ASCII terminal cannot print."""
    command = [sys.executable, "-c", BARE, str(tmp_path / "läufe")]
    env = {**os.environ, "PYTHONIOENCODING": "ascii"}
    done = subprocess.run(command, env=env, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    for kind in ("painter", "first-stage", "denoiser", "motion", "sharp"):
        assert load_checkpoint(tmp_path / "läufe" / kind).step == 2
        assert f"l?ufe/{kind}\n" in done.stdout


def test_a_mistake_is_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit, match="1"):
        entry.main(["painter", "-o", str(tmp_path), "--recipe", "huge"])
    assert capsys.readouterr().err.startswith("difftalk: painter has no recipe 'huge'")


def test_minutes_count_from_the_start(tmp_path: Path) -> None:
    """Not from the first step on, so that one step is made; and a run that goes on has them all once more."""
    run, debug = tmp_path / "run", ["--recipe", "debug", "--threads", "1"]
    entry.main(["painter", "-o", str(run), *debug, "--minutes", "0.0001", "--steps", "3"])
    first = load_checkpoint(run)
    assert first.step == 1
    save_checkpoint(dataclasses.replace(first, seconds=3600.0), run)
    entry.main(["painter", "-o", str(run), *debug, "--minutes", "5", "--steps", "4"])
    assert load_checkpoint(run).step == 4
