"""The paper's tables on a drawn clip with tiny graphs."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from difftalk.data.clip import Clip
from difftalk.data.sample import Sample
from difftalk.errors import InputError
from difftalk.evaluation.protocols.bench import Bench
from difftalk.evaluation.protocols.tables import OWN_ROWS, PUBLISHED_ROWS, TABLES, ablation, comparison
from difftalk.evaluation.report.glossary import ABOUT, METRICS, RANKED, SYSTEMS
from difftalk.graphs import LEFT_OUT
from difftalk.model import Model
from difftalk.render.published_renderer import LEFT_OUT as PUBLISHED_LEFT_OUT

COLUMNS = {"crop_psnr", "crop_ssim", "crop_lpips"}


def test_ablation(sample: Sample, denoiser_model: Model) -> None:
    found = ablation(Clip.of(sample, denoiser_model.geometry), Bench(denoiser_model, 0.8))
    assert list(found.figures) == ["truth", *OWN_ROWS]
    for row in OWN_ROWS:
        assert set(found.figures[row]) >= COLUMNS
        assert all(np.isfinite(found.figures[row][column]) for column in COLUMNS)
    assert found.figures["ours"] != found.figures["audio alone"]


def test_comparison(sample: Sample, denoiser_model: Model) -> None:
    other = dataclasses.replace(denoiser_model, settings=dataclasses.replace(denoiser_model.settings, motion="linear"))
    found = comparison(Clip.of(sample, denoiser_model.geometry), Bench(denoiser_model, 0.8), shipped=other)
    assert set(found.figures) == {"truth", "held", "ours", "shipped", "painter"}
    assert set(found.figures["held"]) >= COLUMNS


def test_rows_are_of_what_can_be_left_out_and_explained() -> None:
    assert {name for row in PUBLISHED_ROWS.values() for name in row} <= set(PUBLISHED_LEFT_OUT)
    assert {name for row in OWN_ROWS.values() for name in row} <= set(LEFT_OUT)
    assert {*PUBLISHED_ROWS, *OWN_ROWS, "shipped"} <= set(SYSTEMS)
    assert set(TABLES) <= set(ABOUT)
    assert set(TABLES) <= set(RANKED)
    assert set(METRICS) >= COLUMNS


def test_another_tool_has_no_table(sample: Sample, denoiser_model: Model) -> None:
    with pytest.raises(InputError, match="tables render by themselves"):
        ablation(Clip.of(sample, denoiser_model.geometry), Bench(denoiser_model, 1.0, outputs=sample.folder))
