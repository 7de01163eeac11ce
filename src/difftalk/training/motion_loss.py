"""The motion's losses, and what is fitted in closed form: the regression, the network's whitening."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Final

import torch
from torch import Tensor
from torch.nn import functional

from difftalk.nets.motion import FRAME_FEATURES, WINDOW, LinearMotion, MotionNetwork
from difftalk.nets.sync import SyncExpert
from difftalk.speech.features import LAYER_SIZE
from difftalk.training.batches import MotionBatch, Source
from difftalk.training.losses import Loss
from difftalk.training.recipes import MotionRecipe, SyncRecipe
from difftalk.training.sync_loss import expert_loss

CURVES: Final = ("opening", "width", "jaw", "rounding")  # in the order of the geometry's curve_rows


def motion_loss(
    net: MotionNetwork, batch: MotionBatch, recipe: MotionRecipe, rows: Tensor, expert: SyncExpert | None = None
) -> Loss:
    """In each clip's own spreads: shape, velocity, 1 - r of every component; 1 - r of the named curves; closure.

    r is taken over the stretch. rows: (16, 4), how the components make the curves. What the expert says, where there is
    one, is said of the clip's own shapes.
    """
    weights = recipe.loss
    chosen = net.chosen(len(batch))
    units, truth, mask = net.units(batch.features, chosen), batch.units, batch.mask[..., None]
    count = mask.sum().clamp_min(1) * units.shape[-1]
    moves = (units.diff(dim=1) - truth.diff(dim=1)).pow(2) * mask[:, 1:] * mask[:, :-1]
    made, true = ((values * batch.spread[:, None]) @ rows for values in (units, truth))
    follow = 1 - correlation(_smoothed(made, mask), _smoothed(true, mask), mask).mean(0)
    scale = (batch.spread * rows[:, 0]).norm(dim=1, keepdim=True).clamp_min(1e-6)
    closed = (batch.shape @ rows[:, 0] < weights.closed_under * scale) * batch.mask
    gaps = ((made - true)[..., 0] / scale).pow(2)
    parts = {
        "shape": ((units - truth).pow(2) * mask).sum() / count,
        "velocity": moves.sum() / count,
        "components": 1 - correlation(units, truth, mask).mean(),
        **{name: follow[i] for i, name in enumerate(CURVES)},
        "closure": (gaps * closed).sum() / closed.sum().clamp_min(1),
    }
    if expert is not None:
        heeds = (chosen < recipe.expert_members).to(units)
        shapes = batch.mean[:, None] + batch.spread[:, None] * units
        parts["expert"] = expert_loss(expert, shapes, batch, heeds)
    total = torch.stack([getattr(weights, name) * value for name, value in parts.items()]).sum()
    return Loss(total, parts)


def _smoothed(curves: Tensor, mask: Tensor) -> Tensor:
    """(b, t, k) over those of 3 frames that count, as every report quotes a curve. mask: (b, t, 1)."""
    total, count = (
        functional.avg_pool1d(functional.pad(values.transpose(1, 2), (1, 1), mode="replicate"), 3, 1).transpose(1, 2)
        for values in (curves * mask, mask)
    )
    return total / count.clamp_min(1 / 3)


def correlation(a: Tensor, b: Tensor, mask: Tensor) -> Tensor:
    """(b, t, k) twice and (b, t, 1) -> (b, k), over time, where the mask is 1."""
    count = mask.sum(1, keepdim=True).clamp_min(1)
    a = (a - (a * mask).sum(1, keepdim=True) / count) * mask
    b = (b - (b * mask).sum(1, keepdim=True) / count) * mask
    return (a * b).sum(1) / (a.pow(2).sum(1) * b.pow(2).sum(1)).clamp_min(1e-8).sqrt()


def curve_correlations(shape: Tensor, batch: MotionBatch, rows: Tensor) -> dict[str, float]:
    """Mean and median over the batch of how each named curve follows the true one."""
    mask = batch.mask[..., None]
    found = correlation(_smoothed(shape @ rows, mask), _smoothed(batch.shape @ rows, mask), mask)
    means = {f"{name}_r": float(found[:, i].mean()) for i, name in enumerate(CURVES)}
    return {**means, "opening_r_median": float(found[:, 0].median())}


@torch.no_grad()
def fit_linear(net: LinearMotion, source: Source, recipe: MotionRecipe) -> None:
    """Principal components of the features, then ridge regression on a window of them, in each clip's own spreads.

    The usual person's mean and spread are folded in.
    """
    batches = _batches(source, recipe)
    features = torch.cat([batch.features[..., -LAYER_SIZE:].flatten(0, 1) for batch in batches])
    mean = features.mean(0)
    centred = features - mean
    vectors = torch.linalg.eigh((centred.T @ centred).double())[1].flip(1)[:, : net.basis.shape[1]].float()
    basis = vectors / (centred @ vectors).std(0)
    net.mean.copy_(mean)
    net.basis.copy_(basis)

    def seen(batch: MotionBatch) -> Tensor:
        components: Tensor = (batch.features[..., -LAYER_SIZE:] - mean) @ basis
        return components.unfold(1, WINDOW, FRAME_FEATURES).flatten(2)

    weight = _ridge(seen, batches, recipe.ridge)
    rest, spread = usual(batches)
    weight *= spread
    weight[-1] += rest
    net.read.weight.copy_(weight[:-1].T.reshape(net.read.weight.shape))
    assert net.read.bias is not None
    net.read.bias.copy_(weight[-1])


@torch.no_grad()
def fit_regression(net: MotionNetwork, source: Source, recipe: MotionRecipe) -> None:
    """The network's own ridge regression, from its components to each clip's own spreads."""
    assert net.regression is not None
    width = net.regression.kernel_size[0]

    def seen(batch: MotionBatch) -> Tensor:
        return net.frames(batch.features).unfold(2, width, 1).transpose(1, 2).flatten(2)

    weight = _ridge(seen, _batches(source, recipe), recipe.network_ridge)
    net.regression.weight.copy_(weight[:-1].T.reshape(net.regression.weight.shape))
    assert net.regression.bias is not None
    net.regression.bias.copy_(weight[-1])


def _ridge(seen: Callable[[MotionBatch], Tensor], batches: Sequence[MotionBatch], ridge: float) -> Tensor:
    """(d + 1, 16): weights of what is seen (b, t, d), then the constant; ridge is per sample, for a spread of 1."""
    gram = cross = torch.zeros((), dtype=torch.double)
    for batch in batches:
        rows = seen(batch)
        rows = torch.cat([rows, torch.ones_like(rows[..., :1])], 2)[batch.mask > 0].double()
        gram, cross = gram + rows.T @ rows, cross + rows.T @ batch.units[batch.mask > 0].double()
    penalty = torch.full_like(gram[0], ridge * float(gram[-1, -1]))
    penalty[-1] = 0
    weight: Tensor = torch.linalg.solve(gram + penalty.diag(), cross)
    return weight.float()


@torch.no_grad()
def fit_whitening(net: MotionNetwork | SyncExpert, source: Source, recipe: MotionRecipe | SyncRecipe) -> None:
    """Principal components of the features, each feature and then each component at unit spread."""
    batches = _batches(source, recipe)
    features = torch.cat([batch.features.flatten(0, 1) for batch in batches])
    if isinstance(net, MotionNetwork):
        rest, unit = usual(batches)
        net.rest.copy_(rest)
        net.spread.copy_(unit)
    mean, spread = features.mean(0), features.std(0).clamp_min(1e-3)
    scaled = (features - mean) / spread
    values, vectors = torch.linalg.eigh((scaled.T @ scaled).double() / len(scaled))
    count = net.basis.shape[1]
    basis = vectors.flip(1)[:, :count] / values.flip(0)[:count].clamp_min(1e-6).sqrt()
    net.mean.copy_(mean)
    net.basis.copy_(basis.float() / spread[:, None])


@torch.no_grad()
def usual(batches: Sequence[MotionBatch]) -> tuple[Tensor, Tensor]:
    """Mean (16,) and spread (16,) of the usual person's shapes: the clips' mean, and their geometric mean."""
    means, spreads = (torch.cat([getattr(batch, name) for batch in batches]) for name in ("mean", "spread"))
    return means.mean(0), spreads.log().mean(0).exp()


def _batches(source: Source, recipe: MotionRecipe | SyncRecipe) -> list[MotionBatch]:
    made = (source.batch(10**6 + i) for i in range(recipe.fit_batches))
    return [batch for batch in made if isinstance(batch, MotionBatch)]
