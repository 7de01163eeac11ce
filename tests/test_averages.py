"""Averages: people count alike, whatever their clips; intervals hold the median."""

from __future__ import annotations

import numpy as np
import pytest

from difftalk.evaluation.report import averages


def test_people_count_alike_whatever_their_clips() -> None:
    figures = {
        name: {"ours": {"r": value}}
        for name, value in (("a1", 0.9), ("a2", 0.7), ("b", 0.2), ("c", 0.4), ("d", np.nan))
    }
    people = averages.by_person(figures, {"a1": "a", "a2": "a", "b": "b", "c": "c", "d": "d"})
    assert people["a"]["ours"]["r"] == pytest.approx(0.8)
    row = averages.medians(people)["ours"]["r"]
    assert row["median"] == pytest.approx(0.4)
    assert row["people"] == 3


def test_intervals_hold_the_median_and_shrink_with_people() -> None:
    rng = np.random.default_rng(0)
    few, many = rng.normal(0.7, 0.1, 8), rng.normal(0.7, 0.1, 200)
    spans = []
    for values in (few, many):
        low, high = averages.interval(values)
        assert low is not None
        assert high is not None
        assert low < np.median(values) < high
        spans.append(high - low)
    assert spans[1] < 0.5 * spans[0]
    assert averages.interval(few[:2]) == (None, None)


def test_languages_of_few_people_are_counted_together() -> None:
    people = {
        name: {"ours": {"r": value, "spread": 1.0}}
        for name, value in zip("abcde", (0.1, 0.2, 0.9, 0.5, 0.7), strict=True)
    }
    found = averages.by_language(people, {"a": "en", "b": "en", "c": "en", "d": "fr", "e": ""}, "r")
    assert list(found) == ["en", "others"]
    assert found["en"]["people"] == 3
    assert found["en"]["rows"]["ours"]["median"] == pytest.approx(0.2)
    assert found["others"]["rows"]["ours"] == {"median": pytest.approx(0.6), "low": None, "high": None, "people": 2}
    assert averages.by_language(people, {}, "r") == {}
