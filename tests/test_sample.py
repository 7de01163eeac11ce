"""Samples on disk: written and read again, one frame at a time; bad folders say what to do."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import numpy as np
import pyarrow
import pyarrow.parquet as parquet
import pytest
from safetensors.numpy import save_file

from difftalk.arrays import Image
from difftalk.data.sample import PICTURES, FrameWriter, Record, Sample, load_record, load_samples, save_record
from difftalk.errors import DataError
from difftalk.face.space import CLOSE_SIZE


def record(name: str = "clip", *, kept: bool = True, split: str = "train") -> Record:
    reason = "" if kept else "no face"
    numbers = (25, 25.0, 1.0, -1, 0.8, 42.0, 9.5, 12.0, 0, 0.0)
    return Record(name, f"{name}.mp4", "somebody", split, "open", kept, reason, *numbers, fingerprint="abc")


def test_frames_and_close_ups_come_back(tmp_path: Path, portrait: Image) -> None:
    frames = [np.ascontiguousarray(np.roll(portrait, 9 * number, axis=0)) for number in range(4)]
    closes = [np.ascontiguousarray(frame[: CLOSE_SIZE[0], : CLOSE_SIZE[1]]) for frame in frames]
    corners = np.arange(8).reshape(4, 2) - 3
    for name, pictures in (("frames", frames), ("closes", closes)):
        writer = FrameWriter(tmp_path, name)
        for picture in pictures:
            writer.write(picture)
        writer.close()
        assert len(np.load(tmp_path / f"{name}.npy")) == 5
    save_file({"close_corners": corners.astype(np.int32)}, tmp_path / "track.safetensors")
    sample = Sample(tmp_path, record())
    for number in (2, 0, 3, 1):
        for seen, written in ((sample.frame(number), frames[number]), (sample.close_up(number), closes[number])):
            assert seen.shape == written.shape
            assert np.abs(seen.astype(int) - written).mean() < 2  # JPEG; red and blue are not swapped
        np.testing.assert_array_equal(sample.close_corner(number), corners[number])


def test_frames_at_the_ends_can_be_left_out(tmp_path: Path, portrait: Image) -> None:
    for name in PICTURES:
        writer = FrameWriter(tmp_path, name)
        for level in range(5):
            writer.write(np.full_like(portrait, 50 * level))
        writer.close(slice(1, 4))
    sample = Sample(tmp_path, record())
    for read in (sample.frame, sample.close_up):
        assert [round(read(number).mean() / 50) for number in range(3)] == [1, 2, 3]


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
    """Such as one without close-ups."""
    save_record(dataclasses.replace(record(), format=3), tmp_path)
    with pytest.raises(DataError, match=r"sample\.json has format 3, this version reads 4; run difftalk prepare again"):
        Sample.load(tmp_path)


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


@pytest.mark.parametrize(
    ("sharpness", "eyes", "texture"), [(9.0, 90.0, 1.0), (6.0, 200.0, 1.0), (3.0, 90.0, 0.5), (9.0, 45.0, 0.5)]
)
def test_small_and_blurred_faces_have_less_texture(sharpness: float, eyes: float, texture: float) -> None:
    one = dataclasses.replace(record(), sharpness=sharpness, eye_distance=eyes)
    assert one.texture == pytest.approx(texture)
