"""Looks: what OpenCV makes of the same parameters; points go where pictures go; mirrored twice is nothing."""

from __future__ import annotations

import dataclasses

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from difftalk.face.mouth import COMPONENTS
from difftalk.face.space import EYE_DISTANCE, REGION_SIZE
from difftalk.model import Model
from difftalk.nets.sizes import LANDMARKS
from difftalk.training.batches import RenderBatch
from difftalk.training.look import ORIGIN, Look, Mirror, similarity

CPU = torch.device("cpu")
COUNT = 6


def smooth(count: int, channels: int, seed: int) -> Tensor:
    """(count, channels, 144, 176) in [-1, 1], with details of about 8 px."""
    coarse = torch.rand(count, channels, 18, 22, generator=torch.Generator().manual_seed(seed)) * 2 - 1
    return torch.nn.functional.interpolate(coarse, size=REGION_SIZE, mode="bicubic").clamp(-1, 1)


def drawn_batch() -> RenderBatch:
    inner, coverage = smooth(COUNT, 2, 1).abs().split([1, 1], 1)  # type: ignore[no-untyped-call]
    ones = torch.ones(COUNT)
    return RenderBatch(
        target=smooth(COUNT, 3, 2),
        composite=torch.cat([smooth(COUNT, 3, 3), inner, coverage], 1),
        reference=smooth(COUNT, 3, 4),
        previous=smooth(COUNT, 3, 5),
        has_previous=ones,
        audio=torch.rand(COUNT, 2, 3),
        landmarks=torch.rand(COUNT, LANDMARKS, 2),
        shape=torch.randn(COUNT, COMPONENTS),
        weight=ones,
    )


def plain(*, mirrored: bool) -> Look:
    """No change of colours or place."""
    none = np.zeros(COUNT)
    move = similarity(none, none + 1, np.zeros((COUNT, 2)))
    return Look.of(np.ones((COUNT, 3)), np.zeros((COUNT, 3)), move, np.full(COUNT, mirrored))


def warped(layers: Tensor, look: Look, i: int) -> NDArray[np.float32]:
    """OpenCV's picture of sample i."""
    size, edge, move = REGION_SIZE[::-1], cv2.BORDER_REFLECT_101, look.move[i].numpy()
    out = np.stack([cv2.warpAffine(layer.numpy(), move, size, borderMode=edge) for layer in layers[i]])
    return np.asarray(out[..., ::-1] if look.mirrored[i] else out, np.float32)


def test_pictures_are_those_that_opencv_makes(model: Model) -> None:
    batch, look = drawn_batch(), Look.random(np.random.default_rng(0), COUNT)
    assert 0 < int(look.mirrored.sum()) < COUNT
    seen = look.batch(batch, Mirror.of(model.geometry, CPU))
    gain, shift = look.gain[:, :, None, None], look.shift[:, :, None, None]
    known = 1 - batch.composite[:, 3:4] * (1 - batch.composite[:, 4:5])
    composite = torch.cat([(batch.composite[:, :3] * gain + shift * known).clamp(-1, 1), batch.composite[:, 3:]], 1)
    expected = {
        "target": (batch.target * gain + shift).clamp(-1, 1),
        "reference": (batch.reference * gain + shift).clamp(-1, 1),
        "previous": (batch.previous * gain + shift).clamp(-1, 1),
        "composite": composite,
    }
    for name, layers in expected.items():
        for i in range(COUNT):
            # OpenCV rounds places to 1/32 px
            np.testing.assert_allclose(getattr(seen, name)[i].numpy(), warped(layers, look, i), atol=0.03)
    assert torch.equal(seen.audio, batch.audio)


def test_no_change_is_none_and_mirrored_is_mirrored(model: Model) -> None:
    batch, mirror = drawn_batch(), Mirror.of(model.geometry, CPU)
    same, other = (plain(mirrored=mirrored).batch(batch, mirror) for mirrored in (False, True))
    for name in ("target", "composite", "landmarks", "shape"):
        torch.testing.assert_close(getattr(same, name), getattr(batch, name), atol=1e-4, rtol=0)
    torch.testing.assert_close(other.target, batch.target.flip(3), atol=1e-4, rtol=0)
    torch.testing.assert_close(other.landmarks[:, mirror.upper, 1], batch.landmarks[..., 1], atol=1e-5, rtol=0)
    torch.testing.assert_close(-other.landmarks[:, mirror.upper, 0], batch.landmarks[..., 0], atol=1e-5, rtol=0)


def test_mirroring_twice_is_nothing(model: Model) -> None:
    mirror = Mirror.of(model.geometry, CPU)
    assert torch.equal(mirror.upper[mirror.upper], torch.arange(len(mirror.upper)))
    shape = torch.randn(COMPONENTS, generator=torch.Generator().manual_seed(0))
    twice = shape @ mirror.shape @ mirror.shape
    torch.testing.assert_close(twice[:8], shape[:8], atol=0.15, rtol=0)  # the last lean on components that were cut off


def test_points_go_where_the_picture_goes() -> None:
    """A bright spot, in eye distances: found again where `points` says."""
    spot = torch.tensor([0.3, 1.4]).expand(COUNT, 1, 2)
    x, y = (0.3 * EYE_DISTANCE + ORIGIN[0], 1.4 * EYE_DISTANCE + ORIGIN[1])
    rows, columns = torch.meshgrid(*(torch.arange(float(size)) for size in REGION_SIZE), indexing="ij")
    picture = torch.exp(-((rows - y) ** 2 + (columns - x) ** 2) / 18).expand(COUNT, 1, -1, -1)
    look = Look.random(np.random.default_rng(3), COUNT)
    look = dataclasses.replace(look, mirrored=torch.zeros(COUNT))
    weight = look.placed(picture)[:, 0]
    found = torch.stack([(weight * place).sum((1, 2)) / weight.sum((1, 2)) for place in (columns, rows)], 1)
    expected = look.points(spot)[:, 0] * EYE_DISTANCE + torch.tensor(ORIGIN)
    assert (expected - torch.tensor([x, y])).abs().max() > 1
    torch.testing.assert_close(found, expected, atol=0.2, rtol=0)
