"""ONNX Runtime: for CUDA, CoreML, DirectML and ROCm, where a user has them; on the CPU otherwise. Runs in f32.

Keeps no cache, and sends no event anywhere. What a device cannot run falls back to the CPU.
"""

from __future__ import annotations

import os
from collections.abc import Collection, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np
from numpy.typing import NDArray

from difftalk.engine import Port, checked, unreadable
from difftalk.errors import InputError, MissingExtraError

if TYPE_CHECKING:
    from difftalk.engine import Compiled

DEVICES: Final = ("CUDAExecutionProvider", "CoreMLExecutionProvider", "DmlExecutionProvider", "ROCMExecutionProvider")
CPU: Final = "CPUExecutionProvider"
OPTIONS: Final = {"CUDAExecutionProvider": {"use_tf32": "0"}}  # tensor cores would round f32 to 10 bits unasked
ERRORS_ONLY: Final = 3  # log level
DTYPES: Final = {
    "tensor(float)": np.float32,
    "tensor(float16)": np.float16,
    "tensor(double)": np.float64,
    "tensor(int32)": np.int32,
    "tensor(int64)": np.int64,
    "tensor(uint8)": np.uint8,
    "tensor(bool)": np.bool_,
}


def choose_providers(available: Collection[str], asked: Sequence[str] | None = None) -> list[str]:
    """Those asked for, or the first device that is there and then the CPU. Raises InputError."""
    if asked is None:
        return [*[name for name in DEVICES if name in available][:1], CPU]
    missing = [name for name in asked if name not in available]
    if missing:
        raise InputError(f"this ONNX Runtime has no {', '.join(missing)}; allowed: {', '.join(available)}")
    return list(asked)


def compile_graph(path: Path, *, threads: int, providers: Sequence[str] | None = None) -> Compiled:
    """A session on `providers` (ONNX Runtime's own names), or on the best device that is there."""
    os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")  # read on import: events, and a device id in the home folder
    try:
        import onnxruntime
    except ImportError:
        raise MissingExtraError("onnxruntime", "onnxruntime") from None
    chosen = choose_providers(onnxruntime.get_available_providers(), providers)
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.log_severity_level = ERRORS_ONLY
    try:
        session = onnxruntime.InferenceSession(
            str(path), options, providers=[(name, OPTIONS.get(name, {})) for name in chosen]
        )
    except Exception as error:  # its exceptions have no public base class
        raise unreadable(path, "ONNX Runtime", error) from None
    return _Session(path, session)


class _Session:
    def __init__(self, path: Path, session: Any) -> None:
        self._path, self._session = path, session
        self.ports = {
            port.name: Port(
                # A length that may vary comes as a name or as None.
                shape=tuple(length if isinstance(length, int) else None for length in port.shape),
                dtype=np.dtype(DTYPES[port.type]),
            )
            for port in session.get_inputs()
        }
        self._outputs = [port.name for port in session.get_outputs()]

    def __call__(self, **inputs: NDArray[Any]) -> dict[str, NDArray[Any]]:
        results = self._session.run(self._outputs, checked(inputs, self.ports, self._path))
        return dict(zip(self._outputs, results, strict=True))
