"""What commands print: a bar while they work, and what came of it, in words or as JSON."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from difftalk.doors.words import typed
from difftalk.progress import Progress

if TYPE_CHECKING:
    from difftalk.talk.talker import Result
    from difftalk.training.calibration import Judged


@contextmanager
def progress_bar(quiet: bool) -> Iterator[Progress]:
    """A bar with frames/s and time left on standard error; nothing where it is no terminal or JSON was asked for."""
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeRemainingColumn
    from rich.progress import Progress as Bars

    console = Console(stderr=True)
    speed = TextColumn("{task.fields[speed]}")
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), speed, TimeRemainingColumn())
    with Bars(*columns, console=console, disable=quiet or not console.is_terminal, transient=True) as bar:
        tasks: dict[str, Any] = {"loading": bar.add_task("loading", total=None, speed="")}

        def tell(what: str, done: int, total: int) -> None:
            if what not in tasks:
                for task in tasks.values():
                    bar.remove_task(task)
                tasks.clear()
                tasks[what] = bar.add_task(what, total=total, speed="")
            rate = next(t.speed for t in bar.tasks if t.id == tasks[what])
            bar.update(tasks[what], completed=done, total=total, speed=f"{rate:.1f}/s" if rate else "")

        yield tell


def print_result(result: Result, as_json: bool) -> None:
    """Its notes and a line, or one JSON object."""
    notes = [typed(note) for note in result.notes]
    if as_json:
        print(json.dumps({**asdict(result), "path": str(result.path), "notes": notes}))
        return
    for note in notes:
        print(note)
    nets = " and ".join(sorted(set(result.precision.values()), reverse=True))
    model = f"model {result.model} in {nets}" if nets else f"model {result.model}"
    size, speed = f"{result.width} x {result.height}", f"{result.frames_per_second:.1f} frames/s"
    print(f"{result.path}: {result.frames} frames, {result.seconds:.2f} s, {size}, {speed}, {model}")


def print_judged(judged: Judged) -> None:
    """What a net costs in integers, and whether it is kept so."""
    kept = "kept" if judged.fits else "left out"
    print(f"{judged.net} in integers: LPIPS {judged.loss:.4f} of f32's, {judged.levels:.2f} levels apart: {kept}")
