"""Fréchet distance against its closed form, and a user's networks from file to report."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from difftalk.errors import DataError
from difftalk.evaluation.metrics.frechet import CrowdNets, crowd_figures, frechet
from difftalk.evaluation.metrics.take import Performance


class Stills(nn.Module):
    """Stands for Inception: the mean colour."""

    def forward(self, pictures: Tensor, return_features: bool = False) -> Tensor:
        assert pictures.dtype == torch.uint8
        return pictures.float().mean((2, 3))


class Videos(nn.Module):
    """Stands for I3D: the mean of each frame."""

    def forward(
        self, videos: Tensor, rescale: bool = True, resize: bool = True, return_features: bool = False
    ) -> Tensor:
        assert not rescale
        assert not resize
        assert videos.shape[1:] == (3, 16, 224, 224)
        return videos.mean((1, 3, 4))


@pytest.fixture
def files(tmp_path: Path) -> tuple[Path, Path]:
    paths = tmp_path / "inception.pt", tmp_path / "i3d.pt"
    for path, net in zip(paths, (Stills(), Videos()), strict=True):
        torch.jit.script(net).save(str(path))  # type: ignore[no-untyped-call]
    return paths


def performance(level: int, count: int = 26) -> Performance:
    rng = np.random.default_rng(level)
    frames = [np.full((256, 256, 3), level + rng.integers(20), np.uint8) for _ in range(count)]
    return Performance(frames, np.zeros((count, 478, 3), np.float32))


def test_the_distance_is_the_closed_form() -> None:
    rng = np.random.default_rng(0)
    a, b = rng.standard_normal((400, 5)) @ rng.standard_normal((5, 5)), 2 + rng.standard_normal((300, 5))
    (ca, cb), means = (np.cov(x.T) for x in (a, b)), ((a.mean(0) - b.mean(0)) ** 2).sum()
    values = np.linalg.eigvals(ca @ cb)
    wanted = means + np.trace(ca) + np.trace(cb) - 2 * np.sqrt(np.abs(values.real)).sum()
    assert frechet(a, b) == pytest.approx(wanted, rel=1e-6)
    assert frechet(a, a) == pytest.approx(0, abs=1e-6)
    few, many = rng.standard_normal((4, 50)), rng.standard_normal((6, 50))  # fewer rows than columns
    assert np.isfinite(frechet(few, many))


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_crowds_that_are_alike_are_near(files: tuple[Path, Path]) -> None:
    nets = CrowdNets.load(*files)
    true, near, far = (nets.features(performance(level)) for level in (100, 104, 180))
    assert (true["fid"].shape, true["fvd"].shape) == ((6, 3), (2, 16))
    figures = crowd_figures([{"truth": true, "ours": near, "held": far}])
    assert set(figures) == {"ours", "held"}
    for metric in ("fid", "fvd"):
        assert 0 < figures["ours"][metric] < figures["held"][metric]


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_what_is_not_given_is_not_measured(files: tuple[Path, Path]) -> None:
    assert CrowdNets().features(performance(9)) == {}
    assert set(CrowdNets.load(files[0], None).features(performance(9))) == {"fid"}
    assert set(CrowdNets.load(*files).features(performance(9, count=9))) == {"fid"}  # too short a clip for stretches


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_another_file_is_refused_in_a_line(tmp_path: Path) -> None:
    wrong = tmp_path / "weights.pt"
    torch.save({"a": torch.ones(1)}, wrong)
    for path in (wrong, tmp_path / "none.pt"):
        with pytest.raises(DataError, match="TorchScript"):
            CrowdNets.load(None, path)
