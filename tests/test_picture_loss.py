"""Parts of losses: boxes by index are slices, what LPIPS sees can be shared, fewer regions stand for all of them."""

from __future__ import annotations

import dataclasses

import pytest
import torch
import torch.nn.functional as F

from difftalk.nets.blocks import widened
from difftalk.nets.diffusion import LatentDiffusion
from difftalk.nets.lpips import LPIPS
from difftalk.training.batches import FakeSource, RenderBatch
from difftalk.training.kinds.denoiser import denoiser_loss
from difftalk.training.kinds.table import kind_of, recipe_named
from difftalk.training.picture_loss import MOUTH_BOX, MOUTH_PLACE, mouth_boxes, picture_loss


def masks() -> torch.Tensor:
    """(6, 1, 144, 176): mouths at the corners, in the middle, and none."""
    inner = torch.zeros(6, 1, 144, 176)
    for i, (top, left) in enumerate([(0, 0), (130, 160), (61, 33), (70, 90), (3, 120)]):
        inner[i, 0, top : top + 9, left : left + 14] = torch.rand(9, 14)[: 144 - top, : 176 - left]
    return inner


def fake(count: int) -> RenderBatch:
    batch = FakeSource("denoiser", batch_size=count).batch(0)
    assert isinstance(batch, RenderBatch)
    return batch


def test_mouth_boxes_are_slices() -> None:
    inner, pictures = masks(), torch.rand(6, 3, 144, 176).to(memory_format=torch.channels_last)
    sliced = []
    for picture, mask in zip(pictures, inner[:, 0], strict=True):
        mass = mask.sum()
        y, x = (float((mask.sum(1 - axis) * torch.arange(mask.shape[axis])).sum() / mass) for axis in (0, 1))
        cy, cx = (round(y), round(x)) if mass > 4 else MOUTH_PLACE
        top, left = (
            min(max(c - box // 2, 0), size - box) for c, box, size in zip((cy, cx), MOUTH_BOX, (144, 176), strict=True)
        )
        sliced.append(picture[:, top : top + MOUTH_BOX[0], left : left + MOUTH_BOX[1]])
    expected = F.interpolate(torch.stack(sliced), scale_factor=2, mode="bilinear", align_corners=False)
    assert torch.equal(mouth_boxes(pictures, inner), expected)


@pytest.mark.parametrize("reach", [5, 9, 25])
def test_widened_is_a_square_maximum(reach: int) -> None:
    mask = torch.rand(2, 5, 30, 40).to(memory_format=torch.channels_last)[:, 3:4].requires_grad_(True)
    assert torch.equal(widened(mask, reach), F.max_pool2d(mask, reach, 1, reach // 2))


def test_fewer_regions_stand_for_all() -> None:
    lpips, batch = LPIPS.shipped(), fake(4)
    picture = batch.target + 0.2 * torch.randn_like(batch.target)
    twice = dataclasses.replace(batch, target=batch.target.repeat_interleave(2, 0))
    twice = dataclasses.replace(
        twice, composite=batch.composite.repeat_interleave(2, 0), weight=batch.weight.repeat_interleave(2)
    )
    every, half = (
        picture_loss(picture, batch, lpips),
        picture_loss(picture.repeat_interleave(2, 0), twice, lpips, region_every=2),
    )
    torch.testing.assert_close(half.total, every.total)
    assert every.mouths is not None
    truth = lpips.features(mouth_boxes(batch.target, batch.composite[:, 3:4]))
    torch.testing.assert_close(every.mouths.true_features, truth)


@pytest.mark.parametrize("count", [1, 2, 8])
def test_a_denoisers_loss_is_that_of_its_random_numbers(count: int) -> None:
    torch.manual_seed(0)
    net, batch = kind_of(recipe_named("denoiser", "debug")).build(recipe_named("denoiser", "debug")), fake(count)
    assert isinstance(net, LatentDiffusion)
    one, again, other = (
        float(denoiser_loss(net, batch, None, torch.Generator().manual_seed(seed)).total.detach()) for seed in (1, 1, 2)
    )
    assert one == again != other
