"""What validation says and shows of a batch; of drawn mouths, how far they are from the truth."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import torch
from torch import Tensor

from difftalk.arrays import Image
from difftalk.nets.lpips import LPIPS
from difftalk.render.renderer import restrained
from difftalk.settings import Settings
from difftalk.training.batches import RenderBatch
from difftalk.training.picture_loss import tint_of


@dataclass(frozen=True)
class Validation:
    """Of one batch: figures by name, and rows of pictures for a sheet."""

    figures: dict[str, float]
    rows: list[list[Image]] = field(default_factory=list)


def seen(pictures: dict[str, Tensor], batch: RenderBatch, lpips: LPIPS | None) -> Validation:
    """Of what was drawn from a batch: `output`, and by name what came of other latents. All as a frame shows it."""
    pictures = {name: as_shown(picture, batch.composite) for name, picture in pictures.items()}
    figures = figures_of(pictures["output"], batch, lpips)
    if lpips is not None:
        figures |= others_of(pictures, batch, lpips)
    return Validation(figures, rows_of(pictures, batch.target, batch.composite))


def as_shown(pictures: Tensor, composites: Tensor) -> Tensor:
    """Pictures (b, 3, h, w) restrained as the renderer does it to what the nets draw."""
    settings, pairs = Settings(), zip(pictures.float().cpu().numpy(), composites.float().cpu().numpy(), strict=True)
    shown = np.concatenate([restrained(picture[None], composite, settings) for picture, composite in pairs])
    return torch.from_numpy(shown).to(pictures)


def figures_of(output: Tensor, batch: RenderBatch, lpips: LPIPS | None) -> dict[str, float]:
    """How far what was drawn is from the truth."""
    inner = batch.composite[:, 3:4]
    figures = {
        "l1": float((output - batch.target).abs().mean()),
        "tint": float(tint_of(output - batch.target, inner).mean()),
    }
    if lpips is not None:
        figures["lpips"] = float(lpips(output, batch.target).mean())
        figures["texture"] = _texture(output, inner) / max(_texture(batch.target, inner), 1e-9)
        figures["composite_lpips"] = float(lpips(batch.composite[:, :3], batch.target).mean())
    return figures


def _texture(picture: Tensor, inner: Tensor) -> float:
    """Mean gradient of the inner mouths."""
    slope = picture.diff(dim=2)[..., :-1].abs() + picture.diff(dim=3)[:, :, :-1].abs()
    weight = inner[:, :, :-1, :-1]
    return float((slope * weight).sum() / weight.sum().clamp_min(1))


def others_of(pictures: dict[str, Tensor], batch: RenderBatch, lpips: LPIPS) -> dict[str, float]:
    """Of the pictures from other latents."""
    others = {name: picture for name, picture in pictures.items() if name != "output"}
    return {f"lpips_{name}": float(lpips(picture, batch.target).mean()) for name, picture in others.items()}


def rows_of(pictures: dict[str, Tensor], targets: Tensor, composites: Tensor) -> list[list[Image]]:
    """True, composite, what was drawn, difference × 4."""
    rows = []
    for i, target in enumerate(targets):
        shown = [target, composites[i, :3], *(value[i] for value in pictures.values())]
        difference = ((pictures["output"][i] - target) * 4).clamp(-1, 1)
        rows.append([image_of(picture) for picture in [*shown, difference]])
    return rows


def image_of(picture: Tensor) -> Image:
    """(3, h, w) in [-1, 1] as bytes."""
    return ((picture.clamp(-1, 1) + 1) * 127.5).byte().permute(1, 2, 0).cpu().numpy()
