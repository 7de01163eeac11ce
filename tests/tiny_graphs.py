"""Tiny ONNX graphs with the names and shapes of the trained ones; every input changes the output."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from difftalk.face.mouth import COMPONENTS
from difftalk.face.space import PATCH_SIZE, REGION_SIZE
from difftalk.graphs import LATENT_SHAPE
from difftalk.speech.features import FEATURE_SIZE

Shapes = Mapping[str, tuple[int, ...]]
Nodes = list[onnx.NodeProto]
CHIP = (1, 3, 150, 150)
HALF_REGION = (REGION_SIZE[0] // 2, REGION_SIZE[1] // 2)
FEATURES = {"half": 2, "quarter": 4, "eighth": 8}  # px of a patch for one of a composite's features


def save_graph(path: Path, nodes: Nodes, inputs: Shapes, outputs: Shapes, **constants: NDArray[Any]) -> Path:
    """An ONNX graph over f32 arrays."""

    def ports(shapes: Shapes) -> list[onnx.ValueInfoProto]:
        return [helper.make_tensor_value_info(name, TensorProto.FLOAT, shape) for name, shape in shapes.items()]

    weights = [numpy_helper.from_array(value, name) for name, value in constants.items()]
    graph = helper.make_graph(nodes, path.stem, ports(inputs), ports(outputs), weights)
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10), path)
    return path


def node(kind: str, inputs: str, outputs: str, **attributes: Any) -> onnx.NodeProto:
    return helper.make_node(kind, inputs.split(), outputs.split(), **attributes)


def f32(*values: float) -> NDArray[np.float32]:
    return np.array(values, np.float32)


SPLIT = [node("Slice", "composite zero three one", "rgb"), node("Slice", "composite three four one", "inner")]
SLICES = {name: np.array([value], np.int64) for name, value in {"zero": 0, "one": 1, "three": 3, "four": 4}.items()}


def folds_graph(path: Path) -> Path:
    """change = coverage × composite / 20 + the mean of the shape / 100: darker where it is dark, lighter elsewhere."""
    nodes = [
        node("Slice", "composite zero three one", "rgb"),
        node("Slice", "composite four five one", "coverage"),
        node("Mul", "rgb twentieth", "dim"),
        node("Mul", "dim coverage", "shade"),
        node("ReduceMean", "shape", "shape_mean", keepdims=0),
        node("Mul", "shape_mean hundredth", "light"),
        node("Add", "shade light", "change"),
    ]
    inputs: Shapes = {"composite": (1, 5, *HALF_REGION), "shape": (1, COMPONENTS)}
    own: dict[str, NDArray[Any]] = {"five": np.array([5], np.int64), "twentieth": f32(0.05), "hundredth": f32(0.01)}
    constants = {**SLICES, **own}
    return save_graph(path, nodes, inputs, {"change": (1, 3, *HALF_REGION)}, **constants)


def painter_graph(path: Path) -> Path:
    """picture = composite + inner mouth × (0.1 + reference / 20 + the mean of the sharpness / 100)."""
    nodes = [
        *SPLIT,
        node("ReduceMean", "sharpness", "sharpness_mean", keepdims=0),
        node("Mul", "sharpness_mean hundredth", "clear"),
        node("Mul", "reference twentieth", "shade"),
        node("Sum", "shade tenth clear", "light"),
        node("Mul", "light inner", "paint"),
        node("Add", "rgb paint", "picture"),
    ]
    inputs: Shapes = {"composite": (1, 5, *PATCH_SIZE), "reference": (1, 3, *PATCH_SIZE), "sharpness": (1, 2)}
    shares = {"tenth": f32(0.1), "twentieth": f32(0.05), "hundredth": f32(0.01)}
    constants: dict[str, NDArray[Any]] = {**SLICES, **shares}
    return save_graph(path, nodes, inputs, {"picture": (1, 3, *PATCH_SIZE)}, **constants)


def motion_graph(path: Path, *, seed: int) -> Path:
    """A fixed linear map from the 38 features up to a frame's last one: the mouth moves with the sound."""
    weight = np.random.default_rng(seed).standard_normal((8 * FEATURE_SIZE, 4 * COMPONENTS)).astype(np.float32) * 0.02
    own = {"first": np.array([30], np.int64), "last": np.array([38], np.int64), "one": SLICES["one"]}
    nodes = [
        node("Slice", "features first last one", "own"),
        node("Reshape", "own flat", "row"),
        node("MatMul", "row weight", "mixed"),
        node("Reshape", "mixed frames", "wide"),
        node("Tanh", "wide", "shape"),
    ]
    shapes = {"flat": np.array([1, -1], np.int64), "frames": np.array([1, 4, COMPONENTS], np.int64)}
    features: Shapes = {"features": (1, 46, FEATURE_SIZE)}
    return save_graph(path, nodes, features, {"shape": (1, 4, COMPONENTS)}, weight=weight, **own, **shapes)


def speech_graph(path: Path) -> Path:
    """Features that mix what the log-mel holds in their own 20 ms: quick, and unlike for every sound."""
    weight = np.random.default_rng(0).standard_normal((80, FEATURE_SIZE)).astype(np.float32) * 0.1
    nodes = [
        node("AveragePool", "mel", "halved", kernel_shape=[2], strides=[2]),
        node("Transpose", "halved", "rows", perm=[0, 2, 1]),
        node("MatMul", "rows weight", "features"),
    ]
    return save_graph(path, nodes, {"mel": (1, 80, 300)}, {"features": (1, 150, FEATURE_SIZE)}, weight=weight)


def identity_graph(path: Path) -> Path:
    """Two people, told apart by their colour: those more blue than red, and others."""
    nodes = [
        node("ReduceMean", "face axes", "colour", keepdims=0),
        node("MatMul", "colour weight", "bluer"),
        node("Sign", "bluer", "sign"),
        node("Mul", "sign share", "embedding"),
    ]
    weight = np.repeat(f32(-1, 0, 1)[:, None], 128, axis=1)
    constants: dict[str, NDArray[Any]] = {"axes": np.array([2, 3], np.int64), "share": f32(0.5 / np.sqrt(128))}
    return save_graph(path, nodes, {"face": CHIP}, {"embedding": (1, 128)}, weight=weight, **constants)


def encoder_graph(path: Path) -> Path:
    pool = node("AveragePool", "picture", "small", kernel_shape=[8, 8], strides=[8, 8])
    nodes = [pool, node("Concat", "small small small", "nine", axis=1), node("Slice", "nine zero eight one", "latent")]
    constants = {"zero": SLICES["zero"], "one": SLICES["one"], "eight": np.array([8], np.int64)}
    return save_graph(path, nodes, {"picture": (1, 3, *PATCH_SIZE)}, {"latent": LATENT_SHAPE}, **constants)


def composite_path_graph(path: Path) -> Path:
    nodes = [node("ReduceMean", "sharpness", "mean", keepdims=0), node("Add", "composite mean", "seen")]
    nodes += [
        node("AveragePool", "seen", name, kernel_shape=[by, by], strides=[by, by]) for name, by in FEATURES.items()
    ]
    return save_graph(path, nodes, {"composite": (1, 5, *PATCH_SIZE), "sharpness": (1, 2)}, _features())


def _features() -> Shapes:
    height, width = PATCH_SIZE
    return {name: (1, 5, height // by, width // by) for name, by in FEATURES.items()}


def denoiser_graph(path: Path) -> Path:
    """velocity = noisy - clean, clean = (reference + previous) / 2 + the means of everything else."""
    others: Shapes = {"composite": (1, 5, *LATENT_SHAPE[2:]), "audio": (1, 20, FEATURE_SIZE), "landmarks": (1, 45, 2)}
    others = {**others, "shape": (1, COMPONENTS), "time": (1,)}
    nodes = [node("ReduceMean", name, f"{name}_mean", keepdims=0) for name in others]
    nodes += [
        node("Sum", " ".join(f"{name}_mean" for name in others), "means"),
        node("Mean", "reference previous", "seen"),
        node("Add", "seen means", "clean"),
        node("Sub", "noisy clean", "velocity"),
    ]
    inputs = {"noisy": LATENT_SHAPE, "reference": LATENT_SHAPE, "previous": LATENT_SHAPE, **others}
    return save_graph(path, nodes, inputs, {"velocity": LATENT_SHAPE})


def decoder_graph(path: Path) -> Path:
    """picture = composite + inner mouth × (the latent's first channels + the means of the features) / 10."""
    features = _features()
    nodes = [*SPLIT, *[node("ReduceMean", name, f"{name}_mean", keepdims=0) for name in features]]
    nodes += [
        node("Slice", "latent zero three one", "few"),
        helper.make_node("Resize", ["few", "", "scales"], ["large"], mode="nearest"),
        node("Sum", "large half_mean quarter_mean eighth_mean", "light"),
        node("Mul", "light inner", "bright"),
        node("Mul", "bright tenth", "paint"),
        node("Add", "rgb paint", "picture"),
    ]
    constants: dict[str, NDArray[Any]] = {**SLICES, "tenth": f32(0.1), "scales": f32(1, 1, 8, 8)}
    inputs: Shapes = {"latent": LATENT_SHAPE, "composite": (1, 5, *PATCH_SIZE), **features}
    return save_graph(path, nodes, inputs, {"picture": (1, 3, *PATCH_SIZE)}, **constants)
