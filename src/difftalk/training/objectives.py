"""What each kind of net is trained for: how it is built, its loss on a batch, and what validation prints and shows."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import numpy as np
import torch
from torch import Tensor, nn

from difftalk.arrays import Image
from difftalk.errors import DataError
from difftalk.nets.autoencoder import FirstStage
from difftalk.nets.diffusion import LatentDiffusion
from difftalk.nets.lpips import LPIPS
from difftalk.nets.motion import LinearMotion, MotionNetwork
from difftalk.nets.painter import Painter
from difftalk.nets.published import PaperFirstStage, PublishedDiffTalk
from difftalk.nets.sync import SyncExpert
from difftalk.training.batches import Batch, MotionBatch, PaperBatch, RenderBatch
from difftalk.training.checkpoint import Checkpoint, load_checkpoint, load_state
from difftalk.training.losses import Loss, denoiser_loss, first_stage_loss, mouth_boxes, painter_loss
from difftalk.training.motion_loss import curve_correlations, motion_loss
from difftalk.training.published_loss import (
    paper_figures,
    paper_first_stage_loss,
    paper_loss,
    paper_pictures,
    paper_rows,
)
from difftalk.training.recipes import (
    DenoiserRecipe,
    FirstStageRecipe,
    MotionRecipe,
    PainterRecipe,
    PaperFirstStageRecipe,
    PaperRecipe,
    Recipe,
    SyncRecipe,
)
from difftalk.training.sync_loss import right_offsets, sync_loss

NetT = TypeVar("NetT", bound=nn.Module)
SHEET_ROWS = 24


@dataclass(frozen=True)
class Tools:
    """What losses need besides net and batch. curve_rows: (16, 4) of the geometry. expert: frozen."""

    lpips: LPIPS | None = None
    curve_rows: Tensor | None = None
    expert: SyncExpert | None = None

    @classmethod
    def of(cls, recipe: Recipe, device: torch.device) -> Tools:
        from difftalk.face.mouth import Geometry
        from difftalk.model import SHIPPED

        if isinstance(recipe, MotionRecipe):
            rows = torch.from_numpy(Geometry.load(SHIPPED).curve_rows()).to(device)
            return cls(curve_rows=rows, expert=_expert(recipe.expert, device) if recipe.expert else None)
        if isinstance(recipe, SyncRecipe | PaperRecipe):
            return cls()
        return cls(placed(LPIPS.shipped(), device) if recipe.lpips else None)


def placed(net: NetT, device: torch.device) -> NetT:
    """On the device, its convolutions channels last, as batches are."""
    return net.to(device).to(memory_format=torch.channels_last)  # type: ignore[call-overload, no-any-return]


def _expert(path: str, device: torch.device) -> SyncExpert:

    expert = load_net(Path(path))[1]
    if not isinstance(expert, SyncExpert):
        raise DataError(f"{path} is no sync expert; give a run of difftalk train sync")
    return expert.to(device).requires_grad_(False)


def build(recipe: Recipe) -> nn.Module:
    """The untrained net of a recipe."""
    if isinstance(recipe, PainterRecipe):
        return Painter(recipe.size)
    if isinstance(recipe, FirstStageRecipe):
        return FirstStage(recipe.size)
    if isinstance(recipe, DenoiserRecipe):
        return LatentDiffusion(recipe.first_stage_size, recipe.size, along=recipe.along)
    if isinstance(recipe, SyncRecipe):
        return SyncExpert(recipe.size)
    if isinstance(recipe, PaperFirstStageRecipe):
        return PaperFirstStage(recipe.size)
    if isinstance(recipe, PaperRecipe):
        return PublishedDiffTalk(recipe.size, checkpointing=recipe.checkpointing)
    return MotionNetwork(recipe.size) if recipe.network else LinearMotion(recipe.size)


def loss_of(net: nn.Module, batch: Batch, recipe: Recipe, tools: Tools, random: torch.Generator) -> Loss:
    """The loss of one batch."""
    if isinstance(net, Painter) and isinstance(batch, RenderBatch):
        return painter_loss(net, batch, tools.lpips)
    if isinstance(net, FirstStage) and isinstance(batch, RenderBatch):
        return first_stage_loss(net, batch, tools.lpips, random)
    if isinstance(net, LatentDiffusion) and isinstance(batch, RenderBatch):
        assert isinstance(recipe, DenoiserRecipe)
        return denoiser_loss(net, batch, tools.lpips, random, region_every=recipe.region_every)
    if isinstance(net, PaperFirstStage) and isinstance(batch, PaperBatch):
        assert isinstance(recipe, PaperFirstStageRecipe)
        return paper_first_stage_loss(net, batch, recipe, tools.lpips)
    if isinstance(net, PublishedDiffTalk) and isinstance(batch, PaperBatch):
        return paper_loss(net, batch, random)
    if isinstance(net, SyncExpert) and isinstance(batch, MotionBatch):
        return sync_loss(net, batch)
    if isinstance(net, MotionNetwork) and isinstance(batch, MotionBatch) and tools.curve_rows is not None:
        assert isinstance(recipe, MotionRecipe)
        return motion_loss(net, batch, recipe, tools.curve_rows, tools.expert)
    raise DataError(f"{type(net).__name__} cannot learn from {type(batch).__name__}")


@torch.no_grad()
def validate(
    net: nn.Module, batches: Sequence[Batch], recipe: Recipe, tools: Tools
) -> tuple[dict[str, float], list[list[Image]]]:
    """Figures over the validation batches, and rows of pictures: true, composite, output, difference × 4."""
    totals: dict[str, list[float]] = {}
    rows: list[list[Image]] = []
    for batch in batches:
        if isinstance(net, SyncExpert) and isinstance(batch, MotionBatch):
            figures = {"right_offsets": right_offsets(net, batch), "sync": float(sync_loss(net, batch).total)}
        elif isinstance(batch, MotionBatch):
            assert tools.curve_rows is not None
            figures = curve_correlations(net(batch.features), batch, tools.curve_rows)
        elif isinstance(batch, PaperBatch):
            assert isinstance(net, PublishedDiffTalk | PaperFirstStage)
            output = paper_pictures(net, batch)
            figures = paper_figures(net, batch, output, tools.lpips)
            rows += [[_image(picture) for picture in row] for row in paper_rows(batch, output)]
        else:
            pictures = _pictures(net, batch)
            figures = _figures(pictures["output"], batch, tools.lpips)
            if tools.lpips is not None:
                figures |= _others(pictures, batch, tools.lpips)
            rows += _rows(pictures, batch)
        for name, value in figures.items():
            totals.setdefault(name, []).append(value)
    return {name: float(np.mean(values)) for name, values in totals.items()}, rows[:SHEET_ROWS]


def _pictures(net: nn.Module, batch: RenderBatch) -> dict[str, Tensor]:
    if isinstance(net, Painter):
        return {"output": net(batch.composite, batch.reference)}
    if isinstance(net, FirstStage):
        latent = net.encode(batch.target)
        decoded = {"output": latent, "other": latent.roll(1, 0), "zeros": torch.zeros_like(latent)}
        return {name: net.decode(value, batch.composite) for name, value in decoded.items()}
    assert isinstance(net, LatentDiffusion)
    latent, reference = net.encode(batch.target), net.encode(batch.reference)
    noise = torch.randn(latent.shape, generator=torch.Generator().manual_seed(0)).to(latent)
    features = net.first_stage.composite_path(batch.composite)
    seen = (features[2], reference, torch.zeros_like(noise), batch.audio, batch.landmarks, batch.shape)
    velocity = net.denoiser(noise, torch.ones_like(noise[:, 0, 0, 0]), *seen)
    decode = net.first_stage.decoder
    return {name: decode(z, batch.composite, *features) for name, z in (("output", noise - velocity), ("own", latent))}


def _figures(output: Tensor, batch: RenderBatch, lpips: LPIPS | None) -> dict[str, float]:
    inner = batch.composite[:, 3:4]
    figures = {"l1": float((output - batch.target).abs().mean())}
    if lpips is not None:
        figures["lpips"] = float(lpips(output, batch.target).mean())
        figures["mouth_lpips"] = float(lpips(mouth_boxes(output, inner), mouth_boxes(batch.target, inner)).mean())
        figures["texture"] = _texture(output, inner) / max(_texture(batch.target, inner), 1e-9)
        figures["composite_lpips"] = float(lpips(batch.composite[:, :3], batch.target).mean())
    return figures


def _texture(picture: Tensor, inner: Tensor) -> float:
    """Mean gradient of the inner mouths."""
    slope = picture.diff(dim=2)[..., :-1].abs() + picture.diff(dim=3)[:, :, :-1].abs()
    weight = inner[:, :, :-1, :-1]
    return float((slope * weight).sum() / weight.sum().clamp_min(1))


def _others(pictures: dict[str, Tensor], batch: RenderBatch, lpips: LPIPS) -> dict[str, float]:
    """The mouth box of the pictures from other latents."""
    inner = batch.composite[:, 3:4]
    truth = mouth_boxes(batch.target, inner)
    return {
        f"mouth_lpips_{name}": float(lpips(mouth_boxes(picture, inner), truth).mean())
        for name, picture in pictures.items()
        if name != "output"
    }


def _rows(pictures: dict[str, Tensor], batch: RenderBatch) -> list[list[Image]]:
    rows = []
    for i in range(len(batch.target)):
        shown = [batch.target[i], batch.composite[i, :3], *(value[i] for value in pictures.values())]
        difference = ((pictures["output"][i] - batch.target[i]) * 4).clamp(-1, 1)
        rows.append([_image(picture) for picture in [*shown, difference]])
    return rows


def _image(picture: Tensor) -> Image:
    return ((picture.clamp(-1, 1) + 1) * 127.5).byte().permute(1, 2, 0).cpu().numpy()


def load_net(path: Path, *, average: bool = True) -> tuple[Checkpoint, nn.Module]:
    """The trained net (its average as a rule) in evaluation mode."""

    checkpoint = load_checkpoint(path)
    net = build(checkpoint.recipe)
    load_state(net, checkpoint.average if average else checkpoint.net, name=str(path))
    return checkpoint, net.eval()
