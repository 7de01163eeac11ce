"""What each kind of net is trained for: how it is built, its loss on a batch, and what validation prints and shows."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from difftalk.errors import DataError
from difftalk.nets.autoencoder import FirstStage
from difftalk.nets.denoiser import Denoiser
from difftalk.nets.motion import LinearMotion, MotionNetwork
from difftalk.nets.painter import Painter
from difftalk.training.batches import Batch, LatentBatch, MotionBatch, RenderBatch
from difftalk.training.losses import (
    LPIPS,
    Loss,
    denoiser_loss,
    first_stage_loss,
    mouth_boxes,
    painter_loss,
)
from difftalk.training.motion_loss import motion_loss, opening_correlation
from difftalk.training.recipes import DenoiserRecipe, FirstStageRecipe, MotionRecipe, PainterRecipe, Recipe

Image = NDArray[np.uint8]
NetT = TypeVar("NetT", bound=nn.Module)
SHEET_ROWS = 24


@dataclass(frozen=True)
class Tools:
    """What losses need besides net and batch. opening_row: (16,) of the geometry."""

    lpips: LPIPS | None
    first_stage: FirstStage | None
    opening_row: Tensor | None

    @classmethod
    def of(cls, recipe: Recipe, device: torch.device) -> Tools:
        from difftalk.model import SHIPPED
        from difftalk.mouth import Geometry

        if isinstance(recipe, MotionRecipe):
            return cls(None, None, torch.from_numpy(Geometry.load(SHIPPED).opening_row()).to(device))
        lpips = placed(LPIPS.shipped(), device) if recipe.lpips else None
        first_stage = first_stage_of(recipe) if isinstance(recipe, DenoiserRecipe) else None
        if first_stage is not None:
            first_stage = placed(first_stage, device).requires_grad_(False)
        return cls(lpips, first_stage, None)


def placed(net: NetT, device: torch.device) -> NetT:
    """On the device, its convolutions channels last, as batches are."""
    return net.to(device).to(memory_format=torch.channels_last)  # type: ignore[call-overload, no-any-return]


def first_stage_of(recipe: DenoiserRecipe) -> FirstStage:
    """The frozen first stage that a denoiser recipe names."""
    from difftalk.nets.sizes import FIRST_STAGE
    from difftalk.training.checkpoint import load_net

    if not recipe.first_stage:
        if recipe.name != "debug":
            raise DataError("a denoiser needs the run of its first stage; give it with --set first_stage=RUN")
        return FirstStage(FIRST_STAGE["debug"]).eval()
    net = load_net(Path(recipe.first_stage))[1]
    if not isinstance(net, FirstStage):
        raise DataError(f"{recipe.first_stage} is not the run of a first stage")
    return net


def build(recipe: Recipe) -> nn.Module:
    """The untrained net of a recipe."""
    if isinstance(recipe, PainterRecipe):
        return Painter(recipe.size)
    if isinstance(recipe, FirstStageRecipe):
        return FirstStage(recipe.size)
    if isinstance(recipe, DenoiserRecipe):
        return Denoiser(recipe.size)
    return MotionNetwork(recipe.size) if recipe.network else LinearMotion(recipe.size)


def loss_of(net: nn.Module, batch: Batch, recipe: Recipe, tools: Tools, random: torch.Generator) -> Loss:
    """The loss of one batch."""
    if isinstance(net, Painter) and isinstance(batch, RenderBatch):
        return painter_loss(net, batch, tools.lpips)
    if isinstance(net, FirstStage) and isinstance(batch, RenderBatch):
        return first_stage_loss(net, batch, tools.lpips, random)
    if isinstance(net, Denoiser) and isinstance(batch, LatentBatch) and tools.first_stage is not None:
        return denoiser_loss(net, tools.first_stage, batch, tools.lpips, random)
    if isinstance(batch, MotionBatch) and isinstance(recipe, MotionRecipe) and tools.opening_row is not None:
        return motion_loss(net, batch, recipe, tools.opening_row)
    raise DataError(f"{type(net).__name__} cannot learn from {type(batch).__name__}")


@torch.no_grad()
def validate(
    net: nn.Module, batches: Sequence[Batch], recipe: Recipe, tools: Tools
) -> tuple[dict[str, float], list[list[Image]]]:
    """Figures over the validation batches, and rows of pictures: true, composite, output, difference × 4."""
    totals: dict[str, list[float]] = {}
    rows: list[list[Image]] = []
    for batch in batches:
        if isinstance(batch, MotionBatch):
            figures = {"opening_r": opening_correlation(net(batch.features), batch, tools.opening_row)}
        else:
            pictures = _pictures(net, batch, tools)
            figures = _figures(pictures["output"], batch, tools.lpips)
            if "zeros" in pictures and tools.lpips is not None:
                figures |= _latent_use(pictures, batch, tools.lpips)
            rows += _rows(pictures, batch)
        for name, value in figures.items():
            totals.setdefault(name, []).append(value)
    return {name: float(np.mean(values)) for name, values in totals.items()}, rows[:SHEET_ROWS]


def _pictures(net: nn.Module, batch: RenderBatch | LatentBatch, tools: Tools) -> dict[str, Tensor]:
    if isinstance(net, Painter) and isinstance(batch, RenderBatch):
        return {"output": net(batch.composite, batch.reference)}
    if isinstance(net, FirstStage) and isinstance(batch, RenderBatch):
        latent = net.encode(batch.target)
        decoded = {"output": latent, "other": latent.roll(1, 0), "zeros": torch.zeros_like(latent)}
        return {name: net.decode(value, batch.composite) for name, value in decoded.items()}
    assert isinstance(net, Denoiser)
    assert isinstance(batch, LatentBatch)
    assert tools.first_stage is not None
    noise = torch.randn(batch.latent.shape, generator=torch.Generator().manual_seed(0)).to(batch.latent)
    features = tools.first_stage.composite_path(batch.composite)
    time = torch.ones(len(noise), device=noise.device)
    velocity = net(
        noise, time, features[2], batch.reference, torch.zeros_like(noise), batch.audio, batch.landmarks, batch.shape
    )
    ceiling = tools.first_stage.decoder(batch.latent, batch.composite, *features)
    return {"output": tools.first_stage.decoder(noise - velocity, batch.composite, *features), "ceiling": ceiling}


def _figures(output: Tensor, batch: RenderBatch | LatentBatch, lpips: LPIPS | None) -> dict[str, float]:
    inner = batch.composite[:, 3:4]
    figures = {"l1": float((output - batch.target).abs().mean())}
    if lpips is not None:
        figures["lpips"] = float(lpips(output, batch.target).mean())
        figures["mouth_lpips"] = float(lpips(mouth_boxes(output, inner), mouth_boxes(batch.target, inner)).mean())
        figures["composite_lpips"] = float(lpips(batch.composite[:, :3], batch.target).mean())
    return figures


def _latent_use(pictures: dict[str, Tensor], batch: RenderBatch | LatentBatch, lpips: LPIPS) -> dict[str, float]:
    inner = batch.composite[:, 3:4]
    truth = mouth_boxes(batch.target, inner)
    return {
        f"mouth_lpips_{name}": float(lpips(mouth_boxes(pictures[name], inner), truth).mean())
        for name in ("other", "zeros")
    }


def _rows(pictures: dict[str, Tensor], batch: RenderBatch | LatentBatch) -> list[list[Image]]:
    rows = []
    for i in range(len(batch.target)):
        shown = [batch.target[i], batch.composite[i, :3], *(value[i] for value in pictures.values())]
        difference = ((pictures["output"][i] - batch.target[i]) * 4).clamp(-1, 1)
        rows.append([_image(picture) for picture in [*shown, difference]])
    return rows


def _image(picture: Tensor) -> Image:
    return ((picture.clamp(-1, 1) + 1) * 127.5).byte().permute(1, 2, 0).cpu().numpy()
