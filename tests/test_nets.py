"""The nets: sizes and budgets, what each output depends on, and every exported graph against its torch net."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from difftalk import engine
from difftalk.face.mouth import COMPONENTS
from difftalk.face.space import PATCH_SIZE
from difftalk.graphs import NEEDED
from difftalk.nets import sizes
from difftalk.nets.autoencoder import Encoder, FirstStage, mouth_window
from difftalk.nets.denoiser import CONDITIONS, Denoiser, time_features
from difftalk.nets.folds import Folds
from difftalk.nets.head import HeadNetwork
from difftalk.nets.motion import LinearMotion, MotionNetwork
from difftalk.nets.painter import Painter
from difftalk.nets.sizes import AUDIO_SIZE, AUDIO_TOKENS, FOLDS_SIZE, LANDMARKS, LATENT_CHANNELS, LATENT_SIZE, SHARPNESS
from difftalk.settings import Settings
from difftalk.speech.motion import FUTURE_FEATURES, PAST_FEATURES
from difftalk.training.export import export_graph
from difftalk.training.kinds.denoiser import denoiser_graphs
from difftalk.training.kinds.first_stage import first_stage_graphs
from difftalk.training.kinds.folds import FOLDS
from difftalk.training.kinds.head import head_graphs
from difftalk.training.kinds.kind import GraphSpec
from difftalk.training.kinds.motion import linear_graphs, motion_graphs
from difftalk.training.kinds.painter import painter_graphs

MAKERS: dict[str, Callable[[str], nn.Module]] = {
    "painter": lambda size: Painter(sizes.PAINTER[size]),
    "first-stage": lambda size: FirstStage(sizes.FIRST_STAGE[size]),
    "denoiser": lambda size: Denoiser(sizes.DENOISER[size]),
    "folds": lambda size: Folds(sizes.FOLDS[size]),
    "motion": lambda size: MotionNetwork(sizes.MOTION[size]),
    "linear": lambda size: LinearMotion(sizes.MOTION[size]),
    "head": lambda size: HeadNetwork(sizes.HEAD[size]),
}
GRAPHS: dict[str, Callable[[Any], dict[str, GraphSpec]]] = {
    "painter": painter_graphs,
    "first-stage": first_stage_graphs,
    "denoiser": denoiser_graphs,
    "folds": FOLDS.exported.graphs,
    "motion": motion_graphs,
    "linear": linear_graphs,
    "head": head_graphs,
}
# graph: most parameters, millions; most multiply-adds a frame, thousand millions (a call of the motion is 4 frames)
BUDGETS = {
    "folds": (0.5, 0.2),
    "painter": (5.5, 1.54),
    "encoder": (1.0, 0.75),
    "composite_path": (0.5, 0.25),
    "decoder": (1.3, 1.03),
    "denoiser": (6.8, 0.82),
    "motion": (1.6, 0.028),
    "linear": (0.05, 0.002),
    "head": (0.3, 0.004),
}
A_FRAME = 2.5  # thousand millions of multiply-adds, of all nets that draw one
HEIGHT, WIDTH = PATCH_SIZE
MIDDLE = (slice(HEIGHT // 2 - 6, HEIGHT // 2 + 6), slice(WIDTH // 2 - 12, WIDTH // 2 + 12))  # an open mouth
AROUND = (slice(HEIGHT // 2 - 16, HEIGHT // 2 + 16), slice(WIDTH // 2 - 22, WIDTH // 2 + 22))


@pytest.fixture(autouse=True, scope="module")
def one_thread() -> Iterator[None]:
    """Nets this small lose more by waiting for each other's threads than they gain."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def uniform(*shape: int, seed: int = 0) -> Tensor:
    return torch.rand(*shape, generator=torch.Generator().manual_seed(seed)) * 2 - 1


def roused(net: nn.Module) -> nn.Module:
    """Every weight that starts at zero made random, as training would; all of them such as fp16 holds exactly."""
    random = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for parameter in net.parameters():
            if float(parameter.abs().max()) < 1e-2:
                parameter.copy_(0.1 * torch.randn(parameter.shape, generator=random))
            parameter.copy_(parameter.half().float())
        for name, buffer in net.named_buffers():
            if buffer.ndim:
                start = 0.5 if name.endswith(("std", "scale")) else 0.0
                buffer.copy_((start + 0.1 * torch.rand(buffer.shape, generator=random)).half().float())
    return net.eval()


def composite(*, mouth: bool = True, count: int = 1) -> Tensor:
    """(count, 5, height, width) of a patch: noise, an open mouth in the middle or none, full coverage."""
    out = uniform(count, 5, HEIGHT, WIDTH)
    out[:, 3], out[:, 4] = 0, 1
    if mouth:
        out[:, 3, *MIDDLE], out[:, :3, *MIDDLE] = 1, 0
    return out


def denoiser_inputs(count: int = 2) -> dict[str, Tensor]:
    latent = (count, LATENT_CHANNELS, *LATENT_SIZE)
    return {
        "noisy": uniform(*latent, seed=1),
        "time": torch.full((count,), 0.7),
        "composite": uniform(count, sizes.DENOISER["debug"].composite, *LATENT_SIZE, seed=2),
        "reference": uniform(*latent, seed=3),
        "previous": uniform(*latent, seed=4),
        "audio": uniform(count, AUDIO_TOKENS, AUDIO_SIZE, seed=5),
        "landmarks": uniform(count, LANDMARKS, 2, seed=6),
        "shape": uniform(count, COMPONENTS, seed=7),
    }


# --- budgets and graphs -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", MAKERS)
def test_budgets(kind: str) -> None:
    for name, spec in GRAPHS[kind](MAKERS[kind]("default").eval()).items():
        parameters, operations = BUDGETS[name]
        assert sum(p.numel() for p in spec.net.parameters()) <= parameters * 1e6
        assert multiply_adds(spec) <= operations * 1e9


def multiply_adds(spec: GraphSpec) -> float:
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        spec.net(*spec.inputs.values())
    return float(counter.get_total_flops()) / 2


@pytest.mark.parametrize("renderer", ["painter", "denoiser"])
def test_a_frame_is_drawn_within_its_budget(renderer: str) -> None:
    """Everything that is asked at each frame, in the usual number of steps; a reference is encoded once."""
    specs = {name: spec for kind in MAKERS for name, spec in GRAPHS[kind](MAKERS[kind]("default").eval()).items()}
    asked = [name for name in NEEDED[renderer] if name != "encoder"]
    frame = sum(multiply_adds(specs[name]) for name in [*asked, "motion", *["denoiser"] * (Settings().steps - 1)])
    assert frame <= A_FRAME * 1e9


@pytest.mark.parametrize("kind", MAKERS)
def test_every_graph_is_its_net(kind: str, tmp_path: Path) -> None:
    """In f32 the graph and the net agree to 1e-4 of the output's largest value, and so with inputs that all differ."""
    for name, spec in GRAPHS[kind](roused(MAKERS[kind]("debug"))).items():
        path = tmp_path / f"{name}.onnx"
        export_graph(spec.net, path, inputs=dict(spec.inputs), outputs=spec.outputs)
        given = {key: uniform(*value.shape, seed=i) for i, (key, value) in enumerate(spec.inputs.items())}
        with torch.no_grad():
            found = spec.net(*given.values())
        wanted = dict(zip(spec.outputs, [found] if isinstance(found, Tensor) else found, strict=True))
        arrays = {key: value.numpy() for key, value in given.items()}
        results = engine.load(path, precision="f32", threads=1, cache=tmp_path)(**arrays)
        for key, value in wanted.items():
            assert float(value.abs().max()) > 0
            np.testing.assert_allclose(results[key], value.numpy(), atol=1e-4 * float(value.abs().max()), err_msg=name)


def test_a_fresh_encoders_graph_keeps_its_names(tmp_path: Path) -> None:
    """Statistics of 0 and 1 are optimised away by an engine; the output's name must not go with them."""
    spec = first_stage_graphs(FirstStage(sizes.FIRST_STAGE["debug"]).eval())["encoder"]
    export_graph(spec.net, tmp_path / "encoder.onnx", inputs=dict(spec.inputs), outputs=spec.outputs)
    picture = uniform(1, 3, HEIGHT, WIDTH).numpy()
    for name in engine.ENGINES:
        for _ in range(2):  # compiled, then from the cache
            graph = engine.load(tmp_path / "encoder.onnx", precision="f32", threads=1, engine=name, cache=tmp_path)
            assert graph(picture=picture)["latent"].shape == (1, LATENT_CHANNELS, *LATENT_SIZE)


# --- painter and first stage ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("mouth", [True, False])
def test_an_untrained_picture_is_the_composite_outside_the_mouth(mouth: bool) -> None:
    given = composite(mouth=mouth)
    painter, stage = Painter(sizes.PAINTER["debug"]), FirstStage(sizes.FIRST_STAGE["debug"]).eval()
    with torch.no_grad():
        latent, sharp = torch.zeros(1, LATENT_CHANNELS, *LATENT_SIZE), uniform(1, SHARPNESS)
        pictures = [painter(given, uniform(1, 3, HEIGHT, WIDTH), sharp), stage.decode(latent, given, sharp)]
    around = torch.zeros(1, 1, HEIGHT, WIDTH)
    if mouth:
        around[:, :, *AROUND] = 1
    for picture in pictures:
        assert picture.shape == (1, 3, HEIGHT, WIDTH)
        assert float(((picture - given[:, :3]) * (1 - around)).abs().max()) < 0.05


def test_painter_looks_at_the_reference() -> None:
    painter, given = roused(Painter(sizes.PAINTER["debug"])), composite()
    sharp = uniform(1, SHARPNESS)
    with torch.no_grad():
        one, other = (painter(given, uniform(1, 3, HEIGHT, WIDTH, seed=seed), sharp) for seed in (1, 2))
    assert float((one - other).abs().max()) > 1e-3


def test_how_sharp_pictures_are_is_heard() -> None:
    painter, stage = roused(Painter(sizes.PAINTER["debug"])), roused(FirstStage(sizes.FIRST_STAGE["debug"]))
    assert isinstance(stage, FirstStage)
    given, latent, reference = composite(), uniform(1, LATENT_CHANNELS, *LATENT_SIZE), uniform(1, 3, HEIGHT, WIDTH)
    with torch.no_grad():
        painted = [painter(given, reference, sharp) for sharp in (torch.zeros(1, SHARPNESS), uniform(1, SHARPNESS))]
        decoded = [stage.decode(latent, given, sharp) for sharp in (torch.zeros(1, SHARPNESS), uniform(1, SHARPNESS))]
    for one, other in (painted, decoded):
        assert float((one - other).abs().max()) > 1e-4


def test_untrained_folds_change_nothing_and_then_hear_the_mouth() -> None:
    net, given = Folds(sizes.FOLDS["debug"]), uniform(2, 5, *FOLDS_SIZE)
    shapes = uniform(2, COMPONENTS, seed=1), uniform(2, COMPONENTS, seed=2)
    with torch.no_grad():
        assert not net(given, shapes[0]).any()
        one, other = (roused(net)(given, shape) for shape in shapes)
    assert one.shape == (2, 3, *FOLDS_SIZE)
    assert float((one - other).abs().max()) > 1e-4


def test_latent_is_heard_near_the_mouth_alone() -> None:
    stage, given = roused(FirstStage(sizes.FIRST_STAGE["debug"])), composite()
    assert isinstance(stage, FirstStage)
    window = mouth_window(given)
    assert window.shape == (1, 1, *LATENT_SIZE)
    assert float(window.min()) == 0
    assert float(window.max()) == 1
    latent = uniform(1, LATENT_CHANNELS, *LATENT_SIZE)
    elsewhere, here = latent + 5 * (window == 0), latent + 5 * (window > 0)
    with torch.no_grad():
        sharp = uniform(1, SHARPNESS)
        picture = stage.decode(latent, given, sharp)
        assert torch.equal(stage.decode(elsewhere, given, sharp), picture)
        assert float((stage.decode(here, given, sharp) - picture).abs().max()) > 1e-3
        shut = composite(mouth=False)
        assert torch.equal(stage.decode(latent, shut, sharp), stage.decode(here, shut, sharp))


def test_latent_has_unit_spread() -> None:
    """In training by the batch's own statistics; afterwards by the running ones, which are saved with the net."""
    torch.manual_seed(0)
    encoder = Encoder(sizes.FIRST_STAGE["debug"])
    pictures = 3 * uniform(4, 3, HEIGHT, WIDTH)
    latent = encoder(pictures)
    torch.testing.assert_close(latent.mean((0, 2, 3)), torch.zeros(LATENT_CHANNELS), atol=1e-3, rtol=0)
    torch.testing.assert_close(latent.std((0, 2, 3)), torch.ones(LATENT_CHANNELS), atol=1e-3, rtol=0)
    louder = Encoder(sizes.FIRST_STAGE["debug"])
    louder.load_state_dict(encoder.state_dict())
    with torch.no_grad():
        louder.out.weight.mul_(10)
        louder.out.bias.mul_(10)  # type: ignore[union-attr]
        torch.testing.assert_close(louder(pictures), latent, atol=1e-3, rtol=0)  # a larger scale buys no signal
    encoder.eval()
    with torch.no_grad():
        torch.testing.assert_close(encoder(pictures), latent, atol=1e-3, rtol=0)
        torch.testing.assert_close(encoder(pictures[:1]), encoder(pictures)[:1])  # whoever else is in the batch
    assert {"mean", "std"} <= encoder.state_dict().keys()


# --- denoiser ---------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def denoiser() -> Denoiser:
    net = roused(Denoiser(sizes.DENOISER["debug"]))
    assert isinstance(net, Denoiser)
    return net


@pytest.mark.parametrize("name", ["noisy", "time", "composite", "reference", "previous", "audio", "landmarks", "shape"])
def test_velocity_depends_on_every_input(denoiser: Denoiser, name: str) -> None:
    given = denoiser_inputs()
    changed = given | {name: given[name] + 0.3 * uniform(*given[name].shape, seed=9)}
    with torch.no_grad():
        assert float((denoiser(**changed) - denoiser(**given)).abs().max()) > 1e-4


@pytest.mark.parametrize("condition", CONDITIONS[:3])
def test_a_condition_left_out_is_not_seen(denoiser: Denoiser, condition: str) -> None:
    given, keep = denoiser_inputs(), torch.ones(2, len(CONDITIONS))
    keep[0, CONDITIONS.index(condition)] = 0
    with torch.no_grad():
        one = denoiser(**given, keep=keep)
        other = denoiser(**given | {condition: -given[condition]}, keep=keep)
        all_kept = denoiser(**given)
    torch.testing.assert_close(one[0], other[0])
    assert float((one[1] - other[1]).abs().max()) > 1e-4
    torch.testing.assert_close(one[1], all_kept[1])


def test_the_mouth_is_left_out_with_its_landmarks(denoiser: Denoiser) -> None:
    given, keep = denoiser_inputs(), torch.ones(2, len(CONDITIONS))
    keep[:, CONDITIONS.index("mouth")] = 0
    changed = given | {"shape": -given["shape"], "landmarks": -given["landmarks"]}
    with torch.no_grad():
        torch.testing.assert_close(denoiser(**given, keep=keep), denoiser(**changed, keep=keep))


def test_audio_tokens_have_places(denoiser: Denoiser) -> None:
    """The same tokens in another order, the middle ones left where they are: only attention with places can tell."""
    given = denoiser_inputs()
    order = [*range(5)[::-1], *range(5, 15), *range(15, 20)[::-1]]
    with torch.no_grad():
        moved = denoiser(**given | {"audio": given["audio"][:, order]})
        assert float((moved - denoiser(**given)).abs().max()) > 1e-6


def test_an_untrained_denoiser_says_nothing() -> None:
    with torch.no_grad():
        velocity = Denoiser(sizes.DENOISER["debug"])(**denoiser_inputs())
    assert velocity.shape == (2, LATENT_CHANNELS, *LATENT_SIZE)
    assert not velocity.any()


def test_times_are_told_apart() -> None:
    features = time_features(torch.linspace(0, 1, 9))
    assert float(torch.cdist(features, features).add(10 * torch.eye(9)).min()) > 0.5


# --- motion -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["motion", "linear"])
def test_a_frame_sees_its_window_and_no_more(kind: str) -> None:
    net, frames = roused(MAKERS[kind]("debug")), 12
    features = uniform(1, PAST_FEATURES + 2 * frames + FUTURE_FEATURES, AUDIO_SIZE).requires_grad_()
    shape = net(features)
    assert shape.shape == (1, frames, COMPONENTS)
    shape[0, 5].sum().backward()
    assert features.grad is not None
    seen = features.grad[0].abs().sum(1).nonzero().flatten()
    assert (int(seen[0]), int(seen[-1])) == (10, 10 + PAST_FEATURES + 1 + FUTURE_FEATURES)


@pytest.mark.parametrize("kind", ["motion", "linear"])
def test_pieces_are_the_whole(kind: str) -> None:
    net = roused(MAKERS[kind]("debug"))
    features, window = uniform(1, PAST_FEATURES + 24 + FUTURE_FEATURES, AUDIO_SIZE), PAST_FEATURES + 8 + FUTURE_FEATURES
    with torch.no_grad():
        whole = net(features)
        pieces = torch.cat([net(features[:, start : start + window]) for start in (0, 8, 16)], 1)
    torch.testing.assert_close(pieces, whole, atol=1e-5, rtol=0)


def test_the_motion_network_is_a_mean() -> None:
    size = dataclasses.replace(sizes.MOTION["debug"], dropout=0.0, input_dropout=0.0, noise=0.0)
    net = MotionNetwork(size)
    roused(net)
    features = uniform(64, PAST_FEATURES + 4 + FUTURE_FEATURES, AUDIO_SIZE)
    with torch.no_grad():
        components = ((features - net.mean) @ net.basis).transpose(1, 2)
        parts = torch.stack([member(components).transpose(1, 2) for member in net.members])
        assert net.regression is not None
        net.eval()
        regressed = net.regression(net.frames(features)).transpose(1, 2)
        torch.testing.assert_close(net(features), net.rest + net.spread * (0.8 * parts.mean(0) + 0.2 * regressed))
        alone = (net.train().units(features)[None] - parts).abs().amax((2, 3)) < 1e-5
    assert (alone.sum(0) == 1).all()  # each sample had one member
    assert (alone.sum(1) > 0).all()  # and each member some samples
