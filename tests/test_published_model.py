"""The published system from a run to a video: exported, and driven by the same talker, without torch."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from difftalk.arrays import Array
from difftalk.media import video
from difftalk.model import Model, entry_of
from difftalk.nets.published import PAPER, PublishedDiffTalk
from difftalk.talk.talker import Talker
from difftalk.training.checkpoint import Checkpoint, save_converted
from difftalk.training.export import export_model
from difftalk.training.kinds.published import PaperRecipe
from difftalk.training.recipes import to_dict

SIZES = PAPER["paper-debug"]


@pytest.fixture(scope="module")
def net() -> PublishedDiffTalk:
    torch.manual_seed(0)
    return PublishedDiffTalk(SIZES).eval()


@pytest.fixture(scope="module")
def published(net: PublishedDiffTalk, model_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Model:
    folder = tmp_path_factory.mktemp("published")
    state = net.state_dict()
    recipe = to_dict(PaperRecipe("tiny", SIZES))
    save_converted(Checkpoint("denoiser", recipe, state, state, {}, 0, 0.0, {}, ""), folder / "run")
    return export_model(folder / "model", {"denoiser": folder / "run"}, base=model_folder)


def test_the_folder_names_its_renderer(published: Model) -> None:
    assert published.settings.renderer == "published"
    assert (published.settings.steps, published.settings.picture) == (200, 64)


def test_graphs_say_what_the_nets_say(published: Model, net: PublishedDiffTalk) -> None:
    side, random = SIZES.latent, torch.Generator().manual_seed(0)
    latents = [torch.randn(1, 3, side, side, generator=random) for _ in range(3)]
    windows, points = torch.randn(1, 8, 16, 29, generator=random), 64 * torch.rand(1, 39, 2, generator=random)
    with torch.no_grad():
        context = net.conditions(windows, points)
        noise = net(*latents, torch.tensor([37]), context)
        picture = torch.rand(1, 3, 64, 64, generator=random) * 2 - 1
        latent = net.encode(picture)
        decoded = net.first_stage.decode(latent)
    call = published.graph("published_conditions")(windows=windows.numpy(), points=points.numpy())
    np.testing.assert_allclose(call["context"], context, atol=1e-3)
    given = dict(zip(("noisy", "masked", "reference"), (x.numpy() for x in latents), strict=True))
    found = published.graph("published_denoiser")(step=np.array([37.0]), context=context.numpy(), **given)["noise"]
    np.testing.assert_allclose(found, noise, atol=1e-3)
    found = published.graph("published_encoder")(picture=picture.numpy())["latent"]
    np.testing.assert_allclose(found, latent, atol=1e-3)
    np.testing.assert_allclose(
        published.graph("published_decoder")(latent=latent.numpy())["picture"], decoded, atol=1e-3
    )


def test_a_still_speaks(published: Model, still: Path, voice: Path, tmp_path: Path) -> None:
    talker = Talker(published, steps=2)
    result = talker.animate(still, voice, tmp_path / "out.mp4")
    assert result.frames == 25
    assert result.look_ahead == pytest.approx(0.6)
    frames = [frame.image for frame in video.read(result.path)]
    assert len(frames) == 25
    assert any(np.abs(a.astype(int) - frames[0]).max() > 10 for a in frames[1:])


def test_a_stream_in_pieces_is_the_file(published: Model, still: Path, waveform: Array) -> None:
    talker = Talker(published, steps=2)
    identity, short = talker.identity(still), waveform[:9600]
    whole = [frame.image for frame in talker.stream(identity, [short], head_motion=0, blinks=0)]
    pieces = [short[i : i + 320] for i in range(0, len(short), 320)]
    for one, other in zip(whole, talker.stream(identity, pieces, head_motion=0, blinks=0), strict=True):
        np.testing.assert_array_equal(one, other.image)


def test_weights_beside_the_graph_are_named_and_copied(published: Model, tmp_path: Path) -> None:
    """As for the full size, whose weights are more than a graph may hold."""
    from difftalk.training import export

    torch.manual_seed(1)
    net = torch.nn.Linear(64, 64)
    for half in (False, True):
        path = tmp_path / f"large{half}.onnx"
        export.export_graph(net, path, inputs={"x": torch.zeros(1, 64)}, outputs=["y"], half=half, large=1000)
        entry = entry_of(path, "f32")
        assert entry.weights == f"{path.name}.data"
        from difftalk.engine import load

        x = np.ones((1, 64), np.float32)
        with torch.no_grad():
            np.testing.assert_allclose(load(path, precision="f32")(x=x)["y"], net(torch.from_numpy(x)), atol=2e-3)
