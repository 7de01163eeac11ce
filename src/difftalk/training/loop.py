"""The one training loop, for every kind of net, from top to bottom.

    train(PAINTER, source, recipe, Path("runs/painter"), minutes=40)

Writes to the run's folder: checkpoint.pt, weights.safetensors, metrics.jsonl, loss.png, and at every validation a sheet
of samples. A run goes on exactly where it stopped. Knows nothing of files of clips: a source gives the batches; nor of
any kind of net in particular: that says how it begins, what it costs, how its average follows and what is shown of it.

A step never waits for the device: what it needs to know of values is looked at every LOG_EVERY steps.
"""

from __future__ import annotations

import json
import math
import signal
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from copy import deepcopy
from pathlib import Path
from types import FrameType
from typing import Any

import numpy as np
import torch
from torch import nn
from typing_extensions import Self

from difftalk.arrays import Image
from difftalk.media.sheet import write_sheet
from difftalk.training.adversary import Adversary
from difftalk.training.batches import Batch, Source
from difftalk.training.checkpoint import (
    FILE,
    Checkpoint,
    check_resumable,
    code_version,
    load_checkpoint,
    load_state,
    save_checkpoint,
)
from difftalk.training.kinds.kind import Kind, NetT, ToolsT, placed
from difftalk.training.optimiser import Clipping
from difftalk.training.recipes import Optimiser, Recipe, to_dict
from difftalk.training.shelf import Shelf

PREFETCH = 3  # batches made ahead
LOG_EVERY = 20  # steps
SHEET_ROWS = 24
SEEDS = 1_000_003  # steps between the random numbers of two seeds


def train(
    kind: Kind[Any, Any, Any, Any],
    source: Source,
    recipe: Recipe,
    run: Path,
    *,
    steps: int | None = None,
    minutes: float = math.inf,
    start_from: Path | None = None,
    threads: int = 0,
    device: str = "cpu",
    since: float | None = None,
) -> Checkpoint:
    """Trains until `steps` (the recipe's, if None) or `minutes` are reached, or Ctrl-C or SIGTERM asks to stop.

    Goes on with the run in `run` where there is one; otherwise starts from `start_from`'s weights, if given. since:
    time.monotonic() from which `minutes` count, such as the process's start; None: the whole run's count, however often
    it was stopped. The last validation and checkpoint come on top.
    """
    assert type(recipe) is kind.recipe, (kind.name, recipe)
    assert kind.takes(recipe), (kind.name, recipe)
    run.mkdir(parents=True, exist_ok=True)
    where, last = torch.device(device), steps if steps is not None else recipe.schedule.steps
    _set_up(where, recipe.schedule.seed, threads)
    tools = kind.tools(recipe, where)
    net: nn.Module = placed(kind.build(recipe), where)
    average = deepcopy(net).requires_grad_(False)
    optimiser = Clipping.of(net, recipe.optimiser)
    autocast = torch.autocast(where.type, torch.bfloat16, enabled=_in_bf16(recipe, where))
    adversary = kind.critic(recipe, tools, where, autocast)
    random = torch.Generator(where)
    step, seconds = 0, 0.0
    if (run / FILE).is_file():
        step, seconds = _restore(run, kind.name, recipe, net, average, optimiser, adversary)
    else:
        kind.begin(net, source, recipe, start_from)
        average.load_state_dict(net.state_dict())
    began, saved = time.monotonic() - seconds, time.monotonic()
    counted = began if since is None else since
    last = step if kind.closed_form else last
    with _StopFlag() as stop:
        for batch in _ahead(source, step, last):
            spent = (time.monotonic() - counted) / 60 / max(minutes, 1e-6)
            rate = learning_rate(recipe.optimiser, step, recipe.schedule.steps, spent)
            net.train()
            random.manual_seed(recipe.schedule.seed * SEEDS + step)
            optimiser.zero_grad(set_to_none=True)
            for part in batch.parts(recipe.schedule.parts):
                with autocast:
                    part = part.to(where)
                    loss = kind.loss_of(net, part, recipe, tools, random)
                if adversary is not None:
                    judged = adversary.judged(loss, part)
                    loss = adversary.added(loss, judged)
                (loss.total * (len(part) / len(batch))).backward()  # type: ignore[no-untyped-call]
                if adversary is not None:
                    adversary.learn(judged, rate)
            optimiser.clipped_step(rate)
            kind.follow(average, net, min(recipe.optimiser.ema, (1 + step) / (10 + step)))
            step += 1
            seconds = time.monotonic() - began
            ended = step == last or time.monotonic() - counted > 60 * minutes or stop.asked
            if step % LOG_EVERY == 0 or ended:
                parts = {name: round(float(value.detach()), 5) for name, value in loss.parts.items()}
                total = round(float(loss.total.detach()), 5)
                _log(run, {"step": step, "seconds": round(seconds, 1), "loss": total, **parts})
            if step % recipe.schedule.validate_every == 0 or ended:
                _validate(run, kind, average, source, tools, step, where)
            if time.monotonic() - saved > 60 * recipe.schedule.checkpoint_minutes or ended:
                held = _checkpoint(kind.name, recipe, net, average, optimiser, step, seconds, adversary)
                save_checkpoint(held, run)
                saved = time.monotonic()
            if ended:
                break
    checkpoint = _checkpoint(kind.name, recipe, net, average, optimiser, step, seconds, adversary)
    if not (run / FILE).is_file() or kind.closed_form:
        _validate(run, kind, average, source, tools, step, where)
        save_checkpoint(checkpoint, run)
    return checkpoint


def _set_up(where: torch.device, seed: int, threads: int) -> None:
    """Of torch: threads, seed, and on a GPU its quick ways."""
    if threads:
        torch.set_num_threads(threads)
    torch.manual_seed(seed)
    if where.type == "cuda":
        torch.backends.cudnn.benchmark = True
        torch.set_float32_matmul_precision("high")


def _in_bf16(recipe: Recipe, where: torch.device) -> bool:
    """Only where the processor computes in it: one that does not takes far longer than in f32."""
    able = where.type != "cpu" or torch.cpu._is_avx512_bf16_supported()
    return able and recipe.schedule.precision == "bf16"


def learning_rate(optimiser: Optimiser, step: int, last: int, spent: float) -> float:
    """Linear warm-up, then a cosine over whichever ends first: the steps or the time (`spent` of it is gone)."""
    warm = min(1.0, (step + 1) / max(1, optimiser.warm_up))
    gone = min(1.0, max(step / max(1, last), spent))
    low = optimiser.final_share
    return optimiser.lr * warm * (low + (1 - low) * 0.5 * (1 + math.cos(math.pi * gone)))


def _restore(
    run: Path,
    kind: str,
    recipe: Recipe,
    net: nn.Module,
    average: nn.Module,
    optimiser: torch.optim.Optimizer,
    adversary: Adversary[Any] | None,
) -> tuple[int, float]:
    found = load_checkpoint(run)
    check_resumable(found, kind, recipe, run)
    load_state(net, found.net, name=str(run))
    load_state(average, found.average, name=str(run))
    for group in found.optimiser["param_groups"]:
        group["fused"] = True
    optimiser.load_state_dict(found.optimiser)
    if adversary is not None:
        adversary.restore(found.adversary)
    torch.set_rng_state(found.random["torch"])
    return found.step, found.seconds


def _checkpoint(
    kind: str,
    recipe: Recipe,
    net: nn.Module,
    average: nn.Module,
    optimiser: torch.optim.Optimizer,
    step: int,
    seconds: float,
    adversary: Adversary[Any] | None,
) -> Checkpoint:
    return Checkpoint(
        kind,
        to_dict(recipe),
        net.state_dict(),
        average.state_dict(),
        optimiser.state_dict(),
        step,
        seconds,
        {"torch": torch.get_rng_state()},
        code_version(),
        {} if adversary is None else adversary.state(),
    )


def _ahead(source: Source, start: int, stop: int) -> Iterator[Batch]:
    """Batches start..stop in order, a few made ahead by one thread; a shelf does so itself."""
    if isinstance(source, Shelf):
        yield from map(source.batch, range(start, stop))
        return
    with ThreadPoolExecutor(1) as pool:
        waiting = [pool.submit(source.batch, i) for i in range(start, min(start + PREFETCH, stop))]
        for i in range(start, stop):
            if i + PREFETCH < stop:
                waiting.append(pool.submit(source.batch, i + PREFETCH))
            yield waiting.pop(0).result()


@torch.no_grad()
def _validate(
    run: Path,
    kind: Kind[Any, NetT, Any, ToolsT],
    net: NetT,
    source: Source,
    tools: ToolsT,
    step: int,
    where: torch.device,
) -> None:
    """Figures are means over the batches."""
    net.eval()
    figures: dict[str, list[float]] = {}
    rows: list[list[Image]] = []
    for batch in source.validation():
        found = kind.validation(net, batch.to(where), tools)
        rows += found.rows
        for name, value in found.figures.items():
            figures.setdefault(name, []).append(value)
    means = {f"val_{name}": round(float(np.mean(values)), 5) for name, values in figures.items()}
    if means:
        _log(run, {"step": step, **means})
    if rows:
        write_sheet(run / "samples" / f"{step:07d}.png", rows[:SHEET_ROWS])
    if (run / "metrics.jsonl").is_file():
        _plot(run)


def _log(run: Path, row: dict[str, Any]) -> None:
    with (run / "metrics.jsonl").open("a") as file:
        file.write(json.dumps(row) + "\n")


def _plot(run: Path) -> None:
    """loss.png: every logged figure over the steps."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    curves: dict[str, list[tuple[int, float]]] = {}
    for line in (run / "metrics.jsonl").read_text().splitlines():
        row = json.loads(line)
        for name, value in row.items():
            if name not in ("step", "seconds"):
                curves.setdefault(name, []).append((row["step"], value))
    columns = min(4, max(1, len(curves)))
    figure, axes = pyplot.subplots(
        math.ceil(len(curves) / columns) or 1, columns, figsize=(4 * columns, 9), squeeze=False
    )
    for axis, (name, points) in zip(axes.flat, curves.items(), strict=False):
        axis.plot(*zip(*points, strict=True), linewidth=0.8)
        axis.set_title(name, fontsize=8)
    figure.tight_layout()
    figure.savefig(run / "loss.png", dpi=60)
    pyplot.close(figure)


class _StopFlag:
    """Turns Ctrl-C and SIGTERM into a flag, so that a step is finished and saved; in other threads does nothing."""

    def __init__(self) -> None:
        self.asked = False
        self._before: dict[int, Any] = {}
        try:
            for number in (signal.SIGINT, signal.SIGTERM):
                self._before[number] = signal.signal(number, self._ask)
        except ValueError:
            pass

    def _ask(self, number: int, frame: FrameType | None) -> None:
        self.asked = True

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)
