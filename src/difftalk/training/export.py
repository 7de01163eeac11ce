"""Torch nets -> ONNX graphs with fp16 weights, and the model folder that inference reads. Knows nothing of training.

With prepared clips the nets of a frame are written in integers as well.
"""

from __future__ import annotations

import shutil
import warnings
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Final

import numpy as np
import torch
from torch import Tensor, nn

from difftalk.errors import ModelError
from difftalk.model import GraphEntry, Model, entry_of, int8_path, write_index
from difftalk.settings import Settings
from difftalk.training.calibration import NETS, Judged, add_integers
from difftalk.training.checkpoint import save_weights
from difftalk.training.kinds.table import kind_of, load_net, recipe_of

if TYPE_CHECKING:
    import onnx

HALF_FROM: Final = 1024  # elements: smaller tensors stay f32
LARGE: Final = 10**9  # bytes of weights from which they get a file of their own: a graph's own may hold 2 GB
WINDOW_MELS: Final = 300  # columns of the speech encoder's window: 3.0 s at 100 Hz


def export_graph(
    net: nn.Module,
    path: Path,
    *,
    inputs: dict[str, Tensor],
    outputs: Sequence[str],
    half: bool = True,
    large: int = LARGE,
) -> None:
    """Writes `net` as an ONNX graph with static shapes and named inputs and outputs.

    half: whether weights are stored in fp16. Weights of more than `large` bytes go into a file beside it, PATH.data.
    """
    with warnings.catch_warnings(), torch.no_grad():
        # Torch's exporter calls parts of torch that torch has deprecated.
        warnings.simplefilter("ignore", FutureWarning)
        warnings.simplefilter("ignore", DeprecationWarning)
        program = torch.onnx.export(
            net.eval(),
            # Copies: the exporter takes one tensor given twice for one input.
            tuple(value.clone() for value in inputs.values()),
            dynamo=True,
            input_names=list(inputs),
            output_names=list(outputs),
            verbose=False,
        )
    assert program is not None
    size = sum(parameter.numel() * 4 for parameter in net.parameters())
    program.save(str(path), external_data=size > large)
    if half:
        store_half(path, large=large)
    else:
        _stripped(path)


def store_half(path: Path, *, large: int = LARGE) -> None:
    """Stores a graph's large f32 weights as fp16 followed by a cast to f32, so that engines compute as before.

    A tensor with a value that fp16 cannot hold stays f32.
    """
    import onnx
    from onnx import numpy_helper

    model = onnx.load(str(path))
    graph, casts = model.graph, []
    for tensor in list(graph.initializer):
        if tensor.data_type != onnx.TensorProto.FLOAT or np.prod(tensor.dims) < HALF_FROM:
            continue
        values = numpy_helper.to_array(tensor)
        if np.abs(values).max() > np.finfo(np.float16).max:
            continue
        name = tensor.name
        tensor.CopyFrom(numpy_helper.from_array(values.astype(np.float16), f"{name}_half"))
        casts.append(onnx.helper.make_node("Cast", [tensor.name], [name], to=onnx.TensorProto.FLOAT))
    nodes = list(graph.node)
    del graph.node[:]
    graph.node.extend(casts + nodes)
    _strip(model)
    size = sum(tensor.ByteSize() for tensor in graph.initializer)
    beside = path.with_name(f"{path.name}.data")
    beside.unlink(missing_ok=True)
    onnx.save(model, str(path), save_as_external_data=size > large, location=beside.name)
    onnx.checker.check_model(str(path))


def _stripped(path: Path) -> None:
    """Rewrites a graph without the exporter's notes; weights in a file of their own stay there."""
    import onnx

    model = onnx.load(str(path), load_external_data=False)
    _strip(model)
    onnx.save(model, str(path))


def _strip(model: onnx.ModelProto) -> None:
    """Drops the exporter's notes: they name files and lines of the machine that exported."""
    graph = model.graph
    for part in (model, graph, *graph.node, *graph.initializer, *graph.value_info, *graph.input, *graph.output):
        part.ClearField("metadata_props")
        part.ClearField("doc_string")


def export_speech_encoder(weights: Path, path: Path) -> None:
    """Writes the frozen speech encoder for one window: `mel` (1, 80, 300) -> `features` (1, 150, 1152)."""
    from difftalk.nets.speech_encoder import MELS, SpeechEncoder

    inputs = {"mel": torch.zeros(1, MELS, WINDOW_MELS)}
    export_graph(SpeechEncoder.load(weights), path, inputs=inputs, outputs=["features"])


def export_model(
    out: Path,
    runs: Mapping[str, Path],
    *,
    base: Path | None = None,
    settings: Settings | None = None,
    weights: Path | None = None,
    data: Path | None = None,
    gains: Mapping[str, float] | None = None,
    fp16: bool | None = None,
    tell: Callable[[Judged], None] | None = None,
) -> Model:
    """Writes a model folder: the base's files, with the graphs of the given runs new. Raises DataError, ModelError.

    weights: a folder that gets each run's weights as NAME.safetensors, to train on from. data: prepared clips on which
    the gain of a motion run is measured and folded in, unless gains names it, and the nets of a frame are put into
    integers beside f32; without, nets of runs have no integers. fp16: whether weights are stored in fp16; by default
    all but the published system's are. A denoiser of the published system becomes the folder's renderer. tell: is
    called with what each net costs in integers.
    """
    source = Model.load(base)
    half = out.with_name(f".{out.name}.part")
    shutil.rmtree(half, ignore_errors=True)
    if out.exists():
        raise ModelError(f"{out} exists; give a new folder")
    try:
        source.save(half)
        entries, known = dict(source.graphs), source.settings
        for name, run in runs.items():
            checkpoint, net = load_net(run)
            if weights is not None:
                weights.mkdir(parents=True, exist_ok=True)
                save_weights(checkpoint, weights / f"{name}.safetensors")
            becomes = kind_of(recipe_of(checkpoint)).exported
            becomes.amplify(net, data, (gains or {}).get(name))
            for graph, spec in becomes.graphs(net).items():
                path = half / f"{graph}.onnx"
                int8_path(path).unlink(missing_ok=True)
                stored = becomes.half if fp16 is None else fp16
                export_graph(spec.net, path, inputs=spec.inputs, outputs=spec.outputs, half=stored)
                entries[graph] = entry_of(path, spec.precision)
            known = becomes.settings(net, known)
        write_index(half, entries, settings or known)
        if data is not None and (settings or known).renderer == "denoiser":
            write_index(half, entries | _in_integers(half, entries, data, tell), settings or known)
        half.rename(out)
    finally:
        shutil.rmtree(half, ignore_errors=True)
    return Model.load(out)


def _in_integers(
    folder: Path, entries: Mapping[str, GraphEntry], data: Path, tell: Callable[[Judged], None] | None
) -> dict[str, GraphEntry]:
    """The entries of the nets that were put into integers, or were not because it costs too much."""
    for judged in add_integers(folder, data):
        if tell is not None:
            tell(judged)
    return {name: entry_of(folder / entries[name].file, entries[name].precision) for name in NETS}
