"""Makes the bench's convolution of 1 GMAC: python tools/yardstick.py src/difftalk/speed/convolution.onnx

Its weights are one number, which the graph says how often: the file stays small, and no engine is told anything.
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from difftalk.speed.yardstick import PICTURE


def convolution() -> onnx.ModelProto:
    channels = PICTURE[1]
    shape = numpy_helper.from_array(np.array([channels, channels, 3, 3], np.int64), "shape")
    value = numpy_helper.from_array(np.array([1e-3], np.float32))
    nodes = [
        helper.make_node("ConstantOfShape", ["shape"], ["weights"], value=value),
        helper.make_node("Conv", ["picture", "weights"], ["out"], pads=[1, 1, 1, 1]),
    ]
    ports = [helper.make_tensor_value_info(name, TensorProto.FLOAT, PICTURE) for name in ("picture", "out")]
    graph = helper.make_graph(nodes, "convolution", ports[:1], ports[1:], [shape])
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10, producer_name="")


if __name__ == "__main__":
    onnx.save(convolution(), Path(sys.argv[1]))
