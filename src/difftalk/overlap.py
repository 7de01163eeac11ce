"""Work that overlaps: things made a little ahead, a sink fed a little behind, one thread each.

Decoding, moving a picture and encoding let other threads run while they work, so on two cores they cost little beside
the drawing. Order and results are those of plain loops; an error comes out where a plain loop would have raised it,
or a few items later. Knows nothing of what is carried.
"""

from __future__ import annotations

import itertools
from collections import deque
from collections.abc import Callable, Generator, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from functools import partial
from typing import Final, TypeVar

Item = TypeVar("Item")

DEPTH: Final = 3  # items that may wait
AHEAD, BESIDE, BEHIND = "ahead", "beside", "behind"  # threads' names begin so


def made_ahead(jobs: Iterator[Callable[[], Item]], depth: int = DEPTH) -> Generator[Item, None, None]:
    """What the jobs return, in order; up to `depth` of them are taken before they are asked for.

    They are taken in the caller's thread, and run one after the other in another.
    """
    with ThreadPoolExecutor(1, AHEAD) as pool:
        waiting: deque[Future[Item]] = deque()
        try:
            while True:
                waiting.extend(pool.submit(job) for job in itertools.islice(jobs, depth - len(waiting)))
                if not waiting:
                    return
                yield waiting.popleft().result()
        finally:
            pool.shutdown(wait=True, cancel_futures=True)


def ahead(items: Generator[Item, None, None], depth: int = DEPTH) -> Generator[Item, None, None]:
    """The items in order, up to `depth` of them made before they are asked for, in another thread."""
    end = object()
    made: Generator[Item | object, None, None] = made_ahead(itertools.repeat(partial(next, items, end)), depth)
    try:
        for item in made:
            if item is end:
                return
            yield item  # type: ignore[misc]
    finally:
        made.close()
        items.close()


@contextmanager
def beside(job: Callable[[], Item] | None) -> Iterator[Callable[[], Item | None]]:
    """Runs a job in a thread of its own while the block runs; what is given returns what it did, None without one."""
    if job is None:
        yield lambda: None
        return
    with ThreadPoolExecutor(1, BESIDE) as pool:
        yield pool.submit(job).result


class Behind:
    """Calls a function on one thread, in order; `put` waits when too much is waiting. A context manager.

    Leaving it without an error waits for the rest; leaving it with one drops what has not begun.
    """

    def __init__(self, depth: int = DEPTH) -> None:
        self._pool, self._depth = ThreadPoolExecutor(1, BEHIND), depth
        self._waiting: deque[Future[None]] = deque()

    def put(self, work: Callable[[], None]) -> None:
        """Raises what earlier work raised."""
        while len(self._waiting) >= self._depth:
            self._waiting.popleft().result()
        self._waiting.append(self._pool.submit(work))

    def __enter__(self) -> Behind:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        try:
            while kind is None and self._waiting:
                self._waiting.popleft().result()
        finally:
            self._pool.shutdown(wait=True, cancel_futures=True)
