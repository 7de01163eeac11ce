"""A shelf: rows made ahead by other processes, kept on the training's device, drawn several times, replaced steadily.

    with Shelf(RenderSource(samples, geometry, batch_size=8), batch_size=8, rows=1024, uses=4) as shelf:
        shelf.batch(0)

Pictures are kept as bytes, so that a row takes 0.4 MB: 1,024 rows 0.4 GB, 16,384 rows 6.6 GB. Which rows lie on the
shelf, which of them are drawn and how they look follows from the step alone, so a resumed training sees what an
unbroken one would. Knows nothing of losses, nor how a row is made.
"""

from __future__ import annotations

import contextlib
from collections import deque
from collections.abc import Mapping
from concurrent.futures import Future, ProcessPoolExecutor
from multiprocessing import get_all_start_methods, get_context
from multiprocessing.context import BaseContext
from typing import Final

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from typing_extensions import Self

from difftalk.errors import InputError
from difftalk.face.mouth import Geometry
from difftalk.model import SHIPPED
from difftalk.process import cores, end_with_parent
from difftalk.training.batches import RenderBatch
from difftalk.training.data_choice import DataChoice
from difftalk.training.look import Look, Mirror, sent
from difftalk.training.recipes import Schedule
from difftalk.training.render_data import RenderSource

# Channels of a row's bytes, in order, by what they are of; the last two of the last are masks.
PICTURES: Final[Mapping[str, Mapping[str, int]]] = {
    "mouths": {"target": 3, "reference": 3, "previous": 3, "composite": 5},
    "regions": {"skin": 3, "warped": 5},
}
MASKS: Final = 2
CRATE: Final = 8  # rows that are made and put up at once
CRATES_AHEAD: Final = 4  # a process

Crate = Mapping[str, NDArray[np.generic]]  # rows, stacked: `pictures` as bytes, and the conditions


class Shelf:
    """Batches of rows with a new look each time.

    rows: how many are kept. uses: how often one is drawn, on average. workers: processes that make rows, None is one a
    core that this process may use; 0 has them made when they are needed.
    """

    def __init__(
        self,
        source: RenderSource,
        *,
        batch_size: int,
        rows: int,
        uses: int,
        workers: int | None = None,
        device: str = "cpu",
    ) -> None:
        if rows < batch_size or uses < 1:
            raise InputError(f"a shelf of {rows} rows, each used {uses} times: give at least a batch, and one use")
        self._source, self._batch_size, self._device = source, batch_size, torch.device(device)
        self._crates, self._uses = -(-rows // CRATE), uses
        self._mirror = Mirror.of(source.geometry, self._device)
        self._workers = cores() if workers is None else workers
        self._makers: ProcessPoolExecutor | None = None
        self._waiting: deque[Future[Crate]] = deque()
        self._next = 0  # the crate that is put up next
        self._held: dict[str, Tensor] = {}
        self._validation: list[RenderBatch] | None = None

    @classmethod
    def of(cls, choice: DataChoice, schedule: Schedule) -> Self:
        """Of chosen data."""
        samples, held_out = choice.parts()
        rows = RenderSource(
            samples,
            Geometry.load(SHIPPED),
            batch_size=schedule.batch,
            seed=schedule.seed,
            validation=held_out,
            warped=choice.warped,
        )
        return cls(rows, batch_size=schedule.batch, rows=schedule.rows, uses=schedule.uses, device=choice.device)

    def batch(self, step: int) -> RenderBatch:
        """On the device."""
        self._turn_to(step)
        rng = np.random.default_rng((self._source.seed, step))
        chosen = rng.choice(self._crates * CRATE, self._batch_size, replace=False)
        look = Look.random(rng, self._batch_size).to(self._device)
        places = sent(torch.from_numpy(chosen), self._device)
        return look.batch(_unpacked({name: held[places] for name, held in self._held.items()}), self._mirror)

    def validation(self) -> list[RenderBatch]:
        if self._validation is None:
            self._validation = self._source.validation()
        return self._validation

    def close(self) -> None:
        """Ends the processes."""
        if self._makers is not None:
            self._makers.shutdown(wait=True, cancel_futures=True)
        self._makers = None
        self._waiting.clear()
        self._held.clear()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def _turn_to(self, step: int) -> None:
        """Puts up what the step's shelf holds and this one does not yet."""
        first = step * self._batch_size // self._uses // CRATE
        last = first + self._crates
        if not self._held or not first <= self._next <= last:
            self._waiting.clear()
            self._next = first
        while self._next < last:
            self._put(self._next % self._crates * CRATE, self._made())
            self._next += 1

    def _made(self) -> Crate:
        """The next crate; those after it are asked for."""
        if self._workers == 0:
            return crate(self._source, self._next)
        if self._makers is None:
            self._makers = ProcessPoolExecutor(self._workers, _beginning(), _open, (self._source,))
        for number in range(self._next + len(self._waiting), self._next + CRATES_AHEAD * self._workers):
            self._waiting.append(self._makers.submit(_made, number))
        return self._waiting.popleft().result()

    def _put(self, place: int, made: Crate) -> None:
        for name, values in made.items():
            new = sent(torch.from_numpy(values), self._device)
            if name not in self._held:
                shape = (self._crates * CRATE, *new.shape[1:])
                self._held[name] = torch.empty(shape, dtype=new.dtype, device=self._device)
            self._held[name][place : place + CRATE] = new


def crate(source: RenderSource, number: int) -> Crate:
    """Rows number * CRATE and following."""
    rows = [source.row(i) for i in range(number * CRATE, (number + 1) * CRATE)]
    names = {name for held in PICTURES.values() for name in held}
    out: dict[str, NDArray[np.generic]] = {
        name: np.stack([row[name] for row in rows]) for name in rows[0] if name not in names
    }
    out["audio"] = out["audio"].astype(np.float16)  # as samples hold it
    for kind, held in PICTURES.items():
        pictures = np.stack([np.concatenate([row[name] for name in held]) for row in rows])
        pictures[:, :-MASKS] = (pictures[:, :-MASKS] + 1) / 2
        out[kind] = np.rint(pictures * 255).astype(np.uint8)
    return out


def _beginning() -> BaseContext:
    """How processes begin: as copies of one that has imported what they need, where the system can; one after the other
    imports torch otherwise, some seconds each."""
    if "forkserver" not in get_all_start_methods():
        return get_context("spawn")
    context = get_context("forkserver")
    context.set_forkserver_preload([__name__])
    return context


def _unpacked(held: Mapping[str, Tensor]) -> RenderBatch:
    parts = {name: value.float() for name, value in held.items() if name not in PICTURES}
    for kind, channels in PICTURES.items():
        pictures = held[kind].float()
        pictures[:, :-MASKS].div_(127.5).sub_(1)
        pictures[:, -MASKS:].div_(255)
        parts |= dict(zip(channels, torch.split(pictures, list(channels.values()), 1), strict=True))
    return RenderBatch(**parts)


# --- in the processes -------------------------------------------------------------------------------------------------

_worker_source: RenderSource


def _open(source: RenderSource) -> None:
    """One thread a process."""
    import cv2

    global _worker_source
    end_with_parent()
    cv2.setNumThreads(1)
    torch.set_num_threads(1)
    with contextlib.suppress(ImportError):
        from threadpoolctl import threadpool_limits

        threadpool_limits(1)
    _worker_source = source


def _made(number: int) -> Crate:
    return crate(_worker_source, number)
