"""The denoiser: latents out of noise, by flow matching; its first stage may learn along, and a critic with it."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Final, Protocol

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from difftalk.errors import DataError, InputError
from difftalk.face.mouth import COMPONENTS
from difftalk.nets import sizes
from difftalk.nets.blocks import widened
from difftalk.nets.denoiser import CONDITIONS, Denoiser
from difftalk.nets.diffusion import LatentDiffusion
from difftalk.nets.lpips import LPIPS
from difftalk.nets.sizes import (
    AUDIO_SIZE,
    AUDIO_TOKENS,
    LANDMARKS,
    LATENT_CHANNELS,
    LATENT_SIZE,
    CriticSizes,
    DenoiserSizes,
    FirstStageSizes,
)
from difftalk.training.adversary import PATCH, Adversary, Judged
from difftalk.training.batches import RenderBatch
from difftalk.training.data_choice import DataChoice
from difftalk.training.kinds.first_stage import first_stage_graphs
from difftalk.training.kinds.kind import (
    Exported,
    GraphSpec,
    Kind,
    Opened,
    faked,
    load_average,
    shipped_lpips,
)
from difftalk.training.picture_loss import Loss, Mouths, noise_like, picture_loss, restraint
from difftalk.training.recipes import DEBUG, Optimiser, Recipe, Schedule
from difftalk.training.shelf import Shelf
from difftalk.training.validation import Validation, seen

DECODED_SHARE: Final = 0.25  # of a denoiser batch: starts at pure noise, is decoded and judged as a picture
PREVIOUS_NOISE: Final = 0.3
TRUE_LATENT_SHARE: Final = 0.125  # of a batch, where the decoder learns along
OWN_SHARE: Final = 0.2  # of samples whose previous latent has the net's own error in it
KEEP: Final = (0.9, 0.9, 0.5, 0.9)  # chance of each condition, in the order of CONDITIONS
RIM: Final = 9  # px, width of the square that widens the inner mouth for the critic


@dataclass(frozen=True)
class DenoiserRecipe:
    """first_stage: run or weights of the first stage whose latents are denoised; none: the one that is started from.

    along: whether the first stage's decoder and composite path learn as well, on the denoiser's own latents.
    critic: weight of the adversarial loss on the inner mouth; 0 is none.
    """

    name: str
    size: DenoiserSizes
    first_stage_size: FirstStageSizes
    optimiser: Optimiser = Optimiser()
    schedule: Schedule = Schedule()
    lpips: bool = True
    first_stage: str = ""
    along: bool = False
    critic: float = 0.0
    critic_size: CriticSizes = field(default_factory=CriticSizes)


def denoiser_loss(net: LatentDiffusion, batch: RenderBatch, lpips: LPIPS | None, random: torch.Generator) -> Loss:
    """Flow matching around the mouth; part of the batch starts at pure noise, its one-step picture is judged too.

    Lipman et al. 2023; Liu et al. 2023. Noise in the previous latent and dropped conditions as CONDITIONS names them.

    Where the decoder learns along, every sample is decoded: half from pure noise, an eighth from its own noised latent,
    so that the decoder keeps both, the rest from wherever on the way it is.
    """
    count, along = len(batch.target), net.first_stage.decoder.stem.weight.requires_grad
    decoded = max(1, round((0.5 if along else DECODED_SHARE) * count))
    kept = torch.rand(count, generator=random, device=batch.target.device).argsort()[: max(1, round(KEEP[2] * count))]
    encoded = net.encode(torch.cat([batch.target, batch.reference, batch.previous[kept]]))
    latent, reference, seen = torch.split(encoded, [count, count, len(kept)])
    noise = noise_like(latent, random)
    time = torch.sigmoid(noise_like(latent[:, 0, 0, 0], random))
    time[:decoded] = 1.0
    features = net.first_stage.composite_path(batch.composite, batch.sharpness)
    conditions = _Conditions(features[2], reference, batch.audio, batch.landmarks, batch.shape)
    seen = _previous(net, conditions, latent, noise, seen, kept, random)
    previous = torch.zeros_like(latent).index_copy(0, kept, seen) * batch.has_previous[:, None, None, None]
    at = time[:, None, None, None]
    noisy = (1 - at) * latent + at * noise
    keep = (torch.rand(count, len(CONDITIONS), generator=random, device=latent.device) < _keep(latent.device)).float()
    velocity = net.denoiser(
        noisy, time, features[2], reference, previous, batch.audio, batch.landmarks, batch.shape, keep
    ).float()
    window = net.first_stage.decoder.window(batch.composite)
    flow = ((velocity - (noise - latent)).pow(2).mean(1, keepdim=True) * window).sum() / window.sum().clamp_min(1)
    clean = noisy - at * velocity
    if not along:
        clean, features = clean[:decoded], tuple(f[:decoded] for f in features)
    else:
        own = count - round(count * TRUE_LATENT_SHARE)
        clean = torch.cat([clean[:own], latent[own:] + net.first_stage.sizes.noise * noise[own:]])
    shown = slice(0, len(clean))
    picture, residual, gate = net.first_stage.decoder.parts(clean, batch.composite[shown], *features)
    judged = picture_loss(picture.float(), batch, lpips, shown)
    total = 0.5 * flow + judged.total
    total = total + restraint(residual, gate, batch) if along else total
    return Loss(total, {"flow": flow, **judged.parts}, picture, judged.mouths)


@lru_cache
def _keep(device: torch.device) -> Tensor:
    """Chances of the conditions; that of the previous latent was thrown already, so that no other is encoded."""
    return torch.tensor([*KEEP[:2], 1.0, *KEEP[3:]], device=device)


@dataclass(frozen=True)
class _Conditions:
    """What the denoiser sees beside noise, time and previous latent, in the order that it takes them."""

    composite: Tensor
    reference: Tensor
    audio: Tensor
    landmarks: Tensor
    shape: Tensor


def _previous(
    net: LatentDiffusion,
    given: _Conditions,
    latent: Tensor,
    noise: Tensor,
    seen: Tensor,
    kept: Tensor,
    random: torch.Generator,
) -> Tensor:
    """The previous latents (n, 8, 16, 22) as the denoiser sees them, `seen` of the rows `kept`: noised.

    A fifth have the net's own error in them, as in use: the error that it makes on the frame itself stands for the one
    it made a frame earlier, since the conditions hardly change.
    """
    shade = torch.rand(len(kept), 1, 1, 1, generator=random, device=latent.device)
    noised = seen + PREVIOUS_NOISE * shade * noise_like(seen, random)
    wanted = OWN_SHARE * len(kept)
    count = max(1, round(wanted))
    rows = kept[:count]
    heeded = torch.rand(count, 1, 1, 1, generator=random, device=latent.device) < wanted / count
    with torch.no_grad():
        start, before = noise[rows], (given.composite[rows], given.reference[rows], noised[:count])
        after = (given.audio[rows], given.landmarks[rows], given.shape[rows])
        drawn = start - net.denoiser(start, torch.ones_like(start[:, 0, 0, 0]), *before, *after).float()
    return torch.cat([noised[:count] + heeded * (drawn - latent[rows]), noised[count:]])


class _OnLatents(Recipe, Protocol):
    """A recipe that names a first stage."""

    @property
    def first_stage(self) -> str: ...


def begin_denoiser(net: nn.Module, first_stage: nn.Module, recipe: _OnLatents, start_from: Path | None) -> None:
    """From a run's weights, then its first stage from the run that the recipe names."""
    if start_from is not None:
        load_average(net, start_from)
    if recipe.first_stage:
        load_average(first_stage, Path(recipe.first_stage))
    elif start_from is None and not recipe.name.endswith("debug"):
        raise DataError("a denoiser needs a trained first stage; give its run as `settings` first_stage=RUN")


def judged_mouths(loss: Loss, batch: RenderBatch, eyes: LPIPS) -> Judged:
    """What the critic looks at: inner mouths; everywhere else the pixels exist. Blurred frames count less."""
    assert loss.picture is not None
    inner = batch.composite[:, 3:4]
    mouths = loss.mouths or Mouths.seen(loss.picture.float(), batch.target, eyes)
    near = F.max_pool2d(widened(inner, RIM), PATCH)
    return Judged(mouths, near * batch.weight[:, None, None, None])


def _critic(
    recipe: DenoiserRecipe, lpips: LPIPS | None, device: torch.device, autocast: torch.autocast | None = None
) -> Adversary[RenderBatch] | None:
    if recipe.critic <= 0:
        return None
    if not recipe.along:
        raise InputError("a critic needs a decoder that learns; set along=true or critic=0")
    eyes = lpips or LPIPS.shipped().to(device)
    return Adversary(
        judged_mouths,
        eyes,
        recipe.critic_size,
        weight=recipe.critic,
        lr=recipe.optimiser.lr,
        device=device,
        autocast=autocast,
    )


def denoiser_graphs(net: Denoiser) -> dict[str, GraphSpec]:
    """One step."""
    latent = torch.zeros(1, LATENT_CHANNELS, *LATENT_SIZE)
    conditions = {
        "composite": torch.zeros(1, net.sizes.composite, *LATENT_SIZE),
        "reference": latent,
        "previous": latent,
        "audio": torch.zeros(1, AUDIO_TOKENS, AUDIO_SIZE),
        "landmarks": torch.zeros(1, LANDMARKS, 2),
        "shape": torch.zeros(1, COMPONENTS),
    }
    return {"denoiser": GraphSpec(net, {"noisy": latent, "time": torch.ones(1), **conditions}, ("velocity",), "bf16")}


def _graphs(net: LatentDiffusion) -> dict[str, GraphSpec]:
    return first_stage_graphs(net.first_stage) | denoiser_graphs(net.denoiser)


def _source(recipe: DenoiserRecipe, choice: DataChoice) -> Opened:
    return faked("denoiser", recipe, choice) or Shelf.of(choice, recipe.schedule)


def _validation(net: LatentDiffusion, batch: RenderBatch, lpips: LPIPS | None) -> Validation:
    """In one step from noise, and what the decoder makes of the true latent."""
    latent, reference = net.encode(batch.target), net.encode(batch.reference)
    noise = torch.randn(latent.shape, generator=torch.Generator().manual_seed(0)).to(latent)
    features = net.first_stage.composite_path(batch.composite, batch.sharpness)
    given = (features[2], reference, torch.zeros_like(noise), batch.audio, batch.landmarks, batch.shape)
    velocity = net.denoiser(noise, torch.ones_like(noise[:, 0, 0, 0]), *given)
    decode = net.first_stage.decoder
    latents = {"output": noise - velocity, "own": latent}
    return seen({name: decode(z, batch.composite, *features) for name, z in latents.items()}, batch, lpips)


DENOISER: Final = Kind(
    name="denoiser",
    recipe=DenoiserRecipe,
    recipes={
        "debug": DenoiserRecipe(
            "debug", sizes.DENOISER["debug"], sizes.FIRST_STAGE["debug"], schedule=DEBUG, lpips=False, along=True
        ),
        "default": DenoiserRecipe(
            "default", sizes.DENOISER["default"], sizes.FIRST_STAGE["default"], schedule=Schedule(batch=16)
        ),
        "joint": DenoiserRecipe(
            "joint",
            sizes.DENOISER["default"],
            sizes.FIRST_STAGE["default"],
            optimiser=Optimiser(lr=2e-4),
            schedule=Schedule(batch=12),
            along=True,
        ),
        "sharp": DenoiserRecipe(
            "sharp",
            sizes.DENOISER["default"],
            sizes.FIRST_STAGE["default"],
            optimiser=Optimiser(lr=2e-4),
            schedule=Schedule(batch=8),
            along=True,
            critic=0.5,
        ),
    },
    batch=RenderBatch,
    build=lambda recipe: LatentDiffusion(recipe.first_stage_size, recipe.size, along=recipe.along),
    source=_source,
    tools=lambda recipe, device: shipped_lpips(device, wanted=recipe.lpips),
    loss=lambda net, batch, recipe, lpips, random: denoiser_loss(net, batch, lpips, random),
    validation=_validation,
    begin=lambda net, source, recipe, start_from: begin_denoiser(net, net.first_stage, recipe, start_from),
    critic=_critic,
    exported=Exported(_graphs),
)
