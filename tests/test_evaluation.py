"""Evaluation: metrics know better from worse, people count alike, and finished clips are not measured again."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from difftalk.evaluation import report
from difftalk.evaluation.metrics import gradient_energy, inner_mouth_box, opening_correlation, opening_spread
from difftalk.training.losses import LPIPS


def test_a_late_curve_is_found_at_its_shift() -> None:
    truth = np.random.default_rng(0).standard_normal(80).cumsum()
    late = np.roll(truth, 3)
    assert opening_correlation(truth, late, 3) > opening_correlation(truth, late, 0) + 0.1
    assert opening_correlation(truth, late[3:], 0) == pytest.approx(1.0, abs=1e-3)
    assert opening_correlation(truth, np.ones(80), 0) == 0.0
    assert opening_spread(truth, 2 * truth) == pytest.approx(2.0)


def test_box_is_the_inner_lips_and_their_margin() -> None:
    mesh = np.zeros((478, 3), np.float32)
    from difftalk.composite import INNER_LIPS

    angle = np.linspace(0, 2 * np.pi, len(INNER_LIPS), endpoint=False)
    mesh[INNER_LIPS, 0], mesh[INNER_LIPS, 1] = 128 + 20 * np.cos(angle), 150 + 10 * np.sin(angle)
    picture = np.zeros((144, 176, 3), np.float32)
    picture[150 - 96, 128 - 40] = 1.0
    box = inner_mouth_box(picture, mesh)
    assert box.shape == (64, 128, 3)
    y, x = np.unravel_index(box[..., 0].argmax(), (64, 128))
    assert abs(y - 32) <= 3
    assert abs(x - 64) <= 3


def test_blur_lowers_gradient_energy() -> None:
    noise = np.random.default_rng(0).uniform(0, 255, (32, 32, 3))
    blurred = (noise + np.roll(noise, 1, 0) + np.roll(noise, 1, 1)) / 3
    weight = np.ones((32, 32))
    assert gradient_energy(blurred, weight) < 0.5 * gradient_energy(noise, weight)
    assert gradient_energy(noise, 0 * weight) == 0.0


def test_lpips_is_zero_for_the_same_and_grows_with_blur() -> None:
    net = LPIPS.shipped()
    picture = torch.rand(1, 3, 64, 64, generator=torch.Generator().manual_seed(0)) * 2 - 1
    a_little = torch.nn.functional.avg_pool2d(picture, 3, 1, 1)
    much = torch.nn.functional.avg_pool2d(picture, 9, 1, 4)
    with torch.no_grad():
        assert float(net(picture, picture)) == pytest.approx(0.0, abs=1e-6)
        assert 0 < float(net(a_little, picture)) < float(net(much, picture))


def test_people_count_alike_whatever_their_clips() -> None:
    figures = {"strict": {"a1": {"r": 0.9}, "a2": {"r": 0.7}, "b": {"r": 0.2}, "c": {"r": 0.4}}}
    summed = report._summed(figures, {"a1": "a", "a2": "a", "b": "b", "c": "c"})
    assert summed.people["strict"]["a"]["r"] == pytest.approx(0.8)
    assert summed.summary["strict"]["r"] == pytest.approx(0.4)
    assert "strict" in summed.text
