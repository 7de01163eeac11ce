"""Motion's losses and closed-form parts on fake data."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import torch
from torch import Tensor

from difftalk.nets.motion import LinearMotion, MotionNetwork
from difftalk.speech.features import FEATURE_SIZE, LAYER_SIZE
from difftalk.training.batches import Batch, FakeSource, MotionBatch, drawn
from difftalk.training.kinds.motion import LINEAR, MotionRecipe, fit_linear, motion_loss
from difftalk.training.kinds.sync import fit_whitening
from difftalk.training.kinds.table import kind_of, load_net, recipe_named
from difftalk.training.loop import train
from difftalk.training.recipes import override


class LinearTruth:
    """Shapes that are a linear function of the features two frames back."""

    def __init__(self) -> None:
        self._fake = FakeSource("motion", batch_size=8)
        self._map = 0.1 * torch.randn(FEATURE_SIZE, 16, generator=torch.Generator().manual_seed(0))
        # As few directions as the debug recipe keeps, of the layer that the regression hears.
        heard = FEATURE_SIZE - LAYER_SIZE + torch.arange(6)
        self._spread = torch.zeros(FEATURE_SIZE).index_fill(0, heard, 1)

    def batch(self, step: int) -> MotionBatch:
        fake = self._fake.batch(step)
        assert isinstance(fake, MotionBatch)
        features = fake.features * self._spread + 0.3
        shape = (features[:, 26 : 26 + 2 * fake.shape.shape[1] : 2] - 0.3) @ self._map + 0.5
        return dataclasses.replace(fake, features=features, shape=shape)

    def validation(self) -> list[Batch]:
        return [self.batch(-1)]


def test_the_regression_finds_a_linear_truth() -> None:
    recipe = override(recipe_named("motion", "linear"), ["size.components=6", "ridge=1e-6", "fit_batches=40"])
    assert isinstance(recipe, MotionRecipe)
    net, source = LinearMotion(recipe.size), LinearTruth()
    fit_linear(net, source, recipe)
    unseen = source.batch(-1)
    with torch.no_grad():
        error = (net(unseen.features) - unseen.shape).pow(2).mean()
    assert float(error) < 1e-3 * float(unseen.shape.var())


def test_motion_losses_stop_at_the_mask() -> None:
    recipe = recipe_named("motion", "debug")
    assert isinstance(recipe, MotionRecipe)
    fake = FakeSource("motion").batch(0)
    assert isinstance(fake, MotionBatch)
    rows: Tensor = torch.linspace(-1, 1, 64).view(16, 4)
    net = kind_of(recipe).build(recipe).eval()
    assert isinstance(net, MotionNetwork)
    mask = fake.mask.clone()
    mask[:, 8:] = 0
    batch = dataclasses.replace(fake, mask=mask)
    wild = dataclasses.replace(batch, shape=torch.where(mask[..., None] > 0, batch.shape, 99.0))
    torch.testing.assert_close(
        motion_loss(net, wild, recipe, rows).total, motion_loss(net, batch, recipe, rows).total, rtol=1e-5, atol=1e-6
    )


def test_linear_motion_is_a_run_like_the_rest(tmp_path: Path) -> None:
    recipe = override(recipe_named("motion", "linear"), ["size.components=8", "fit_batches=4"])
    done = train(LINEAR, FakeSource("motion"), recipe, tmp_path)
    assert done.step == 0
    checkpoint, net = load_net(tmp_path)
    assert isinstance(net, LinearMotion)
    assert "val_opening_r" in json.loads((tmp_path / "metrics.jsonl").read_text().splitlines()[-1])
    assert float(checkpoint.net["read.weight"].abs().max()) > 0


def test_whitened_components_are_independent_and_of_unit_spread() -> None:
    recipe = override(recipe_named("motion", "debug"), ["fit_batches=30"])
    assert isinstance(recipe, MotionRecipe)
    net = kind_of(recipe).build(recipe)
    assert isinstance(net, MotionNetwork)
    fit_whitening(net, drawn(FakeSource("motion", batch_size=8), MotionBatch, 30))
    made = drawn(FakeSource("motion", batch_size=8), MotionBatch, 30)
    features = torch.cat([batch.features.flatten(0, 1) for batch in made])
    components = (features - net.mean) @ net.basis
    covariance = components.T @ components / len(components)
    torch.testing.assert_close(covariance, torch.eye(len(covariance)), atol=0.02, rtol=0)
