"""Parts of losses: what LPIPS sees can be shared, some rows are judged as themselves, a mouth's colour is evened."""

from __future__ import annotations

import dataclasses

import pytest
import torch
import torch.nn.functional as F

from difftalk.face.space import PATCH_SIZE
from difftalk.nets.blocks import widened
from difftalk.nets.diffusion import LatentDiffusion
from difftalk.nets.lpips import LPIPS
from difftalk.training.batches import FakeSource, RenderBatch
from difftalk.training.kinds.denoiser import denoiser_loss
from difftalk.training.kinds.table import kind_of, recipe_named
from difftalk.training.picture_loss import INNER_WEIGHT, TINT_CELL, TINT_WEIGHT, Mouths, picture_loss, tint_of


def fake(count: int) -> RenderBatch:
    batch = FakeSource("denoiser", batch_size=count).batch(0)
    assert isinstance(batch, RenderBatch)
    return batch


def test_tint_is_how_far_off_the_evened_colour_is() -> None:
    """Of inner mouths alone, whatever their size; texture of the right colour costs nothing."""
    inner, wrong = torch.zeros(4, 1, *PATCH_SIZE), torch.zeros(4, 3, *PATCH_SIZE)
    inner[:3, :, 48:80, 48:112] = 1
    inner[1, :, 64:] = 0
    wrong[0] = 0.2
    wrong[1, :, 48:64, 48:112] = torch.tensor([0.3, 0.0, -0.3])[:, None, None]
    wrong[2, :, :, ::2], wrong[2, :, :, 1::2] = 0.5, -0.5
    wrong[2, :, :40] = 1  # skin
    wrong[3] = 1  # no mouth
    torch.testing.assert_close(tint_of(wrong, inner), torch.tensor([0.2, 0.2, 0.0, 0.0]))
    assert PATCH_SIZE[0] % TINT_CELL == PATCH_SIZE[1] % TINT_CELL == 0  # no mouth is cut off


def test_tint_of_a_small_mouth_is_not_made_large() -> None:
    inner, wrong = torch.zeros(1, 1, *PATCH_SIZE), torch.ones(1, 3, *PATCH_SIZE)
    inner[:, :, 50:52, 70:80] = 1  # 20 of 64 px that count fully
    assert float(tint_of(wrong, inner)) == pytest.approx(20 / 64)
    wrong.requires_grad_(True)
    tint_of(wrong, torch.zeros_like(inner)).sum().backward()  # type: ignore[no-untyped-call]
    assert wrong.grad is not None
    assert torch.isfinite(wrong.grad).all()


def test_tint_is_in_the_loss() -> None:
    batch = fake(2)
    composite = batch.composite.clone()
    composite[:, 3], composite[:, 3, 48:80, 48:112] = 0, 1
    batch = dataclasses.replace(batch, composite=composite)
    loss = picture_loss(batch.target + 0.1, batch, None)
    assert float(loss.parts["tint"]) == pytest.approx(0.1, abs=1e-5)
    near = 1 + (INNER_WEIGHT - 1) * float(widened(composite[:, 3:4], 9).mean())
    assert float(loss.total) == pytest.approx(2 * 0.1 * near + TINT_WEIGHT * 0.1, rel=1e-4)


@pytest.mark.parametrize("reach", [5, 9, 25])
def test_widened_is_a_square_maximum(reach: int) -> None:
    mask = torch.rand(2, 5, 30, 40).to(memory_format=torch.channels_last)[:, 3:4].requires_grad_(True)
    assert torch.equal(widened(mask, reach), F.max_pool2d(mask, reach, 1, reach // 2))


def test_some_rows_are_judged_as_themselves() -> None:
    lpips, batch = LPIPS.shipped(), fake(4)
    picture = batch.target + 0.2 * torch.randn_like(batch.target)
    first, _ = batch.parts(2)
    some, alone = picture_loss(picture[:2], batch, lpips, slice(2)), picture_loss(picture[:2], first, lpips)
    torch.testing.assert_close(some.total, alone.total)
    assert some.parts.keys() == alone.parts.keys() == {"l1", "tint", "lpips"}


def test_a_critic_sees_what_the_loss_saw() -> None:
    lpips, batch = LPIPS.shipped(), fake(2)
    picture = batch.target + 0.2 * torch.randn_like(batch.target)
    loss = picture_loss(picture, batch, lpips)
    assert loss.mouths is not None
    torch.testing.assert_close(loss.mouths.true_features, lpips.features(batch.target, 5))
    torch.testing.assert_close(loss.mouths.drawn_features, lpips.features(picture, 5))
    few = Mouths.seen(picture, batch.target, lpips, 2)
    torch.testing.assert_close(few.drawn_features, loss.mouths.drawn_features[:2])
    torch.testing.assert_close(loss.parts["lpips"], lpips(picture, batch.target).mean())


@pytest.mark.parametrize("count", [1, 2, 8])
def test_a_denoisers_loss_is_that_of_its_random_numbers(count: int) -> None:
    torch.manual_seed(0)
    net, batch = kind_of(recipe_named("denoiser", "debug")).build(recipe_named("denoiser", "debug")), fake(count)
    assert isinstance(net, LatentDiffusion)
    one, again, other = (
        float(denoiser_loss(net, batch, None, torch.Generator().manual_seed(seed)).total.detach()) for seed in (1, 1, 2)
    )
    assert one == again != other
