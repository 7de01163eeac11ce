"""The large protocol on a drawn clip with tiny graphs."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from difftalk.arrays import Image
from difftalk.data.clip import Clip
from difftalk.data.sample import Sample
from difftalk.errors import InputError
from difftalk.evaluation.protocols import teacher_large as protocol
from difftalk.evaluation.protocols.bench import Bench
from difftalk.evaluation.protocols.teacher_large import large
from difftalk.face.space import EYE_DISTANCE, Alignment
from difftalk.model import Model


def test_small_faces_are_left_out(sample: Sample, denoiser_model: Model) -> None:
    assert large(Clip.of(sample, denoiser_model.geometry), Bench(denoiser_model, 1.0)).figures == {}


def test_the_control_has_less_skin(sample: Sample, denoiser_model: Model) -> None:
    """Of a clip that is said to be large enough."""
    told = Sample(sample.folder, dataclasses.replace(sample.record, eye_distance=2 * EYE_DISTANCE))
    found = large(Clip.of(told, denoiser_model.geometry), Bench(denoiser_model, 0.8))
    assert set(found.figures) == {"ours", "small"}
    ours, small = found.figures["ours"], found.figures["small"]
    assert all(np.isfinite(value) for value in (*ours.values(), *small.values()))
    assert small["sharpness"] < 0.9 * ours["sharpness"]


def test_shrinking_keeps_the_crop(portrait: Image, alignment: Alignment) -> None:
    image, placed = protocol._shrunk(portrait, alignment, 0.5)
    assert image.shape == (128, 128, 3)
    difference = np.abs(placed.crop(image).astype(int) - alignment.crop(portrait)).mean()
    assert difference < 4


def test_another_tool_is_not_judged(sample: Sample, denoiser_model: Model) -> None:
    with pytest.raises(InputError, match="another tool"):
        large(Clip.of(sample, denoiser_model.geometry), Bench(denoiser_model, 1.0, outputs=sample.folder))
