"""Engines: an ONNX graph -> a callable over named arrays. One interface, one file per engine.

    graph = engine.load(path, precision="f32", threads=2)
    features = graph(mel=mel)["features"]

Knows nothing of what a graph computes. The precision is named for every graph: an engine that chose for itself would
run bf16 unasked where the processor has it. int8 is named for graphs that were made of integers: what else is in them
runs in f32. A graph may be called from several threads at once.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Literal, Protocol

import numpy as np
from numpy.typing import NDArray

from difftalk.errors import InputError, ModelError

Precision = Literal["f32", "bf16", "int8"]
PRECISIONS: Final = ("f32", "bf16", "int8")
ENGINES: Final = ("openvino", "onnxruntime")


class Graph(Protocol):
    """A compiled graph, for any thread. Arrays go in and come out by their ONNX names; results are the caller's own."""

    def __call__(self, **inputs: NDArray[Any]) -> dict[str, NDArray[Any]]: ...


class Compiled(Graph, Protocol):
    """What an engine makes of a file."""

    @property
    def ports(self) -> Mapping[str, Port]:
        """The inputs, by name."""


@dataclass(frozen=True)
class Port:
    """An input of a graph; None in the shape is a length that may vary."""

    shape: tuple[int | None, ...]
    dtype: np.dtype[Any]

    def accepts(self, shape: tuple[int, ...]) -> bool:
        """Whether an array of this shape may be given."""
        pairs = zip(self.shape, shape, strict=False)
        return len(shape) == len(self.shape) and all(wanted in (None, given) for wanted, given in pairs)


def load(
    path: Path, *, precision: Precision, threads: int = 0, engine: str = "openvino", cache: Path | None = None
) -> Compiled:
    """Compiles the ONNX file at `path`.

    precision: of the arithmetic; an engine or a processor without bf16 runs in f32. threads: 0 lets the engine choose.
    cache: folder for compiled models, by default the user's cache folder; one that cannot be written is not used.
    Raises ModelError for a missing or corrupt file, InputError for an unknown engine, precision or number of threads,
    MissingExtraError for an engine that is not installed.
    """
    if engine not in ENGINES:
        raise InputError(f"engine {engine!r} is not known; allowed: {', '.join(ENGINES)}")
    if precision not in PRECISIONS:
        raise InputError(f"precision {precision!r} is not known; allowed: {', '.join(PRECISIONS)}")
    if threads < 0:
        raise InputError(f"{threads} threads were asked for; give a number, or 0 to let the engine choose")
    if not path.is_file():
        raise ModelError(f"{path} does not exist; export or copy the model folder again")
    if engine == "onnxruntime":
        from difftalk.engine import onnxruntime

        return onnxruntime.compile_graph(path, threads=threads)
    from difftalk.engine import openvino

    return openvino.compile_graph(path, precision=precision, threads=threads, cache=cache)


def runnable(precision: Precision, engine: str = "openvino") -> Precision:
    """What a graph of this precision is computed in here: an engine or a processor without bf16 has f32."""
    if engine == "onnxruntime":
        return "f32" if precision == "bf16" else precision
    from difftalk.engine import openvino

    return openvino.runnable(precision)


def checked(inputs: Mapping[str, NDArray[Any]], ports: Mapping[str, Port], path: Path) -> dict[str, NDArray[Any]]:
    """The inputs as the graph wants them: every name given, fitting shapes, contiguous, of the graph's type.

    Raises ModelError: a caller that knows its model gets this only from a folder of another kind.
    """
    if inputs.keys() != ports.keys():
        given = ", ".join(sorted(inputs)) or "nothing"
        raise ModelError(
            f"{path.name} takes {', '.join(sorted(ports))}, was given {given}; use the model it belongs to"
        )
    for name, port in ports.items():
        if not port.accepts(inputs[name].shape):
            wanted = " x ".join("any" if length is None else str(length) for length in port.shape)
            given = " x ".join(map(str, inputs[name].shape))
            raise ModelError(f"{path.name} takes {name} as {wanted}, was given {given}; use the model it belongs to")
    return {name: np.ascontiguousarray(inputs[name], dtype=port.dtype) for name, port in ports.items()}


def unreadable(path: Path, engine: str, error: Exception) -> ModelError:
    """The one-line error for a file that an engine refuses: its own explanation runs over many lines."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    reason = lines[-1][:120] if lines else "no reason given"
    return ModelError(f"{path} is not a graph that {engine} reads ({reason}); export or copy it again")
