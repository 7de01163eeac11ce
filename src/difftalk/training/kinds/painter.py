"""The painter: mouths in one look at composite and reference."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import torch

from difftalk.face.space import PATCH_SIZE
from difftalk.nets import sizes
from difftalk.nets.lpips import LPIPS
from difftalk.nets.painter import Painter
from difftalk.nets.sizes import COMPOSITE_CHANNELS, SHARPNESS, PainterSizes
from difftalk.training.batches import RenderBatch
from difftalk.training.data_choice import DataChoice
from difftalk.training.kinds.kind import Exported, GraphSpec, Kind, Opened, faked, shipped_lpips
from difftalk.training.picture_loss import Loss, picture_loss, restraint
from difftalk.training.recipes import DEBUG, Optimiser, Schedule
from difftalk.training.shelf import Shelf
from difftalk.training.validation import Validation, seen


@dataclass(frozen=True)
class PainterRecipe:
    """lpips: whether the loss has an LPIPS term."""

    name: str
    size: PainterSizes
    optimiser: Optimiser = Optimiser()
    schedule: Schedule = Schedule()
    lpips: bool = True


def painter_loss(net: Painter, batch: RenderBatch, lpips: LPIPS | None) -> Loss:
    """The painter's."""
    picture, residual, gate = net.parts(batch.composite, batch.reference, batch.sharpness)
    loss = picture_loss(picture.float(), batch, lpips)
    return Loss(loss.total + restraint(residual, gate, batch), loss.parts)


def painter_graphs(net: Painter) -> dict[str, GraphSpec]:
    """The whole net."""
    height, width = PATCH_SIZE
    inputs = {
        "composite": torch.zeros(1, COMPOSITE_CHANNELS, height, width),
        "reference": torch.zeros(1, 3, height, width),
        "sharpness": torch.zeros(1, SHARPNESS),
    }
    return {"painter": GraphSpec(net, inputs, ("picture",), "bf16")}


def _source(recipe: PainterRecipe, choice: DataChoice) -> Opened:
    return faked("painter", recipe, choice) or Shelf.of(choice, recipe.schedule)


def _validation(net: Painter, batch: RenderBatch, lpips: LPIPS | None) -> Validation:
    return seen({"output": net(batch.composite, batch.reference, batch.sharpness)}, batch, lpips)


PAINTER: Final = Kind(
    name="painter",
    recipe=PainterRecipe,
    recipes={
        "debug": PainterRecipe("debug", sizes.PAINTER["debug"], schedule=DEBUG, lpips=False),
        "default": PainterRecipe("default", sizes.PAINTER["default"]),
    },
    batch=RenderBatch,
    build=lambda recipe: Painter(recipe.size),
    source=_source,
    tools=lambda recipe, device: shipped_lpips(device, wanted=recipe.lpips),
    loss=lambda net, batch, recipe, lpips, random: painter_loss(net, batch, lpips),
    validation=_validation,
    exported=Exported(painter_graphs),
)
