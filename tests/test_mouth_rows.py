"""The mouth protocols on a drawn clip with tiny graphs."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from difftalk.data.clip import Clip
from difftalk.data.sample import Sample
from difftalk.errors import InputError
from difftalk.evaluation.metrics import patch as patches
from difftalk.evaluation.protocols.bench import Bench
from difftalk.evaluation.protocols.mouth import LEAST_EYES, mouth, mouth_patches, mouth_said, mouth_still
from difftalk.evaluation.report.glossary import METRICS, SYSTEMS
from difftalk.evaluation.report.report import PROTOCOLS
from difftalk.model import Model

SHOWN = {"inner_texture", "tint", "lightness"}
PAIRED = {"inner_lpips", "inner_early"}


@pytest.fixture
def large_clip(sample: Sample, denoiser_model: Model, monkeypatch: pytest.MonkeyPatch) -> Clip:
    """Said to be large enough; its mouth, nearly shut, is taken for open."""
    monkeypatch.setattr(patches, "OPEN", 0.0)
    monkeypatch.setattr(patches, "LEAST_AREA", 1)
    told = Sample(sample.folder, dataclasses.replace(sample.record, eye_distance=LEAST_EYES))
    return Clip.of(told, denoiser_model.geometry)


def test_small_faces_are_left_out(sample: Sample, denoiser_model: Model) -> None:
    small = Clip.of(sample, denoiser_model.geometry)
    for protocol in (mouth, mouth_said, mouth_still):
        assert protocol(small, Bench(denoiser_model, 1.0)).figures == {}
        assert PROTOCOLS[protocol.__name__] is protocol


def test_rows_of_the_true_mesh(large_clip: Clip, denoiser_model: Model) -> None:
    found = mouth(large_clip, Bench(denoiser_model, 0.8))
    assert list(found.figures) == ["truth", "held", "ours", "painter", "composite", "ceiling"]
    assert set(found.figures) <= set(SYSTEMS)
    assert all(set(row) == SHOWN | PAIRED <= set(METRICS) for row in found.figures.values())
    assert found.figures["truth"] == pytest.approx(
        dict.fromkeys(SHOWN | PAIRED, 0.0) | {"inner_texture": 1.0}, abs=1e-5
    )
    assert found.figures["ours"]["inner_lpips"] > 0.01
    assert found.figures["ours"] != found.figures["painter"] != found.figures["composite"]
    assert all(picture.shape == (112, 160, 3) for row in found.strips.values() for picture in row)


def test_rows_of_the_clips_own_words(large_clip: Clip, denoiser_model: Model) -> None:
    found = mouth_said(large_clip, Bench(denoiser_model, 0.8))
    assert set(found.figures["ours"]) == SHOWN | PAIRED
    assert np.isfinite(found.figures["ours"]["inner_lpips"])


def test_rows_of_a_still(large_clip: Clip, denoiser_model: Model) -> None:
    found = mouth_still(large_clip, Bench(denoiser_model, 0.8))
    assert set(found.figures) == {"truth", "ours"}
    assert set(found.figures["ours"]) == SHOWN


def test_without_a_denoiser_there_is_no_other_painter(large_clip: Clip, painter_model: Model) -> None:
    found = mouth_patches(large_clip, painter_model, np.array([0, 5]), true_mouth=True)
    assert set(found) == {"truth", "held", "ours", "composite"}


def test_another_tool_is_not_judged(sample: Sample, denoiser_model: Model) -> None:
    with pytest.raises(InputError, match="render by themselves"):
        mouth(Clip.of(sample, denoiser_model.geometry), Bench(denoiser_model, 1.0, outputs=sample.folder))
