"""Folds and shade of skin that moves: what the warp of a region lacks beyond the mouth."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import torch
from torch import Tensor

from difftalk.face.mouth import COMPONENTS
from difftalk.nets import sizes
from difftalk.nets.blocks import widened
from difftalk.nets.folds import Folds
from difftalk.nets.lpips import LPIPS
from difftalk.nets.sizes import COMPOSITE_CHANNELS, FOLDS_SIZE, FoldsSizes
from difftalk.training.batches import RenderBatch
from difftalk.training.data_choice import DataChoice
from difftalk.training.kinds.kind import Exported, GraphSpec, Kind, Opened, faked, shipped_lpips
from difftalk.training.picture_loss import Loss
from difftalk.training.recipes import DEBUG, Optimiser, Schedule
from difftalk.training.shelf import Shelf
from difftalk.training.validation import Validation, rows_of

BEYOND: Final = 7  # px at half the region's size around the inner mouth that others draw
LPIPS_SHARE: Final = 0.5
EXTENT: Final = 0.05  # of the change itself: where nothing is sure nothing changes


@dataclass(frozen=True)
class FoldsRecipe:
    """lpips: whether the loss has an LPIPS term."""

    name: str
    size: FoldsSizes
    optimiser: Optimiser = Optimiser()
    schedule: Schedule = Schedule()
    lpips: bool = True


def folded(net: Folds, batch: RenderBatch) -> tuple[Tensor, Tensor]:
    """Regions (b, 3, 72, 88) with their folds, mouths as they truly are; and the change."""
    change = net(batch.warped, batch.shape).float()
    mouth = widened(batch.warped[:, 3:4], BEYOND)
    return (1 - mouth) * (batch.warped[:, :3] + change) + mouth * batch.skin, change


def folds_loss(net: Folds, batch: RenderBatch, lpips: LPIPS | None) -> Loss:
    """L1 and LPIPS beyond the mouth."""
    picture, change = folded(net, batch)
    l1 = (picture - batch.skin).abs().mean()
    total, parts = 2 * l1 + EXTENT * change.abs().mean(), {"l1": l1}
    if lpips is None:
        return Loss(total, parts)
    seen = (lpips(picture, batch.skin) * batch.weight).mean()
    return Loss(total + LPIPS_SHARE * seen, {**parts, "lpips": seen})


def _graphs(net: Folds) -> dict[str, GraphSpec]:
    inputs = {"composite": torch.zeros(1, COMPOSITE_CHANNELS, *FOLDS_SIZE), "shape": torch.zeros(1, COMPONENTS)}
    return {"folds": GraphSpec(net, inputs, ("change",), "bf16")}


def _source(recipe: FoldsRecipe, choice: DataChoice) -> Opened:
    return faked("folds", recipe, choice) or Shelf.of(choice, recipe.schedule)


def _validation(net: Folds, batch: RenderBatch, lpips: LPIPS | None) -> Validation:
    """Beside the warp as it is."""
    picture, change = folded(net, batch)
    plain = picture - (1 - widened(batch.warped[:, 3:4], BEYOND)) * change
    figures = {"l1": float((picture - batch.skin).abs().mean()), "l1_warp": float((plain - batch.skin).abs().mean())}
    if lpips is not None:
        shown = {"lpips": picture, "lpips_warp": plain}
        figures |= {name: float(lpips(one, batch.skin).mean()) for name, one in shown.items()}
    return Validation(figures, rows_of({"output": picture}, batch.skin, batch.warped))


FOLDS: Final = Kind(
    name="folds",
    recipe=FoldsRecipe,
    recipes={
        "debug": FoldsRecipe("debug", sizes.FOLDS["debug"], schedule=DEBUG, lpips=False),
        "default": FoldsRecipe("default", sizes.FOLDS["default"], schedule=Schedule(batch=16)),
    },
    batch=RenderBatch,
    build=lambda recipe: Folds(recipe.size),
    source=_source,
    tools=lambda recipe, device: shipped_lpips(device, wanted=recipe.lpips),
    loss=lambda net, batch, recipe, lpips, random: folds_loss(net, batch, lpips),
    validation=_validation,
    exported=Exported(_graphs),
)
