"""Losses, each beside nothing but tensors: LPIPS, the painted region, the first stage, the denoiser.

Nothing here waits for the device: no value is looked at, every shape follows from the batch's. Random numbers come from
a generator on the device of the net.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import Final

import torch
import torch.nn.functional as F
from torch import Tensor

from difftalk.nets.autoencoder import FirstStage
from difftalk.nets.blocks import widened
from difftalk.nets.denoiser import CONDITIONS
from difftalk.nets.diffusion import LatentDiffusion
from difftalk.nets.lpips import LPIPS
from difftalk.nets.painter import Painter
from difftalk.training.batches import RenderBatch

INNER_WEIGHT: Final = 4.0  # the inner mouth counts so much more than skin
MOUTH_BOX: Final = (48, 80)  # px, height and width of the box around the mouth that LPIPS sees enlarged
MOUTH_PLACE: Final = (50, 88)  # px in the region: where the mouth is when the mask is empty
RESIDUAL_PENALTY: Final = 0.3
GATE_PENALTY: Final = 0.05
COMPOSITE_DROP: Final = 0.3  # share of samples whose composite is emptied around the mouth
COMPOSITE_DROP_REACH: Final = 25  # px
DECODED_SHARE: Final = 0.25  # of a denoiser batch: starts at pure noise, is decoded and judged as a picture
PREVIOUS_NOISE: Final = 0.3
TRUE_LATENT_SHARE: Final = 0.125  # of a batch, where the decoder learns along
OWN_SHARE: Final = 0.2  # of samples whose previous latent has the net's own error in it
KEEP: Final = (0.9, 0.9, 0.5, 0.9)  # chance of each condition, in the order of CONDITIONS


def mouth_boxes(pictures: Tensor, inner: Tensor) -> Tensor:
    """(b, c, 144, 176) and inner-mouth masks (b, 1, 144, 176) -> boxes around the mouth, enlarged, (b, c, 96, 160)."""
    height, width = pictures.shape[-2:]
    rows, columns = torch.arange(height, device=inner.device), torch.arange(width, device=inner.device)
    mass = inner.sum((1, 2, 3))
    y = torch.where(mass > 4, (inner.sum((1, 3)) * rows).sum(1) / mass.clamp_min(1e-6), float(MOUTH_PLACE[0]))
    x = torch.where(mass > 4, (inner.sum((1, 2)) * columns).sum(1) / mass.clamp_min(1e-6), float(MOUTH_PLACE[1]))
    box_height, box_width = MOUTH_BOX
    top = (y.round().long() - box_height // 2).clamp(0, height - box_height)
    left = (x.round().long() - box_width // 2).clamp(0, width - box_width)
    places = (top[:, None] + rows[:box_height])[:, :, None] * width + (left[:, None] + columns[:box_width])[:, None]
    index = places.flatten(1)[:, None].expand(-1, pictures.shape[1], -1)
    boxes = pictures.flatten(2).gather(2, index).reshape(*pictures.shape[:2], *MOUTH_BOX)
    return F.interpolate(boxes, scale_factor=2, mode="bilinear", align_corners=False)


@dataclass(frozen=True)
class Mouths:
    """Boxes around drawn and true mouths, (b, 3, 96, 160), and what LPIPS's network sees in them."""

    drawn: Tensor
    true: Tensor
    drawn_features: list[Tensor]
    true_features: list[Tensor]

    @classmethod
    def of(cls, picture: Tensor, target: Tensor, inner: Tensor, eyes: LPIPS) -> Mouths:
        return cls.seen(mouth_boxes(picture, inner), mouth_boxes(target, inner), eyes)

    @classmethod
    def seen(cls, drawn: Tensor, true: Tensor, eyes: LPIPS, layers: int = 5) -> Mouths:
        """Of boxes; features of the first layers."""
        with torch.no_grad():
            true_features = eyes.features(true, layers)
        return cls(drawn, true, eyes.features(drawn, layers), true_features)


@dataclass(frozen=True)
class Loss:
    """What is minimised, its parts for the log, and what a critic may look at.

    That is the picture (b, 3, 144, 176) and its mouths, where the loss itself looked at them.
    """

    total: Tensor
    parts: dict[str, Tensor]
    picture: Tensor | None = None
    mouths: Mouths | None = None


def picture_loss(
    picture: Tensor, batch: RenderBatch, lpips: LPIPS | None, rows: slice = slice(None), *, region_every: int = 1
) -> Loss:
    """L1 with the inner mouth four times, LPIPS on the region and on the mouth's box, each sample's by its weight.

    region_every: LPIPS sees the region of every n-th sample only, which stands for the others.
    """
    target, inner, weight = batch.target[rows], batch.composite[rows, 3:4], batch.weight[rows]
    near = 1 + (INNER_WEIGHT - 1) * widened(inner, 5)
    l1 = ((picture - target).abs() * near).mean((1, 2, 3))
    if lpips is None:
        return Loss(2 * l1.mean(), {"l1": l1.mean()})
    mouths, some = Mouths.of(picture, target, inner, lpips), slice(None, None, region_every)
    whole = lpips(picture[some], target[some])
    mouth = lpips.distance(mouths.drawn_features, mouths.true_features)
    total = (2 * l1 + mouth * weight).mean() + (whole * weight[some]).mean()
    parts = {"l1": l1.mean(), "lpips": whole.mean(), "mouth_lpips": mouth.mean()}
    return Loss(total, parts, picture, mouths)


def _restraint(residual: Tensor, gate: Tensor, batch: RenderBatch) -> Tensor:
    outside = 1 - widened(batch.composite[:, 3:4], 9)
    return RESIDUAL_PENALTY * (residual.abs() * outside).mean() + GATE_PENALTY * (gate * outside).mean()


def painter_loss(net: Painter, batch: RenderBatch, lpips: LPIPS | None) -> Loss:
    """The painter's."""
    picture, residual, gate = net.parts(batch.composite, batch.reference)
    loss = picture_loss(picture.float(), batch, lpips)
    return Loss(loss.total + _restraint(residual, gate, batch), loss.parts)


def first_stage_loss(net: FirstStage, batch: RenderBatch, lpips: LPIPS | None, random: torch.Generator) -> Loss:
    """The first stage's: noise on the latent, the composite emptied around the mouth in 30 % of samples."""
    latent = net.encode(batch.target)
    noise = _noise(latent, random)
    composite = _dropped(batch.composite, random)
    picture, residual, gate = net.decode_parts(latent + net.sizes.noise * noise, composite)
    loss = picture_loss(picture.float(), batch, lpips)
    extent = 1e-3 * latent.pow(2).mean()
    return Loss(loss.total + _restraint(residual, gate, batch) + extent, {**loss.parts, "latent": latent.pow(2).mean()})


def _noise(like: Tensor, random: torch.Generator) -> Tensor:
    return torch.randn(like.shape, generator=random, device=like.device)


def _dropped(composite: Tensor, random: torch.Generator) -> Tensor:
    around = widened(composite[:, 3:4], COMPOSITE_DROP_REACH)
    chance = torch.rand(len(composite), 1, 1, 1, generator=random, device=composite.device)
    drop = (chance < COMPOSITE_DROP) * around
    inner = torch.maximum(composite[:, 3:4], drop)
    return torch.cat([composite[:, :3] * (1 - drop), inner, composite[:, 4:] * (1 - drop)], 1)


def denoiser_loss(
    net: LatentDiffusion, batch: RenderBatch, lpips: LPIPS | None, random: torch.Generator, *, region_every: int = 1
) -> Loss:
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
    noise = _noise(latent, random)
    time = torch.sigmoid(_noise(latent[:, 0, 0, 0], random))
    time[:decoded] = 1.0
    features = net.first_stage.composite_path(batch.composite)
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
    judged = picture_loss(picture.float(), batch, lpips, shown, region_every=region_every)
    total = 0.5 * flow + judged.total
    total = total + _restraint(residual, gate, batch) if along else total
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
    """The previous latents (n, 8, 18, 22) as the denoiser sees them, `seen` of the rows `kept`: noised.

    A fifth have the net's own error in them, as in use: the error that it makes on the frame itself stands for the one
    it made a frame earlier, since the conditions hardly change.
    """
    shade = torch.rand(len(kept), 1, 1, 1, generator=random, device=latent.device)
    noised = seen + PREVIOUS_NOISE * shade * _noise(seen, random)
    wanted = OWN_SHARE * len(kept)
    count = max(1, round(wanted))
    rows = kept[:count]
    heeded = torch.rand(count, 1, 1, 1, generator=random, device=latent.device) < wanted / count
    with torch.no_grad():
        start, before = noise[rows], (given.composite[rows], given.reference[rows], noised[:count])
        after = (given.audio[rows], given.landmarks[rows], given.shape[rows])
        drawn = start - net.denoiser(start, torch.ones_like(start[:, 0, 0, 0]), *before, *after).float()
    return torch.cat([noised[:count] + heeded * (drawn - latent[rows]), noised[count:]])
