"""Torch nets -> ONNX graphs with fp16 weights, and the model folder that inference reads. Knows nothing of training."""

from __future__ import annotations

import shutil
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Final, Literal

import numpy as np
import torch
from torch import Tensor, nn

from difftalk.align import REGION_SIZE
from difftalk.errors import DataError, ModelError
from difftalk.model import MOTIONS, Model, Settings, entry_of, write_index
from difftalk.motion import FUTURE_FEATURES, MOTION_RATE, PAST_FEATURES, opening_of, shapes_of
from difftalk.mouth import COMPONENTS, clip_shapes, opening
from difftalk.nets.autoencoder import FirstStage
from difftalk.nets.denoiser import Denoiser
from difftalk.nets.diffusion import LatentDiffusion
from difftalk.nets.motion import LinearMotion, MotionNetwork
from difftalk.nets.painter import Painter
from difftalk.nets.sizes import (
    AUDIO_SIZE,
    AUDIO_TOKENS,
    COMPOSITE_CHANNELS,
    LANDMARKS,
    LATENT_CHANNELS,
    LATENT_SIZE,
)
from difftalk.sample import Sample, load_samples
from difftalk.speech import BLOCK
from difftalk.training.checkpoint import load_net, save_weights

if TYPE_CHECKING:
    import onnx

HALF_FROM: Final = 1024  # elements: smaller tensors stay f32
WINDOW_MELS: Final = 300  # columns of the speech encoder's window: 3.0 s at 100 Hz


def export_graph(net: nn.Module, path: Path, *, inputs: dict[str, Tensor], outputs: Sequence[str]) -> None:
    """Writes `net` as an ONNX graph with static shapes, named inputs and outputs, and fp16 weights."""
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
    program.save(str(path))
    store_half(path)


def store_half(path: Path) -> None:
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
    onnx.checker.check_model(model)
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


Example = dict[str, Tensor]


@dataclass(frozen=True)
class GraphSpec:
    """One graph of a net: the part that is exported, an example of its inputs, the names of its outputs."""

    net: nn.Module
    inputs: Example
    outputs: tuple[str, ...]
    precision: Literal["f32", "bf16"]


def graphs_of(net: nn.Module) -> dict[str, GraphSpec]:
    """The graphs that a trained net becomes, by their names in the model folder."""
    height, width = REGION_SIZE
    picture, composite = torch.zeros(1, 3, height, width), torch.zeros(1, COMPOSITE_CHANNELS, height, width)
    latent = torch.zeros(1, LATENT_CHANNELS, *LATENT_SIZE)
    if isinstance(net, Painter):
        return {"painter": GraphSpec(net, {"composite": composite, "reference": picture}, ("picture",), "bf16")}
    if isinstance(net, FirstStage):
        with torch.no_grad():
            half, quarter, eighth = net.composite_path(composite)
        features = {"half": half, "quarter": quarter, "eighth": eighth}
        return {
            "encoder": GraphSpec(net.encoder, {"region": picture}, ("latent",), "f32"),
            "composite_path": GraphSpec(net.composite_path, {"composite": composite}, tuple(features), "bf16"),
            "decoder": GraphSpec(
                net.decoder, {"latent": latent, "composite": composite, **features}, ("picture",), "bf16"
            ),
        }
    if isinstance(net, LatentDiffusion):
        return graphs_of(net.first_stage) | graphs_of(net.denoiser)
    if isinstance(net, Denoiser):
        conditions = {
            "composite": torch.zeros(1, net.sizes.composite, *LATENT_SIZE),
            "reference": latent,
            "previous": latent,
            "audio": torch.zeros(1, AUDIO_TOKENS, AUDIO_SIZE),
            "landmarks": torch.zeros(1, LANDMARKS, 2),
            "shape": torch.zeros(1, COMPONENTS),
        }
        return {
            "denoiser": GraphSpec(net, {"noisy": latent, "time": torch.ones(1), **conditions}, ("velocity",), "bf16")
        }
    if isinstance(net, LinearMotion | MotionNetwork):
        window = torch.zeros(1, PAST_FEATURES + BLOCK + FUTURE_FEATURES, AUDIO_SIZE)
        name = "linear" if isinstance(net, LinearMotion) else "motion"
        return {name: GraphSpec(net, {"features": window}, ("shape",), "f32")}
    raise DataError(f"{type(net).__name__} is no net that a model folder holds")


def export_model(
    out: Path,
    runs: Mapping[str, Path],
    *,
    base: Path | None = None,
    settings: Settings | None = None,
    weights: Path | None = None,
    data: Path | None = None,
) -> Model:
    """Writes a model folder: the base's files, with the graphs of the given runs new. Raises DataError, ModelError.

    weights: a folder that gets each run's weights as NAME.safetensors, to train on from. data: prepared clips on whose
    validation people the gain of each motion graph is measured; without them the base's gains stay.
    """
    source = Model.load(base)
    half = out.with_name(f".{out.name}.part")
    shutil.rmtree(half, ignore_errors=True)
    if out.exists():
        raise ModelError(f"{out} exists; give a new folder")
    source.save(half)
    entries = dict(source.graphs)
    for kind, run in runs.items():
        checkpoint, net = load_net(run)
        if weights is not None:
            weights.mkdir(parents=True, exist_ok=True)
            save_weights(checkpoint, weights / f"{kind}.safetensors")
        for name, spec in graphs_of(net).items():
            path = half / f"{name}.onnx"
            export_graph(spec.net, path, inputs=spec.inputs, outputs=spec.outputs)
            entries[name] = entry_of(path, spec.precision)
    settings = settings or source.settings
    write_index(half, entries, settings)
    if data is not None:
        made, samples = Model.load(half, threads=1), load_samples(data, split="val")
        gains: dict[str, float] = {name: articulation_of(made, name, samples) for name in MOTIONS if name in entries}
        write_index(half, entries, replace(settings, articulation=gains))
    half.rename(out)
    return Model.load(out)


def articulation_of(model: Model, motion: str, samples: Sequence[Sample]) -> float:
    """The gain at which the opening's spread equals the true one's: median over people of the mean over their clips."""
    ratios: dict[str, list[float]] = {}
    for sample in samples:
        truth = opening(clip_shapes(model.geometry, sample.meshes).free).std()
        shapes = shapes_of(sample.speech, model.graph(motion))
        frames = round(sample.seconds[-1] * MOTION_RATE)
        made = opening_of(shapes[:frames], model.geometry).std()
        ratios.setdefault(sample.record.person, []).append(float(truth / max(made, 1e-9)))
    return round(float(np.median([np.mean(r) for r in ratios.values()])), 3)
