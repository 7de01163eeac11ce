"""The published system: its first stage and its denoiser, their losses and what is looked at while they train.

First stage: L1, LPIPS and the codebook's commitment (van den Oord et al. 2017; Esser et al. 2021); its critic is the
adversary's. Denoiser: mean square error of the predicted noise (Ho et al. 2020, equation 14).
"""

from __future__ import annotations

from contextlib import nullcontext
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Final

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from difftalk.arrays import Image
from difftalk.data.hdtf import read_hdtf
from difftalk.errors import DataError, InputError
from difftalk.graphs import WINDOW_STEPS, WINDOWS
from difftalk.nets.critic import CRITIC_LAYERS
from difftalk.nets.lpips import LPIPS
from difftalk.nets.published import (
    CONDITION,
    LATENT,
    PAPER,
    PAPER_FIRST_STAGE,
    PaperFirstStage,
    PaperFirstStageSizes,
    PaperSizes,
    PublishedDiffTalk,
    noised,
)
from difftalk.nets.sizes import CriticSizes
from difftalk.render.published import CHARACTERS, SEEN
from difftalk.render.sampler import TIME_STEPS, ddim, holding
from difftalk.settings import Settings
from difftalk.training.adversary import PATCH, Adversary, Judged
from difftalk.training.average import follow
from difftalk.training.batches import PaperBatch, Source, drawn
from difftalk.training.data_choice import DataChoice
from difftalk.training.kinds.denoiser import begin_denoiser
from difftalk.training.kinds.kind import (
    Exported,
    GraphSpec,
    Kind,
    Opened,
    Part,
    faked,
    load_average,
    shipped_lpips,
)
from difftalk.training.picture_loss import Loss, Mouths
from difftalk.training.published_data import PaperSource
from difftalk.training.recipes import DEBUG, Optimiser, Recipe, Schedule
from difftalk.training.validation import Validation, image_of

PUBLISHED_STEPS: Final = 200
SHOWN_STEPS: Final = 20  # of DDIM for the sheets
FIT_BATCHES: Final = 4
CODEBOOK_SPREAD: Final = 0.1  # of the latents' own, added to each code


@dataclass(frozen=True)
class PaperFirstStageRecipe:
    """The published first stage's, VQ (Rombach et al. 2022): L1, LPIPS, a patch critic, the codebook's.

    picture: px. critic, codebook: weights.
    """

    name: str
    size: PaperFirstStageSizes
    picture: int = 256
    optimiser: Optimiser = Optimiser(lr=3.6e-5, warm_up=1, final_share=1.0, beta2=0.9, weight_decay=0.0)
    schedule: Schedule = Schedule(precision="f32")
    lpips: bool = True
    critic: float = 0.75
    codebook: float = 1.0
    critic_size: CriticSizes = field(default_factory=CriticSizes)


@dataclass(frozen=True)
class PaperRecipe:
    """The published system's (docs/paper.md). first_stage: run or weights of its first stage.

    checkpointing: whether the denoiser's blocks are computed again on the way back, for less memory. unit_latents:
    whether the first stage is scaled to latents of unit spread; the published one's are used as they are.
    """

    name: str
    size: PaperSizes
    optimiser: Optimiser = Optimiser(lr=6.4e-5, warm_up=1, final_share=1.0, beta2=0.999, clip=0.1, ema=0.9999)
    schedule: Schedule = Schedule(steps=1_000_000, batch=64, parts=8, precision="f32")
    first_stage: str = ""
    checkpointing: bool = True
    unit_latents: bool = False


def paper_first_stage_loss(
    net: PaperFirstStage, batch: PaperBatch, recipe: PaperFirstStageRecipe, lpips: LPIPS | None
) -> Loss:
    """The picture and what its latent gives back."""
    picture, codebook = net(batch.picture)
    picture = picture.float()
    l1 = (picture - batch.picture).abs().mean()
    parts = {"l1": l1, "codebook": codebook}
    total = l1 + recipe.codebook * codebook
    if lpips is not None:
        parts["lpips"] = lpips(picture, batch.picture).mean()
        total = total + parts["lpips"]
    return Loss(total, parts, picture)


@torch.no_grad()
def fit_codebook(net: PaperFirstStage, source: Source) -> None:
    """Codes begin as latents of training pictures: those of the usual start, all near zero, mostly stay unused."""
    codes, latents = net.model.quantize.embedding.weight, _latents(net, source)
    chosen = torch.randint(len(latents), (len(codes),))
    codes.copy_(latents[chosen] + CODEBOOK_SPREAD * latents.std(0) * torch.randn_like(codes))


@torch.no_grad()
def unit_latents(net: PaperFirstStage, source: Source) -> None:
    """The same first stage with latents of mean 0 and unit spread, as noise prediction wants them.

    Exact: the convolutions on either side of the codebook, and its codes, are shifted and scaled. One scale for all
    channels, so that every latent's nearest code stays the nearest.
    """
    latents, model = _latents(net, source), net.model
    mean, spread = latents.mean(0), (latents - latents.mean(0)).std()
    into, out, codes = model.quant_conv, model.post_quant_conv, model.quantize.embedding.weight
    into.weight /= spread
    into.bias.copy_((into.bias - mean) / spread)
    codes.copy_((codes - mean) / spread)
    out.bias += out.weight[..., 0, 0] @ mean
    out.weight *= spread


def _latents(net: PaperFirstStage, source: Source) -> Tensor:
    """(n, 3) of a few training pictures."""
    device, batches = net.model.quantize.embedding.weight.device, drawn(source, PaperBatch, FIT_BATCHES)
    return torch.cat([net.encode(batch.picture.to(device)).movedim(1, -1).flatten(0, -2).float() for batch in batches])


def paper_loss(net: PublishedDiffTalk, batch: PaperBatch, random: torch.Generator) -> Loss:
    """Noise at a random time step, the whole latent."""
    latent, masked, reference = (net.encode(p) for p in (batch.picture, batch.masked, batch.reference))
    step = torch.randint(TIME_STEPS, (len(latent),), generator=random, device=latent.device)
    noise = torch.randn(latent.shape, generator=random, device=latent.device)
    context = net.conditions(batch.audio, batch.landmarks)
    found = net(noised(latent, step, noise), masked, reference, step, context).float()
    error = (found - noise).pow(2).mean()
    return Loss(error, {"noise": error})


@torch.no_grad()
def paper_pictures(net: PublishedDiffTalk, batch: PaperBatch) -> Tensor:
    """Drawn from noise, the same at every call."""
    latent, masked, reference = (net.encode(p) for p in (batch.picture, batch.masked, batch.reference))
    context, rng = net.conditions(batch.audio, batch.landmarks), np.random.default_rng(0)
    mask = (batch.masked != batch.picture).any(1, keepdim=True).float()
    kept = torch.nn.functional.adaptive_max_pool2d(mask, latent.shape[-2:]).cpu().numpy() == 0
    clean = latent.cpu().numpy()

    def noise_in(x: NDArray[np.float32], step: float) -> NDArray[np.float32]:
        steps = torch.full((len(latent),), step, device=latent.device)
        found: NDArray[np.float32] = net(_like(x, latent), masked, reference, steps, context).float().cpu().numpy()
        return found

    start = rng.standard_normal(clean.shape).astype(np.float32)
    drawn = ddim(noise_in, start, SHOWN_STEPS, held=holding(clean, kept, rng))
    return net.first_stage.decode(_like(drawn, latent)).float()


def _like(x: NDArray[np.float32], other: Tensor) -> Tensor:
    return torch.from_numpy(x).to(other)


@torch.no_grad()
def paper_figures(batch: PaperBatch, output: Tensor) -> dict[str, float]:
    """L1 under the mask, beside a fill with the mean colour of the reference there."""
    mask = (batch.masked != batch.picture).any(1, keepdim=True).float()
    count = mask.sum((2, 3), keepdim=True).clamp_min(1)
    fill = (batch.reference * mask).sum((2, 3), keepdim=True) / count
    return {
        name: float(((picture - batch.picture).abs() * mask).sum() / mask.sum().clamp_min(1) / 3)
        for name, picture in (("l1", output), ("fill_l1", fill))
    }


def paper_rows(batch: PaperBatch, output: Tensor) -> list[list[Image]]:
    """True, masked, reference, output, difference x 4."""
    difference = ((output - batch.picture) * 4).clamp(-1, 1)
    columns = (batch.picture, batch.masked, batch.reference, output, difference)
    return [[image_of(picture) for picture in row] for row in zip(*columns, strict=True)]


def judged_pictures(loss: Loss, batch: PaperBatch, eyes: LPIPS) -> Judged:
    """What the first stage's critic looks at: whole pictures, every patch alike."""
    assert loss.picture is not None
    count, _, height, width = batch.picture.shape
    weight = torch.ones(count, 1, height // PATCH, width // PATCH, device=batch.picture.device)
    return Judged(Mouths.seen(loss.picture.float(), batch.picture, eyes, len(CRITIC_LAYERS)), weight)


def _critic(
    recipe: PaperFirstStageRecipe, lpips: LPIPS | None, device: torch.device, autocast: torch.autocast | None = None
) -> Adversary[PaperBatch] | None:
    if recipe.critic <= 0:
        return None
    eyes = lpips or LPIPS.shipped().to(device)
    return Adversary(
        judged_pictures,
        eyes,
        recipe.critic_size,
        weight=recipe.critic,
        lr=recipe.optimiser.lr,
        device=device,
        autocast=autocast,
    )


def published_graphs(net: PublishedDiffTalk) -> dict[str, GraphSpec]:
    """First stage, condition nets and denoiser."""
    side, picture = net.sizes.latent, torch.zeros(1, 3, net.sizes.picture, net.sizes.picture)
    latent = torch.zeros(1, LATENT, side, side)
    windows, points = torch.zeros(1, WINDOWS, WINDOW_STEPS, CHARACTERS), torch.zeros(1, len(SEEN), 2)
    seen = {"noisy": latent, "masked": latent, "reference": latent, "step": torch.zeros(1)}
    encode, decode = Part(net.first_stage, net.first_stage.encode), Part(net.first_stage, net.first_stage.decode)
    parts = {
        "encoder": GraphSpec(encode, {"picture": picture}, ("latent",), "f32"),
        "conditions": GraphSpec(net.conditions, {"windows": windows, "points": points}, ("context",), "f32"),
        "denoiser": GraphSpec(net, seen | {"context": torch.zeros(1, 1, 2 * CONDITION)}, ("noise",), "f32"),
        "decoder": GraphSpec(decode, {"latent": latent}, ("picture",), "f32"),
    }
    return {f"published_{name}": spec for name, spec in parts.items()}


def _in_folder(net: PublishedDiffTalk, settings: Settings) -> Settings:
    """It becomes the folder's renderer."""
    return replace(settings, renderer="published", steps=PUBLISHED_STEPS, picture=net.sizes.picture)


def _source(recipe: Recipe, choice: DataChoice, picture: int) -> Opened:
    if choice.folder is None:
        if (made_up := faked("paper", recipe, choice)) is not None:
            return made_up
        raise InputError("no data was given; give a folder that `write_hdtf` wrote")
    train_on = read_hdtf(choice.folder, "train")
    try:
        held_out = read_hdtf(choice.folder, "test")
    except DataError:  # a folder of one's own without one
        held_out = train_on
    schedule = recipe.schedule
    return nullcontext(
        PaperSource(train_on, batch_size=schedule.batch, picture_size=picture, seed=schedule.seed, held_out=held_out)
    )


def _begin_first_stage(
    net: PaperFirstStage, source: Source, recipe: PaperFirstStageRecipe, start_from: Path | None
) -> None:
    if start_from is not None:
        load_average(net, start_from)
    else:
        fit_codebook(net, source)


def _begin(net: PublishedDiffTalk, source: Source, recipe: PaperRecipe, start_from: Path | None) -> None:
    begin_denoiser(net, net.first_stage, recipe, start_from)
    if recipe.first_stage and recipe.unit_latents:
        unit_latents(net.first_stage, source)


def _first_stage_validation(net: PaperFirstStage, batch: PaperBatch, lpips: LPIPS | None) -> Validation:
    """The picture through its latent."""
    decoded, _ = net(batch.picture)
    output = torch.as_tensor(decoded).float()
    figures = paper_figures(batch, output)
    if lpips is not None:
        figures["lpips"] = float(lpips(output, batch.picture).mean())
    return Validation(figures, paper_rows(batch, output))


def _validation(net: PublishedDiffTalk, batch: PaperBatch, tools: None) -> Validation:
    """The picture drawn from noise, and the noise's error."""
    output = paper_pictures(net, batch)
    figures = paper_figures(batch, output)
    figures["noise"] = float(paper_loss(net, batch, torch.Generator().manual_seed(0)).total)
    return Validation(figures, paper_rows(batch, output))


PUBLISHED_FIRST_STAGE: Final = Kind(
    name="first-stage",
    recipe=PaperFirstStageRecipe,
    recipes={
        "paper": PaperFirstStageRecipe("paper", PAPER_FIRST_STAGE["paper"]),
        "paper-512": PaperFirstStageRecipe("paper-512", PAPER_FIRST_STAGE["paper-512"], picture=512),
        "paper-small": PaperFirstStageRecipe(
            "paper-small",
            PAPER_FIRST_STAGE["paper-small"],
            picture=128,
            optimiser=Optimiser(lr=8e-4, beta2=0.95, weight_decay=0.0),
            schedule=Schedule(batch=4),
            critic=0.0,
        ),
        "paper-debug": PaperFirstStageRecipe(
            "paper-debug", PAPER_FIRST_STAGE["paper-debug"], picture=64, schedule=DEBUG, lpips=False, critic=0.0
        ),
    },
    batch=PaperBatch,
    build=lambda recipe: PaperFirstStage(recipe.size),
    source=lambda recipe, choice: _source(recipe, choice, recipe.picture),
    tools=lambda recipe, device: shipped_lpips(device, wanted=recipe.lpips),
    loss=lambda net, batch, recipe, lpips, random: paper_first_stage_loss(net, batch, recipe, lpips),
    validation=_first_stage_validation,
    begin=_begin_first_stage,
    critic=_critic,
)
PUBLISHED: Final = Kind(
    name="denoiser",
    recipe=PaperRecipe,
    recipes={
        "paper": PaperRecipe("paper", PAPER["paper"]),
        "paper-512": PaperRecipe("paper-512", PAPER["paper-512"]),
        "paper-small": PaperRecipe(
            "paper-small",
            PAPER["paper-small"],
            optimiser=Optimiser(lr=5e-4, clip=1.0),
            schedule=Schedule(batch=8),
            checkpointing=False,
            unit_latents=True,
        ),
        "paper-debug": PaperRecipe("paper-debug", PAPER["paper-debug"], schedule=DEBUG, unit_latents=True),
    },
    batch=PaperBatch,
    build=lambda recipe: PublishedDiffTalk(recipe.size, checkpointing=recipe.checkpointing),
    source=lambda recipe, choice: _source(recipe, choice, recipe.size.picture),
    tools=lambda recipe, device: None,
    loss=lambda net, batch, recipe, tools, random: paper_loss(net, batch, random),
    validation=_validation,
    begin=_begin,
    follow=partial(follow, copied=("conditions.",)),
    exported=Exported(published_graphs, settings=_in_folder, half=False),
)
