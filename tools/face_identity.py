"""Writes the graph of the face identity net beside its weights, which stay in their own file in 8 bits, and the index.

    python tools/face_identity.py src/difftalk/weights

dlib's ResNet (King 2017) as face-api.js packed it: layers conv, scale and bias by channel, blocks whose shortcut is an
average pool and channels of zeros. face (1, 3, 150, 150), RGB in [0, 255] -> embedding (1, 128).
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any, Final

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from difftalk.model import Model, entry_of, write_index

NAME: Final = "face_identity"
CHIP: Final = 150  # px
MEAN: Final = (122.782, 117.001, 104.298)
BLOCKS: Final = (("32", "1 2 3"), ("64", "down 1 2 3"), ("128", "down 1 2"), ("256", "down 1 2 down_out"))


class Graph:
    """Nodes as they are added, and the shape (channels, side) that each output has."""

    def __init__(self, weights: Path) -> None:
        header_size = int.from_bytes(weights.read_bytes()[:8], "little")
        header: dict[str, Any] = json.loads(weights.read_bytes()[8 : 8 + header_size])
        self.quantised = json.loads(header.pop("__metadata__")["quant"])
        self.file, self.start, self.tensors = weights.name, 8 + header_size, header
        self.nodes: list[onnx.NodeProto] = []
        self.constants: list[onnx.TensorProto] = []

    def add(self, kind: str, *inputs: str, **attributes: Any) -> str:
        name = f"{kind.lower()}{len(self.nodes)}"
        self.nodes.append(helper.make_node(kind, list(inputs), [name], **attributes))
        return name

    def constant(self, value: Any) -> str:
        name = f"constant{len(self.constants)}"
        self.constants.append(numpy_helper.from_array(np.asarray(value), name))
        return name

    def weight(self, name: str, *shape: int) -> str:
        """A tensor of the weights' file, as floats of a shape."""
        kept = self.tensors[name]
        (begin, end), kind = kept["data_offsets"], {"U8": TensorProto.UINT8, "F32": TensorProto.FLOAT}[kept["dtype"]]
        raw = onnx.TensorProto(name=name, data_type=kind, dims=kept["shape"])
        raw.data_location = TensorProto.EXTERNAL
        for key, value in (("location", self.file), ("offset", self.start + begin), ("length", end - begin)):
            raw.external_data.add(key=key, value=str(value))
        self.constants.append(raw)
        scale, least = (self.constant(np.float32(v)) for v in self.quantised[name])
        value = self.add("Add", self.add("Mul", self.add("Cast", name, to=TensorProto.FLOAT), scale), least)
        return self.add("Reshape", value, self.constant(np.array(shape, np.int64))) if shape else value

    def convolution(self, x: str, name: str, stride: int, pad: int, *, relu: bool = True) -> str:
        weight, bias = self.weight(f"{name}/conv/filters"), self.weight(f"{name}/conv/bias")
        x = self.add("Conv", x, weight, bias, strides=[stride] * 2, pads=[pad] * 4)
        x = self.add("Mul", x, self.weight(f"{name}/scale/weights", 1, -1, 1, 1))
        x = self.add("Add", x, self.weight(f"{name}/scale/biases", 1, -1, 1, 1))
        return self.add("Relu", x) if relu else x

    def padded(self, x: str, channels: int, side: int) -> str:
        """With so many channels of zeros more, and rows and columns at the end."""
        if not channels and not side:
            return x
        return self.add("Pad", x, self.constant(np.array([0, 0, 0, 0, 0, channels, side, side], np.int64)))


def net(weights: Path) -> onnx.ModelProto:
    graph = Graph(weights)
    x = graph.add("Sub", "face", graph.constant(np.array(MEAN, np.float32).reshape(1, 3, 1, 1)))
    x = graph.convolution(graph.add("Div", x, graph.constant(np.float32(256))), "conv32_down", 2, 0)
    x, side, channels = graph.add("MaxPool", x, kernel_shape=[3, 3], strides=[2, 2]), 35, 32
    for width, blocks in BLOCKS:
        for block in blocks.split():
            name, down = f"conv{width}_{block}", "down" in block
            y = graph.convolution(x, f"{name}/conv1", 2 if down else 1, 0 if down else 1)
            y = graph.convolution(y, f"{name}/conv2", 1, 1, relu=False)
            drawn = (side - 3) // 2 + 1 if down else side
            kept = side // 2 if down else side
            if down:
                x = graph.add("AveragePool", x, kernel_shape=[2, 2], strides=[2, 2])
            side = max(drawn, kept)
            x = graph.padded(x, int(width) - channels, side - kept)
            channels = int(width)
            x = graph.add("Relu", graph.add("Add", x, graph.padded(y, 0, side - drawn)))
    x = graph.add("ReduceMean", x, axes=[2, 3], keepdims=0)
    graph.nodes.append(helper.make_node("MatMul", [x, graph.weight("fc")], ["embedding"]))
    face = helper.make_tensor_value_info("face", TensorProto.FLOAT, [1, 3, CHIP, CHIP])
    embedding = helper.make_tensor_value_info("embedding", TensorProto.FLOAT, [1, 128])
    whole = helper.make_graph(graph.nodes, NAME, [face], [embedding], graph.constants)
    return helper.make_model(whole, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)


if __name__ == "__main__":
    folder = Path(sys.argv[1])
    path = folder / f"{NAME}.onnx"
    path.write_bytes(net(folder / f"{NAME}.onnx.data").SerializeToString())
    model = Model.load(folder)
    write_index(folder, {**model.graphs, NAME: entry_of(path, "f32")}, model.settings)
