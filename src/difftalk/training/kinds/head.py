"""The head's motion: speech -> how a still's head moves. A flow on regressions that are fitted at once."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import torch
from torch import Tensor

from difftalk.data.sample import Sample, load_samples
from difftalk.errors import DataError
from difftalk.model import SHIPPED, Model
from difftalk.nets import sizes
from difftalk.nets.head import HeadNetwork
from difftalk.nets.sizes import AUDIO_SIZE, HeadSizes
from difftalk.speech.features import BLOCK
from difftalk.speech.head_motion import KNOT_SIZE, NAMES, PAST_KNOTS, POSE_SIZE, VOICE_FRAMES, VOICE_SIZE
from difftalk.speech.motion import FUTURE_FEATURES, PAST_FEATURES
from difftalk.training.batches import HeadBatch, Source, drawn
from difftalk.training.data_choice import DataChoice
from difftalk.training.head_data import FIRST, HeadSource, batched, cut, ways_of
from difftalk.training.kinds.kind import Exported, GraphSpec, Kind, Opened, faked, load_average
from difftalk.training.kinds.sync import fit_whitening
from difftalk.training.picture_loss import Loss
from difftalk.training.recipes import DEBUG, Optimiser, Schedule
from difftalk.training.validation import Validation

GAIN_KNOTS: Final = 8  # from which on spreads are compared
GAIN_DRAWS: Final = 16
STIR_GAIN: Final = 1.7  # gives back what the ridge takes of it; chosen on training people
LEAST_ERROR: Final = 1e-4  # variance, in spreads, so that the regression's errors have a root
LEAST_SQUARE: Final = 1e-2  # of an error, in its spreads, so that it has a logarithm
LEAST_SPREAD: Final = 1e-3  # of a number that is heard


@dataclass(frozen=True)
class HeadRecipe:
    """fit_batches: from which components and regressions are fitted. ridge, stir_ridge: per knot, for a spread of 1.

    draws: times and noises that each knot is learnt with at once.
    """

    name: str
    size: HeadSizes
    fit_batches: int = 32
    ridge: float = 1e-3
    stir_ridge: float = 0.5
    draws: int = 4
    optimiser: Optimiser = Optimiser(lr=1e-3, weight_decay=0.1, warm_up=100, ema=0.998)
    schedule: Schedule = Schedule(steps=2000, batch=32, precision="f32", validate_every=250)


def head_loss(net: HeadNetwork, batch: HeadBatch, recipe: HeadRecipe, random: torch.Generator) -> Loss:
    """Square error of the flow's velocity (Liu et al. 2023, equation 1), at even times.

    The past is that of the film, with some noise: the net's own past will never be quite like any film's.
    """
    past, errors = known_of(net, batch, noise=net.past_noise if net.training else 0.0)
    heard, mask = net.heard(batch.features, batch.voice).flatten(0, 1), batch.mask.flatten()
    errors = errors / net.stirred(heard)
    given = net.given(past, heard).repeat(recipe.draws, 1)
    clean = errors.repeat(recipe.draws, 1)
    noise = torch.randn(clean.shape, generator=random, device=clean.device)
    time = torch.rand(len(clean), 1, generator=random, device=clean.device)
    found = net.velocity(torch.lerp(clean, noise, time), time, given)
    each = (found - (noise - clean)).pow(2).mean(1) * mask.repeat(recipe.draws)
    loss = each.sum() / (recipe.draws * mask.sum()).clamp_min(1)
    return Loss(loss, {"flow": loss})


def known_of(net: HeadNetwork, batch: HeadBatch, noise: float = 0.0) -> tuple[Tensor, Tensor]:
    """Of every knot that is learnt, in spreads: the past (n, 140), and the regression's whitened error (n, 14)."""
    knots = batch.knots / net.spread
    past = knots[:, :-1].unfold(1, PAST_KNOTS, 1).transpose(2, 3).flatten(2).flatten(0, 1)
    past = past + noise * torch.randn_like(past) if noise else past
    error = knots[:, PAST_KNOTS:].flatten(0, 1) - net.foretold(past)
    return past, torch.linalg.solve_triangular(net.error, error.T, upper=False).T


@torch.no_grad()
def fit_regression(net: HeadNetwork, batches: Sequence[HeadBatch], recipe: HeadRecipe) -> None:
    """Spreads; the ridge regression from ten knots to the next; what its errors have in common, and how far they go."""
    net.spread.copy_(torch.cat([batch.knots.flatten(0, 1) for batch in batches]).std(0).clamp_min(1e-6))
    net.error.copy_(torch.eye(KNOT_SIZE))
    net.follow.zero_()
    parts = [tuple(rows[batch.mask.flatten() > 0] for rows in known_of(net, batch)) for batch in batches]
    past, after = (torch.cat(column).double() for column in zip(*parts, strict=True))
    penalty = recipe.ridge * len(past) * torch.eye(past.shape[1], dtype=torch.double)
    follow = torch.linalg.solve(past.T @ past + penalty, past.T @ after)
    errors = after - past @ follow
    covariance = errors.T @ errors / len(errors) + LEAST_ERROR * torch.eye(KNOT_SIZE, dtype=torch.double)
    net.follow.copy_(follow)
    net.error.copy_(torch.linalg.cholesky(covariance))
    _fit_stir(net, batches, recipe)


def _fit_stir(net: HeadNetwork, batches: Sequence[HeadBatch], recipe: HeadRecipe) -> None:
    """Ridge regression from what is heard to the logarithm of the whitened errors' spread, which it makes 1."""
    kept = [batch.mask.flatten() > 0 for batch in batches]
    heard = [net.heard(batch.features, batch.voice).flatten(0, 1) for batch in batches]
    errors = [known_of(net, batch)[1] for batch in batches]
    x, e = (torch.cat([rows[own] for rows, own in zip(part, kept, strict=True)]).double() for part in (heard, errors))
    squares = e.pow(2).mean(1)
    middle, spread = x.mean(0), x.std(0).clamp_min(LEAST_SPREAD)
    x, y = (x - middle) / spread, (squares + LEAST_SQUARE).log() / 2
    penalty = recipe.stir_ridge * len(x) * torch.eye(x.shape[1], dtype=torch.double)
    stir = torch.linalg.solve(x.T @ x + penalty, x.T @ (y - y.mean()))
    usual = (squares * (-2 * x @ stir).exp()).mean().log() / 2
    net.stir.copy_(torch.cat([stir / spread, (usual - middle @ (stir / spread))[None]]))


@torch.no_grad()
def rolled(net: HeadNetwork, batch: HeadBatch, random: torch.Generator, *, draws: int = 1, warm: int = 0) -> Tensor:
    """(draws b, t, 14): the ways that the net goes by itself, with the batch's sound, from rest.

    warm: knots that it goes before, hearing what the first one hears.
    """
    heard = net.heard(batch.features, batch.voice)
    heard = torch.cat([heard[:, :1].expand(-1, warm, -1), heard], 1).repeat(draws, 1, 1)
    past = heard.new_zeros(len(heard), PAST_KNOTS, KNOT_SIZE)
    out = []
    for i in range(heard.shape[1]):
        noise = torch.randn(len(past), KNOT_SIZE, generator=random)
        out.append(net.drawn(heard[:, i], past, noise))
        past = torch.cat([past[:, 1:], out[-1][:, None]], 1)
    return torch.stack(out[warm:], 1)


@torch.no_grad()
def gains_of(net: HeadNetwork, samples: Sequence[Sample]) -> Tensor:
    """(7,): the gains of `amplify` at which the net's head moves as much as the usual person's.

    Of the spreads within parts of clips that are long enough, each person's mean; over people the geometric one.
    """
    model, random, spreads = Model.load(SHIPPED, threads=1), torch.Generator().manual_seed(0), dict[str, list[Tensor]]()
    for sample in samples:
        for way in ways_of(sample, model):
            if way.knots < GAIN_KNOTS:
                continue
            batch = batched([cut(way, FIRST, way.knots)])
            true, made = batch.knots[:, PAST_KNOTS:], rolled(net, batch, random, draws=GAIN_DRAWS, warm=PAST_KNOTS)
            both = [way[..., :POSE_SIZE].std(1).mean(0) for way in (true, made)]
            spreads.setdefault(sample.record.person, []).append(torch.stack(both))
    if not spreads:
        raise DataError("no clip is long enough to measure the head's gain on; give longer ones")
    true, own = torch.stack([torch.stack(found).mean(0).log() for found in spreads.values()]).mean(0).exp()
    return torch.as_tensor(true / own)


def _validation(net: HeadNetwork, batch: HeadBatch, recipe: HeadRecipe) -> Validation:
    """The flow's error; spreads of the turns and of their speeds, as the net goes by itself, over the usual ones."""
    random = torch.Generator().manual_seed(0)
    figures = {"flow": float(head_loss(net, batch, recipe, random).total)}
    spreads = rolled(net, batch, random).flatten(0, 1).std(0, correction=0) / net.spread
    for i, name in enumerate(NAMES[:3]):
        figures |= {name: float(spreads[i]), f"{name}_speed": float(spreads[POSE_SIZE + i])}
    return Validation(figures)


def head_graphs(net: HeadNetwork) -> dict[str, GraphSpec]:
    """The whole net."""
    inputs = {
        "features": torch.zeros(1, PAST_FEATURES + BLOCK + FUTURE_FEATURES, AUDIO_SIZE),
        "voice": torch.zeros(1, VOICE_FRAMES, VOICE_SIZE),
        "past": torch.zeros(1, PAST_KNOTS, KNOT_SIZE),
        "noise": torch.zeros(1, KNOT_SIZE),
    }
    return {"head": GraphSpec(net, inputs, ("knot",), "f32")}


def _amplify(net: HeadNetwork, data: Path | None, gain: float | None) -> None:
    net.excite(STIR_GAIN)
    if gain is not None:
        net.amplify(torch.full((POSE_SIZE,), gain))
    elif data is not None:
        net.amplify(gains_of(net, load_samples(data, split="train")))


def _source(recipe: HeadRecipe, choice: DataChoice) -> Opened:
    return faked("head", recipe, choice) or nullcontext(HeadSource.of(choice, recipe.schedule))


def _begin(net: HeadNetwork, source: Source, recipe: HeadRecipe, start_from: Path | None) -> None:
    if start_from is not None:
        load_average(net, start_from)
        return
    batches = drawn(source, HeadBatch, recipe.fit_batches)
    fit_whitening(net, batches)
    fit_regression(net, batches, recipe)


RECIPES: Final = {
    "debug": HeadRecipe("debug", sizes.HEAD["debug"], schedule=DEBUG, fit_batches=20),
    "default": HeadRecipe("default", sizes.HEAD["default"]),
}
HEAD: Final = Kind(
    name="head",
    recipe=HeadRecipe,
    recipes=RECIPES,
    batch=HeadBatch,
    build=lambda recipe: HeadNetwork(recipe.size),
    source=_source,
    tools=lambda recipe, device: recipe,
    loss=lambda net, batch, recipe, tools, random: head_loss(net, batch, recipe, random),
    validation=_validation,
    begin=_begin,
    exported=Exported(head_graphs, _amplify),
)
