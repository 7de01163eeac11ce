"""The published system through the command line: raw clips, the published layout, training, export, a video."""

from __future__ import annotations

import shutil
from pathlib import Path

from conftest import Run
from difftalk.media import video
from difftalk.model import Model


def test_from_clips_to_a_video(
    run: Run, clip: Path, voice: Path, still: Path, model_folder: Path, tmp_path: Path
) -> None:
    for person in ("ann", "bob"):
        (tmp_path / "clips" / person).mkdir(parents=True)
        shutil.copyfile(clip, tmp_path / "clips" / person / f"{person}.mp4")
    code, said, err = run("prepare", tmp_path / "clips", tmp_path / "data", "--layout", "hdtf", "--workers", 1)
    assert (code, err) == (0, "")
    data, vq, paper = tmp_path / "data" / "hdtf", tmp_path / "vq", tmp_path / "paper"
    assert said.splitlines()[-1] == f"28 frames to train on, 28 to test on: {data}"
    debug = ("--recipe", "paper-debug", "--steps", 2)
    assert run("train", "first-stage", data, "-o", vq, *debug)[0] == 0
    code, said, _ = run("train", "denoiser", data, "-o", paper, *debug, "--set", f"first_stage={vq}")
    assert (code, said.startswith("2 steps in ")) == (0, True)
    assert len(list((paper / "samples").glob("*.png"))) == 1
    assert run("export", tmp_path / "model", "--denoiser", paper, "--base", model_folder)[0] == 0
    assert Model.load(tmp_path / "model").settings.renderer == "published"
    out = tmp_path / "out.mp4"
    code, said, err = run("animate", still, voice, "-o", out, "--model", tmp_path / "model", "--steps", 2)
    assert (code, err) == (0, "")
    assert len(list(video.read(out))) == 25


def test_a_layout_that_is_none(run: Run, tmp_path: Path) -> None:
    (tmp_path / "clips").mkdir()
    code, _, err = run("prepare", tmp_path / "clips", tmp_path / "data", "--layout", "voxceleb")
    assert code == 1
    assert err == "difftalk: --layout voxceleb: allowed are samples and hdtf\n"


def test_training_without_data_says_what_to_do(run: Run, tmp_path: Path) -> None:
    code, _, err = run("train", "denoiser", "--recipe", "paper-small", "-o", tmp_path / "run")
    assert code == 1
    assert err == "difftalk: no data was given; give a folder that difftalk prepare --layout hdtf wrote\n"


def test_a_file_that_cannot_be_converted_is_one_line(run: Run, tmp_path: Path) -> None:
    (tmp_path / "last.ckpt").write_bytes(b"not a checkpoint")
    code, _, err = run("convert", tmp_path / "last.ckpt", tmp_path / "run")
    assert code == 1
    assert err.startswith(f"difftalk: {tmp_path / 'last.ckpt'} is no checkpoint or is cut off")
    assert err.count("\n") == 1
