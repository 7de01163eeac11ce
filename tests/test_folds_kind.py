"""Folds in training: the mouth is others' to draw, doing nothing costs nothing more than the warp does."""

from __future__ import annotations

import dataclasses

import pytest
import torch

from difftalk.nets import sizes
from difftalk.nets.folds import Folds
from difftalk.nets.lpips import LPIPS
from difftalk.nets.sizes import FOLDS_SIZE
from difftalk.training.batches import FakeSource, RenderBatch
from difftalk.training.kinds.folds import BEYOND, EXTENT, FOLDS, folded, folds_loss

MOUTH = (slice(30, 40), slice(36, 56))
NEAR = (slice(30 - BEYOND // 2, 40 + BEYOND // 2), slice(36 - BEYOND // 2, 56 + BEYOND // 2))


@pytest.fixture
def batch() -> RenderBatch:
    """Noise, and what the folds lack of it: 0.2 of light below the mouth."""
    fake = FakeSource("folds", batch_size=2).batch(0)
    assert isinstance(fake, RenderBatch)
    warped = 0.5 * fake.warped
    warped[:, 3], warped[:, 4] = 0, 1
    warped[:, 3, *MOUTH] = 1
    skin = warped[:, :3].clone()
    skin[:, :, 50:60] += 0.2
    return dataclasses.replace(fake, warped=warped, skin=skin)


@pytest.fixture
def net() -> Folds:
    torch.manual_seed(0)
    return Folds(sizes.FOLDS["debug"])


def cost(net: Folds, batch: RenderBatch, lpips: LPIPS | None = None) -> float:
    with torch.no_grad():
        return float(folds_loss(net, batch, lpips).total)


def test_untrained_folds_are_the_warp(net: Folds, batch: RenderBatch) -> None:
    picture, change = folded(net, batch)
    assert not change.any()
    torch.testing.assert_close(picture, batch.warped[:, :3])
    assert cost(net, batch) == pytest.approx(2 * 0.2 * 10 / FOLDS_SIZE[0], rel=1e-4)


def test_the_mouth_does_not_count(net: Folds, batch: RenderBatch) -> None:
    """Whatever the truth and the warp show in it."""
    plain = cost(net, batch)
    skin, warped = batch.skin.clone(), batch.warped.clone()
    skin[:, :, *NEAR], warped[:, :3, *NEAR] = 1, -1
    other = dataclasses.replace(batch, skin=skin, warped=warped)
    assert cost(net, other) == pytest.approx(plain)
    torch.testing.assert_close(folded(net, other)[0][:, :, *NEAR], skin[:, :, *NEAR])
    skin[:, :, NEAR[0].start - 1, NEAR[1].start] = 1
    assert cost(net, dataclasses.replace(other, skin=skin)) > plain


def test_a_change_that_helps_nothing_costs(net: Folds, batch: RenderBatch) -> None:
    with torch.no_grad():
        net.out.bias.fill_(0.1)  # type: ignore[union-attr]
        loss = folds_loss(net, dataclasses.replace(batch, skin=batch.warped[:, :3]), None)
    assert 0.09 < float(loss.parts["l1"]) < 0.1  # the mouth is left as it is
    assert float(loss.total) == pytest.approx(2 * float(loss.parts["l1"]) + EXTENT * 0.1, rel=1e-4)


def test_blurred_people_teach_no_texture(net: Folds, batch: RenderBatch) -> None:
    lpips = LPIPS.shipped()
    whole, half, none = (
        cost(net, dataclasses.replace(batch, weight=torch.full((2,), weight)), lpips) for weight in (1.0, 0.5, 0.0)
    )
    assert none < half < whole
    assert half == pytest.approx((whole + none) / 2, rel=1e-4)


def test_they_learn(batch: RenderBatch) -> None:
    """Light that comes and goes with a mouth's shape; where they begin they are the warp."""
    torch.manual_seed(0)
    light = 0.2 * batch.shape[:, :1, None, None].sign()
    batch = dataclasses.replace(batch, skin=batch.warped[:, :3] + light)
    recipe = FOLDS.recipes["debug"]
    net, random = FOLDS.build(recipe), torch.Generator().manual_seed(0)

    @torch.no_grad()
    def figures() -> dict[str, float]:
        return dict(FOLDS.validation(net, batch, None).figures)

    before = figures()
    assert before["l1"] == before["l1_warp"]
    optimiser = torch.optim.AdamW(net.parameters(), 1e-2)
    for _ in range(40):
        loss = FOLDS.loss(net, batch, recipe, None, random).total
        optimiser.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        optimiser.step()
    after = figures()
    assert after["l1_warp"] == pytest.approx(before["l1_warp"])
    assert after["l1"] < 0.5 * before["l1"]
