"""Integers for a model folder: made on training people, kept where they cost little, told of."""

from __future__ import annotations

import dataclasses
import shutil
from pathlib import Path

import pyarrow
import pyarrow.parquet
import pytest

from difftalk.data.sample import Sample
from difftalk.errors import DataError
from difftalk.model import Model
from difftalk.training import calibration
from difftalk.training.calibration import NETS, Judged
from difftalk.training.export import export_model


@pytest.fixture
def data(sample: Sample, tmp_path: Path) -> Path:
    """One prepared clip, of a training person."""
    folder = tmp_path / "data"
    shutil.copytree(sample.folder, folder / "samples" / sample.folder.name)
    rows = [dataclasses.asdict(dataclasses.replace(sample.record, split="train"))]
    pyarrow.parquet.write_table(pyarrow.Table.from_pylist(rows), folder / "index.parquet")
    return folder


@pytest.fixture
def base(denoiser_model: Model, tmp_path: Path) -> Path:
    """The folder that draws with the denoiser."""
    denoiser_model.save(tmp_path / "base")
    return tmp_path / "base"


@pytest.fixture(autouse=True)
def few(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("SHOWN", "JUDGED"):
        monkeypatch.setattr(calibration, name, 2)


def test_export_with_data_writes_integers_beside(base: Path, data: Path, tmp_path: Path) -> None:
    told: list[Judged] = []
    made = export_model(tmp_path / "made", {}, base=base, data=data, tell=told.append)
    assert [judged.net for judged in told] == list(NETS)
    assert all(judged.loss == pytest.approx(1) and judged.levels < 0.1 for judged in told)
    for name, entry in made.graphs.items():
        assert entry.int8 == (f"{name}.int8.onnx" if name in NETS else "")
    again = export_model(tmp_path / "again", {}, base=tmp_path / "made")
    assert again.graphs == made.graphs
    assert made.hash != Model.load(base).hash


def test_what_costs_too_much_is_left_out(
    base: Path, data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(calibration, "MOST_LOSS", 0.5)
    made = export_model(tmp_path / "made", {}, base=base, data=data)
    assert made.graphs == Model.load(base).graphs
    assert not list(made.folder.glob("*.int8.onnx"))


def test_no_data_no_integers(base: Path, tmp_path: Path) -> None:
    with pytest.raises(DataError, match="holds no"):
        export_model(tmp_path / "made", {}, base=base, data=tmp_path / "nowhere")
    assert not (tmp_path / "made").exists()
