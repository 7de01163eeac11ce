"""Figures of spans: what a stage takes, and what it takes itself."""

from __future__ import annotations

import pytest

from difftalk.speed.figures import figures_of, nested_of, stages_of
from difftalk.speed.job import Done, Job
from difftalk.stages import Span

SPANS = [
    Span("net decoder", "main", 0.002, 0.005),
    Span("draw", "main", 0.001, 0.009),
    Span("encode", "behind", 0.004, 0.006),
    Span("draw", "main", 0.011, 0.015),
]


def done(whole: float, first: float, *, peak: int = 10**8) -> Done:
    return Done(Job("portrait-512", 1.0), 2, 0.2, first, whole, 0.52, peak, "abc", SPANS)


def test_own_time_leaves_out_what_lies_within() -> None:
    stages = stages_of(SPANS, frames=2)
    assert list(stages) == ["draw", "net decoder", "encode"]
    assert list(vars(stages["draw"]).values()) == pytest.approx([2, 6.0, 7.8, 6.0, 4.5])
    assert stages["net decoder"].own_a_frame == pytest.approx(1.5)


def test_spans_lie_within_those_of_their_own_thread() -> None:
    nested = {(one.span.stage, one.span.begin): one for one in nested_of(SPANS)}
    assert nested["net decoder", 0.002].within == SPANS[1]
    assert nested["net decoder", 0.002].depth == 1
    assert nested["encode", 0.004].within is None
    assert nested["draw", 0.011].depth == 0


def test_best_of_the_repeats_counts() -> None:
    figures = figures_of(
        [done(2.0, 1.0), done(1.0, 0.5, peak=2 * 10**8)], done(4.0, 3.0), convolution=0.1, published=1.0
    )
    assert [figures.frames_per_second, figures.steady] == pytest.approx([2, 2])
    assert (figures.cold, figures.warm, figures.peak_megabytes) == (3.0, 0.5, 200)
    assert figures.convolutions == pytest.approx(5)
    assert figures.published == pytest.approx(400)
    assert figures.networks_ms == pytest.approx(1.5)


def test_without_the_published_yardstick_there_is_no_ratio() -> None:
    assert figures_of([done(2.0, 1.0)], done(4.0, 3.0), convolution=0.1, published=None).published is None
