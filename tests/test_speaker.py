"""The speaker's own way as a protocol: halves of a clip."""

from __future__ import annotations

import numpy as np
import pytest

from difftalk.data.clip import Clip
from difftalk.data.sample import Sample
from difftalk.errors import InputError
from difftalk.evaluation.protocols import speaker
from difftalk.evaluation.protocols.bench import Bench
from difftalk.model import Model
from difftalk.speech.motion import SOUNDS, Heard


def test_a_short_clip_tells_nothing_and_files_cannot_be_judged(sample: Sample, painter_model: Model) -> None:
    clip = Clip.of(sample, painter_model.geometry)
    assert speaker.own_way(clip, Bench(painter_model, 5.0)).figures == {}
    with pytest.raises(InputError, match="own_way predicts by itself"):
        speaker.own_way(clip, Bench(painter_model, 5.0, outputs=sample.folder))


def test_who_moves_half_as_far_is_learnt(sample: Sample, painter_model: Model) -> None:
    """A clip of 9 seconds whose mouth does half of what is heard in it."""
    random, geometry = np.random.default_rng(0), painter_model.geometry
    drive = np.stack([np.convolve(random.standard_normal(233), np.ones(9) / 3, "valid") for _ in range(16)], 1)
    shapes = 0.5 * drive.astype(np.float32)
    heard = Heard(2 * shapes, np.zeros((len(shapes), SOUNDS), np.float32))
    figures = speaker.of_halves(heard, shapes, Clip.of(sample, geometry).neutral, geometry).figures
    assert figures["usual"]["spread"] == pytest.approx(2, rel=0.1)
    assert figures["ours"]["spread"] == pytest.approx(1, abs=0.25)
    assert figures["ours"]["r"] > 0.95
