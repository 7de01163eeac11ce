"""Torch nets -> ONNX graphs with fp16 weights, and the model folder that inference reads. Knows nothing of training."""

from __future__ import annotations

import shutil
import warnings
from collections.abc import Callable, Mapping, Sequence
from copy import deepcopy
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Final, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from difftalk.data.pack import samples_of
from difftalk.errors import DataError, ModelError
from difftalk.face.mouth import COMPONENTS, Geometry
from difftalk.face.space import REGION_SIZE
from difftalk.graphs import WINDOW_STEPS, WINDOWS
from difftalk.model import SHIPPED, Model, Settings, entry_of, write_index
from difftalk.nets.autoencoder import FirstStage
from difftalk.nets.denoiser import Denoiser
from difftalk.nets.diffusion import LatentDiffusion
from difftalk.nets.motion import LinearMotion, MotionNetwork
from difftalk.nets.painter import Painter
from difftalk.nets.published import CONDITION, LATENT, PublishedDiffTalk
from difftalk.nets.sizes import AUDIO_SIZE, AUDIO_TOKENS, COMPOSITE_CHANNELS, LANDMARKS, LATENT_CHANNELS, LATENT_SIZE
from difftalk.render.published import CHARACTERS, SEEN
from difftalk.speech.features import BLOCK
from difftalk.speech.motion import FUTURE_FEATURES, MOTION_RATE, PAST_FEATURES, opening_of, pressed
from difftalk.training.checkpoint import save_weights
from difftalk.training.motion_data import curve_of
from difftalk.training.objectives import load_net
from difftalk.training.people import parted

if TYPE_CHECKING:
    import onnx

GAIN_ROUNDS: Final = 4  # of scaling: pressed lips make the spread a little more than proportional
HALF_FROM: Final = 1024  # elements: smaller tensors stay f32
LARGE: Final = 10**9  # bytes of weights from which they get a file of their own: a graph's own may hold 2 GB
PUBLISHED_STEPS: Final = 200
WINDOW_MELS: Final = 300  # columns of the speech encoder's window: 3.0 s at 100 Hz


def export_graph(
    net: nn.Module, path: Path, *, inputs: dict[str, Tensor], outputs: Sequence[str], half: bool = True
) -> None:
    """Writes `net` as an ONNX graph with static shapes and named inputs and outputs.

    half: whether weights are stored in fp16. Weights of more than 1 GB go into a file beside it, PATH.data.
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
    program.save(str(path), external_data=size > LARGE)
    if half:
        store_half(path)
    else:
        _stripped(path)


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
    large = sum(tensor.ByteSize() for tensor in graph.initializer) > LARGE
    beside = path.with_name(f"{path.name}.data")
    beside.unlink(missing_ok=True)
    onnx.save(model, str(path), save_as_external_data=large, location=beside.name)
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
    if isinstance(net, PublishedDiffTalk):
        return _published_graphs(net)
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
        if isinstance(net, LinearMotion):
            return {"linear": GraphSpec(net, {"features": window}, ("shape",), "f32")}
        heard = _Part(net, lambda features: (net(features), net.sounds(features)))
        return {"motion": GraphSpec(heard, {"features": window}, ("shape", "sound"), "f32")}
    raise DataError(f"{type(net).__name__} is no net that a model folder holds")


class _Part(nn.Module):
    """One of a net's functions as a net of its own."""

    def __init__(self, net: nn.Module, function: Callable[..., Tensor | tuple[Tensor, ...]]) -> None:
        super().__init__()
        self.net, self.function = net, function

    def forward(self, *inputs: Tensor) -> Tensor | tuple[Tensor, ...]:
        return self.function(*inputs)


def _published_graphs(net: PublishedDiffTalk) -> dict[str, GraphSpec]:
    side, picture = net.sizes.latent, torch.zeros(1, 3, net.sizes.picture, net.sizes.picture)
    latent = torch.zeros(1, LATENT, side, side)
    windows, points = torch.zeros(1, WINDOWS, WINDOW_STEPS, CHARACTERS), torch.zeros(1, len(SEEN), 2)
    seen = {"noisy": latent, "masked": latent, "reference": latent, "step": torch.zeros(1)}
    encode, decode = _Part(net.first_stage, net.first_stage.encode), _Part(net.first_stage, net.first_stage.decode)
    parts = {
        "encoder": GraphSpec(encode, {"picture": picture}, ("latent",), "f32"),
        "conditions": GraphSpec(net.conditions, {"windows": windows, "points": points}, ("context",), "f32"),
        "denoiser": GraphSpec(net, seen | {"context": torch.zeros(1, 1, 2 * CONDITION)}, ("noise",), "f32"),
        "decoder": GraphSpec(decode, {"latent": latent}, ("picture",), "f32"),
    }
    return {f"published_{name}": spec for name, spec in parts.items()}


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
) -> Model:
    """Writes a model folder: the base's files, with the graphs of the given runs new. Raises DataError, ModelError.

    weights: a folder that gets each run's weights as NAME.safetensors, to train on from. data: prepared clips on which
    the gain of a motion run is measured (see `gain_of`) and folded in, unless gains names it. fp16: whether
    weights are stored in fp16; by default all but the published system's are. A denoiser of the published system
    becomes the folder's renderer.
    """
    source = Model.load(base)
    half = out.with_name(f".{out.name}.part")
    shutil.rmtree(half, ignore_errors=True)
    if out.exists():
        raise ModelError(f"{out} exists; give a new folder")
    try:
        source.save(half)
        entries = dict(source.graphs)
        for kind, run in runs.items():
            checkpoint, net = load_net(run)
            if weights is not None:
                weights.mkdir(parents=True, exist_ok=True)
                save_weights(checkpoint, weights / f"{kind}.safetensors")
            if isinstance(net, LinearMotion | MotionNetwork):
                known = (gains or {}).get(kind)
                net.amplify(known if known is not None else gain_of(net, data) if data is not None else 1.0)
            halved = not isinstance(net, PublishedDiffTalk) if fp16 is None else fp16
            for name, spec in graphs_of(net).items():
                path = half / f"{name}.onnx"
                export_graph(spec.net, path, inputs=spec.inputs, outputs=spec.outputs, half=halved)
                entries[name] = entry_of(path, spec.precision)
            if isinstance(net, PublishedDiffTalk) and settings is None:
                settings = replace(
                    source.settings, renderer="published", steps=PUBLISHED_STEPS, picture=net.sizes.picture
                )
        write_index(half, entries, settings or source.settings)
        half.rename(out)
    finally:
        shutil.rmtree(half, ignore_errors=True)
    return Model.load(out)


def gain_of(net: LinearMotion | MotionNetwork, data: Path) -> float:
    """The gain of `amplify` at which the opening's spread is the true one, on a data folder's people kept aside.

    Median over people of the mean over their clips. A run that has seen them (without data.aside=true) asks for less.
    """
    geometry, samples = Geometry.load(SHIPPED), samples_of(data, split="train")
    samples, total = parted(samples)[1] or samples, 1.0
    curves = [curve_of(sample, geometry) for sample in samples]
    tried = deepcopy(net)
    for _ in range(GAIN_ROUNDS):
        ratios: dict[str, list[float]] = {}
        for sample, curve in zip(samples, curves, strict=True):
            shapes = _spoken(tried, np.asarray(sample.speech, np.float32))[: round(curve.seconds[-1] * MOTION_RATE)]
            spread = float(opening_of(pressed(shapes, geometry), geometry).std())
            ratios.setdefault(sample.record.person, []).append(float(curve.openings.std()) / max(spread, 1e-9))
        gain = float(np.median([np.mean(found) for found in ratios.values()]))
        tried.amplify(gain)
        total *= gain
    return round(total, 3)


@torch.no_grad()
def _spoken(net: LinearMotion | MotionNetwork, features: NDArray[np.float32]) -> NDArray[np.float32]:
    """Features (n, 1152) -> mouth shapes (t, 16), as a stream has them."""
    begun = np.concatenate([np.repeat(features[:1], PAST_FEATURES, 0), features])
    return np.asarray(net(torch.from_numpy(begun[None])[:, : len(begun) // 2 * 2])[0].numpy(), np.float32)
