"""The motion: speech -> mouth shapes. A network on a regression, or the regression alone, which is fitted at once."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import nullcontext
from copy import deepcopy
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from difftalk.data.pack import samples_of
from difftalk.data.sample import Sample
from difftalk.errors import DataError
from difftalk.face.mouth import Geometry
from difftalk.model import SHIPPED
from difftalk.nets import sizes
from difftalk.nets.motion import FRAME_FEATURES, WINDOW, LinearMotion, MotionNetwork
from difftalk.nets.sizes import AUDIO_SIZE, MotionSizes
from difftalk.nets.sync import SyncExpert
from difftalk.speech.features import BLOCK, LAYER_SIZE
from difftalk.speech.motion import FUTURE_FEATURES, MOTION_RATE, PAST_FEATURES, opening_of, pressed
from difftalk.training.batches import MotionBatch, Source, drawn
from difftalk.training.checkpoint import load_checkpoint
from difftalk.training.data_choice import DataChoice
from difftalk.training.kinds.kind import Exported, GraphSpec, Kind, Opened, Part, faked, load_average
from difftalk.training.kinds.sync import SYNC, expert_loss, fit_whitening
from difftalk.training.motion_data import MotionSource, curve_of
from difftalk.training.people import parted
from difftalk.training.picture_loss import Loss
from difftalk.training.recipes import DEBUG, Optimiser, Schedule
from difftalk.training.validation import Validation

GAIN_ROUNDS: Final = 4  # of scaling: pressed lips make the spread a little more than proportional
CURVES: Final = ("opening", "width", "jaw", "rounding")  # in the order of the geometry's curve_rows


@dataclass(frozen=True)
class MotionLoss:
    """Weights, see `motion_loss`. opening to rounding: of 1 - r."""

    shape: float = 1.0
    velocity: float = 0.0
    components: float = 1.0
    opening: float = 1.0
    width: float = 0.5
    jaw: float = 0.5
    rounding: float = 0.5
    closure: float = 0.0  # square error of the opening, in its spreads, where the mouth is closed
    closed_under: float = 0.25  # of the opening's spread over the neutral's: what counts as closed
    expert: float = 0.3  # the sync expert's, where the recipe names one


@dataclass(frozen=True)
class MotionRecipe:
    """network: False trains nothing but the closed form. ridge is per sample, for features of spread 1.

    expert: run or weights of a sync expert that judges what is generated; none: no such loss. expert_members: how many
    of the network's members heed it: it gains in width and rounding and costs a little in opening.
    """

    name: str
    size: MotionSizes
    network: bool = True
    ridge: float = 0.03
    network_ridge: float = 0.3  # of the network's own regression
    fit_batches: int = 6  # batches from which regression and whitening are fitted
    speeds: bool = False  # whether clips are played at other speeds as well
    rooms: int = 0  # in how many other rooms each clip is heard as well
    optimiser: Optimiser = Optimiser(lr=2e-3, weight_decay=0.1, warm_up=30, ema=0.99)
    schedule: Schedule = Schedule(steps=150, batch=256, precision="f32", validate_every=50)
    loss: MotionLoss = MotionLoss()
    expert: str = ""
    expert_members: int = 1


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
    batches = drawn(source, MotionBatch, recipe.fit_batches)
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

    weight = _ridge(seen, drawn(source, MotionBatch, recipe.fit_batches), recipe.network_ridge)
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
def fit_usual(net: MotionNetwork, source: Source, recipe: MotionRecipe) -> None:
    """The usual person's mean and spread."""
    rest, spread = usual(drawn(source, MotionBatch, recipe.fit_batches))
    net.rest.copy_(rest)
    net.spread.copy_(spread)


@torch.no_grad()
def usual(batches: Sequence[MotionBatch]) -> tuple[Tensor, Tensor]:
    """Mean (16,) and spread (16,) of the usual person's shapes: the clips' mean, and their geometric mean."""
    means, spreads = (torch.cat([getattr(batch, name) for batch in batches]) for name in ("mean", "spread"))
    return means.mean(0), spreads.log().mean(0).exp()


@dataclass(frozen=True)
class MotionTools:
    """rows: (16, 4), how a shape's components make the named curves. expert: frozen."""

    rows: Tensor
    expert: SyncExpert | None = None

    @classmethod
    def of(cls, recipe: MotionRecipe, device: torch.device) -> MotionTools:
        rows = torch.from_numpy(Geometry.load(SHIPPED).curve_rows()).to(device)
        return cls(rows, _expert(Path(recipe.expert), device) if recipe.expert else None)


def _expert(path: Path, device: torch.device) -> SyncExpert:
    checkpoint = load_checkpoint(path)
    if checkpoint.kind != SYNC.name:
        raise DataError(f"{path} is no sync expert; give a run of difftalk train sync")
    return SYNC.filled(checkpoint, path).to(device).requires_grad_(False)


def gain_of(net: LinearMotion | MotionNetwork, samples: Sequence[Sample]) -> float:
    """The gain of `amplify` at which the opening's spread is the true one, on those of the people who are kept aside.

    Median over people of the mean over their clips. A run that has seen them (without data.aside=true) asks for less.
    """
    geometry, total = Geometry.load(SHIPPED), 1.0
    samples = parted(samples)[1] or samples
    curves = [curve_of(sample, geometry) for sample in samples]
    tried = deepcopy(net)
    for _ in range(GAIN_ROUNDS):
        ratios: dict[str, list[float]] = {}
        for sample, curve in zip(samples, curves, strict=True):
            shapes = spoken(tried, np.asarray(sample.speech, np.float32))[: round(curve.seconds[-1] * MOTION_RATE)]
            spread = float(opening_of(pressed(shapes, geometry), geometry).std())
            ratios.setdefault(sample.record.person, []).append(float(curve.openings.std()) / max(spread, 1e-9))
        gain = float(np.median([np.mean(found) for found in ratios.values()]))
        tried.amplify(gain)
        total *= gain
    return round(total, 3)


@torch.no_grad()
def spoken(net: LinearMotion | MotionNetwork, features: NDArray[np.float32]) -> NDArray[np.float32]:
    """Features (n, 1152) -> mouth shapes (t, 16), as a stream has them."""
    begun = np.concatenate([np.repeat(features[:1], PAST_FEATURES, 0), features])
    return np.asarray(net(torch.from_numpy(begun[None])[:, : len(begun) // 2 * 2])[0].numpy(), np.float32)


def _amplify(net: LinearMotion | MotionNetwork, data: Path | None, gain: float | None) -> None:
    if gain is None:
        gain = 1.0 if data is None else gain_of(net, samples_of(data, split="train"))
    net.amplify(gain)


def _window() -> Tensor:
    return torch.zeros(1, PAST_FEATURES + BLOCK + FUTURE_FEATURES, AUDIO_SIZE)


def linear_graphs(net: LinearMotion) -> dict[str, GraphSpec]:
    """The whole net."""
    return {"linear": GraphSpec(net, {"features": _window()}, ("shape",), "f32")}


def motion_graphs(net: MotionNetwork) -> dict[str, GraphSpec]:
    """The whole net."""
    heard = Part(net, lambda features: (net(features), net.sounds(features)))
    return {"motion": GraphSpec(heard, {"features": _window()}, ("shape", "sound"), "f32")}


def _source(recipe: MotionRecipe, choice: DataChoice) -> Opened:
    return faked("motion", recipe, choice) or nullcontext(
        MotionSource.of(choice, recipe.schedule, speeds=recipe.speeds, rooms=recipe.rooms)
    )


def _begin(net: MotionNetwork, source: Source, recipe: MotionRecipe, start_from: Path | None) -> None:
    if start_from is not None:
        load_average(net, start_from)
        return
    fit_usual(net, source, recipe)
    fit_whitening(net, drawn(source, MotionBatch, recipe.fit_batches))
    if net.regression is not None:
        fit_regression(net, source, recipe)


def _begin_linear(net: LinearMotion, source: Source, recipe: MotionRecipe, start_from: Path | None) -> None:
    if start_from is not None:
        load_average(net, start_from)
    else:
        fit_linear(net, source, recipe)


def _validation(net: LinearMotion | MotionNetwork, batch: MotionBatch, tools: MotionTools) -> Validation:
    return Validation(curve_correlations(net(batch.features), batch, tools.rows))


def _no_loss(net: LinearMotion, *given: object) -> Loss:
    raise DataError("a linear motion is fitted, not trained; set network=true")


RECIPES: Final = {
    "debug": MotionRecipe("debug", sizes.MOTION["debug"], schedule=DEBUG, fit_batches=20),
    "linear": MotionRecipe("linear", sizes.MOTION["default"], network=False),
    "default": MotionRecipe("default", sizes.MOTION["default"], speeds=True, rooms=1),
}
MOTION: Final = Kind(
    name="motion",
    recipe=MotionRecipe,
    recipes=RECIPES,
    takes=lambda recipe: recipe.network,
    batch=MotionBatch,
    build=lambda recipe: MotionNetwork(recipe.size),
    source=_source,
    tools=MotionTools.of,
    loss=lambda net, batch, recipe, tools, random: motion_loss(net, batch, recipe, tools.rows, tools.expert),
    validation=_validation,
    begin=_begin,
    exported=Exported(motion_graphs, _amplify),
)
LINEAR: Final = Kind(
    name="motion",
    recipe=MotionRecipe,
    recipes={},
    takes=lambda recipe: not recipe.network,
    batch=MotionBatch,
    build=lambda recipe: LinearMotion(recipe.size),
    source=_source,
    tools=MotionTools.of,
    loss=_no_loss,
    validation=_validation,
    begin=_begin_linear,
    closed_form=True,
    exported=Exported(linear_graphs, _amplify),
)
