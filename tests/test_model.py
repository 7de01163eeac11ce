"""The model folder: loaded, saved, hashed; a bad one says what to do."""

from __future__ import annotations

import dataclasses
import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from difftalk.errors import DifftalkError, InputError, ModelError
from difftalk.model import INDEX, SHIPPED, Model, entry_of, write_index
from difftalk.settings import Settings


@pytest.fixture
def folder(model_folder: Path, tmp_path: Path) -> Path:
    """A copy to spoil."""
    return Path(shutil.copytree(model_folder, tmp_path / "copy"))


def changed(folder: Path, **values: Any) -> Path:
    index = folder / INDEX
    index.write_text(json.dumps({**json.loads(index.read_text()), **values}))
    return folder


def test_shipped_model_needs_no_argument(model: Model) -> None:
    assert {"face_detector", "face_mesh", "face_blendshapes", "speech_encoder"} <= model.graphs.keys()
    assert model.geometry.canonical.shape == (478, 3)


def test_hashes_in_the_shipped_index_are_the_files(model: Model) -> None:
    for entry in model.graphs.values():
        assert entry_of(model.folder / entry.file, entry.precision) == entry


def test_saved_is_loaded(painter_model: Model, tmp_path: Path) -> None:
    painter_model.save(tmp_path / "deep" / "copy")
    copy = Model.load(tmp_path / "deep" / "copy")
    assert copy.graphs == painter_model.graphs
    assert copy.settings == painter_model.settings
    assert copy.hash == painter_model.hash
    np.testing.assert_array_equal(copy.geometry.basis, painter_model.geometry.basis)
    features = np.random.default_rng(0).standard_normal((1, 46, 1152)).astype(np.float32)
    ours, theirs = (one.graph("linear")(features=features)["shape"] for one in (painter_model, copy))
    np.testing.assert_array_equal(ours, theirs)


def test_saved_only_to_a_new_or_empty_folder(painter_model: Model, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    painter_model.save(tmp_path / "empty")
    (tmp_path / "file").write_text("")
    for target in (tmp_path / "empty", tmp_path / "file"):
        with pytest.raises(ModelError, match="not an empty folder"):
            painter_model.save(target)


def test_graph_is_compiled_once(painter_model: Model) -> None:
    assert painter_model.graph("linear") is painter_model.graph("linear")


@pytest.fixture
def with_integers(folder: Path) -> Path:
    """A folder whose linear motion has a form in integers, which here is the network's graph: other numbers."""
    shutil.copyfile(folder / "motion.onnx", folder / "linear.int8.onnx")
    model = Model.load(folder)
    entry = entry_of(folder / "linear.onnx", "bf16")
    assert entry.files == ["linear.onnx", "linear.int8.onnx"]
    write_index(folder, model.graphs | {"linear": entry}, model.settings)
    return folder


def test_precision_names_the_form(with_integers: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    features = np.random.default_rng(0).standard_normal((1, 46, 1152)).astype(np.float32)

    def shape(name: str, precision: str) -> np.ndarray:
        return Model.load(with_integers, precision=precision).graph(name)(features=features)["shape"]

    np.testing.assert_array_equal(shape("linear", "int8"), shape("motion", "f32"))
    for precision in ("bf16", "f32"):
        np.testing.assert_allclose(shape("linear", precision), shape("linear", "f32"), atol=0.05)
        assert not np.allclose(shape("linear", precision), shape("motion", "f32"), atol=0.05)


def test_the_fastest_form_is_taken_and_told(
    with_integers: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    chosen = set()
    for _ in range(2):
        model = Model.load(with_integers)
        assert model.chosen == {}
        for name in ("linear", "motion"):
            model.graph(name)
        assert model.chosen.keys() == {"linear"}
        chosen.add(model.chosen["linear"])
    assert len(chosen) == 1
    assert len(list((tmp_path / "cache" / "difftalk" / "fastest").iterdir())) == 1


def test_unknown_precision() -> None:
    with pytest.raises(InputError, match=r"`precision` was f16; allowed are auto, f32, bf16, int8"):
        Model.load(precision="f16")


def test_hash_changes_with_graphs_and_settings(painter_model: Model, denoiser_model: Model) -> None:
    fewer = {name: entry for name, entry in painter_model.graphs.items() if name != "motion"}
    hashes = {painter_model.hash, denoiser_model.hash, dataclasses.replace(painter_model, graphs=fewer).hash}
    assert len(hashes) == 3
    assert all(len(digest) == 12 for digest in hashes)


def test_by_name() -> None:
    assert [Model.load(given).folder for given in ("difftalk", None)] == [SHIPPED, SHIPPED]
    with pytest.raises(ModelError, match=r"diffwalk is neither .* a model's name; the names are difftalk"):
        Model.load("diffwalk")


@pytest.mark.parametrize("name", ["geometry.safetensors", "mesh_topology.json"])
def test_hash_changes_with_what_is_no_graph(folder: Path, name: str) -> None:
    before = Model.load(folder).hash
    (folder / name).write_bytes((folder / name).read_bytes() + b" ")
    assert Model.load(folder).hash != before


def test_unknown_graph(painter_model: Model) -> None:
    with pytest.raises(ModelError, match=r"no graph 'ear'; it has .*linear"):
        painter_model.graph("ear")


def test_no_model_folder(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="difftalk export"):
        Model.load(tmp_path)
    with pytest.raises(ModelError, match="nowhere is neither a model's folder"):
        Model.load(tmp_path / "nowhere")


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"format": 3, "graphs": []}', "\x00"])
def test_unreadable_index(folder: Path, text: str) -> None:
    (folder / INDEX).write_text(text)
    with pytest.raises(ModelError, match="cannot be read"):
        Model.load(folder)


def test_index_of_another_version_says_so(folder: Path) -> None:
    changed(folder, format=99, settings={"from": "the future"})
    with pytest.raises(ModelError, match="has format 99, this version reads 3"):
        Model.load(folder)


@pytest.mark.parametrize(
    ("settings", "message"),
    [({"renderer": "camera"}, "renderer 'camera'"), ({"motion": "none"}, "motion 'none'"), ({"colour": 1}, "colour")],
)
def test_unknown_settings(folder: Path, settings: dict[str, Any], message: str) -> None:
    with pytest.raises(ModelError, match=message):
        Model.load(changed(folder, settings=settings))


def test_missing_and_corrupt_graph(folder: Path) -> None:
    (folder / "painter.onnx").write_bytes(b"no graph")
    with pytest.raises(DifftalkError, match=r"painter\.onnx"):
        Model.load(folder).graph("painter")
    (folder / "painter.onnx").unlink()
    with pytest.raises(ModelError, match=r"lacks painter\.onnx"):
        Model.load(folder)


def test_index_is_written_and_read(painter_model: Model, folder: Path) -> None:
    settings = Settings(renderer="denoiser", motion="linear", steps=4)
    write_index(folder, painter_model.graphs, settings)
    assert Model.load(folder).settings == settings
