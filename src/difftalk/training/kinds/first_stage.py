"""The first stage: mouths -> latents -> mouths, the decoder beside the composite."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import torch
from torch import Tensor

from difftalk.face.space import PATCH_SIZE
from difftalk.nets import sizes
from difftalk.nets.autoencoder import FirstStage
from difftalk.nets.blocks import widened
from difftalk.nets.lpips import LPIPS
from difftalk.nets.sizes import COMPOSITE_CHANNELS, LATENT_CHANNELS, LATENT_SIZE, SHARPNESS, FirstStageSizes
from difftalk.training.batches import RenderBatch
from difftalk.training.data_choice import DataChoice
from difftalk.training.kinds.kind import Exported, GraphSpec, Kind, Opened, faked, shipped_lpips
from difftalk.training.picture_loss import Loss, noise_like, picture_loss, restraint
from difftalk.training.recipes import DEBUG, Optimiser, Schedule
from difftalk.training.shelf import Shelf
from difftalk.training.validation import Validation, seen

COMPOSITE_DROP: Final = 0.3  # share of samples whose composite is emptied around the mouth
COMPOSITE_DROP_REACH: Final = 49  # px


@dataclass(frozen=True)
class FirstStageRecipe:
    """lpips: whether the loss has an LPIPS term."""

    name: str
    size: FirstStageSizes
    optimiser: Optimiser = Optimiser()
    schedule: Schedule = Schedule()
    lpips: bool = True


def first_stage_loss(net: FirstStage, batch: RenderBatch, lpips: LPIPS | None, random: torch.Generator) -> Loss:
    """The first stage's: noise on the latent, the composite emptied around the mouth in 30 % of samples."""
    latent = net.encode(batch.target)
    noise = noise_like(latent, random)
    composite = _dropped(batch.composite, random)
    picture, residual, gate = net.decode_parts(latent + net.sizes.noise * noise, composite, batch.sharpness)
    loss = picture_loss(picture.float(), batch, lpips)
    extent = 1e-3 * latent.pow(2).mean()
    return Loss(loss.total + restraint(residual, gate, batch) + extent, {**loss.parts, "latent": latent.pow(2).mean()})


def _dropped(composite: Tensor, random: torch.Generator) -> Tensor:
    around = widened(composite[:, 3:4], COMPOSITE_DROP_REACH)
    chance = torch.rand(len(composite), 1, 1, 1, generator=random, device=composite.device)
    drop = (chance < COMPOSITE_DROP) * around
    inner = torch.maximum(composite[:, 3:4], drop)
    return torch.cat([composite[:, :3] * (1 - drop), inner, composite[:, 4:] * (1 - drop)], 1)


def first_stage_graphs(net: FirstStage) -> dict[str, GraphSpec]:
    """Encoder, composite path and decoder."""
    height, width = PATCH_SIZE
    picture, composite = torch.zeros(1, 3, height, width), torch.zeros(1, COMPOSITE_CHANNELS, height, width)
    latent = torch.zeros(1, LATENT_CHANNELS, *LATENT_SIZE)
    sharpness = torch.zeros(1, SHARPNESS)
    with torch.no_grad():
        half, quarter, eighth = net.composite_path(composite, sharpness)
    features = {"half": half, "quarter": quarter, "eighth": eighth}
    return {
        "encoder": GraphSpec(net.encoder, {"picture": picture}, ("latent",), "f32"),
        "composite_path": GraphSpec(
            net.composite_path, {"composite": composite, "sharpness": sharpness}, tuple(features), "bf16"
        ),
        "decoder": GraphSpec(net.decoder, {"latent": latent, "composite": composite, **features}, ("picture",), "bf16"),
    }


def _source(recipe: FirstStageRecipe, choice: DataChoice) -> Opened:
    return faked("first-stage", recipe, choice) or Shelf.of(choice, recipe.schedule)


def _validation(net: FirstStage, batch: RenderBatch, lpips: LPIPS | None) -> Validation:
    latent = net.encode(batch.target)
    decoded = {"output": latent, "other": latent.roll(1, 0), "zeros": torch.zeros_like(latent)}
    pictures = {name: net.decode(value, batch.composite, batch.sharpness) for name, value in decoded.items()}
    return seen(pictures, batch, lpips)


FIRST_STAGE: Final = Kind(
    name="first-stage",
    recipe=FirstStageRecipe,
    recipes={
        "debug": FirstStageRecipe("debug", sizes.FIRST_STAGE["debug"], schedule=DEBUG, lpips=False),
        "default": FirstStageRecipe("default", sizes.FIRST_STAGE["default"]),
    },
    batch=RenderBatch,
    build=lambda recipe: FirstStage(recipe.size),
    source=_source,
    tools=lambda recipe, device: shipped_lpips(device, wanted=recipe.lpips),
    loss=lambda net, batch, recipe, lpips, random: first_stage_loss(net, batch, lpips, random),
    validation=_validation,
    exported=Exported(first_stage_graphs),
)
