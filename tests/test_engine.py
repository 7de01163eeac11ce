"""Every engine: the same graph gives the same numbers, and a bad file gives one line."""

from __future__ import annotations

import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, get_args

import numpy as np
import onnx
import pytest
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from difftalk import engine
from difftalk.engine import onnxruntime as onnxruntime_engine
from difftalk.engine import openvino as openvino_engine
from difftalk.errors import InputError, MissingExtraError, ModelError

Array = NDArray[np.float32]
DEPTH = 24  # inner length of the product: long enough for bf16 to differ from f32
WEIGHT = np.random.default_rng(0).normal(size=(DEPTH, 8)).astype(np.float16)


@pytest.fixture
def graph_path(tmp_path: Path) -> Path:
    """out = tanh(a @ weight + b), total = sum of out; any number of rows, the weight stored in half precision."""
    nodes = [
        helper.make_node("Cast", ["weight_half"], ["weight"], to=TensorProto.FLOAT),
        helper.make_node("MatMul", ["a", "weight"], ["product"]),
        helper.make_node("Add", ["product", "b"], ["moved"]),
        helper.make_node("Tanh", ["moved"], ["out"]),
        helper.make_node("ReduceSum", ["out"], ["total"], keepdims=0),
    ]
    graph = helper.make_graph(
        nodes,
        "tiny",
        [
            helper.make_tensor_value_info("a", TensorProto.FLOAT, ["rows", DEPTH]),
            helper.make_tensor_value_info("b", TensorProto.FLOAT, [8]),
        ],
        [
            helper.make_tensor_value_info("out", TensorProto.FLOAT, ["rows", 8]),
            helper.make_tensor_value_info("total", TensorProto.FLOAT, []),
        ],
        [numpy_helper.from_array(WEIGHT, "weight_half")],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10)
    onnx.checker.check_model(model)
    path = tmp_path / "tiny.onnx"
    onnx.save(model, path)
    return path


def example(rows: int = 5) -> tuple[Array, Array]:
    random = np.random.default_rng(1)
    return random.normal(size=(rows, DEPTH), scale=0.25).astype(np.float32), random.normal(size=8).astype(np.float32)


def expected(a: Array, b: Array) -> Array:
    out: Array = np.tanh(a @ WEIGHT.astype(np.float32) + b)
    return out


def load(path: Path, name: str = "openvino", **options: Any) -> engine.Graph:
    return engine.load(path, engine=name, **{"precision": "f32", "cache": path.parent / "cache", **options})


def test_named_engines_and_precisions_are_the_known_ones() -> None:
    assert get_args(engine.Precision) == engine.PRECISIONS
    files = {path.stem for path in Path(engine.__file__).parent.glob("*.py")} - {"__init__", "fastest"}
    assert set(engine.ENGINES) == files


@pytest.mark.parametrize("name", engine.ENGINES)
@pytest.mark.parametrize("threads", [0, 1, 2])
def test_parity_for_any_number_of_rows(graph_path: Path, name: str, threads: int) -> None:
    graph = load(graph_path, name, threads=threads)
    for rows in (5, 1, 9):
        a, b = example(rows)
        result = graph(a=a, b=b)
        assert set(result) == {"out", "total"}
        assert result["out"].dtype == np.float32
        np.testing.assert_allclose(result["out"], expected(a, b), atol=2e-6)
        np.testing.assert_allclose(result["total"], expected(a, b).sum(), rtol=1e-4)


@pytest.mark.parametrize("name", engine.ENGINES)
def test_results_survive_the_next_call(graph_path: Path, name: str) -> None:
    graph = load(graph_path, name)
    a, b = example()
    first = graph(a=a, b=b)["out"]
    kept = first.copy()
    graph(a=-a, b=b)
    np.testing.assert_array_equal(first, kept)
    first[:] = 0  # the caller's own
    np.testing.assert_array_equal(graph(a=a, b=b)["out"], kept)


@pytest.mark.parametrize("name", engine.ENGINES)
def test_threads_share_a_graph(graph_path: Path, name: str) -> None:
    graph, (a, b) = load(graph_path, name), example(400)

    def work(number: int) -> bool:
        given = a * np.float32(number)
        return all(np.allclose(graph(a=given, b=b)["out"], expected(given, b), atol=2e-5) for _ in range(200))

    with ThreadPoolExecutor(8) as pool:
        assert all(pool.map(work, range(8)))


@pytest.mark.parametrize("name", engine.ENGINES)
def test_strided_read_only_and_wider_inputs(graph_path: Path, name: str) -> None:
    graph = load(graph_path, name)
    a, b = example(6)
    a.flags.writeable = False
    for given in (a[::2], np.asfortranarray(a), a.astype(np.float64), a[:, ::-1]):
        wanted = expected(given.astype(np.float32), b)
        np.testing.assert_allclose(graph(a=given, b=b)["out"], wanted, atol=2e-6)


@pytest.mark.parametrize("name", engine.ENGINES)
def test_wrong_inputs_are_one_line(graph_path: Path, name: str) -> None:
    graph = load(graph_path, name)
    a, b = example()
    for inputs in ({"a": a}, {"a": a, "b": b, "c": b}, {}):
        with pytest.raises(ModelError, match=r"^tiny\.onnx takes a, b, was given [^\n]*$"):
            graph(**inputs)
    for wrong in (a[:, :-1], a[0]):
        with pytest.raises(ModelError, match=r"^tiny\.onnx takes a as any x 24, was given [^\n]*$"):
            graph(a=wrong, b=b)


def test_precision_is_the_named_one(graph_path: Path) -> None:
    if openvino_engine.runnable("bf16") == "f32":
        pytest.skip("this processor has no bf16")
    a, b = example()
    exact = load(graph_path)(a=a, b=b)["out"]
    rounded = load(graph_path, precision="bf16")(a=a, b=b)["out"]
    error = float(np.abs(exact - rounded).max())
    assert 1e-4 < error < 3e-2
    assert float(np.abs(load(graph_path)(a=a, b=b)["out"] - exact).max()) == 0  # the cache keeps them apart


def test_bf16_without_the_hardware_is_f32() -> None:
    assert openvino_engine.runnable("bf16", ["FP32", "INT8"]) == "f32"
    assert openvino_engine.runnable("bf16", ["FP32", "INT8", "BF16"]) == "bf16"
    assert engine.runnable("bf16", "onnxruntime") == "f32"
    assert [engine.runnable("int8", name) for name in engine.ENGINES] == ["int8", "int8"]
    own = openvino_engine._capabilities()
    assert openvino_engine.runnable("bf16") == openvino_engine.runnable("bf16", own)


def test_kernels_that_may_not_use_it_have_no_bf16(monkeypatch: pytest.MonkeyPatch) -> None:
    told = openvino_engine._capabilities.__wrapped__
    monkeypatch.setenv("ONEDNN_MAX_CPU_ISA", "AVX2")
    assert "BF16" not in told()
    assert "FP32" in told()


def test_what_is_left_around_integers_is_exact(graph_path: Path) -> None:
    a, b = example()
    np.testing.assert_array_equal(
        load(graph_path, precision="int8")(a=a, b=b)["out"], load(graph_path)(a=a, b=b)["out"]
    )


def test_cache_is_written_once_and_used(graph_path: Path) -> None:
    cache = graph_path.parent / "cache"
    a, b = example()
    first = load(graph_path)(a=a, b=b)["out"]
    blobs = {path: path.stat().st_mtime_ns for path in cache.iterdir()}
    assert len(blobs) == 1
    np.testing.assert_array_equal(load(graph_path)(a=a, b=b)["out"], first)
    assert {path: path.stat().st_mtime_ns for path in cache.iterdir()} == blobs


def test_damaged_or_unwritable_cache_stops_nobody(graph_path: Path) -> None:
    a, b = example()
    load(graph_path)
    for blob in (graph_path.parent / "cache").iterdir():
        blob.chmod(0o600)
        blob.write_bytes(b"damaged")
    np.testing.assert_allclose(load(graph_path)(a=a, b=b)["out"], expected(a, b), atol=2e-6)
    beneath_a_file = graph_path / "cache"
    np.testing.assert_allclose(load(graph_path, cache=beneath_a_file)(a=a, b=b)["out"], expected(a, b), atol=2e-6)


def test_default_cache_follows_the_users_setting(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert openvino_engine.default_cache() == tmp_path / "difftalk" / "openvino"
    monkeypatch.setenv("XDG_CACHE_HOME", "relative")
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    assert openvino_engine.default_cache() == tmp_path / "home" / ".cache" / "difftalk" / "openvino"


@pytest.mark.parametrize("name", engine.ENGINES)
def test_missing_and_corrupt_files(graph_path: Path, name: str) -> None:
    with pytest.raises(ModelError, match="does not exist"):
        load(graph_path.with_name("absent.onnx"), name)
    for content in (b"", b"not a graph", graph_path.read_bytes()[:100]):
        graph_path.write_bytes(content)
        with pytest.raises(ModelError, match=r"^[^\n]*tiny\.onnx is not a graph that [^\n]* reads [^\n]*$"):
            load(graph_path, name)


def test_unknown_options(graph_path: Path) -> None:
    with pytest.raises(InputError, match="engine 'tensorrt' is not known; allowed: openvino, onnxruntime"):
        load(graph_path, "tensorrt")
    with pytest.raises(InputError, match="precision 'f16' is not known"):
        load(graph_path, precision="f16")
    with pytest.raises(InputError, match="-1 threads"):
        load(graph_path, threads=-1)


def test_missing_extra_prints_its_install_line(graph_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    with pytest.raises(MissingExtraError, match=r"pip install 'difftalk\[onnxruntime\]'"):
        load(graph_path, "onnxruntime")


def test_providers() -> None:
    choose = onnxruntime_engine.choose_providers
    cpu, cuda, core_ml = "CPUExecutionProvider", "CUDAExecutionProvider", "CoreMLExecutionProvider"
    assert choose([cpu, "AzureExecutionProvider"]) == [cpu]
    assert choose([core_ml, cpu]) == [core_ml, cpu]
    assert choose([cpu, core_ml, cuda]) == [cuda, cpu]
    assert choose([cuda, cpu], [cpu]) == [cpu]
    with pytest.raises(InputError, match="has no CUDAExecutionProvider; allowed: CPUExecutionProvider"):
        choose([cpu], [cuda])
