"""Work that overlaps keeps order, ends when it should, and passes errors on."""

from __future__ import annotations

import threading
from collections.abc import Generator

import pytest

from difftalk.overlap import Behind, ahead, beside


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


def test_a_job_beside_a_block_runs_while_it_does() -> None:
    met = threading.Barrier(2, timeout=5)
    with beside(met.wait) as job:
        other = met.wait()
    assert {job(), other} == {0, 1}


def test_without_a_job_beside_it_a_block_gets_nothing() -> None:
    with beside(None) as job:
        pass
    assert job() is None


def test_a_jobs_error_comes_out_where_it_is_asked_for() -> None:
    with beside(lambda: 1 // 0) as job:
        pass
    with pytest.raises(ZeroDivisionError):
        job()
