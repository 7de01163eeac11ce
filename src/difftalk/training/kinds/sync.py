"""The sync expert: which sound goes with a mouth, and the loss that it then is for motion."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import torch
import torch.nn.functional as F
from torch import Tensor

from difftalk.nets import sizes
from difftalk.nets.head import HeadNetwork
from difftalk.nets.motion import MotionNetwork
from difftalk.nets.sizes import SyncSizes
from difftalk.nets.sync import SYNC_WINDOW, SyncExpert
from difftalk.training.batches import HeadBatch, MotionBatch, Source, drawn
from difftalk.training.data_choice import DataChoice
from difftalk.training.kinds.kind import Kind, Opened, faked, load_average
from difftalk.training.motion_data import MotionSource
from difftalk.training.picture_loss import Loss
from difftalk.training.recipes import DEBUG, Optimiser, Schedule
from difftalk.training.validation import Validation

MAX_SHIFT: Final = 15  # frames either way, as syncnet_python's
NEAR: Final = 1  # frames: shifts up to here are no mistakes
SECOND: Final = 25
SHAPE_NOISE: Final = 0.1  # units of spread, in training
UNLIKELY: Final = -1e4


@dataclass(frozen=True)
class SyncRecipe:
    """fit_batches: from which whitening is fitted. speeds: whether clips are played at other speeds as well."""

    name: str
    size: SyncSizes
    fit_batches: int = 48
    speeds: bool = True
    optimiser: Optimiser = Optimiser(lr=1e-3, weight_decay=0.1, warm_up=50, ema=0.99)
    schedule: Schedule = Schedule(steps=400, batch=96, precision="f32", validate_every=50)


def sync_loss(net: SyncExpert, batch: MotionBatch) -> Loss:
    """Which of the sounds within 15 frames either way, or at the same place of the other clips, goes with a mouth?

    InfoNCE (van den Oord et al. 2018). Stretches of silence, where the mouth rests, are left out.
    """
    noise = SHAPE_NOISE * torch.randn_like(batch.shape) if net.training else 0
    heard, seen = net(batch.features, batch.shape + noise)
    scale = net.sharpness.exp()
    count = seen.shape[1]
    counts = _counts(batch) * (batch.shape.abs().sum((1, 2)) > 0).float()[:, None]
    others = torch.einsum("bte,cte->btc", seen, heard) * scale
    own = torch.eye(len(seen), dtype=torch.bool, device=seen.device)[:, None].expand(-1, count, -1)
    logits = torch.cat([_shifted(seen, heard) * scale, others.masked_fill(own, UNLIKELY)], 2)
    right = torch.arange(count, device=seen.device).expand(len(seen), -1)
    each = F.cross_entropy(logits.flatten(0, 1), right.flatten(), reduction="none").view_as(right)
    loss = (each * counts).sum() / counts.sum().clamp_min(1)
    return Loss(loss, {"sync": loss})


def expert_loss(expert: SyncExpert, shapes: Tensor, batch: MotionBatch, heeds: Tensor | None = None) -> Tensor:
    """How surely the expert finds a generated mouth's own sound among those within 15 frames; sharpness fixed.

    heeds: (b,) of 0 or 1, the samples that count.
    """
    heard, seen = expert(batch.features, shapes)
    logits = _shifted(seen, heard) * expert.sharpness.exp()
    counts = _counts(batch) * (batch.shape.abs().sum((1, 2)) > 0).float()[:, None]
    counts = counts if heeds is None else counts * heeds[:, None]
    chance = -torch.diagonal(F.log_softmax(logits, 2), dim1=1, dim2=2)
    return (chance * counts).sum() / counts.sum().clamp_min(1)


@torch.no_grad()
def right_offsets(net: SyncExpert, batch: MotionBatch) -> float:
    """Share of 2-second stretches, a second apart, whose best shift is within a frame of none."""
    heard, seen = net(batch.features, batch.shape)
    counts = _counts(batch)
    found = []
    for i in range(len(seen)):
        last = int(counts[i].sum()) - MAX_SHIFT
        for start in range(MAX_SHIFT, last - 2 * SECOND + 1, SECOND):
            rows = torch.arange(start, start + 2 * SECOND)
            scores = [float((seen[i, rows] * heard[i, rows + s]).sum()) for s in range(-MAX_SHIFT, MAX_SHIFT + 1)]
            found.append(abs(max(range(len(scores)), key=scores.__getitem__) - MAX_SHIFT) <= NEAR)
    return sum(found) / max(1, len(found))


def _counts(batch: MotionBatch) -> Tensor:
    """(b, t - 4): 1 where all frames of a window count."""
    return batch.mask.unfold(1, SYNC_WINDOW, 1).amin(2)


def _shifted(seen: Tensor, heard: Tensor) -> Tensor:
    """(b, t, t) likeness of mouth i and sound j; what is too far off, or so near that it may be right, is unlikely."""
    place = torch.arange(seen.shape[1], device=seen.device)
    apart = (place[:, None] - place[None]).abs()
    out = (apart > MAX_SHIFT) | ((apart > 0) & (apart <= NEAR))
    return (seen @ heard.transpose(1, 2)).masked_fill(out, UNLIKELY)


@torch.no_grad()
def fit_whitening(
    net: MotionNetwork | SyncExpert | HeadNetwork, batches: Sequence[MotionBatch] | Sequence[HeadBatch]
) -> None:
    """Principal components of the features, each feature and then each component at unit spread."""
    features = torch.cat([batch.features.flatten(0, 1) for batch in batches])
    mean, spread = features.mean(0), features.std(0).clamp_min(1e-3)
    scaled = (features - mean) / spread
    values, vectors = torch.linalg.eigh((scaled.T @ scaled).double() / len(scaled))
    count = net.basis.shape[1]
    basis = vectors.flip(1)[:, :count] / values.flip(0)[:count].clamp_min(1e-6).sqrt()
    net.mean.copy_(mean)
    net.basis.copy_(basis.float() / spread[:, None])


def _begin(net: SyncExpert, source: Source, recipe: SyncRecipe, start_from: Path | None) -> None:
    if start_from is not None:
        load_average(net, start_from)
    else:
        fit_whitening(net, drawn(source, MotionBatch, recipe.fit_batches))


def _source(recipe: SyncRecipe, choice: DataChoice) -> Opened:
    return faked("sync", recipe, choice) or nullcontext(MotionSource.of(choice, recipe.schedule, speeds=recipe.speeds))


def _validation(net: SyncExpert, batch: MotionBatch, tools: None) -> Validation:
    return Validation({"right_offsets": right_offsets(net, batch), "sync": float(sync_loss(net, batch).total)})


SYNC: Final = Kind(
    name="sync",
    recipe=SyncRecipe,
    recipes={
        "debug": SyncRecipe("debug", sizes.SYNC["debug"], schedule=DEBUG, fit_batches=20),
        "default": SyncRecipe("default", sizes.SYNC["default"]),
    },
    batch=MotionBatch,
    build=lambda recipe: SyncExpert(recipe.size),
    source=_source,
    tools=lambda recipe, device: None,
    loss=lambda net, batch, recipe, tools, random: sync_loss(net, batch),
    validation=_validation,
    begin=_begin,
)
