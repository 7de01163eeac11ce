"""The conditions protocol on a drawn clip with tiny graphs."""

from __future__ import annotations

import numpy as np
import pytest

from difftalk.data.clip import Clip
from difftalk.data.sample import Sample
from difftalk.errors import InputError
from difftalk.evaluation.protocols.bench import Bench
from difftalk.evaluation.protocols.conditions import CHANGES, conditions
from difftalk.evaluation.report.glossary import SYSTEMS
from difftalk.graphs import LEFT_OUT
from difftalk.model import Model
from difftalk.nets.denoiser import CONDITIONS


def test_every_change_is_drawn_and_described(sample: Sample, denoiser_model: Model) -> None:
    found = conditions(Clip.of(sample, denoiser_model.geometry), Bench(denoiser_model, 1.0))
    assert set(found.figures) == set(CHANGES) <= set(SYSTEMS)
    assert list(found.strips) == ["truth", *CHANGES]
    assert found.figures["ours"]["change"] == 0
    for figures in found.figures.values():
        wanted = ("psnr", "lpips", "mouth_lpips", "change", "change_outside")
        assert all(np.isfinite(figures[name]) for name in wanted)
        assert figures["change_outside"] <= figures["change"]


def test_what_can_be_left_out_is_what_training_drops() -> None:
    assert tuple(LEFT_OUT) == CONDITIONS
    assert {name for change in CHANGES.values() for name in change.without} == set(CONDITIONS)


def test_another_tool_has_no_conditions(sample: Sample, denoiser_model: Model) -> None:
    clip = Clip.of(sample, denoiser_model.geometry)
    with pytest.raises(InputError, match="another tool"):
        conditions(clip, Bench(denoiser_model, 1.0, outputs=sample.folder))
