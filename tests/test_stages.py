"""Stages: noted when asked for, in the order in which they end, and not otherwise."""

from __future__ import annotations

from collections.abc import Generator
from threading import Thread

import pytest

from difftalk import stages
from difftalk.stages import timed, timed_each


@timed("double")
def double(number: int) -> int:
    """Twice."""
    return 2 * number


@timed("quadruple")
def quadruple(number: int) -> int:
    return double(double(number))


@timed_each("count")
def count(stop: int, closed: list[bool]) -> Generator[int, None, None]:
    try:
        yield from range(stop)
    finally:
        closed.append(True)


def test_spans_of_what_runs_within_the_block() -> None:
    double(1)
    with stages.noted() as spans:
        assert quadruple(1) == 4
    double(1)
    assert [span.stage for span in spans] == ["double", "double", "quadruple"]
    first, second, whole = spans
    assert whole.begin <= first.begin <= first.end <= second.begin <= second.end <= whole.end


def test_a_stage_stays_the_function_that_it_was() -> None:
    assert (double.__name__, double.__doc__) == ("double", "Twice.")


def test_each_items_making_is_a_span() -> None:
    closed = list[bool]()
    with stages.noted() as spans:
        assert list(count(3, closed)) == [0, 1, 2]
    assert [span.stage for span in spans] == ["count"] * 4  # the last one finds the end
    assert closed == [True]


def test_items_that_are_not_taken_are_not_made() -> None:
    closed = list[bool]()
    items = count(3, closed)
    assert next(items) == 0
    items.close()
    assert closed == [True]


def test_a_stage_that_fails_has_a_span() -> None:
    @timed("fail")
    def fail() -> None:
        raise ValueError("no")

    with stages.noted() as spans, pytest.raises(ValueError, match="no"):
        fail()
    assert [span.stage for span in spans] == ["fail"]


def test_threads_are_told_apart() -> None:
    with stages.noted() as spans:
        thread = Thread(target=double, args=(1,), name="other")
        thread.start()
        thread.join()
    assert [span.thread for span in spans] == ["other"]
