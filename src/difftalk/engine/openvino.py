"""OpenVINO on the CPU: the default engine, tuned for the latency of one call.

Caches compiled models in the user's cache folder where it can be written. Chooses no precision: it runs the one that is
named, or f32 where the processor has no bf16. Importing OpenVINO from here sends no event anywhere.
"""

from __future__ import annotations

import os
import sys
import tempfile
from collections.abc import Sequence
from functools import cache as remember
from pathlib import Path
from threading import Lock
from typing import TYPE_CHECKING, Any, Final

import numpy as np
from numpy.typing import NDArray

from difftalk.engine import Port, checked, unreadable

if TYPE_CHECKING:
    from openvino import CompiledModel, Core, Model

    from difftalk.engine import Compiled, Precision

_TELEMETRY = "openvino_telemetry"
_MOST = "ONEDNN_MAX_CPU_ISA"  # the most of a processor's instructions that the kernels may use
_NO_BF16: Final = ("SSE41", "AVX", "AVX2", "AVX2_VNNI", "AVX512_CORE", "AVX512_CORE_VNNI")


@remember
def _core() -> Core:
    # On import OpenVINO's converter, which is not used here, sends an event and writes a client id to the home folder;
    # where this package is missing it has a stand-in that does nothing.
    known = sys.modules.get(_TELEMETRY)
    sys.modules[_TELEMETRY] = None  # type: ignore[assignment]
    try:
        import openvino
    finally:
        del sys.modules[_TELEMETRY]
        if known is not None:
            sys.modules[_TELEMETRY] = known
    return openvino.Core()


@remember
def _capabilities() -> Sequence[str]:
    found: list[str] = _core().get_property("CPU", "OPTIMIZATION_CAPABILITIES")
    # OpenVINO tells what the processor has, also where its kernels were told to do without: some then refuse bf16.
    kept_from = os.environ.get(_MOST, "").upper() in _NO_BF16
    return [name for name in found if not (kept_from and name == "BF16")]


def runnable(precision: Precision, capabilities: Sequence[str] | None = None) -> Precision:
    """bf16 only where the processor computes in it: elsewhere it would be emulated, slowly, or refused.

    capabilities: OpenVINO's names of what a processor computes in; this one's, if None.
    """
    if precision == "bf16" and "BF16" not in (_capabilities() if capabilities is None else capabilities):
        return "f32"
    return precision


def default_cache() -> Path:
    """`difftalk/openvino` in the user's cache folder."""
    base = os.environ.get("XDG_CACHE_HOME", "")
    # The XDG rule: a relative path there is not to be used. expanduser, unlike Path.home, never raises.
    root = base if os.path.isabs(base) else os.path.expanduser("~/.cache")
    return Path(root) / "difftalk" / "openvino"


def _writable(folder: Path) -> bool:
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):  # asks the file system: permission bits say too little
            return True
    except OSError:
        return False


def compile_graph(path: Path, *, precision: Precision, threads: int, cache: Path | None) -> Compiled:
    """Compiles for the CPU: lowest latency, one stream, precision as named."""
    options: dict[str, Any] = {
        "PERFORMANCE_HINT": "LATENCY",
        "NUM_STREAMS": 1,
        "ENABLE_CPU_PINNING": False,  # a pinned thread waits for its core while NumPy beside it could go to another
        "INFERENCE_PRECISION_HINT": "f32" if precision == "int8" else runnable(precision),
    }
    if threads:
        options["INFERENCE_NUM_THREADS"] = threads
    folder = cache or default_cache()
    try:
        model = _core().read_model(str(path))
        if _writable(folder):
            try:
                return _Compiled(path, model, _core().compile_model(model, "CPU", options | {"CACHE_DIR": str(folder)}))
            except RuntimeError:
                pass  # a full disk or a damaged cache must stop nobody: the graph itself is tried below
        return _Compiled(path, model, _core().compile_model(model, "CPU", options))
    except RuntimeError as error:
        raise unreadable(path, "OpenVINO", error) from None


class _Compiled:
    """One compiled model with its one request, which threads take in turns."""

    def __init__(self, path: Path, graph: Model, model: CompiledModel) -> None:
        self._path = path
        self._request, self._turn = model.create_infer_request(), Lock()
        # Names are the graph's as it was read: compiling folds operations away and leaves several names on one port.
        self.ports = {
            read.any_name: Port(
                shape=tuple(None if length.is_dynamic else length.get_length() for length in port.partial_shape),
                dtype=np.dtype(port.element_type.to_dtype()),
            )
            for read, port in zip(graph.inputs, model.inputs, strict=True)
        }
        self._outputs = [port.any_name for port in graph.outputs]

    def __call__(self, **inputs: NDArray[Any]) -> dict[str, NDArray[Any]]:
        given = checked(inputs, self.ports, self._path)
        # Inputs are read where they lie; outputs are copied out, because the next call writes over the request's own.
        with self._turn:
            results = self._request.infer(given, share_inputs=True, share_outputs=False)
        return {name: results[index] for index, name in enumerate(self._outputs)}
