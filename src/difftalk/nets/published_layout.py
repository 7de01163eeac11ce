"""Tensor names of the published code <-> those of `PublishedDiffTalk`: a pure translation of names and shapes.

The published file is described in docs/paper.md: 1,625 tensors. Its average (EMA) covers the denoiser only, under names
with all dots removed.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Final

import torch
from torch import Tensor

from difftalk.nets.published import PaperSizes
from difftalk.render.sampler import alphas_cumprod

DENOISER: Final = "model.diffusion_model."
AVERAGE: Final = "model_ema."
FIRST_STAGE: Final = "first_stage_model."
CONDITIONS: Final = {
    "conditions.audio.": "cond_stage_model_for_audio.",
    "conditions.audio_smooth.": "cond_stage_model_for_audio_smooth.",
    "conditions.landmarks.": "cond_stage_model_for_ldm.",
}
_RESIDUAL: Final = {
    "norm1": "in_layers.0",
    "conv1": "in_layers.2",
    "time_emb_proj": "emb_layers.1",
    "norm2": "out_layers.0",
    "conv2": "out_layers.3",
    "conv_shortcut": "skip_connection",
}
_ENDS: Final = {
    "conv_in": "input_blocks.0.0",
    "time_embedding.linear_1": "time_embed.0",
    "time_embedding.linear_2": "time_embed.2",
    "conv_norm_out": "out.0",
    "conv_out": "out.2",
}
_ATTENTION: Final = {"group_norm": "norm", "to_q": "q", "to_k": "k", "to_v": "v", "to_out.0": "proj_out"}


def published_name(own: str, sizes: PaperSizes) -> str:
    """The published name of a tensor of `PublishedDiffTalk`."""
    for before, after in CONDITIONS.items():
        if own.startswith(before):
            return after + own.removeprefix(before)
    if own.startswith("denoiser."):
        return DENOISER + _denoiser_name(own.removeprefix("denoiser."))
    assert own.startswith("first_stage.model.")
    return FIRST_STAGE + _first_stage_name(own.removeprefix("first_stage.model."), len(sizes.first_stage.multipliers))


def average_name(published: str) -> str:
    """Of a denoiser's tensor in the average."""
    return AVERAGE + published.removeprefix("model.").replace(".", "")


def _denoiser_name(own: str) -> str:
    for before, after in _ENDS.items():
        if own.startswith(f"{before}."):
            return after + own.removeprefix(before)
    middle = re.fullmatch(r"mid_block\.(resnets|attentions)\.(\d)\.(.+)", own)
    if middle:
        part, number, rest = middle.groups()
        return f"middle_block.{1 if part == 'attentions' else 2 * int(number)}.{_in_block(part, rest)}"
    side, level, part, number, rest = _split(own)
    if side == "down":
        if part == "downsamplers":
            return f"input_blocks.{3 * (level + 1)}.0.op.{rest.removeprefix('conv.')}"
        return f"input_blocks.{1 + 3 * level + number}.{int(part == 'attentions')}.{_in_block(part, rest)}"
    if part == "upsamplers":
        return f"output_blocks.{3 * level + 2}.2.{rest}"
    return f"output_blocks.{3 * level + number}.{int(part == 'attentions')}.{_in_block(part, rest)}"


def _in_block(part: str, rest: str) -> str:
    if part == "attentions":
        return rest
    layer, kind = rest.rsplit(".", 1)
    return f"{_RESIDUAL[layer]}.{kind}"


def _split(own: str) -> tuple[str, int, str, int, str]:
    found = re.fullmatch(r"(down|up)_blocks\.(\d)\.(\w+)\.(\d)\.(.+)", own)
    assert found, own
    side, level, part, number, rest = found.groups()
    return side, int(level), part, int(number), rest


def _first_stage_name(own: str, levels: int) -> str:
    if not own.startswith(("encoder.", "decoder.")):
        return own
    half, inner = own.split(".", 1)
    if inner.startswith("conv_norm_out"):
        return f"{half}.norm_out{inner.removeprefix('conv_norm_out')}"
    if inner.startswith("conv_"):
        return own
    middle = re.fullmatch(r"mid_block\.(resnets|attentions)\.(\d)\.(.+)", inner)
    if middle:
        part, number, rest = middle.groups()
        if part == "resnets":
            return f"{half}.mid.block_{int(number) + 1}.{rest}"
        layer, kind = rest.rsplit(".", 1)
        return f"{half}.mid.attn_1.{_ATTENTION[layer]}.{kind}"
    side, level, part, number, rest = _split(inner)
    place = level if side == "down" else levels - 1 - level
    if part == "resnets":
        return f"{half}.{side}.{place}.block.{number}.{rest.replace('conv_shortcut', 'nin_shortcut')}"
    return f"{half}.{side}.{place}.{part.removesuffix('rs')}.{rest}"


def schedule_buffers() -> dict[str, Tensor]:
    """The twelve schedule buffers of the published file, float32, length 1000 (Ho et al. 2020)."""
    kept = torch.from_numpy(alphas_cumprod())
    before = torch.cat([torch.ones(1, dtype=kept.dtype), kept[:-1]])
    betas, alphas = 1 - kept / before, kept / before
    variance = betas * (1 - before) / (1 - kept)
    values = {
        "betas": betas,
        "alphas_cumprod": kept,
        "alphas_cumprod_prev": before,
        "sqrt_alphas_cumprod": kept.sqrt(),
        "sqrt_one_minus_alphas_cumprod": (1 - kept).sqrt(),
        "log_one_minus_alphas_cumprod": (1 - kept).log(),
        "sqrt_recip_alphas_cumprod": (1 / kept).sqrt(),
        "sqrt_recipm1_alphas_cumprod": (1 / kept - 1).sqrt(),
        "posterior_variance": variance,
        "posterior_log_variance_clipped": variance.clamp_min(1e-20).log(),
        "posterior_mean_coef1": betas * before.sqrt() / (1 - kept),
        "posterior_mean_coef2": (1 - before) * alphas.sqrt() / (1 - kept),
    }
    return {name: value.float() for name, value in values.items()}


def published_shape(name: str, shape: torch.Size) -> tuple[int, ...]:
    """As the published file stores it: linear maps inside attention at the first stage, and around it, are 1 x 1."""
    convolution = name.endswith(".weight") and len(shape) == 2 and ".attn_1." in name
    return (*shape, 1, 1) if convolution else tuple(shape)


def to_published(
    net: Mapping[str, Tensor], average: Mapping[str, Tensor], sizes: PaperSizes, updates: int
) -> dict[str, Tensor]:
    """State dicts of `PublishedDiffTalk`, trained and averaged -> the published file's, all 1,625 tensors of it."""
    out = schedule_buffers()
    for own, value in net.items():
        name = published_name(own, sizes)
        out[name] = value.reshape(published_shape(name, value.shape)).clone()
        if name.startswith(DENOISER):
            out[average_name(name)] = average[own].clone()
    out[f"{AVERAGE}decay"] = torch.tensor(0.9999)
    out[f"{AVERAGE}num_updates"] = torch.tensor(updates, dtype=torch.int32)
    return out


def from_published(
    state: Mapping[str, Tensor], own_shapes: Mapping[str, torch.Size], sizes: PaperSizes
) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """The inverse: trained and averaged state dicts. Names and shapes must be those of `expected`."""
    net, average = dict[str, Tensor](), dict[str, Tensor]()
    for own, shape in own_shapes.items():
        name = published_name(own, sizes)
        net[own] = state[name].reshape(shape)
        held = state[average_name(name)] if name.startswith(DENOISER) else state[name]
        average[own] = held.reshape(shape)
    return net, average


def expected(own_shapes: Mapping[str, torch.Size], sizes: PaperSizes) -> dict[str, tuple[int, ...]]:
    """Names and shapes of the published file for nets of these sizes."""
    shapes: dict[str, tuple[int, ...]] = {name: tuple(value.shape) for name, value in schedule_buffers().items()}
    for own, shape in own_shapes.items():
        name = published_name(own, sizes)
        shapes[name] = published_shape(name, shape)
        if name.startswith(DENOISER):
            shapes[average_name(name)] = shapes[name]
    return shapes | {f"{AVERAGE}decay": (), f"{AVERAGE}num_updates": ()}
