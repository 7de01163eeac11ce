"""The published nets: their counts and names, and each part against a computation that shares no code with them."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from torch import Tensor

import plain_difftalk as plain
from difftalk.nets.published import HEAD_WIDTH, PAPER, PAPER_FIRST_STAGE, PaperSizes, PublishedDiffTalk, noised
from difftalk.nets.published_layout import expected, from_published, published_name, schedule_buffers, to_published
from difftalk.render.sampler import alphas_cumprod, ddim, ddim_times

SHAPES = Path(__file__).parents[2] / "shared" / "official_state_shapes.json"
SMALL = PaperSizes(base=32, picture=64, first_stage=PAPER_FIRST_STAGE["paper-debug"])  # the whole graph, narrow
CLOSE = 1e-4


def shapes_of(sizes: PaperSizes) -> dict[str, torch.Size]:
    """Of the nets' tensors, without making them."""
    with torch.device("meta"):
        return {name: value.shape for name, value in PublishedDiffTalk(sizes).state_dict().items()}


@pytest.fixture(scope="module")
def published() -> dict[str, Tensor]:
    """Random tensors in the published layout, narrow; the schedule's are what they must be."""
    return plain.random_state(expected(shapes_of(SMALL), SMALL), seed=0) | schedule_buffers()


@pytest.fixture(scope="module")
def net(published: dict[str, Tensor]) -> PublishedDiffTalk:
    made = PublishedDiffTalk(SMALL)
    made.load_state_dict(from_published(published, shapes_of(SMALL), SMALL)[0])
    return made.eval()


def random(seed: int, *shape: int) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def test_parameter_counts() -> None:
    with torch.device("meta"):
        made = PublishedDiffTalk(PAPER["paper"])
    counts = {
        name: sum(p.numel() for p in part.parameters())
        for name, part in {**dict(made.named_children()), **dict(made.conditions.named_children())}.items()
    }
    assert counts["denoiser"] == 530_152_963
    assert counts["first_stage"] == 55_322_782
    assert (counts["audio"], counts["audio_smooth"], counts["landmarks"]) == (32_800, 2_149, 22_528)


@pytest.mark.skipif(not SHAPES.is_file(), reason="the list of the published tensors is not at hand")
def test_every_name_and_shape_both_ways() -> None:
    sizes = PAPER["paper"]
    own = shapes_of(sizes)
    listed = {name: tuple(shape) for name, (shape, _) in json.loads(SHAPES.read_text()).items()}
    assert len(listed) == 1625
    assert expected(own, sizes) == listed
    assert len({published_name(name, sizes) for name in own}) == len(own) == 688 + 205 + 30


def test_the_same_grid_at_twice_the_size() -> None:
    large, usual = PAPER["paper-512"], PAPER["paper"]
    assert large.latent == usual.latent == 64
    assert large.picture == 2 * usual.picture


def test_layouts_round_trip_bit_for_bit(published: dict[str, Tensor]) -> None:
    net, average = from_published(published, shapes_of(SMALL), SMALL)
    again = to_published(net, average, SMALL, updates=int(published["model_ema.num_updates"]))
    again["model_ema.decay"] = published["model_ema.decay"]
    assert set(again) == set(published)
    for name, value in published.items():
        assert torch.equal(again[name], value), name


def test_the_average_covers_the_denoiser_alone(published: dict[str, Tensor]) -> None:
    net, average = from_published(published, shapes_of(SMALL), SMALL)
    for name, value in net.items():
        assert torch.equal(value, average[name]) != name.startswith("denoiser."), name


def test_denoiser(net: PublishedDiffTalk, published: dict[str, Tensor]) -> None:
    side, step, context = SMALL.latent, torch.tensor([3, 871]), random(1, 2, 1, 128)
    noisy, masked, reference = (random(i, 2, 3, side, side) for i in (2, 3, 4))
    with torch.no_grad():
        found = net(noisy, masked, reference, step, context)
        wanted = plain.unet(published, torch.cat([noisy, masked, reference], 1), step, context, head_width=HEAD_WIDTH)
    assert float(wanted.std()) > 0.1
    assert float((found - wanted).abs().max()) < CLOSE


def test_condition_nets(net: PublishedDiffTalk, published: dict[str, Tensor]) -> None:
    windows, points = random(5, 2, 8, 16, 29), 64 * random(6, 2, 39, 2).abs()
    with torch.no_grad():
        found, wanted = net.conditions(windows, points), plain.context(published, windows, points)
    assert found.shape == (2, 1, 128)
    assert float((found - wanted).abs().max() / wanted.abs().max()) < CLOSE


def test_first_stage(net: PublishedDiffTalk, published: dict[str, Tensor]) -> None:
    groups = SMALL.first_stage.groups
    picture = random(7, 2, 3, SMALL.picture, SMALL.picture).clamp(-1, 1)
    with torch.no_grad():
        latent, wanted = net.encode(picture), plain.encode(published, picture, groups)
        assert float((latent - wanted).abs().max()) < CLOSE
        drawn, expected_picture = net.first_stage.decode(wanted), plain.decode(published, wanted, groups)
    assert drawn.shape == picture.shape
    assert float((drawn - expected_picture).abs().max()) < CLOSE


def test_one_step_of_ddim() -> None:
    shares, x, noise = alphas_cumprod(), random(8, 1, 3, 4, 4), random(9, 1, 3, 4, 4)
    assert float((torch.from_numpy(shares) - plain.alphas_cumprod()).abs().max()) < 1e-12
    assert ddim_times(200) == plain.ddim_times(200)
    assert ddim_times(200)[::199] == [1, 996]
    found = ddim(lambda _, step: noise.numpy(), x.numpy(), 1)
    wanted = plain.ddim_step(x, noise, float(shares[1]), float(shares[0]))
    assert float((torch.from_numpy(found) - wanted).abs().max()) < CLOSE


def test_noising() -> None:
    latent, noise, step = random(10, 2, 3, 4, 4), random(11, 2, 3, 4, 4), torch.tensor([0, 500])
    mask = torch.ones(1)
    for i in range(2):
        share = float(alphas_cumprod()[step[i]])
        wanted = plain.renoised(torch.zeros(1, 3, 4, 4), latent[i : i + 1], mask, share, noise[i : i + 1])
        assert float((noised(latent, step, noise)[i] - wanted[0]).abs().max()) < CLOSE
