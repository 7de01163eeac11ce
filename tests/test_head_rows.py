"""A still's head beside the clip's own, as a protocol."""

from __future__ import annotations

import numpy as np
import pytest

from difftalk.arrays import SAMPLE_RATE
from difftalk.data.clip import Clip
from difftalk.data.head_track import HeadTrack
from difftalk.data.sample import Sample
from difftalk.errors import InputError
from difftalk.evaluation.protocols import head
from difftalk.evaluation.protocols.bench import Bench
from difftalk.evaluation.report.glossary import METRICS
from difftalk.model import Model


def test_a_short_clip_tells_nothing_and_files_cannot_be_judged(sample: Sample, painter_model: Model) -> None:
    clip = Clip.of(sample, painter_model.geometry)
    assert head.head(clip, Bench(painter_model, 5.0)).figures == {}
    with pytest.raises(InputError, match="head moves by itself"):
        head.head(clip, Bench(painter_model, 5.0, outputs=sample.folder))


def test_rows_of_a_head_that_is_seen(sample: Sample, model: Model, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of as much of a clip as has sound; the rest of it is silent."""
    way = np.cumsum(np.random.default_rng(0).standard_normal((75, 7)), 0).astype(np.float32)
    monkeypatch.setattr(head, "head_tracks", lambda *_: [HeadTrack(0, way)])
    monkeypatch.setattr(head, "SEEDS", 2)
    figures = head.head(Clip.of(sample, model.geometry), Bench(model, 5.0)).figures
    assert figures["truth"]["head_yaw"] == pytest.approx(way[:, 0].std(), rel=1e-4)
    assert 0.1 < figures["ours"]["head_yaw"] < 12
    assert 8 < figures["ours"]["blinks"] < 25
    assert set(figures["ours"]) <= set(METRICS)
    assert len(sample.sound()) < 3 * SAMPLE_RATE
