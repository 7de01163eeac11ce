"""Exported graphs against their torch nets, in every engine."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from onnx import TensorProto, numpy_helper
from torch import Tensor, nn

from difftalk import engine
from difftalk.data.sample import Sample
from difftalk.errors import DifftalkError
from difftalk.face.mouth import Geometry
from difftalk.model import SHIPPED
from difftalk.nets import sizes
from difftalk.nets.motion import LinearMotion, MotionNetwork
from difftalk.nets.speech_encoder import SpeechEncoder
from difftalk.speech.motion import opening_of, pressed
from difftalk.training.export import HALF_FROM, WINDOW_MELS, export_graph, export_model, export_speech_encoder
from difftalk.training.kinds import motion
from difftalk.training.motion_data import curve_of

WHISPER = Path(__file__).parents[2] / "shared/assets/whisper/whisper_tiny_en_encoder.fp16.safetensors"


class Tiny(nn.Module):
    """A net with a large weight, a small one, and one that half precision cannot hold."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.large = nn.Linear(64, 64)
        self.small = nn.Linear(64, 4)
        self.register_buffer("huge", torch.full((64, 64), 1e5))

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        hidden = torch.nn.functional.silu(self.large(x))
        return hidden, self.small(hidden) + (x @ self.get_buffer("huge"))[:, :4] * 1e-6


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> tuple[Tiny, Path]:
    net, path = Tiny(), tmp_path_factory.mktemp("export") / "tiny.onnx"
    net.large.weight.data = net.large.weight.data.half().float()  # so that parity is not blurred by the rounding
    export_graph(net, path, inputs={"x": torch.zeros(2, 64)}, outputs=["hidden", "out"])
    return net, path


def test_large_weights_are_stored_in_half(tiny: tuple[Tiny, Path]) -> None:
    net, path = tiny
    stored = {tensor.name: tensor for tensor in onnx.load(path).graph.initializer}
    assert stored["large.weight_half"].data_type == TensorProto.FLOAT16
    np.testing.assert_array_equal(
        numpy_helper.to_array(stored["large.weight_half"]).ravel().astype(np.float32).sum(),
        net.large.weight.detach().numpy().astype(np.float16).ravel().astype(np.float32).sum(),
    )
    for tensor in stored.values():
        size = int(np.prod(tensor.dims))
        fits = float(np.abs(numpy_helper.to_array(tensor)).max(initial=0)) <= 65504
        assert (tensor.data_type == TensorProto.FLOAT16) == (size >= HALF_FROM and fits)


def test_graph_says_nothing_of_the_machine(tiny: tuple[Tiny, Path]) -> None:
    _, path = tiny
    content = path.read_bytes()
    for trace in (b".py", str(Path.home()).encode(), str(Path(__file__).parents[1]).encode()):
        assert trace not in content


@pytest.mark.parametrize("name", engine.ENGINES)
def test_parity_with_torch(tiny: tuple[Tiny, Path], name: str, tmp_path: Path) -> None:
    net, path = tiny
    x = torch.randn(2, 64, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        hidden, out = net(x)
    result = engine.load(path, precision="f32", engine=name, threads=1, cache=tmp_path)(x=x.numpy())
    np.testing.assert_allclose(result["hidden"], hidden.numpy(), atol=2e-6)
    np.testing.assert_allclose(result["out"], out.numpy(), atol=2e-6)


def speech_like(seed: int) -> Tensor:
    """(1, 80, 300) log-mel in the range of speech: slow hills over a floor."""
    random = torch.Generator().manual_seed(seed)
    rough = torch.randn(1, 1, 10, 40, generator=random)
    return torch.nn.functional.interpolate(rough, (80, WINDOW_MELS), mode="bilinear")[0].clamp(-1, 1.5)


@pytest.mark.skipif(not WHISPER.is_file(), reason="Whisper's weights are not beside this checkout")
@pytest.mark.parametrize("name", engine.ENGINES)
def test_shipped_speech_encoder_is_whispers(name: str, tmp_path: Path) -> None:
    net = SpeechEncoder.load(WHISPER)
    graph = engine.load(SHIPPED / "speech_encoder.onnx", precision="f32", engine=name, threads=1, cache=tmp_path)
    for seed in (0, 1):
        mel = speech_like(seed)
        with torch.no_grad():
            features = net(mel).numpy()
        assert features.shape == (1, WINDOW_MELS // 2, 1152)
        given = graph(mel=mel.numpy())["features"]
        assert float(np.linalg.norm(given - features) / np.linalg.norm(features)) < 1e-5


@pytest.mark.skipif(not WHISPER.is_file(), reason="Whisper's weights are not beside this checkout")
def test_shipped_speech_encoder_is_what_export_writes(tmp_path: Path) -> None:
    export_speech_encoder(WHISPER, tmp_path / "speech_encoder.onnx")
    ours, shipped = (onnx.load(folder / "speech_encoder.onnx").graph for folder in (tmp_path, SHIPPED))
    assert [port.name for port in ours.input] == ["mel"]
    weights = {tensor.name: numpy_helper.to_array(tensor) for tensor in shipped.initializer}
    assert {tensor.name for tensor in ours.initializer} == weights.keys()
    for tensor in ours.initializer:
        np.testing.assert_array_equal(numpy_helper.to_array(tensor), weights[tensor.name])


@pytest.mark.parametrize("kind", ["motion", "linear"])
def test_a_gain_makes_spreads_equal_around_the_mean(sample: Sample, kind: str) -> None:
    size = sizes.MOTION["debug"]
    net = MotionNetwork(size) if kind == "motion" else LinearMotion(size)
    torch.manual_seed(0)
    for values in (*net.parameters(), net.basis):
        torch.nn.init.normal_(values, std=0.05)
    gain = motion.gain_of(net.eval(), [sample])
    features = np.asarray(sample.speech, np.float32)
    before = motion.spoken(net, features)
    net.amplify(gain)
    after = motion.spoken(net, features)
    geometry = Geometry.load(SHIPPED)
    truth, made = curve_of(sample, geometry), opening_of(pressed(after, geometry), geometry)
    assert made[: round(truth.seconds[-1] * 25)].std() == pytest.approx(truth.openings.std(), rel=0.05)
    np.testing.assert_allclose(np.diff(after, axis=0), gain * np.diff(before, axis=0), atol=1e-4 * gain)


def test_nothing_is_left_of_an_export_that_fails(tmp_path: Path) -> None:
    with pytest.raises(DifftalkError):
        export_model(tmp_path / "model", {"denoiser": tmp_path / "no run"})
    assert not list(tmp_path.iterdir())
