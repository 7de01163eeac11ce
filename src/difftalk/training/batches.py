"""Batches: what a data source gives and a loss takes. Also the fake source of the recipe `debug`."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields
from typing import Final, Protocol, TypeVar

import torch
from torch import Tensor
from typing_extensions import Self

from difftalk.face.mouth import COMPONENTS
from difftalk.face.space import PATCH_SIZE
from difftalk.graphs import WINDOW_STEPS, WINDOWS
from difftalk.nets.sizes import AUDIO_SIZE, AUDIO_TOKENS, FOLDS_SIZE, LANDMARKS, SHARPNESS
from difftalk.render.published import CHARACTERS, EMPTY, SEEN
from difftalk.speech.features import BLOCK
from difftalk.speech.head_motion import KNOT_FRAMES, KNOT_SIZE, PAST_KNOTS, VOICE_FRAMES, VOICE_SIZE
from difftalk.speech.motion import FUTURE_FEATURES, PAST_FEATURES


@dataclass(frozen=True)
class Batch:
    """Tensors of as many samples, the first axis."""

    def to(self, device: torch.device) -> Self:
        """On the device, pictures channels last: convolutions in bf16 are half as fast again that way."""
        return type(self)(**{f.name: _placed(getattr(self, f.name), device) for f in fields(self)})

    def __len__(self) -> int:
        return len(getattr(self, fields(self)[0].name))

    def parts(self, count: int) -> list[Self]:
        """The batch in `count` pieces, or as many as it has samples."""
        pieces = {f.name: getattr(self, f.name).tensor_split(min(count, len(self))) for f in fields(self)}
        return [type(self)(**{name: piece[i] for name, piece in pieces.items()}) for i in range(min(count, len(self)))]


def _placed(value: Tensor, device: torch.device) -> Tensor:
    return value.to(device, memory_format=torch.channels_last if value.dim() == 4 else torch.preserve_format)


@dataclass(frozen=True)
class RenderBatch(Batch):
    """Pictures in [-1, 1], conditions as the nets take them; all float32, batch first.

    target, reference, previous: (b, 3, 128, 176), mouths in their patches. composite: (b, 5, 128, 176). skin: (b, 3,
    72, 88), the true region at half its size; warped: (b, 5, 72, 88) its composite. has_previous: (b,), 0 or 1. audio:
    (b, 20, 1152). landmarks: (b, n, 2). shape: (b, 16). sharpness: (b, 2), see `sharpness_of`. weight: (b,) in [0, 1],
    how much its texture counts.
    """

    target: Tensor
    composite: Tensor
    reference: Tensor
    previous: Tensor
    skin: Tensor
    warped: Tensor
    has_previous: Tensor
    audio: Tensor
    landmarks: Tensor
    shape: Tensor
    sharpness: Tensor
    weight: Tensor


@dataclass(frozen=True)
class MotionBatch(Batch):
    """features: (b, 2 t + 38, 1152), 30 before the first frame's own and 8 after the last's. shape: (b, t, 16).

    opening: (b, t) true inner-lip opening, eye distances. mask: (b, t), 1 where a frame counts. mean, spread: (b, 16)
    of the whole clip's shapes: how far and around what this person moves, which speech does not tell.
    """

    features: Tensor
    shape: Tensor
    opening: Tensor
    mask: Tensor
    mean: Tensor
    spread: Tensor

    @property
    def units(self) -> Tensor:
        """(b, t, 16): the shapes around their clip's mean, in its spreads."""
        return (self.shape - self.mean[:, None]) / self.spread[:, None]


@dataclass(frozen=True)
class HeadBatch(Batch):
    """Stretches of t knots of a head's way, after PAST_KNOTS others; see `speech.head_motion`.

    features: (b, 8 t + 38, 1152). voice: (b, 4 t + 12, 2). knots: (b, 10 + t, 14). mask: (b, t), 1 where a knot counts.
    """

    features: Tensor
    voice: Tensor
    knots: Tensor
    mask: Tensor


@dataclass(frozen=True)
class PaperBatch(Batch):
    """What the published nets see of a frame; all float32, batch first.

    picture, masked, reference: (b, 3, s, s) in [-1, 1], `masked` the picture without what is to be drawn.
    audio: (b, 8, 16, 29). landmarks: (b, 39, 2) px of the picture.
    """

    picture: Tensor
    masked: Tensor
    reference: Tensor
    audio: Tensor
    landmarks: Tensor


BatchT = TypeVar("BatchT", bound=Batch)
FITTED: Final = 10**6  # steps
FAKE_PAPER_SIZE: Final = 64  # px, of a picture of the published nets


class Source(Protocol):
    """Batches as a pure function of the step, so that a resumed training sees what an unbroken one would."""

    def batch(self, step: int) -> Batch: ...

    def validation(self) -> Sequence[Batch]: ...


def drawn(source: Source, batch: type[BatchT], count: int) -> list[BatchT]:
    """Batches of steps that no training comes to, for what is fitted before it."""
    made = (source.batch(FITTED + i) for i in range(count))
    return [one for one in made if isinstance(one, batch)]


class FakeSource:
    """Random batches of the right shapes: the recipe `debug`."""

    def __init__(self, kind: str, *, batch_size: int = 2, seed: int = 0) -> None:
        self._kind, self._batch_size, self._seed = kind, batch_size, seed

    def batch(self, step: int) -> Batch:
        random = torch.Generator().manual_seed(1000 * self._seed + step)
        n = self._batch_size

        def noise(*shape: int) -> Tensor:
            return torch.rand(n, *shape, generator=random) * 2 - 1

        if self._kind in ("motion", "sync"):
            frames = 12
            mask = torch.ones(n, frames)
            return MotionBatch(
                noise(2 * frames + PAST_FEATURES + FUTURE_FEATURES, AUDIO_SIZE),
                noise(frames, COMPONENTS),
                noise(frames),
                mask,
                torch.zeros(n, COMPONENTS),
                torch.ones(n, COMPONENTS),
            )
        if self._kind == "head":
            knots = 3
            voice = noise(VOICE_FRAMES + KNOT_FRAMES * (knots - 1), VOICE_SIZE).abs()
            features = noise(BLOCK * knots + PAST_FEATURES + FUTURE_FEATURES, AUDIO_SIZE)
            return HeadBatch(features, voice, noise(PAST_KNOTS + knots, KNOT_SIZE), torch.ones(n, knots))
        if self._kind == "paper":
            return _fake_paper(noise)
        target, composite, warped = noise(3, *PATCH_SIZE), noise(5, *PATCH_SIZE), noise(5, *FOLDS_SIZE)
        for layers in (composite, warped):
            layers[:, 3:] = layers[:, 3:].abs().round()
        pictures = target, composite, noise(3, *PATCH_SIZE), noise(3, *PATCH_SIZE), noise(3, *FOLDS_SIZE), warped
        conditions = noise(AUDIO_TOKENS, AUDIO_SIZE), noise(LANDMARKS, 2), noise(COMPONENTS), noise(SHARPNESS)
        return RenderBatch(*pictures, torch.ones(n), *conditions, torch.ones(n))

    def validation(self) -> list[Batch]:
        return [self.batch(-1)]


def _fake_paper(noise: Callable[..., Tensor]) -> PaperBatch:
    size = FAKE_PAPER_SIZE
    picture, reference = noise(3, size, size), noise(3, size, size)
    masked = picture.clone()
    masked[:, :, size // 2 :] = EMPTY
    landmarks = (noise(len(SEEN), 2) + 1) * (size / 2)
    return PaperBatch(picture, masked, reference, noise(WINDOWS, WINDOW_STEPS, CHARACTERS), landmarks)
