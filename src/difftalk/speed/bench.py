"""The bench: cases by engines, precisions, threads and processors, each run in processes of its own, and a table.

    report = bench.measure(Plan(cases=("portrait-512",)))
    print(report.table)

Figures hold for a machine that does nothing else; the best of some repeats is taken.
"""

from __future__ import annotations

import itertools
import math
import tempfile
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Final

from difftalk import __version__
from difftalk.engine import ENGINES, PRECISIONS
from difftalk.errors import InputError
from difftalk.model import AUTO
from difftalk.progress import Progress
from difftalk.speed import job as jobs
from difftalk.speed import timeline, yardstick
from difftalk.speed.figures import Figures, Stage, figures_of
from difftalk.speed.job import PROCESSORS, Done, Job
from difftalk.speed.material import CASES
from difftalk.speed.processor import Processor

SHORT: Final = 2.0  # s of voice for the run that fills the cache
WHOLE: Final = (
    "case, engine, precision, threads, processor",
    "frames/s",
    "from the first frame on",
    "first frame, s: nothing compiled",
    "compiled",
    "look-ahead, s",
    "peak, MB",
    "nets, ms a frame",
    "geometry, ms",
    "a frame in GMAC of convolution",
    "a published frame in ours",
)
STAGES: Final = ("stage", "calls", "p50, ms", "p95", "a frame", "without stages in it")


@dataclass(frozen=True)
class Plan:
    """What is measured: every case with every engine, and so on. seconds: of voice and film.

    published: whether the published denoiser is called, which needs torch and 3 GB.
    """

    cases: Sequence[str] = tuple(CASES)
    engines: Sequence[str] = ("openvino",)
    precisions: Sequence[str] = (AUTO,)
    threads: Sequence[int] = (0,)
    processors: Sequence[str] = ("whole",)
    seconds: float = 10.0
    repeats: int = 1
    model: str | None = None
    published: bool = False

    def __post_init__(self) -> None:
        _check("case", self.cases, CASES)
        _check("engine", self.engines, ENGINES)
        _check("precision", self.precisions, (AUTO, *PRECISIONS))
        _check("processor", self.processors, PROCESSORS)
        if min(self.threads, default=0) < 0 or self.repeats < 1 or not 1 <= self.seconds < math.inf:
            raise InputError("threads are 0 or more, repeats 1 or more, seconds at least 1")

    @property
    def jobs(self) -> list[Job]:
        chosen = itertools.product(self.cases, self.engines, self.precisions, self.threads, self.processors)
        return [
            Job(case, self.seconds, engine, precision, threads, processor, self.model)
            for case, engine, precision, threads, processor in chosen
        ]


@dataclass(frozen=True)
class Report:
    """figures: a row a job. convolutions: seconds of the yardstick by engine, threads and processor.

    published_call: seconds of one of the published denoiser's 200.
    """

    processor: Processor
    convolutions: dict[str, float]
    published_call: float | None
    figures: list[Figures]

    @property
    def content(self) -> dict[str, Any]:
        return {"version": __version__, **asdict(self)}

    @property
    def table(self) -> str:
        """The figures as lines of Markdown."""
        here = self.processor
        lines = [f"{here.name}, {here.cores} cores: {' '.join(here.flags) or 'flags unknown'}"]
        for name, seconds in self.convolutions.items():
            lines.append(f"1 GMAC of convolution, f32 ({name}): {1e3 * seconds:.1f} ms")
        if self.published_call is not None:
            lines.append(f"One call of the published denoiser, torch, f32: {self.published_call:.2f} s")
        lines += ["", *_lines(WHOLE, [_whole_cells(one) for one in self.figures])]
        for one in self.figures:
            cells = [_stage_cells(name, stage) for name, stage in one.stages.items()]
            lines += ["", f"{one.title}:", "", *_lines(STAGES, cells)]
        return "\n".join(lines)


def measure(plan: Plan, *, stages: Path | None = None, progress: Progress | None = None) -> Report:
    """stages: a PNG for a timeline of the first job."""
    figures: list[Figures] = []
    convolutions: dict[str, float] = {}
    published, planned = yardstick.published_apart() if plan.published else None, plan.jobs
    for number, job in enumerate(planned):
        if progress is not None:
            progress("measuring", number, len(planned))
        setting = f"{job.engine}, {job.threads or 'its own'} threads, {job.processor}"
        if setting not in convolutions:
            convolutions[setting] = yardstick.convolution_apart(
                job.engine, threads=job.threads, processor=job.processor
            )
        warm, cold = _done(job, plan.repeats)
        if stages is not None and number == 0:
            timeline.draw(warm[0].spans, stages)
        figures.append(figures_of(warm, cold, convolution=convolutions[setting], published=published))
    return Report(Processor.here(), convolutions, published, figures)


def _done(job: Job, repeats: int) -> tuple[list[Done], Done]:
    """With compiled nets in the cache, again and again; and, before that, once without."""
    with tempfile.TemporaryDirectory() as cache:
        cold = jobs.run(replace(job, seconds=min(job.seconds, SHORT)), Path(cache))
        return [jobs.run(job, Path(cache)) for _ in range(repeats)], cold


def _whole_cells(one: Figures) -> list[str]:
    return [
        one.title,
        f"{one.frames_per_second:.1f}",
        f"{one.steady:.1f}",
        f"{one.cold:.2f}",
        f"{one.warm:.2f}",
        f"{one.look_ahead:.2f}",
        f"{one.peak_megabytes:.0f}",
        f"{one.networks_ms:.1f}",
        f"{one.geometry_ms:.1f}",
        f"{one.convolutions:.1f}",
        "–" if one.published is None else f"{one.published:,.0f}",
    ]


def _stage_cells(name: str, stage: Stage) -> list[str]:
    figures = (stage.p50, stage.p95, stage.a_frame, stage.own_a_frame)
    return [name, str(stage.calls), *(f"{figure:.2f}" for figure in figures)]


def _lines(heads: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    """A table in Markdown."""
    return [f"| {' | '.join(cells)} |" for cells in (heads, ["---"] * len(heads), *rows)]


def _check(what: str, given: Sequence[str], allowed: Iterable[str]) -> None:
    known = list(allowed)
    for one in given:
        if one not in known:
            raise InputError(f"{what} {one!r} is not known; allowed: {', '.join(known)}")
