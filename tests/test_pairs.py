"""Which pairs of frames come first."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from difftalk.data.pairs import FAR, Telling, ordered_pairs
from difftalk.data.sample import Curve, Sample
from difftalk.model import Model


def telling(sample: Sample, openings: NDArray[np.float64], follows: NDArray[np.bool_] | None = None) -> Telling:
    count = len(openings)
    traits = np.column_stack([openings, np.zeros((count, 3)), np.linspace(0, 1, count)]) / FAR
    curve = Curve(np.arange(count) / 25, np.zeros((count, 16), np.float32), openings.astype(np.float32))
    there = np.arange(count) > 0 if follows is None else follows
    return Telling(sample, curve, np.zeros((478, 3), np.float32), traits, there)


def test_what_tells_most_comes_first(sample: Sample) -> None:
    openings = np.full(100, 0.05)
    openings[40], openings[70], openings[20] = 0.3, 0.0, 0.2
    order = ordered_pairs(telling(sample, openings))
    assert order[:4] == [40, 70, 1, 99]  # open, closed, first, last
    assert order[4] == 20
    assert sorted(order) == list(range(1, 100))


def test_a_frame_alone_is_in_no_pair(sample: Sample) -> None:
    follows = np.array([False, True, False, False, True])
    assert sorted(ordered_pairs(telling(sample, np.linspace(0, 0.1, 5), follows))) == [1, 4]
    assert ordered_pairs(telling(sample, np.zeros(1), np.array([False]))) == []


def test_what_is_known_of_a_clip(sample: Sample, model: Model) -> None:
    found = Telling.of(sample, model.geometry)
    assert found.traits.shape == (28, 5)
    assert found.follows.tolist() == [False] + 27 * [True]
    assert found.traits[-1, 4] * FAR[4] == 1  # the end of the clip
