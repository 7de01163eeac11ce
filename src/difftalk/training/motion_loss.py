"""The motion's losses, and what is fitted in closed form: the regression, the network's whitening."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from difftalk.nets.motion import FRAME_FEATURES, WINDOW, LinearMotion, MotionNetwork
from difftalk.nets.sync import SyncExpert
from difftalk.speech import LAYER_SIZE
from difftalk.training.batches import MotionBatch, Source
from difftalk.training.losses import Loss
from difftalk.training.recipes import MotionRecipe, SyncRecipe
from difftalk.training.sync_loss import expert_loss


def motion_loss(
    net: nn.Module, batch: MotionBatch, recipe: MotionRecipe, opening_row: Tensor, expert: SyncExpert | None = None
) -> Loss:
    """Shape, velocity, lip opening, closure, 1 - r of the opening over the stretch, and what the expert says."""
    weights = recipe.loss
    chosen = net.chosen(len(batch)) if isinstance(net, MotionNetwork) else None
    shape = net(batch.features) if chosen is None else net(batch.features, chosen)
    mask = batch.mask[..., None]
    count = mask.sum().clamp_min(1)
    form = ((shape - batch.shape).pow(2) * mask).sum() / count / shape.shape[-1]
    moves = (shape.diff(dim=1) - batch.shape.diff(dim=1)).pow(2) * mask[:, 1:] * mask[:, :-1]
    velocity = moves.sum() / count / shape.shape[-1]
    spread = opening_row.norm()
    opened, truth = shape @ opening_row / spread, batch.shape @ opening_row / spread
    error = (opened - truth).pow(2) * batch.mask
    opening = error.sum() / count
    closed = (truth < weights.closed_under).float()
    closure = (error * closed).sum() / (batch.mask * closed).sum().clamp_min(1)
    correlation = 1 - _correlation(opened, truth, batch.mask).mean()
    total = (
        weights.shape * form
        + weights.velocity * velocity
        + weights.opening * opening
        + weights.closure * closure
        + weights.correlation * correlation
    )
    parts = {"shape": form, "velocity": velocity, "opening": opening, "closure": closure, "correlation": correlation}
    if expert is not None:
        heeds = None if chosen is None else (chosen < recipe.expert_members).to(shape)
        parts["expert"] = expert_loss(expert, shape, batch, heeds)
        total = total + weights.expert * parts["expert"]
    return Loss(total, parts)


def _correlation(a: Tensor, b: Tensor, mask: Tensor) -> Tensor:
    count = mask.sum(1, keepdim=True).clamp_min(1)
    a = (a - (a * mask).sum(1, keepdim=True) / count) * mask
    b = (b - (b * mask).sum(1, keepdim=True) / count) * mask
    return (a * b).sum(1) / (a.pow(2).sum(1) * b.pow(2).sum(1)).clamp_min(1e-8).sqrt()


def opening_correlation(shape: Tensor, batch: MotionBatch, opening_row: Tensor | None) -> float:
    """Median over the batch of the correlation of generated and true opening."""
    assert opening_row is not None
    return float(_correlation(shape @ opening_row, batch.opening, batch.mask).median())


@torch.no_grad()
def fit_linear(net: LinearMotion, source: Source, recipe: MotionRecipe) -> None:
    """Principal components of the features, then ridge regression of the mouth shape on a window of them."""
    batches = _batches(source, recipe)
    features = torch.cat([batch.features[..., -LAYER_SIZE:].flatten(0, 1) for batch in batches])
    mean = features.mean(0)
    centred = features - mean
    vectors = torch.linalg.eigh((centred.T @ centred).double())[1].flip(1)[:, : net.basis.shape[1]].float()
    basis = vectors / (centred @ vectors).std(0)
    net.mean.copy_(mean)
    net.basis.copy_(basis)
    width = WINDOW * net.basis.shape[1]
    gram = torch.zeros(width + 1, width + 1, dtype=torch.double)
    cross = torch.zeros(width + 1, batches[0].shape.shape[-1], dtype=torch.double)
    for batch in batches:
        seen = ((batch.features[..., -LAYER_SIZE:] - mean) @ basis).unfold(1, WINDOW, FRAME_FEATURES).flatten(2)
        rows = torch.cat([seen, torch.ones(*seen.shape[:2], 1)], 2)[batch.mask > 0].double()
        gram += rows.T @ rows
        cross += rows.T @ batch.shape[batch.mask > 0].double()
    penalty = torch.full((width + 1,), recipe.ridge * float(gram[-1, -1]), dtype=torch.double)
    penalty[-1] = 0
    weight = torch.linalg.solve(gram + penalty.diag(), cross).float()
    net.read.weight.copy_(weight[:-1].T.unflatten(1, (net.basis.shape[1], WINDOW)))
    assert net.read.bias is not None
    net.read.bias.copy_(weight[-1])


@torch.no_grad()
def fit_whitening(net: MotionNetwork | SyncExpert, source: Source, recipe: MotionRecipe | SyncRecipe) -> None:
    """Principal components of the features, each feature and then each component at unit spread."""
    features = torch.cat([batch.features.flatten(0, 1) for batch in _batches(source, recipe)])
    mean, spread = features.mean(0), features.std(0).clamp_min(1e-3)
    scaled = (features - mean) / spread
    values, vectors = torch.linalg.eigh((scaled.T @ scaled).double() / len(scaled))
    count = net.basis.shape[1]
    basis = vectors.flip(1)[:, :count] / values.flip(0)[:count].clamp_min(1e-6).sqrt()
    net.mean.copy_(mean)
    net.basis.copy_(basis.float() / spread[:, None])


def _batches(source: Source, recipe: MotionRecipe | SyncRecipe) -> list[MotionBatch]:
    made = (source.batch(10**6 + i) for i in range(recipe.fit_batches))
    return [batch for batch in made if isinstance(batch, MotionBatch)]
