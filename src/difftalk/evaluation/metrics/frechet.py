"""FID and FVD: how far made faces are from true ones as a crowd, by a user's own copies of the usual networks.

    difftalk evaluate CLIPS -o report --inception inception-2015-12-05.pt --i3d i3d_torchscript.pt

Both are the TorchScript files of the literature: NVIDIA's Inception-v3 (Heusel et al. 2017; Karras et al. 2020) and
StyleGAN-V's I3D (Unterthiner et al. 2018, Skorokhodov et al. 2022). They do not come with the package. With few frames
both distances are biased upwards: compare only figures of the same clips.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from difftalk.arrays import Image
from difftalk.errors import DataError
from difftalk.evaluation.metrics.take import Performance

Features = dict[str, NDArray[np.float32]]  # fid: (frames, d), fvd: (stretches, d)

FRAME_STRIDE: Final = 5  # every so many frames for FID
STRETCH: Final = 16  # frames of FVD's stretches, half of them shared by neighbours
STRETCH_STRIDE: Final = 8
VIDEO_SIZE: Final = 224  # px, what I3D sees
BATCH: Final = 8


@dataclass(frozen=True)
class CrowdNets:
    """The networks that a user gave; either may be missing."""

    inception: Any = None
    i3d: Any = None

    @classmethod
    def load(cls, inception: Path | None, i3d: Path | None) -> CrowdNets:
        """Raises DataError on anything but TorchScript."""
        return cls(*(None if path is None else _scripted(path) for path in (inception, i3d)))

    def features(self, performance: Performance) -> Features:
        """Of the aligned crops, 256 x 256. What a missing network would say is missing."""
        frames, out = performance.frames, Features()
        if self.inception is not None:
            chosen = frames[::FRAME_STRIDE]
            out["fid"] = _seen([self._still(chosen[i : i + BATCH]) for i in range(0, len(chosen), BATCH)])
        if self.i3d is not None and len(frames) >= STRETCH:
            starts = range(0, len(frames) - STRETCH + 1, STRETCH_STRIDE)
            out["fvd"] = _seen([self._moving(frames[i : i + STRETCH]) for i in starts])
        return out

    def _still(self, frames: Sequence[Image]) -> Tensor:
        pictures = torch.from_numpy(np.stack(frames)).permute(0, 3, 1, 2).contiguous()
        with torch.inference_mode():
            out: Tensor = self.inception(pictures, return_features=True)
        return out

    def _moving(self, frames: Sequence[Image]) -> Tensor:
        pictures = torch.from_numpy(np.stack(frames)).permute(0, 3, 1, 2).float() / 127.5 - 1
        size = (VIDEO_SIZE, VIDEO_SIZE)
        small = F.interpolate(pictures, size, mode="bilinear", align_corners=False, antialias=True)
        with torch.inference_mode():
            out: Tensor = self.i3d(small.transpose(0, 1)[None], rescale=False, resize=False, return_features=True)
        return out


def _scripted(path: Path) -> Any:
    try:
        return torch.jit.load(str(path), map_location="cpu").eval()  # type: ignore[no-untyped-call]
    except (RuntimeError, ValueError, OSError) as error:
        raise DataError(
            f"{path} is not a TorchScript file ({type(error).__name__}); give inception-2015-12-05.pt as `inception`, "
            "i3d_torchscript.pt as `i3d`"
        ) from None


def _seen(pieces: Sequence[Tensor]) -> NDArray[np.float32]:
    return torch.cat([piece.flatten(1) for piece in pieces]).float().numpy()


def frechet(a: NDArray[np.floating], b: NDArray[np.floating]) -> float:
    """Squared Fréchet distance of two crowds (n, d), (m, d), taken as Gaussians (Dowson & Landau 1982).

    trace((A B)^1/2) is the sum of the singular values of the product of the centred crowds: no (d, d) root is taken.
    """
    (mean_a, wide_a), (mean_b, wide_b) = (_gaussian(crowd) for crowd in (a, b))
    shared = np.linalg.svd(wide_a @ wide_b.T, compute_uv=False).sum()
    spread = (wide_a**2).sum() + (wide_b**2).sum() - 2 * shared
    return float(((mean_a - mean_b) ** 2).sum() + max(0.0, float(spread)))


def _gaussian(crowd: NDArray[np.floating]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Mean, and the centred rows scaled so that their product with themselves is the covariance."""
    values = crowd.astype(np.float64)
    mean = values.mean(0)
    return mean, (values - mean) / np.sqrt(max(1, len(values) - 1))


def crowd_figures(clips: Sequence[Mapping[str, Features]]) -> dict[str, dict[str, float]]:
    """By clip and system -> by system and metric: all clips' crowds together against the truth's."""
    out: dict[str, dict[str, float]] = {}
    for system in {system: None for clip in clips for system in clip if system != "truth"}:
        for metric in ("fid", "fvd"):
            pairs = [
                (clip["truth"][metric], clip[system][metric])
                for clip in clips
                if metric in clip.get("truth", {}) and metric in clip.get(system, {})
            ]
            if pairs:
                true, made = (np.concatenate(side) for side in zip(*pairs, strict=True))
                out.setdefault(system, {})[metric] = frechet(true, made)
    return out
