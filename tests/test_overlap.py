"""Work that overlaps keeps order, ends when it should, and passes errors on."""

from __future__ import annotations

import threading
from collections.abc import Generator
from functools import partial

import pytest

from difftalk.overlap import Behind, Line, ahead


def numbers(stop: int, made: list[int] | None = None) -> Generator[int, None, None]:
    try:
        for i in range(stop):
            if made is not None:
                made.append(i)
            yield i
    finally:
        if made is not None:
            made.append(-1)


def test_ahead_gives_the_items_in_order() -> None:
    assert list(ahead(numbers(50))) == list(range(50))
    assert list(ahead(numbers(0))) == []


def test_ahead_makes_only_a_few_and_closes_the_source() -> None:
    made = list[int]()
    source = ahead(numbers(1000, made), depth=3)
    assert next(source) == 0
    source.close()
    assert made[-1] == -1
    assert len(made) <= 5


def test_ahead_passes_errors_on() -> None:
    def broken() -> Generator[int, None, None]:
        yield 1
        raise ValueError("no more")

    source = ahead(broken())
    assert next(source) == 1
    with pytest.raises(ValueError, match="no more"):
        next(source)


def test_behind_works_in_order_and_finishes() -> None:
    done = list[int]()
    with Behind() as sink:
        for i in range(50):
            sink.put(lambda i=i: done.append(i))  # type: ignore[misc]
    assert done == list(range(50))


def test_behind_raises_what_the_work_raised() -> None:
    def fail() -> None:
        raise ValueError("full")

    with pytest.raises(ValueError, match="full"), Behind() as sink:
        sink.put(fail)


def test_behind_drops_the_rest_after_an_error() -> None:
    gate, done = threading.Event(), list[int]()

    def wait() -> None:
        gate.wait(5)

    def fail() -> None:
        with Behind(depth=9) as sink:
            sink.put(wait)
            sink.put(lambda: done.append(1))
            threading.Timer(0.05, gate.set).start()
            raise RuntimeError

    with pytest.raises(RuntimeError):
        fail()
    assert done == []


def failing(number: int) -> int:
    if number == 1:
        raise ValueError("one")
    return number


def test_a_line_works_on_several_items_at_once_and_keeps_their_order() -> None:
    meeting = threading.Barrier(2, timeout=5)

    def meet(at: int, number: int) -> int:
        if number == at:
            meeting.wait()
        return number

    line = Line[int, int]({"first": partial(meet, 1), "second": partial(meet, 0)}, depth=3)
    for number in range(3):
        line.put(number)
    assert line.full
    assert [line.take() for _ in range(3)] == [0, 1, 2]
    assert len(line) == 0
    line.close()


@pytest.mark.parametrize("depth", [0, 3])
def test_a_line_raises_what_a_stage_raised_for_an_item(depth: int) -> None:
    line = Line[int, int]({"fail": failing, "pass": lambda number: 10 * number}, depth=depth)
    line.put(0)
    assert line.take() == 0
    line.put(1)
    with pytest.raises(ValueError, match="one"):
        line.take()
    line.drop()
    line.put(2)
    assert line.take() == 20
    line.close()


def test_a_line_without_depth_works_in_the_callers_thread() -> None:
    line = Line[int, str]({"name": lambda number: f"{number} {threading.current_thread().name}"}, depth=0)
    line.put(1)
    assert line.full
    assert line.take() == f"1 {threading.current_thread().name}"


def test_a_line_that_is_dropped_begins_nothing_more_and_ends_what_was_begun() -> None:
    began, gate, done = threading.Event(), threading.Event(), list[tuple[str, int]]()

    def first(number: int) -> int:
        began.set()
        gate.wait(5)
        done.append(("first", number))
        return number

    line = Line[int, None]({"first": first, "second": lambda number: done.append(("second", number))}, depth=3)
    for number in range(3):
        line.put(number)
    began.wait(5)
    threading.Timer(0.05, gate.set).start()
    line.drop()
    assert done == [("first", 0)]
    assert len(line) == 0
    line.close()
    line.put(7)
    line.take()
    assert done[1:] == [("first", 7), ("second", 7)]
    line.close()
