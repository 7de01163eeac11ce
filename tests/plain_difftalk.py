"""The published DiffTalk system in plain torch: functions over a state dict in the published layout, at any width.

Every width, the number of blocks and where attention sits are read off the tensors and their names. It knows nothing
of the package, which it is there to check. "Section" below means a section of the fact sheet `official.md`.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

State = Mapping[str, Tensor]

UNET = "model.diffusion_model"
FIRST_STAGE = "first_stage_model"
AUDIO = "cond_stage_model_for_audio"
AUDIO_SMOOTH = "cond_stage_model_for_audio_smooth"
LANDMARKS = "cond_stage_model_for_ldm"

TRAIN_STEPS = 1000  # of the diffusion
BETA_FIRST, BETA_LAST = 0.0015, 0.0195
LONGEST_PERIOD = 10_000.0  # of the sinusoidal time embedding, in time steps over 2 pi
LEAK = 0.02  # slope of the condition nets' LeakyReLU below zero
EPS_RESIDUAL = 1e-5  # group norms of the UNet's residual blocks and of its end
EPS_TRANSFORMER = 1e-6  # group norms at the head of the UNet's transformers
EPS_LAYER = 1e-5  # layer norms
EPS_FIRST_STAGE = 1e-6


class _Given(NamedTuple):
    """What all of the UNet's blocks share: `time` is (b, e), already through its two layers, `context` (b, n, d)."""

    time: Tensor
    context: Tensor
    head_width: int
    groups: int


def unet(state: State, x: Tensor, step: Tensor, context: Tensor, *, head_width: int, groups: int = 32) -> Tensor:
    """x (b, 9, h, w), step (b,) int64, context (b, 1, d) -> predicted noise (b, 3, h, w). Section 3."""
    given = _Given(_time(state, step, x.dtype), context, head_width, groups)
    h = x
    skips: list[Tensor] = []
    for name in _children(state, f"{UNET}.input_blocks"):
        h = _block(state, name, h, given)
        skips.append(h)
    h = _block(state, f"{UNET}.middle_block", h, given)
    for name in _children(state, f"{UNET}.output_blocks"):
        h = _block(state, name, torch.cat((h, skips.pop()), 1), given)
    h = F.silu(_group_norm(state, f"{UNET}.out.0", h, groups, EPS_RESIDUAL))
    return _conv(state, f"{UNET}.out.2", h)


def audio(state: State, windows: Tensor) -> Tensor:
    """Windows of speech features (b, 8, 16, 29) -> (b, 64), AudioNet then AudioAttNet. Section 5."""
    batch, frames, steps, features = windows.shape
    x = windows.reshape(batch * frames, steps, features).transpose(1, 2)
    for name in _children(state, f"{AUDIO}.encoder_conv"):
        x = F.leaky_relu(_conv1d(state, name, x, stride=2), LEAK)
    x = _linears(state, f"{AUDIO}.encoder_fc1", x.flatten(1))
    return _smooth(state, x.reshape(batch, frames, -1))


def landmarks(state: State, points: Tensor) -> Tensor:
    """Landmarks (b, 39, 2), flattened point by point -> (b, 64). Section 5."""
    return _linears(state, f"{LANDMARKS}.encoder_fc1", points.flatten(1))


def context(state: State, windows: Tensor, points: Tensor) -> Tensor:
    """Windows (b, 8, 16, 29) and landmarks (b, 39, 2) -> the one context token (b, 1, 128), audio first. Section 3."""
    return torch.cat((audio(state, windows), landmarks(state, points)), 1).unsqueeze(1)


def encode(state: State, picture: Tensor, groups: int = 32) -> Tensor:
    """Picture (b, 3, H, W) -> continuous latent (b, 3, H/4, W/4), not snapped to the codebook. Section 4."""
    encoder = f"{FIRST_STAGE}.encoder"
    h = _conv(state, f"{encoder}.conv_in", picture)
    for level in _children(state, f"{encoder}.down"):
        for name in _children(state, f"{level}.block"):
            h = _vae_residual(state, name, h, groups)
        if _has(state, f"{level}.downsample.conv"):
            h = _conv(state, f"{level}.downsample.conv", F.pad(h, (0, 1, 0, 1)), stride=2, padding=0)
    h = _vae_end(state, encoder, _vae_middle(state, encoder, h, groups), groups)
    return _conv(state, f"{FIRST_STAGE}.quant_conv", h)


def decode(state: State, latent: Tensor, groups: int = 32) -> Tensor:
    """Latent (b, 3, h, w), snapped to the codebook first -> picture (b, 3, 4h, 4w). Section 4."""
    decoder = f"{FIRST_STAGE}.decoder"
    h = _conv(state, f"{FIRST_STAGE}.post_quant_conv", _snap(state, latent))
    h = _conv(state, f"{decoder}.conv_in", h)
    h = _vae_middle(state, decoder, h, groups)
    for level in reversed(_children(state, f"{decoder}.up")):
        for name in _children(state, f"{level}.block"):
            h = _vae_residual(state, name, h, groups)
        if _has(state, f"{level}.upsample.conv"):
            h = _conv(state, f"{level}.upsample.conv", _double(h))
    return _vae_end(state, decoder, h, groups)


def alphas_cumprod() -> Tensor:
    """(1000,) float64: the share of the clean latent's power left at each time step. Section 2."""
    ramp = torch.linspace(math.sqrt(BETA_FIRST), math.sqrt(BETA_LAST), TRAIN_STEPS, dtype=torch.float64)
    return torch.cumprod(1 - ramp**2, 0)


def ddim_times(count: int = 200) -> list[int]:
    """The time steps 1, 6, ..., 996 (at 200), ascending; sampling walks them backwards. Section 6."""
    if count < 1 or count >= TRAIN_STEPS or TRAIN_STEPS % count:
        raise ValueError(f"count is {count}; it must divide {TRAIN_STEPS} and be smaller")
    return [time + 1 for time in range(0, TRAIN_STEPS, TRAIN_STEPS // count)]


def ddim_step(x: Tensor, eps: Tensor, alpha: float, alpha_before: float) -> Tensor:
    """One step with eta 0: latent and predicted noise (b, 3, h, w) -> the next, less noisy latent. Section 6.

    `alpha` is alphas_cumprod at this time step, `alpha_before` at the next lower one in `ddim_times`; in the last
    step, which has none lower, it is alphas_cumprod[0].
    """
    clean = (x - math.sqrt(1 - alpha) * eps) / math.sqrt(alpha)
    return math.sqrt(alpha_before) * clean + math.sqrt(1 - alpha_before) * eps


def renoised(x: Tensor, clean: Tensor, mask: Tensor, alpha: float, noise: Tensor) -> Tensor:
    """The latent a step starts from: `clean` noised to `alpha` where mask is 1, x where it is 0. Section 6.

    x, clean, noise: (b, 3, h, w); mask broadcasts to them; `alpha` is alphas_cumprod at the step about to be taken.
    """
    noised = math.sqrt(alpha) * clean + math.sqrt(1 - alpha) * noise
    return mask * noised + (1 - mask) * x


def random_state(shapes: dict[str, tuple[int, ...]], seed: int) -> dict[str, Tensor]:
    """Random values for every named shape, no tensor left at zero, scaled to keep outputs of order one.

    The schedule's buffers and the averaged weights (`model_ema.*`) are independent noise too. Section 1 has the types.
    """
    generator = torch.Generator().manual_seed(seed)
    return {name: _random(name, tuple(shape), generator) for name, shape in shapes.items()}


def _random(name: str, shape: tuple[int, ...], generator: torch.Generator) -> Tensor:
    """One tensor for `random_state`, by the end of its name (averaged weights have no dots) and its shape."""
    if name.endswith("num_updates"):
        return torch.randint(1, 100_000, shape, generator=generator, dtype=torch.int32)
    if name.endswith("decay"):
        return 0.99 + 0.01 * torch.rand(shape, generator=generator)
    values = torch.randn(shape, generator=generator)
    if name.endswith("embedding.weight"):
        return values
    if len(shape) > 1:
        # The condition nets have no norms: without He's gain their signal, and what it tells, all but dies out.
        gain = 2 if name.startswith("cond_stage_model") else 1
        return values * math.sqrt(gain / math.prod(shape[1:]))
    return 1 + 0.1 * values if name.endswith("weight") else 0.1 * values


def _children(state: State, prefix: str) -> list[str]:
    """The full names of the numbered modules straight under `prefix`, in order."""
    start = prefix + "."
    heads = {name[len(start) :].split(".", 1)[0] for name in state if name.startswith(start)}
    return [start + str(number) for number in sorted(int(head) for head in heads if head.isdecimal())]


def _has(state: State, name: str) -> bool:
    return f"{name}.weight" in state


def _linear(state: State, name: str, x: Tensor) -> Tensor:
    return F.linear(x, state[f"{name}.weight"], state.get(f"{name}.bias"))


def _conv(state: State, name: str, x: Tensor, stride: int = 1, padding: int | None = None) -> Tensor:
    """A 2-d convolution; it keeps the size (at stride 1) unless `padding` says otherwise."""
    weight = state[f"{name}.weight"]
    width = weight.shape[-1] // 2 if padding is None else padding
    return F.conv2d(x, weight, state[f"{name}.bias"], stride=stride, padding=width)


def _conv1d(state: State, name: str, x: Tensor, stride: int = 1) -> Tensor:
    weight = state[f"{name}.weight"]
    return F.conv1d(x, weight, state[f"{name}.bias"], stride=stride, padding=weight.shape[-1] // 2)


def _group_norm(state: State, name: str, x: Tensor, groups: int, eps: float) -> Tensor:
    return F.group_norm(x, groups, state[f"{name}.weight"], state[f"{name}.bias"], eps)


def _layer_norm(state: State, name: str, x: Tensor) -> Tensor:
    return F.layer_norm(x, x.shape[-1:], state[f"{name}.weight"], state[f"{name}.bias"], EPS_LAYER)


def _double(x: Tensor) -> Tensor:
    """(b, c, h, w) -> (b, c, 2h, 2w), each value repeated."""
    return x.repeat_interleave(2, 2).repeat_interleave(2, 3)


def _time(state: State, step: Tensor, dtype: torch.dtype) -> Tensor:
    """Time steps (b,) -> (b, e): sinusoids, cosines first, then two layers. Section 3."""
    half = state[f"{UNET}.time_embed.0.weight"].shape[1] // 2
    exponents = torch.arange(half, dtype=dtype, device=step.device) / half
    angles = step.to(dtype)[:, None] * torch.exp(-math.log(LONGEST_PERIOD) * exponents)
    waves = torch.cat((angles.cos(), angles.sin()), 1)
    return _linear(state, f"{UNET}.time_embed.2", F.silu(_linear(state, f"{UNET}.time_embed.0", waves)))


def _block(state: State, block: str, x: Tensor, given: _Given) -> Tensor:
    """Run a numbered UNet block's modules, each told by the tensors it has. Section 3."""
    for name in _children(state, block):
        if _has(state, f"{name}.in_layers.0"):
            x = _residual(state, name, x, given)
        elif _has(state, f"{name}.norm"):
            x = _transformer(state, name, x, given)
        elif _has(state, f"{name}.op"):
            x = _conv(state, f"{name}.op", x, stride=2)
        elif _has(state, f"{name}.conv"):
            x = _conv(state, f"{name}.conv", _double(x))
        else:
            x = _conv(state, name, x)
    return x


def _residual(state: State, name: str, x: Tensor, given: _Given) -> Tensor:
    """R(a->b): (b, a, h, w) -> (b, b, h, w), the time step added between its convolutions. Section 3."""
    h = F.silu(_group_norm(state, f"{name}.in_layers.0", x, given.groups, EPS_RESIDUAL))
    h = _conv(state, f"{name}.in_layers.2", h)
    h = h + _linear(state, f"{name}.emb_layers.1", F.silu(given.time))[:, :, None, None]
    h = F.silu(_group_norm(state, f"{name}.out_layers.0", h, given.groups, EPS_RESIDUAL))
    h = _conv(state, f"{name}.out_layers.3", h)
    skip = f"{name}.skip_connection"
    return h + (_conv(state, skip, x) if _has(state, skip) else x)


def _transformer(state: State, name: str, x: Tensor, given: _Given) -> Tensor:
    """T(c): (b, c, h, w) -> the same shape, its positions being the tokens. Section 3."""
    h = _group_norm(state, f"{name}.norm", x, given.groups, EPS_TRANSFORMER)
    tokens = _conv(state, f"{name}.proj_in", h).flatten(2).transpose(1, 2)
    for block in _children(state, f"{name}.transformer_blocks"):
        own = _layer_norm(state, f"{block}.norm1", tokens)
        tokens = tokens + _attention(state, f"{block}.attn1", own, own, given.head_width)
        own = _layer_norm(state, f"{block}.norm2", tokens)
        tokens = tokens + _attention(state, f"{block}.attn2", own, given.context, given.head_width)
        tokens = tokens + _feed_forward(state, f"{block}.ff", _layer_norm(state, f"{block}.norm3", tokens))
    return x + _conv(state, f"{name}.proj_out", tokens.transpose(1, 2).reshape(x.shape))


def _attention(state: State, name: str, queries: Tensor, source: Tensor, head_width: int) -> Tensor:
    """Queries (b, n, c) look at source (b, m, d) -> (b, n, c); the heads are adjacent runs of channels. Section 3."""

    def heads(part: str, tokens: Tensor) -> Tensor:
        projected = _linear(state, f"{name}.{part}", tokens)
        return projected.reshape(*projected.shape[:2], -1, head_width).transpose(1, 2)

    scores = heads("to_q", queries) @ heads("to_k", source).transpose(2, 3) / math.sqrt(head_width)
    mixed = scores.softmax(3) @ heads("to_v", source)
    return _linear(state, f"{name}.to_out.0", mixed.transpose(1, 2).flatten(2))


def _feed_forward(state: State, name: str, tokens: Tensor) -> Tensor:
    """GEGLU: the projection's first half times the GELU of its second, then back to (b, n, c). Section 3."""
    value, gate = _linear(state, f"{name}.net.0.proj", tokens).chunk(2, 2)
    return _linear(state, f"{name}.net.2", value * F.gelu(gate))


def _linears(state: State, prefix: str, x: Tensor) -> Tensor:
    """Linear layers with LeakyReLU between them, none after the last. Section 5."""
    first, *rest = _children(state, prefix)
    x = _linear(state, first, x)
    for name in rest:
        x = _linear(state, name, F.leaky_relu(x, LEAK))
    return x


def _smooth(state: State, frames: Tensor) -> Tensor:
    """AudioAttNet: (b, 8, 64) -> (b, 64), a weighted sum over the frames; the first 32 channels weigh. Section 5."""
    convolutions = _children(state, f"{AUDIO_SMOOTH}.attentionConvNet")
    channels = state[f"{convolutions[0]}.weight"].shape[1]
    y = frames[:, :, :channels].transpose(1, 2)
    for name in convolutions:
        y = F.leaky_relu(_conv1d(state, name, y), LEAK)
    weights = _linear(state, f"{AUDIO_SMOOTH}.attentionNet.0", y[:, 0]).softmax(1)
    return (weights[:, :, None] * frames).sum(1)


def _vae_residual(state: State, name: str, x: Tensor, groups: int) -> Tensor:
    """(b, a, h, w) -> (b, b, h, w), no time step. Section 4."""
    h = _conv(state, f"{name}.conv1", F.silu(_group_norm(state, f"{name}.norm1", x, groups, EPS_FIRST_STAGE)))
    h = _conv(state, f"{name}.conv2", F.silu(_group_norm(state, f"{name}.norm2", h, groups, EPS_FIRST_STAGE)))
    shortcut = f"{name}.nin_shortcut"
    return h + (_conv(state, shortcut, x) if _has(state, shortcut) else x)


def _vae_attention(state: State, name: str, x: Tensor, groups: int) -> Tensor:
    """(b, c, h, w) -> the same shape: one head of width c over all positions, residual. Section 4."""
    h = _group_norm(state, f"{name}.norm", x, groups, EPS_FIRST_STAGE)
    q, k, v = (_conv(state, f"{name}.{part}", h).flatten(2) for part in "qkv")
    weights = (q.transpose(1, 2) @ k / math.sqrt(x.shape[1])).softmax(2)
    return x + _conv(state, f"{name}.proj_out", (v @ weights.transpose(1, 2)).reshape(x.shape))


def _vae_middle(state: State, coder: str, x: Tensor, groups: int) -> Tensor:
    """The middle of the encoder or decoder: residual, attention, residual. Section 4."""
    x = _vae_residual(state, f"{coder}.mid.block_1", x, groups)
    x = _vae_attention(state, f"{coder}.mid.attn_1", x, groups)
    return _vae_residual(state, f"{coder}.mid.block_2", x, groups)


def _vae_end(state: State, coder: str, x: Tensor, groups: int) -> Tensor:
    """The end of the encoder or decoder: norm, swish, convolution. Section 4."""
    h = F.silu(_group_norm(state, f"{coder}.norm_out", x, groups, EPS_FIRST_STAGE))
    return _conv(state, f"{coder}.conv_out", h)


def _snap(state: State, latent: Tensor) -> Tensor:
    """Each position of (b, d, h, w) becomes the nearest entry of the codebook (n, d), Euclidean. Section 4."""
    codes = state[f"{FIRST_STAGE}.quantize.embedding.weight"]
    positions = latent.movedim(1, 3)
    distances = torch.cdist(positions.flatten(0, 2), codes, compute_mode="donot_use_mm_for_euclid_dist")
    return codes[distances.argmin(1)].view(positions.shape).movedim(3, 1)
