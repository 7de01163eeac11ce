"""Work that overlaps: things made a little ahead, a sink fed a little behind, work in stages, a thread each.

Decoding, moving a picture and encoding let other threads run while they work, so on two cores they cost little beside
the drawing. Order and results are those of plain loops; an error comes out where a plain loop would have raised it,
or a few items later. Knows nothing of what is carried.
"""

from __future__ import annotations

import itertools
from collections import deque
from collections.abc import Callable, Generator, Iterator, Mapping
from concurrent.futures import CancelledError, Future, ThreadPoolExecutor, wait
from functools import partial
from typing import Any, Final, Generic, TypeVar

Item = TypeVar("Item")
Given = TypeVar("Given")
Made = TypeVar("Made")

DEPTH: Final = 3  # items that may wait
AHEAD, BEHIND = "ahead", "behind"  # threads' names begin so


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


class Line(Generic[Given, Made]):
    """Work in stages: each has a thread and does one item after the other, so that several items are under way.

    What is put in comes out in order. At most `depth` items are on the line; with 0 `put` does all of the work itself.
    """

    def __init__(self, stages: Mapping[str, Callable[[Any], Any]], depth: int = DEPTH) -> None:
        """stages: by name, which their threads get; each takes what the one before it returned."""
        self._stages = stages
        self._pools: dict[str, ThreadPoolExecutor] = {}
        self._waiting: deque[list[Future[Any]]] = deque()
        self._depth, self._run = depth, 0

    def __len__(self) -> int:
        """Items on the line."""
        return len(self._waiting)

    @property
    def full(self) -> bool:
        return len(self) >= max(1, self._depth)

    def put(self, item: Given) -> None:
        """Begins with an item."""
        assert not self.full
        done: Future[Any] = Future()
        done.set_result(item)
        steps = [done]
        if self._depth and not self._pools:
            self._pools = {name: ThreadPoolExecutor(1, name) for name in self._stages}
        for name, work in self._stages.items():
            step = partial(self._step, work, steps[-1], self._run)
            steps.append(self._pools[name].submit(step) if self._depth else _at_once(step))
        self._waiting.append(steps)

    def take(self) -> Made:
        """What became of the oldest item, when all of its stages are done; raises what any of them raised."""
        made: Made = self._waiting[0][-1].result()
        self._waiting.popleft()
        return made

    def drop(self) -> None:
        """Gives up all items on the line, and waits for the stages that have begun."""
        self._run += 1
        steps = [step for item in self._waiting for step in item]
        self._waiting.clear()
        for step in steps:
            step.cancel()
        wait(steps)

    def close(self) -> None:
        """Gives up what is on it and ends its threads; a line that is put to work again has new ones."""
        self.drop()
        for pool in self._pools.values():
            pool.shutdown()
        self._pools = {}

    def _step(self, work: Callable[[Any], Any], before: Future[Any], run: int) -> Any:
        given = before.result()
        if run != self._run:
            raise CancelledError
        return work(given)


def _at_once(work: Callable[[], Any]) -> Future[Any]:
    done: Future[Any] = Future()
    try:
        done.set_result(work())
    except Exception as error:
        done.set_exception(error)
    return done


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
