"""A graph in integers: its convolutions take values of 8 bits and weights of 7, everything else stays as it is.

    quantise(Path("decoder.onnx"), Path("decoder.int8.onnx"), examples)

Post-training quantisation (Jacob et al. 2018): QuantizeLinear and DequantizeLinear around what is to be in integers, as
OpenVINO and ONNX Runtime read it. A value's range is that of the examples, a weight's scale its output channel's own.

Weights have 7 bits because processors without VNNI add two products in 16 bits: 2 × 255 × 63 fits, 2 × 255 × 127 does
not and would be cut off there, unnoticed. Matrix products stay: in integers they are slower on such processors.
"""

from __future__ import annotations

import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np
from numpy.typing import NDArray

from difftalk.arrays import Array
from difftalk.engine import load

if TYPE_CHECKING:
    import onnx

WEIGHT_MOST: Final = 63
VALUE_MOST: Final = 255
SCALES: Final = np.linspace(0.6, 1, 21, dtype=np.float32)  # of that at which no weight is cut off
LEAST_RANGE: Final = 1e-6  # of values that are always the same

Example = Mapping[str, NDArray[Any]]  # a graph's inputs by name


def quantise(path: Path, out: Path, examples: Sequence[Example]) -> int:
    """Writes the graph at `path` with its convolutions in integers to `out`; how many they are."""
    import onnx

    model = onnx.load(str(path))
    weights = _constants(model.graph)
    chosen = [node for node in model.graph.node if node.op_type == "Conv" and node.input[1] in weights]
    ranges = _ranges(model, {node.input[0] for node in chosen}, examples)
    _put_before(model.graph, chosen, ranges, weights)
    _sweep(model.graph)
    onnx.checker.check_model(model)
    onnx.save(model, str(out))
    return len(chosen)


def _constants(graph: onnx.GraphProto) -> dict[str, Array]:
    """The graph's constants by name, as f32; those stored in fp16 by the name that they have after their cast."""
    from onnx import numpy_helper

    stored = {tensor.name: tensor for tensor in graph.initializer}
    cast = {node.output[0]: stored[node.input[0]] for node in graph.node if _is_widened(node, stored)}
    return {name: numpy_helper.to_array(tensor).astype(np.float32) for name, tensor in (stored | cast).items()}


def _is_widened(node: onnx.NodeProto, stored: Mapping[str, onnx.TensorProto]) -> bool:
    return node.op_type == "Cast" and node.input[0] in stored


def _ranges(model: onnx.ModelProto, names: set[str], examples: Sequence[Example]) -> dict[str, tuple[float, float]]:
    """The least and the greatest value of some tensors over the examples; zero is always among them."""
    import onnx

    watched = onnx.ModelProto()
    watched.CopyFrom(model)
    given, put_out = ({port.name for port in ports} for ports in (model.graph.input, model.graph.output))
    inner = sorted(names - given - put_out)
    watched.graph.output.extend(onnx.helper.make_empty_tensor_value_info(name) for name in inner)
    ranges = dict.fromkeys(names, (0.0, 0.0))
    with tempfile.TemporaryDirectory() as folder:
        onnx.save(watched, f"{folder}/watched.onnx")
        graph = load(Path(folder) / "watched.onnx", precision="f32", cache=Path(folder))
        for example in examples:
            seen = {**example, **graph(**example)}
            for name, (low, high) in ranges.items():
                ranges[name] = min(low, float(seen[name].min())), max(high, float(seen[name].max()))
    return ranges


def _put_before(
    graph: onnx.GraphProto,
    chosen: Sequence[onnx.NodeProto],
    ranges: Mapping[str, tuple[float, float]],
    weights: Mapping[str, Array],
) -> None:
    """Has every chosen convolution take integers; a tensor that several take is turned into them once."""
    values = {name: _value_nodes(graph, name, *span) for name, span in ranges.items()}
    of_weights = {name: _weight_node(graph, name, weights[name]) for name in {node.input[1] for node in chosen}}
    for node in chosen:
        node.input[0], node.input[1] = f"{node.input[0]}_dequantised", f"{node.input[1]}_dequantised"
    given = [port.name for port in graph.input]
    ordered = [*of_weights.values(), *(made for name in given for made in values.get(name, ()))]
    for node in graph.node:
        ordered += [node, *(made for name in node.output for made in values.get(name, ()))]
    _refill(graph.node, ordered)


def _value_nodes(graph: onnx.GraphProto, name: str, low: float, high: float) -> list[onnx.NodeProto]:
    """Rounds a tensor to 8 bits between two values, and back."""
    from onnx import helper

    scale = np.float32(max(high - low, LEAST_RANGE) / VALUE_MOST)
    numbers = _stored(graph, name, scale, np.uint8(np.clip(round(-low / float(scale)), 0, VALUE_MOST)))
    return [
        helper.make_node("QuantizeLinear", [name, *numbers], [f"{name}_quantised"]),
        helper.make_node("DequantizeLinear", [f"{name}_quantised", *numbers], [f"{name}_dequantised"]),
    ]


def _weight_node(graph: onnx.GraphProto, name: str, weight: Array) -> onnx.NodeProto:
    """Weights (out, in, ...) as integers with a scale for each output."""
    from onnx import helper, numpy_helper

    scale, rounded = _rounded(weight.reshape(len(weight), -1))
    rounded = rounded.reshape(weight.shape)
    graph.initializer.append(numpy_helper.from_array(rounded, f"{name}_quantised"))
    numbers = _stored(graph, name, scale, np.zeros(len(scale), np.int8))
    return helper.make_node("DequantizeLinear", [f"{name}_quantised", *numbers], [f"{name}_dequantised"], axis=0)


def _rounded(rows: Array) -> tuple[Array, NDArray[np.int8]]:
    """(out, n) -> (out,) scales, and the integers: of some scales that with which a row loses least."""
    most = np.maximum(np.abs(rows).max(1), LEAST_RANGE) / np.float32(WEIGHT_MOST)
    scales = np.stack([share * most for share in SCALES]).astype(np.float32)
    made = [np.clip(np.rint(rows / scale[:, None]), -WEIGHT_MOST, WEIGHT_MOST) for scale in scales]
    lost = [((one * scale[:, None] - rows) ** 2).sum(1) for one, scale in zip(made, scales, strict=True)]
    best, row = np.argmin(lost, 0), np.arange(len(rows))
    return scales[best, row], np.stack(made)[best, row].astype(np.int8)


def _stored(graph: onnx.GraphProto, name: str, scale: Any, zero: Any) -> list[str]:
    """Puts a scale and a zero point into the graph; their names."""
    from onnx import numpy_helper

    named = {f"{name}_scale": scale, f"{name}_zero": zero}
    graph.initializer.extend(numpy_helper.from_array(np.asarray(value), key) for key, value in named.items())
    return list(named)


def _sweep(graph: onnx.GraphProto) -> None:
    """Drops what nothing takes any more: casts of weights that are integers now, and the weights themselves."""
    wanted = {port.name for port in graph.output} | {name for node in graph.node for name in node.input}
    nodes = [node for node in graph.node if wanted.intersection(node.output)]
    wanted = {name for node in nodes for name in node.input}
    tensors = [tensor for tensor in graph.initializer if tensor.name in wanted]
    _refill(graph.node, nodes)
    _refill(graph.initializer, tensors)


def _refill(held: Any, parts: Sequence[Any]) -> None:
    """Puts parts into a graph's list, some of which may be in it: those are copied, for they go with the old list."""
    copies = [type(part).FromString(part.SerializeToString()) for part in parts]
    del held[:]
    held.extend(copies)
