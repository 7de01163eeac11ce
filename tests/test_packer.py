"""Packs made: within the budget, everybody in, nobody of val, whole or not there."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image as Pillow

from difftalk.data import packer
from difftalk.data.pack import FILES, INDEX, NUMBERS, Pack, samples_of
from difftalk.data.packer import Options, pack, pack_samples
from difftalk.data.pairs import Telling
from difftalk.data.prepare import write_index
from difftalk.data.queue import TURN, held_out_people, queue_of
from difftalk.data.sample import Sample, save_record
from difftalk.errors import InputError, OutputError
from difftalk.media.sheet import CAPTION_HEIGHT
from difftalk.model import Model

MEGABYTES = 0.5
SMALL = Options(megabytes=MEGABYTES, mesh_components=16, speech_components=24)
Run = Callable[..., tuple[int, str, str]]


def known(sample: Sample, name: str, person: str, **changes: object) -> Sample:
    return Sample(sample.folder, dataclasses.replace(sample.record, name=name, person=person, **changes))  # type: ignore[arg-type]


@pytest.fixture(scope="module")
def people(sample: Sample) -> list[Sample]:
    """Two people of one clip each, one blurred, and one of three clips."""
    clips = [known(sample, "a", "anna", sharpness=8.0, eye_distance=90.0), known(sample, "b", "bert", sharpness=1.0)]
    return clips + [known(sample, f"c{i}", "cleo", sharpness=8.0, eye_distance=90.0) for i in range(3)]


@pytest.fixture(scope="module")
def made(people: list[Sample], painter_model: Model, tmp_path_factory: pytest.TempPathFactory) -> Pack:
    out = tmp_path_factory.mktemp("packs") / "some"
    pack_samples(people, out, model=painter_model, options=SMALL)
    return Pack.open(out)


@pytest.fixture(scope="module")
def data(sample: Sample, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A prepared folder: anna to train on, bert of val, cleo of both."""
    out = tmp_path_factory.mktemp("data")
    rows = [("a", "anna", "train"), ("b", "bert", "val"), ("c", "cleo", "train"), ("d", "cleo", "val")]
    samples = [known(sample, name, person, split=split) for name, person, split in rows]
    for one in samples:
        folder = out / "samples" / one.record.name
        folder.mkdir(parents=True)
        for file in sample.folder.iterdir():
            (folder / file.name).symlink_to(file)
        (folder / "sample.json").unlink()
        save_record(one.record, folder)
    write_index([one.record for one in samples], out)
    return out


def test_budget_and_people(made: Pack) -> None:
    used = sum(path.stat().st_size for path in made.folder.iterdir())
    assert 0.8 * MEGABYTES < used / 1e6 <= MEGABYTES
    assert {path.name for path in made.folder.iterdir()} == {*FILES.values(), NUMBERS, INDEX, "sheet.png"}
    frames = dict.fromkeys(("anna", "bert", "cleo"), 0)
    for sample in made.samples:
        frames[sample.record.person] += len(sample.numbers)
        assert sample.record.frames == len(sample.numbers)
        assert len(sample.curve.seconds) == 28
    assert made.index["counts"]["frames"] == sum(frames.values())
    assert 0 < frames["bert"] < 0.8 * frames["anna"]  # blurred
    assert abs(frames["cleo"] - frames["anna"]) <= 6  # three clips are no more than one


def test_sharp_clips_come_first(people: list[Sample], painter_model: Model) -> None:
    """Of a person who has both, a sharp clip has five turns before one of a small face has its first."""
    small = known(people[2], "far", "cleo", eye_distance=9.0)
    clips = [Telling.of(sample, painter_model.geometry) for sample in (small, people[2])]
    order = [place for place, _ in queue_of(clips)]
    assert len(order) == 2 * 27  # every pair of both
    assert order[: 4 * TURN] == [1] * (4 * TURN)
    assert order[-1] == 0


def test_frames_come_in_pairs(made: Pack) -> None:
    for sample in made.samples:
        alone = [n for n in sample.numbers if not {n - 1, n + 1} & set(sample.numbers.tolist())]
        assert not alone


def test_the_sheet_shows_everybody(made: Pack) -> None:
    with Pillow.open(made.folder / "sheet.png") as picture:
        width, height = packer.THUMBNAIL
        assert picture.size == (6 * width, height + CAPTION_HEIGHT)


def test_the_same_again(made: Pack, people: list[Sample], painter_model: Model, tmp_path: Path) -> None:
    pack_samples(people, tmp_path / "again", model=painter_model, options=SMALL)
    for path in made.folder.iterdir():
        assert path.read_bytes() == (tmp_path / "again" / path.name).read_bytes(), path.name


def test_people_of_val_stay_out(data: Path, painter_model: Model, tmp_path: Path) -> None:
    done = pack(data, tmp_path / "made", model=painter_model, options=SMALL)
    assert (done.people, done.clips) == (1, 1)
    assert [sample.record.person for sample in samples_of(tmp_path / "made")] == ["anna"]


def test_held_out_people(
    sample: Sample, made: Pack, people: list[Sample], painter_model: Model, tmp_path: Path
) -> None:
    assert made.held_out == frozenset()  # no clip is long enough
    many = [known(sample, f"n{i}", f"n{i}", frames=120 + i % 3 - 1, sharpness=8.0) for i in range(30)]
    found = held_out_people(many, 0.1)
    assert len(found) == 3
    assert held_out_people(many[::-1], 0.1) == found
    assert all(sample.record.frames >= 120 for sample in many if sample.record.person in found)
    long = [known(s, s.record.name, s.record.person, frames=200) for s in people[:1]] + people[1:]
    pack_samples(long, tmp_path / "made", model=painter_model, options=dataclasses.replace(SMALL, held_out=0.34))
    assert [s.record.name for s in samples_of(tmp_path / "made", split="val")] == ["a"]
    assert [s.record.name for s in samples_of(tmp_path / "made", split="train")] == ["b", "c0", "c1", "c2"]


@pytest.mark.parametrize("megabytes", [0.05, 0.1])
def test_too_small_a_budget(megabytes: float, people: list[Sample], painter_model: Model, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"megabytes .*; give more"):
        pack_samples(
            people, tmp_path / "made", model=painter_model, options=dataclasses.replace(SMALL, megabytes=megabytes)
        )
    assert list(tmp_path.iterdir()) == []


def test_no_half_pack(people: list[Sample], painter_model: Model, tmp_path: Path) -> None:
    def stopped(what: str, done: int, total: int) -> None:
        if what == "drawing":
            (half,) = tmp_path.iterdir()
            assert {path.name for path in half.iterdir()} == {*FILES.values(), NUMBERS, INDEX}
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        pack_samples(people, tmp_path / "made", model=painter_model, options=SMALL, progress=stopped)
    assert list(tmp_path.iterdir()) == []


def test_an_existing_folder_is_left_alone(made: Pack, people: list[Sample], painter_model: Model) -> None:
    before = (made.folder / "pack.json").stat().st_mtime_ns
    with pytest.raises(OutputError, match="exists; give a new folder"):
        pack_samples(people, made.folder, model=painter_model, options=Options())
    assert (made.folder / "pack.json").stat().st_mtime_ns == before


def test_the_command(data: Path, model_folder: Path, tmp_path: Path, run: Run) -> None:
    code, out, err = run("pack", data, "-o", tmp_path / "made", "--megabytes", 4, "--model", model_folder)
    assert (code, err) == (0, "")
    assert out.startswith("1 people (0 held out), 1 clips, 28 frames: ")
    assert np.isclose(sum(p.stat().st_size for p in (tmp_path / "made").iterdir()) / 1e6, 1, atol=1)
    code, _, err = run("pack", data, "-o", tmp_path / "made")
    assert code == 1
    assert err.strip() == f"difftalk: {tmp_path / 'made'} exists; give a new folder"
