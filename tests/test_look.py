"""Looks: what OpenCV makes of the same parameters; points go where pictures go; mirrored twice is nothing."""

from __future__ import annotations

import dataclasses

import cv2
import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor

from difftalk.face.mouth import COMPONENTS
from difftalk.face.space import CLOSE, EYE_DISTANCE, PATCH_SIZE
from difftalk.model import Model
from difftalk.nets.sizes import FOLDS_SIZE, LANDMARKS
from difftalk.render.renderer import LEAST_SHARP
from difftalk.training.batches import RenderBatch
from difftalk.training.look import DETAIL, REGION_SHARE, Look, Mirror, turned

CPU = torch.device("cpu")
COUNT = 6
MOUTHS = ("target", "reference", "previous", "composite")
REGIONS = ("skin", "warped")


def smooth(count: int, channels: int, seed: int, size: tuple[int, int] = PATCH_SIZE) -> Tensor:
    """(count, channels, h, w) in [-1, 1], with details of about 8 px."""
    coarse = (size[0] // 8, size[1] // 8)
    noise = torch.rand(count, channels, *coarse, generator=torch.Generator().manual_seed(seed)) * 2 - 1
    return torch.nn.functional.interpolate(noise, size=size, mode="bicubic").clamp(-1, 1)


def layers_of(seed: int, size: tuple[int, int] = PATCH_SIZE) -> Tensor:
    """Composites (COUNT, 5, h, w)."""
    return torch.cat([smooth(COUNT, 3, seed, size), smooth(COUNT, 2, seed + 1, size).abs()], 1)


def drawn_batch() -> RenderBatch:
    ones = torch.ones(COUNT)
    return RenderBatch(
        target=smooth(COUNT, 3, 2),
        composite=layers_of(3),
        reference=smooth(COUNT, 3, 5),
        previous=smooth(COUNT, 3, 6),
        skin=smooth(COUNT, 3, 7, FOLDS_SIZE),
        warped=layers_of(8, FOLDS_SIZE),
        has_previous=ones,
        audio=torch.rand(COUNT, 2, 3),
        landmarks=torch.rand(COUNT, LANDMARKS, 2),
        shape=torch.randn(COUNT, COMPONENTS),
        sharpness=torch.stack([torch.linspace(-2.5, 0, COUNT), ones], 1),
        weight=torch.linspace(0.2, 1, COUNT),
    )


def plain(*, mirrored: bool, blurred: bool = False, detail: float = 0.5) -> Look:
    """No change of colours or place."""
    none = np.zeros(COUNT)
    gain, shift, slide = np.ones((COUNT, 3)), np.zeros((COUNT, 3)), np.zeros((COUNT, 2))
    mirrors, blurs = np.full(COUNT, mirrored), np.full(COUNT, blurred)
    return Look.of(gain, shift, turned(none, none + 1), slide, mirrors, blurs, detail)


def sharp(look: Look) -> Look:
    return dataclasses.replace(look, blurred=torch.zeros(COUNT))


def warped(layers: Tensor, look: Look, i: int, share: float) -> NDArray[np.float32]:
    """OpenCV's picture of sample i; share: its px for one of the patch."""
    edge, size = cv2.BORDER_REFLECT_101, layers.shape[:1:-1]
    middle, turn = (np.array(size) - 1) / 2, look.move[i].numpy()
    move = np.concatenate([turn, (middle + share * look.slide[i].numpy() - turn @ middle)[:, None]], 1)
    out = np.stack([cv2.warpAffine(layer.numpy(), move, size, borderMode=edge) for layer in layers[i]])
    return np.asarray(out[..., ::-1] if look.mirrored[i] else out, np.float32)


def coloured(composite: Tensor, gain: Tensor, shift: Tensor) -> Tensor:
    known = 1 - composite[:, 3:4] * (1 - composite[:, 4:5])
    return torch.cat([(composite[:, :3] * gain + shift * known).clamp(-1, 1), composite[:, 3:]], 1)


def test_pictures_are_those_that_opencv_makes(model: Model) -> None:
    batch, look = drawn_batch(), sharp(Look.random(np.random.default_rng(0), COUNT))
    assert 0 < int(look.mirrored.sum()) < COUNT
    assert 0 < int((look.slide.abs().sum(1) > 0).sum()) < COUNT
    seen = look.batch(batch, Mirror.of(model.geometry, CPU))
    gain, shift = look.gain[:, :, None, None], look.shift[:, :, None, None]
    for name in (*MOUTHS, *REGIONS):
        given = getattr(batch, name)
        layers = coloured(given, gain, shift) if given.shape[1] == 5 else (given * gain + shift).clamp(-1, 1)
        for i in range(COUNT):
            expected = warped(layers, look, i, REGION_SHARE if name in REGIONS else 1.0)
            # OpenCV rounds places to 1/32 px
            np.testing.assert_allclose(getattr(seen, name)[i].numpy(), expected, atol=0.03, err_msg=name)
    for name in ("audio", "has_previous", "weight"):
        assert torch.equal(getattr(seen, name), getattr(batch, name))


def test_no_change_is_none_and_mirrored_is_mirrored(model: Model) -> None:
    batch, mirror = drawn_batch(), Mirror.of(model.geometry, CPU)
    same, other = (plain(mirrored=mirrored).batch(batch, mirror) for mirrored in (False, True))
    for name in (*MOUTHS, *REGIONS, "landmarks", "shape"):
        torch.testing.assert_close(getattr(same, name), getattr(batch, name), atol=1e-4, rtol=0)
    assert torch.equal(same.sharpness[:, 0], batch.sharpness[:, 0])
    assert torch.equal(same.weight, batch.weight)
    for name in (*MOUTHS, *REGIONS):
        torch.testing.assert_close(getattr(other, name), getattr(batch, name).flip(3), atol=1e-4, rtol=0)
    torch.testing.assert_close(other.landmarks[:, mirror.upper, 1], batch.landmarks[..., 1], atol=1e-5, rtol=0)
    torch.testing.assert_close(-other.landmarks[:, mirror.upper, 0], batch.landmarks[..., 0], atol=1e-5, rtol=0)


def test_mirroring_twice_is_nothing(model: Model) -> None:
    mirror = Mirror.of(model.geometry, CPU)
    assert torch.equal(mirror.upper[mirror.upper], torch.arange(len(mirror.upper)))
    shape = torch.randn(COMPONENTS, generator=torch.Generator().manual_seed(0))
    twice = shape @ mirror.shape @ mirror.shape
    torch.testing.assert_close(twice[:8], shape[:8], atol=0.15, rtol=0)  # the last lean on components that were cut off


@pytest.mark.parametrize(("size", "share"), [(PATCH_SIZE, 1.0), (FOLDS_SIZE, REGION_SHARE)])
def test_points_go_where_the_picture_goes(model: Model, size: tuple[int, int], share: float) -> None:
    """Two bright spots: what lies between them, in eye distances, turns as landmarks do; and their middle slides."""
    unit = share * CLOSE * EYE_DISTANCE  # px of an eye distance
    apart, middle = torch.tensor([0.2, 0.1]), (torch.tensor(size[::-1]) - 1) / 2
    rows, columns = torch.meshgrid(*(torch.arange(float(side)) for side in size), indexing="ij")
    look = dataclasses.replace(Look.random(np.random.default_rng(3), COUNT), mirrored=torch.zeros(COUNT))

    def found(at: Tensor) -> Tensor:
        spread = 2 * (3 * unit / 64) ** 2
        picture = torch.exp(-((rows - at[1]) ** 2 + (columns - at[0]) ** 2) / spread).expand(COUNT, 1, -1, -1)
        weight = look.placed(picture, share)[:, 0]
        return torch.stack([(weight * place).sum((1, 2)) / weight.sum((1, 2)) for place in (columns, rows)], 1)

    one, other = (found(middle + sign * unit * apart) for sign in (-0.5, 0.5))
    batch = dataclasses.replace(drawn_batch(), landmarks=apart.expand(COUNT, LANDMARKS, 2))
    expected = look.batch(batch, Mirror.of(model.geometry, CPU)).landmarks[:, 0]
    assert (expected - apart).abs().max() > 0.005
    torch.testing.assert_close((other - one) / unit, expected, atol=0.002, rtol=0)
    torch.testing.assert_close((one + other) / 2 - middle, share * look.slide, atol=0.05, rtol=0)
    assert look.slide.abs().max() > 1


@pytest.mark.parametrize("detail", [0.35, 0.5, 0.9])
def test_a_smaller_picture_is_told_and_counts_less(model: Model, detail: float) -> None:
    """Mouths lose what a picture of so many pixels lacks, nothing else changes; said are the halvings of it."""
    batch, mirror = drawn_batch(), Mirror.of(model.geometry, CPU)
    rng = torch.Generator().manual_seed(0)
    fine = {name: torch.rand(COUNT, 3, *PATCH_SIZE, generator=rng) * 2 - 1 for name in ("target", "reference")}
    batch = dataclasses.replace(batch, **fine)
    look = plain(mirrored=False, blurred=True, detail=detail)
    look = dataclasses.replace(look, blurred=torch.tensor([1.0, 0, 1, 1, 0, 1]))
    seen, as_it_was = look.batch(batch, mirror), look.blurred == 0
    lost = -np.log2(detail)
    expected = (batch.sharpness[:, 0] - lost).clamp_min(-LEAST_SHARP)
    torch.testing.assert_close(seen.sharpness[:, 0], torch.where(as_it_was, batch.sharpness[:, 0], expected))
    torch.testing.assert_close(seen.weight, torch.where(as_it_was, batch.weight, batch.weight * detail))
    whole = plain(mirrored=False).batch(batch, mirror)
    assert (seen.sharpness[:, 1] < 0.9 * whole.sharpness[:, 1])[~as_it_was].all()
    for name in MOUTHS:
        assert torch.equal(getattr(seen, name)[as_it_was], getattr(whole, name)[as_it_was])
    torch.testing.assert_close(seen.target.mean((2, 3)), whole.target.mean((2, 3)), atol=0.01, rtol=0)
    slope = [p.target.diff(dim=3).abs().mean((1, 2, 3))[~as_it_was] for p in (seen, whole)]
    assert (slope[0] < 0.8 * slope[1]).all()
    torch.testing.assert_close(seen.composite[:, 3:], whole.composite[:, 3:])  # masks stay sharp
    for name in (*REGIONS, "landmarks", "shape", "audio"):
        assert torch.equal(getattr(seen, name), getattr(whole, name))


def test_some_looks_are_of_smaller_pictures() -> None:
    looks = [Look.random(np.random.default_rng(seed), 64) for seed in range(8)]
    shares = [float(look.blurred.mean()) for look in looks]
    assert 0.15 < np.mean(shares) < 0.35
    assert all(DETAIL[0] <= look.detail <= DETAIL[1] for look in looks)
    assert len({look.detail for look in looks}) == 8
