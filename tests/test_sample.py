"""Samples on disk: written and read again, one frame at a time; bad folders say what to do."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import numpy as np
import pyarrow
import pyarrow.parquet as parquet
import pytest

from difftalk.arrays import Image
from difftalk.data.sample import FrameWriter, Record, Sample, load_record, load_samples, save_record
from difftalk.errors import DataError


def record(name: str = "clip", *, kept: bool = True, split: str = "train") -> Record:
    reason = "" if kept else "no face"
    numbers = (25, 25.0, 1.0, -1, 0.8, 42.0, 9.5, 12.0, 0, 0.0)
    return Record(name, f"{name}.mp4", "somebody", split, "open", kept, reason, *numbers, fingerprint="abc")


def test_frames_come_back(tmp_path: Path, portrait: Image) -> None:
    frames = [np.ascontiguousarray(np.roll(portrait, 9 * number, axis=0)) for number in range(4)]
    writer = FrameWriter(tmp_path)
    for frame in frames:
        writer.write(frame)
    writer.close()
    sample = Sample(tmp_path, record())
    for number in (2, 0, 3, 1):
        seen = sample.frame(number)
        assert seen.shape == (256, 256, 3)
        difference = np.abs(seen.astype(int) - frames[number])
        assert difference.mean() < 2  # JPEG; red and blue are not swapped
    assert len(np.load(tmp_path / "frames.npy")) == 5


def test_record_comes_back(tmp_path: Path) -> None:
    save_record(record(), tmp_path)
    assert load_record(tmp_path) == record()
    assert Sample.load(tmp_path).record == record()


@pytest.mark.parametrize("content", [None, "", "[]", '{"name": "clip"}', '{"unknown": 1}'])
def test_bad_record(tmp_path: Path, content: str | None) -> None:
    if content is not None:
        (tmp_path / "sample.json").write_text(content)
    with pytest.raises(DataError, match="run difftalk prepare again"):
        load_record(tmp_path)


def test_record_of_another_format(tmp_path: Path) -> None:
    save_record(dataclasses.replace(record(), format=1), tmp_path)
    with pytest.raises(DataError, match="has format 1, this version reads 3; run difftalk prepare again"):
        load_record(tmp_path)


def index_of(folder: Path, records: list[Record]) -> None:
    for one in records:
        (folder / "samples" / one.name).mkdir(parents=True)
        save_record(one, folder / "samples" / one.name)
    parquet.write_table(
        pyarrow.Table.from_pylist([dataclasses.asdict(one) for one in records]), folder / "index.parquet"
    )


def test_samples_of_an_index(tmp_path: Path) -> None:
    index_of(tmp_path, [record("b"), record("a", split="val"), record("c", kept=False), record("d")])
    assert [sample.record.name for sample in load_samples(tmp_path)] == ["b", "a", "d"]
    assert [sample.record.name for sample in load_samples(tmp_path, split="val")] == ["a"]
    with pytest.raises(DataError, match=r"no kept sample of split test; see its report\.json"):
        load_samples(tmp_path, split="test")


def test_no_index(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"no index\.parquet; give the OUT folder of difftalk prepare"):
        load_samples(tmp_path)


def test_record_is_plain_json(tmp_path: Path) -> None:
    save_record(record(), tmp_path)
    assert json.loads((tmp_path / "sample.json").read_text())["offset"] == -1
