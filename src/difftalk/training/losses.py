"""Losses, each beside nothing but tensors: LPIPS, the painted region, the first stage, the denoiser, the motion."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Final

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from difftalk.errors import DataError
from difftalk.nets.autoencoder import FirstStage
from difftalk.nets.denoiser import CONDITIONS
from difftalk.nets.diffusion import LatentDiffusion
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


class LPIPS(nn.Module):
    """LPIPS v0.1 with AlexNet (Zhang et al. 2018). Pictures (b, 3, h, w), RGB in [-1, 1] -> (b,)."""

    _STRIDES: Final = (4, 1, 1, 1, 1)
    _PADS: Final = (2, 2, 1, 1, 1)

    def __init__(self, path: Path) -> None:
        super().__init__()
        from safetensors.torch import load_file

        if not path.is_file():
            raise DataError(f"{path} does not exist; install the package again")
        self._weights = nn.ParameterDict(
            {
                name.replace(".", "_"): nn.Parameter(value.float(), requires_grad=False)
                for name, value in load_file(path).items()
            }
        )
        self.register_buffer("shift", torch.tensor([-0.030, -0.088, -0.188]).view(1, 3, 1, 1))
        self.register_buffer("scale", torch.tensor([0.458, 0.448, 0.450]).view(1, 3, 1, 1))

    @classmethod
    def shipped(cls) -> LPIPS:
        """With the weights that come with the package."""
        return cls(Path(__file__).parent / "lpips_alex.fp16.safetensors")

    def features(self, pictures: Tensor, layers: int = 5) -> list[Tensor]:
        """Of the first layers, each place of unit length."""
        x, out = (pictures - self.shift) / self.scale, []  # type: ignore[operator]
        for i in range(layers):
            if i in (1, 2):
                x = F.max_pool2d(x, 3, 2)
            weight, bias = self._weights[f"conv{i}_weight"], self._weights[f"conv{i}_bias"]
            x = F.relu(F.conv2d(x, weight, bias, self._STRIDES[i], self._PADS[i]))
            out.append(x / (x.float().pow(2).sum(1, keepdim=True).sqrt() + 1e-10))
        return out

    def forward(self, a: Tensor, b: Tensor) -> Tensor:
        """b is taken as the truth: no gradient flows into it."""
        with torch.no_grad():
            truth = self.features(b)
        total = torch.zeros(len(a), device=a.device)
        for i, (fa, fb) in enumerate(zip(self.features(a), truth, strict=True)):
            weight = self._weights[f"lin{i}_weight"].view(1, -1, 1, 1)
            total = total + ((fa - fb).float().pow(2) * weight).sum(1).mean((1, 2))
        return total


def mouth_boxes(pictures: Tensor, inner: Tensor) -> Tensor:
    """(b, c, 144, 176) and inner-mouth masks (b, 1, 144, 176) -> boxes around the mouth, enlarged, (b, c, 96, 160)."""
    height, width = pictures.shape[-2:]
    rows, columns = torch.arange(height, device=inner.device), torch.arange(width, device=inner.device)
    mass = inner.sum((1, 2, 3))
    y = torch.where(mass > 4, (inner.sum((1, 3)) * rows).sum(1) / mass.clamp_min(1e-6), float(MOUTH_PLACE[0]))
    x = torch.where(mass > 4, (inner.sum((1, 2)) * columns).sum(1) / mass.clamp_min(1e-6), float(MOUTH_PLACE[1]))
    box_height, box_width = MOUTH_BOX
    boxes = []
    for picture, cy, cx in zip(pictures, y.tolist(), x.tolist(), strict=True):
        top = min(max(round(cy) - box_height // 2, 0), height - box_height)
        left = min(max(round(cx) - box_width // 2, 0), width - box_width)
        boxes.append(picture[:, top : top + box_height, left : left + box_width])
    return F.interpolate(torch.stack(boxes), scale_factor=2, mode="bilinear", align_corners=False)


@dataclass(frozen=True)
class Loss:
    """What is minimised, its parts for the log, and the picture (b, 3, 144, 176) that a critic may look at."""

    total: Tensor
    parts: dict[str, Tensor]
    picture: Tensor | None = None


def picture_loss(picture: Tensor, batch: RenderBatch, lpips: LPIPS | None, rows: slice = slice(None)) -> Loss:
    """L1 with the inner mouth four times, LPIPS on the region and on the mouth's box; each sample by its weight."""
    target, inner, weight = batch.target[rows], batch.composite[rows, 3:4], batch.weight[rows]
    near = 1 + (INNER_WEIGHT - 1) * F.max_pool2d(inner, 5, 1, 2)
    l1 = ((picture - target).abs() * near).mean((1, 2, 3))
    if lpips is None:
        return Loss((2 * l1 * weight).mean(), {"l1": l1.mean()})
    whole = lpips(picture, target)
    mouth = lpips(mouth_boxes(picture, inner), mouth_boxes(target, inner))
    total = ((2 * l1 + whole + mouth) * weight).mean()
    return Loss(total, {"l1": l1.mean(), "lpips": whole.mean(), "mouth_lpips": mouth.mean()})


def _restraint(residual: Tensor, gate: Tensor, batch: RenderBatch) -> Tensor:
    outside = 1 - F.max_pool2d(batch.composite[:, 3:4], 9, 1, 4)
    return RESIDUAL_PENALTY * (residual.abs() * outside).mean() + GATE_PENALTY * (gate * outside).mean()


def painter_loss(net: Painter, batch: RenderBatch, lpips: LPIPS | None) -> Loss:
    """The painter's."""
    picture, residual, gate = net.parts(batch.composite, batch.reference)
    loss = picture_loss(picture.float(), batch, lpips)
    return Loss(loss.total + _restraint(residual, gate, batch), loss.parts)


def first_stage_loss(net: FirstStage, batch: RenderBatch, lpips: LPIPS | None, random: torch.Generator) -> Loss:
    """The first stage's: noise on the latent, the composite emptied around the mouth in 30 % of samples."""
    latent = net.encode(batch.target)
    noise = torch.randn(latent.shape, generator=random).to(latent)
    composite = _dropped(batch.composite, random)
    picture, residual, gate = net.decode_parts(latent + net.sizes.noise * noise, composite)
    loss = picture_loss(picture.float(), batch, lpips)
    extent = 1e-3 * latent.pow(2).mean()
    return Loss(loss.total + _restraint(residual, gate, batch) + extent, {**loss.parts, "latent": latent.pow(2).mean()})


def _dropped(composite: Tensor, random: torch.Generator) -> Tensor:
    reach = COMPOSITE_DROP_REACH
    wide = F.max_pool2d(composite[:, 3:4], (1, reach), 1, (0, reach // 2))
    around = F.max_pool2d(wide, (reach, 1), 1, (reach // 2, 0))
    drop = (torch.rand(len(composite), generator=random) < COMPOSITE_DROP).to(composite)[:, None, None, None] * around
    inner = torch.maximum(composite[:, 3:4], drop)
    return torch.cat([composite[:, :3] * (1 - drop), inner, composite[:, 4:] * (1 - drop)], 1)


def denoiser_loss(net: LatentDiffusion, batch: RenderBatch, lpips: LPIPS | None, random: torch.Generator) -> Loss:
    """Flow matching around the mouth; part of the batch starts at pure noise, its one-step picture is judged too.

    Lipman et al. 2023; Liu et al. 2023. Noise in the previous latent and dropped conditions as CONDITIONS names them.
    A fifth of the samples see a previous latent with the net's own error in it, as in use: the error that it makes on
    the frame itself stands for the one it made a frame earlier, since the conditions hardly change.

    Where the decoder learns along, every sample is decoded: half from pure noise, an eighth from its own noised latent,
    so that the decoder keeps both, the rest from wherever on the way it is.
    """
    count, along = len(batch.target), net.first_stage.decoder.stem.weight.requires_grad
    latent, reference, previous = (net.encode(p) for p in (batch.target, batch.reference, batch.previous))
    decoded = max(1, round((0.5 if along else DECODED_SHARE) * count))
    time = torch.sigmoid(torch.randn(count, generator=random)).to(latent)
    time[:decoded] = 1.0
    noise, shake = (torch.randn(latent.shape, generator=random).to(latent) for _ in range(2))
    previous = previous + PREVIOUS_NOISE * torch.rand(count, 1, 1, 1, generator=random).to(latent) * shake
    keep = (torch.rand(count, len(CONDITIONS), generator=random) < torch.tensor(KEEP)).to(latent)
    at = time[:, None, None, None]
    noisy = (1 - at) * latent + at * noise
    features = net.first_stage.composite_path(batch.composite)
    own = torch.rand(count, generator=random) < OWN_SHARE
    if bool(own.any()):
        with torch.no_grad():
            seen_by = (features[2], reference, previous, batch.audio, batch.landmarks, batch.shape)
            drawn = noise[own] - net.denoiser(noise[own], torch.ones_like(time[own]), *(v[own] for v in seen_by))
            previous[own] += drawn.float() - latent[own]
    previous = previous * batch.has_previous[:, None, None, None]
    velocity = net.denoiser(
        noisy, time, features[2], reference, previous, batch.audio, batch.landmarks, batch.shape, keep
    ).float()
    window = net.first_stage.decoder.window(batch.composite)
    flow = ((velocity - (noise - latent)).pow(2).mean(1, keepdim=True) * window).sum() / window.sum().clamp_min(1)
    clean = noisy - at * velocity
    if not along:
        clean, features = clean[:decoded], tuple(f[:decoded] for f in features)
    else:
        true = round(count * TRUE_LATENT_SHARE)
        clean = torch.cat([clean[: count - true], (latent + net.first_stage.sizes.noise * noise)[count - true :]])
    shown = slice(0, len(clean))
    picture, residual, gate = net.first_stage.decoder.parts(clean, batch.composite[shown], *features)
    seen = picture_loss(picture.float(), batch, lpips, shown)
    total = 0.5 * flow + seen.total
    total = total + _restraint(residual, gate, batch) if along else total
    return Loss(total, {"flow": flow, **seen.parts}, picture)
