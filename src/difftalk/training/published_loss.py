"""The published system's losses, and what is looked at while it trains.

First stage: L1, LPIPS and the codebook's commitment (van den Oord et al. 2017; Esser et al. 2021); its critic is the
adversary's. Denoiser: mean square error of the predicted noise (Ho et al. 2020, equation 14).
"""

from __future__ import annotations

from typing import Final

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from difftalk.nets.lpips import LPIPS
from difftalk.nets.published import PaperFirstStage, PublishedDiffTalk, noised
from difftalk.render.sampler import TIME_STEPS, ddim, holding
from difftalk.training.batches import PaperBatch, Source
from difftalk.training.losses import Loss
from difftalk.training.recipes import PaperFirstStageRecipe

SHOWN_STEPS: Final = 20  # of DDIM for the sheets
FIT_BATCHES: Final = 4
CODEBOOK_SPREAD: Final = 0.1  # of the latents' own, added to each code


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
    found, device = list[Tensor](), net.model.quantize.embedding.weight.device
    for i in range(FIT_BATCHES):
        batch = source.batch(10**6 + i)
        assert isinstance(batch, PaperBatch)
        found.append(net.encode(batch.picture.to(device)).movedim(1, -1).flatten(0, -2).float())
    return torch.cat(found)


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
def paper_pictures(net: PublishedDiffTalk | PaperFirstStage, batch: PaperBatch) -> Tensor:
    """By the first stage: the picture through its latent. By the whole: drawn from noise, the same at every call."""
    if isinstance(net, PaperFirstStage):
        decoded, _ = net(batch.picture)
        return torch.as_tensor(decoded).float()
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
def paper_figures(net: torch.nn.Module, batch: PaperBatch, output: Tensor, lpips: LPIPS | None) -> dict[str, float]:
    """L1 under the mask, beside a fill with the mean colour of the reference there; the noise's error."""
    mask = (batch.masked != batch.picture).any(1, keepdim=True).float()
    count = mask.sum((2, 3), keepdim=True).clamp_min(1)
    fill = (batch.reference * mask).sum((2, 3), keepdim=True) / count
    figures = {
        name: float(((picture - batch.picture).abs() * mask).sum() / mask.sum().clamp_min(1) / 3)
        for name, picture in (("l1", output), ("fill_l1", fill))
    }
    if isinstance(net, PublishedDiffTalk):
        figures["noise"] = float(paper_loss(net, batch, torch.Generator().manual_seed(0)).total)
    if lpips is not None:
        figures["lpips"] = float(lpips(output, batch.picture).mean())
    return figures


def paper_rows(batch: PaperBatch, output: Tensor) -> list[list[Tensor]]:
    """True, masked, reference, output, difference x 4."""
    difference = ((output - batch.picture) * 4).clamp(-1, 1)
    return [list(row) for row in zip(batch.picture, batch.masked, batch.reference, output, difference, strict=True)]
