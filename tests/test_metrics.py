"""Picture metrics know better from worse, and areas are where they are said to be."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from difftalk.evaluation.metrics.pictures import (
    gradient_energy,
    inner_mouth_box,
    inner_mouth_weight,
    mouth_look,
    psnr,
    ssim,
)
from difftalk.face.landmarks import INNER_LIPS
from difftalk.nets.lpips import LPIPS


@pytest.fixture
def mesh() -> NDArray[np.float32]:
    """Inner lips on an ellipse of 40 x 20 px about (128, 150)."""
    points = np.zeros((478, 3), np.float32)
    angle = np.linspace(0, 2 * np.pi, len(INNER_LIPS), endpoint=False)
    points[INNER_LIPS, 0], points[INNER_LIPS, 1] = 128 + 20 * np.cos(angle), 150 + 10 * np.sin(angle)
    return points


def test_box_is_the_inner_lips_and_their_margin(mesh: NDArray[np.float32]) -> None:
    picture = np.zeros((144, 176, 3), np.float32)
    picture[150 - 96, 128 - 40] = 1.0
    box = inner_mouth_box(picture, mesh)
    assert box.shape == (64, 128, 3)
    y, x = np.unravel_index(box[..., 0].argmax(), (64, 128))
    assert abs(y - 32) <= 3
    assert abs(x - 64) <= 3
    weight = inner_mouth_weight(mesh)
    assert weight[32, 64] == pytest.approx(1)
    assert weight[0].max() == 0


def test_texture_and_area_of_a_mouth(mesh: NDArray[np.float32]) -> None:
    noise = np.random.default_rng(0).integers(0, 255, (256, 256, 3), np.uint8)
    blurred = np.mean([np.roll(noise, (i, j), (0, 1)) for i in range(3) for j in range(3)], 0).astype(np.uint8)
    sharp, soft = mouth_look(noise, mesh), mouth_look(blurred, mesh)
    assert soft.texture < 0.3 * sharp.texture
    assert sharp.area == pytest.approx(np.pi * 20 * 10, rel=0.02)


def test_blur_lowers_gradient_energy() -> None:
    noise = np.random.default_rng(0).uniform(0, 255, (32, 32, 3))
    blurred = (noise + np.roll(noise, 1, 0) + np.roll(noise, 1, 1)) / 3
    weight = np.ones((32, 32))
    assert gradient_energy(blurred, weight) < 0.5 * gradient_energy(noise, weight)
    assert gradient_energy(noise, 0 * weight) == 0.0


def test_psnr_and_ssim() -> None:
    rng = np.random.default_rng(0)
    picture = rng.uniform(-1, 1, (48, 48, 3)).astype(np.float32)
    off = picture + np.float32(0.1)
    assert psnr(picture, picture) == pytest.approx(60)
    assert psnr(picture, off) == pytest.approx(10 * np.log10(4 / 0.01), abs=1e-3)
    assert ssim(picture, picture) == pytest.approx(1)
    assert ssim(picture, rng.uniform(-1, 1, picture.shape).astype(np.float32)) < 0.2
    left = np.zeros((48, 48))
    left[:, :24] = 1
    half = picture.copy()
    half[:, 24:] = 0
    assert psnr(picture, half, left) == pytest.approx(60)
    assert psnr(picture, half) < 20


def test_lpips_is_zero_for_the_same_and_grows_with_blur() -> None:
    net = LPIPS.shipped()
    picture = torch.rand(1, 3, 64, 64, generator=torch.Generator().manual_seed(0)) * 2 - 1
    a_little = torch.nn.functional.avg_pool2d(picture, 3, 1, 1)
    much = torch.nn.functional.avg_pool2d(picture, 9, 1, 4)
    with torch.no_grad():
        assert float(net(picture, picture)) == pytest.approx(0.0, abs=1e-6)
        assert 0 < float(net(a_little, picture)) < float(net(much, picture))
