"""The sync expert on sounds that a mouth follows: it finds the offset, and as a loss it prefers what is in sync."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest
import torch

from difftalk.errors import DataError
from difftalk.face.mouth import COMPONENTS
from difftalk.nets.sync import SyncExpert
from difftalk.speech.features import FEATURE_SIZE
from difftalk.speech.motion import FUTURE_FEATURES, PAST_FEATURES
from difftalk.training.batches import Batch, FakeSource, MotionBatch
from difftalk.training.kinds.motion import MOTION, MotionTools
from difftalk.training.kinds.sync import SYNC, SyncRecipe, expert_loss, right_offsets, sync_loss
from difftalk.training.kinds.table import kind_of, recipe_named
from difftalk.training.loop import train
from difftalk.training.recipes import override

FRAMES = 96


class Followed:
    """Mouth shapes that a few of the features' directions drive, frame by frame."""

    def __init__(self) -> None:
        random = torch.Generator().manual_seed(0)
        self._map = torch.randn(8, 16, generator=random)
        self._directions = torch.randn(8, FEATURE_SIZE, generator=random)

    def batch(self, step: int) -> MotionBatch:
        random = torch.Generator().manual_seed(step)
        drive = torch.randn(8, 2 * FRAMES + PAST_FEATURES + FUTURE_FEATURES, 8, generator=random)
        shape = drive[:, PAST_FEATURES : PAST_FEATURES + 2 * FRAMES : 2] @ self._map
        usual = torch.zeros(8, COMPONENTS), torch.ones(8, COMPONENTS)
        return MotionBatch(drive @ self._directions, shape, shape[..., 0], torch.ones(8, FRAMES), *usual)

    def validation(self) -> list[Batch]:
        return [self.batch(-1 % 2**31)]


@pytest.fixture(scope="module")
def expert(tmp_path_factory: pytest.TempPathFactory) -> SyncExpert:
    recipe = override(
        recipe_named("sync", "debug"),
        [f"optimiser.{s}" for s in ("lr=0.01", "ema=0.9", "warm_up=5")]
        + [f"size.{s}" for s in ("width=32", "input_dropout=0", "dropout=0")]
        + ["schedule.steps=120", "schedule.validate_every=120"],
    )
    net = kind_of(recipe).build(recipe)
    assert isinstance(net, SyncExpert)
    done = train(SYNC, Followed(), recipe, tmp_path_factory.mktemp("sync"))
    net.load_state_dict(done.average)
    return net.eval().requires_grad_(False)


def test_the_expert_finds_offsets(expert: SyncExpert) -> None:
    assert right_offsets(expert, Followed().batch(77)) > 0.9
    recipe = recipe_named("sync", "debug")
    assert isinstance(recipe, SyncRecipe)
    assert right_offsets(SyncExpert(recipe.size).eval(), Followed().batch(77)) < 0.5


def test_what_is_in_sync_costs_less(expert: SyncExpert) -> None:
    batch = Followed().batch(78)
    true, late = expert_loss(expert, batch.shape, batch), expert_loss(expert, batch.shape.roll(3, 1), batch)
    assert float(true) < 0.5 * float(late)
    shapes = batch.shape.clone().requires_grad_(True)
    expert_loss(expert, shapes, batch).backward()  # type: ignore[no-untyped-call]
    assert shapes.grad is not None
    assert float(shapes.grad.abs().sum()) > 0


def test_silence_and_what_is_masked_do_not_count(expert: SyncExpert) -> None:
    batch = Followed().batch(79)
    mask = batch.mask.clone()
    mask[:, 60:] = 0
    masked = dataclasses.replace(batch, mask=mask)
    # Sounds far beyond the mask are compared with by no frame that counts.
    wild = dataclasses.replace(masked, shape=torch.where(mask[..., None] > 0, batch.shape, 9.0))
    torch.testing.assert_close(expert_loss(expert, wild.shape, wild), expert_loss(expert, masked.shape, masked))
    silent = dataclasses.replace(batch, shape=torch.zeros_like(batch.shape))
    assert float(sync_loss(expert, silent).total) == 0


def test_motion_can_be_judged_by_an_expert(tmp_path: Path) -> None:
    train(SYNC, FakeSource("sync"), recipe_named("sync", "debug"), tmp_path / "sync", steps=1)
    recipe = override(recipe_named("motion", "debug"), [f"expert={tmp_path / 'sync'}"])
    train(MOTION, FakeSource("motion"), recipe, tmp_path / "motion", steps=2)
    assert '"expert"' in (tmp_path / "motion" / "metrics.jsonl").read_text()
    wrong = override(MOTION.recipes["debug"], [f"expert={tmp_path / 'motion'}"])
    with pytest.raises(DataError, match="no sync expert"):
        MotionTools.of(wrong, torch.device("cpu"))


def test_only_the_members_that_heed_it_learn_from_the_expert(expert: SyncExpert) -> None:
    batch = Followed().batch(3)
    shapes = batch.shape.clone().requires_grad_()
    heeds = torch.zeros(len(batch))
    heeds[0] = 1
    expert_loss(expert, shapes + 0.1, batch, heeds).backward()  # type: ignore[no-untyped-call]
    assert shapes.grad is not None
    assert shapes.grad[0].abs().max() > 0
    assert shapes.grad[1:].abs().max() == 0
