"""Graphs in integers: near their f32 form in every engine, also where a processor adds products in 16 bits."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import onnx
import pytest
from numpy.typing import NDArray
from onnx import numpy_helper

from difftalk import engine
from difftalk.model import Model
from difftalk.training import quantise as quantising
from difftalk.training.quantise import WEIGHT_MOST, Example, quantise
from tiny_graphs import node, save_graph

Array = NDArray[np.float32]
SIZE = (1, 64, 16, 22)
WEIGHT = np.random.default_rng(0).normal(size=(32, 64, 3, 3)).astype(np.float32)


def graph_path(path: Path, weight: Array) -> Path:
    """Two convolutions that share their input, the weights of one stored in half precision."""
    nodes = [
        onnx.helper.make_node("Cast", ["half"], ["weight"], to=onnx.TensorProto.FLOAT),
        node("Conv", "x weight", "a", pads=[1, 1, 1, 1]),
        node("Conv", "x narrow", "b"),
        node("Add", "a b", "y"),
    ]
    narrow = np.ascontiguousarray(weight[:, :, :1, :1])
    half = weight.astype(np.float16)
    return save_graph(path, nodes, {"x": SIZE}, {"y": (1, len(weight), *SIZE[2:])}, half=half, narrow=narrow)


def examples(count: int = 4) -> list[Example]:
    random = np.random.default_rng(1)
    return [{"x": random.normal(size=SIZE).astype(np.float32)} for _ in range(count)]


def answer(path: Path, given: Example, *, name: str = "openvino", precision: engine.Precision = "f32") -> Array:
    graph = engine.load(path, precision=precision, engine=name, threads=1, cache=path.parent / "cache")
    return np.asarray(graph(**given)["y"], np.float32)


def stored(path: Path) -> dict[str, NDArray[np.generic]]:
    return {tensor.name: numpy_helper.to_array(tensor) for tensor in onnx.load(path).graph.initializer}


@pytest.mark.parametrize("name", engine.ENGINES)
def test_integers_are_near(tmp_path: Path, name: str) -> None:
    path, given = graph_path(tmp_path / "f.onnx", WEIGHT), examples()
    assert quantise(path, tmp_path / "i.onnx", given) == 2
    for one in given:
        exact = answer(path, one, name=name)
        error = answer(tmp_path / "i.onnx", one, name=name, precision="int8") - exact
        assert 0 < float(np.abs(error).mean()) < 0.02 * float(exact.std())


def test_weights_have_seven_bits_and_nothing_else_is_left(tmp_path: Path) -> None:
    path = graph_path(tmp_path / "f.onnx", WEIGHT)
    quantise(path, tmp_path / "i.onnx", examples())
    held = stored(tmp_path / "i.onnx")
    integers = {name: value for name, value in held.items() if value.dtype == np.int8 and value.ndim == 4}
    assert len(integers) == 2
    assert {int(np.abs(value).max()) for value in integers.values()} == {WEIGHT_MOST}
    assert not {"half", "narrow"} & held.keys()
    assert (tmp_path / "i.onnx").stat().st_size < 0.8 * path.stat().st_size


def test_shipped_integers_have_seven_bits(model: Model) -> None:
    files = [model.folder / entry.int8 for entry in model.graphs.values() if entry.int8]
    for file in files:
        assert max(int(np.abs(value).max()) for value in stored(file).values() if value.dtype == np.int8) <= WEIGHT_MOST


ERROR = """
import sys
from pathlib import Path
import numpy as np
from difftalk.engine import load
folder = Path(sys.argv[1])
given = np.load(folder / "x.npy")
exact = load(folder / "f.onnx", precision="f32", cache=folder / "c")(x=given)["y"]
made = load(folder / "i.onnx", precision="int8", cache=folder / "c")(x=given)["y"]
print(np.abs(made - exact).max() / np.abs(exact).max())
"""


def error_without_vnni(folder: Path, most: int, monkeypatch: pytest.MonkeyPatch) -> float:
    """Of a graph whose products are as large as they can be, on a processor that has AVX2 alone."""
    weight = np.full_like(WEIGHT, 0.01)
    weight[::2] *= -1
    given = {"x": np.random.default_rng(0).uniform(0.9, 1, SIZE).astype(np.float32)}
    np.save(folder / "x.npy", given["x"])
    monkeypatch.setattr(quantising, "WEIGHT_MOST", most)
    quantise(graph_path(folder / "f.onnx", weight), folder / "i.onnx", [given])
    env = os.environ | {"ONEDNN_MAX_CPU_ISA": "AVX2"}
    done = subprocess.run([sys.executable, "-c", ERROR, folder], env=env, check=True, capture_output=True, text=True)
    return float(done.stdout)


def test_no_sum_is_cut_off_at_16_bits(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert error_without_vnni(tmp_path, WEIGHT_MOST, monkeypatch) < 0.01
    if sys.platform == "linux" and os.uname().machine == "x86_64":
        assert error_without_vnni(tmp_path, 127, monkeypatch) > 0.1  # the test sees what it is there to see


def test_what_never_changes_is_no_trouble(tmp_path: Path) -> None:
    path, zeros = graph_path(tmp_path / "f.onnx", np.zeros_like(WEIGHT)), {"x": np.zeros(SIZE, np.float32)}
    quantise(path, tmp_path / "i.onnx", [zeros])
    assert not answer(tmp_path / "i.onnx", zeros, precision="int8").any()
