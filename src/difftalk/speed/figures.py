"""Figures of a job: what each stage took, in all and in itself, from the spans that were noted."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np

from difftalk.speed.job import Done
from difftalk.speed.yardstick import CALLS
from difftalk.stages import Span

NET: Final = "net "  # a graph's stages begin so
GEOMETRY: Final = ("mesh", "scene", "composite", "paste")  # stages that are neither nets nor media


@dataclass(frozen=True)
class Stage:
    """Milliseconds. own: what other stages within it did not take, for a frame of the output."""

    calls: int
    p50: float
    p95: float
    a_frame: float
    own_a_frame: float


@dataclass(frozen=True)
class Figures:
    """Of one job, the best of its repeats.

    frames_per_second: of the whole call, loading and looking included; steady: from the first frame to the file.
    cold, warm: seconds to the first frame without and with compiled nets in the cache; start: of Python and imports
    before. convolutions: how many of the yardstick's a frame is worth; published: how many of our frames one published
    frame is.
    """

    case: str
    engine: str
    precision: str
    threads: int
    processor: str
    frames: int
    frames_per_second: float
    steady: float
    cold: float
    warm: float
    start: float
    look_ahead: float
    peak_megabytes: float
    networks_ms: float  # of a frame
    geometry_ms: float
    convolutions: float
    published: float | None
    model: str
    stages: dict[str, Stage]

    @property
    def title(self) -> str:
        return f"{self.case}, {self.engine}, {self.precision}, {self.threads or 'its own'}, {self.processor}"


def figures_of(warm: Sequence[Done], cold: Done, *, convolution: float, published: float | None) -> Figures:
    """warm: the same job, again and again. convolution, published: seconds of a yardstick's one call."""
    best = min(warm, key=lambda done: done.whole_seconds)
    stages, job, frame = stages_of(best.spans, best.frames), best.job, best.whole_seconds / best.frames
    return Figures(
        case=job.case,
        engine=job.engine,
        precision=job.precision,
        threads=job.threads,
        processor=job.processor,
        frames=best.frames,
        frames_per_second=1 / frame,
        steady=(best.frames - 1) / (best.whole_seconds - best.first_frame_seconds),
        cold=cold.first_frame_seconds,
        warm=min(done.first_frame_seconds for done in warm),
        start=min(done.start_seconds for done in warm),
        look_ahead=best.look_ahead,
        peak_megabytes=max(done.peak_bytes for done in warm) / 1e6,
        networks_ms=sum(stage.a_frame for name, stage in stages.items() if name.startswith(NET)),
        geometry_ms=sum(stages[name].own_a_frame for name in GEOMETRY if name in stages),
        convolutions=frame / convolution,
        published=None if published is None else CALLS * published / frame,
        model=best.model,
        stages=stages,
    )


def stages_of(spans: Sequence[Span], frames: int) -> dict[str, Stage]:
    """By name, the most costly first."""
    whole, own = defaultdict[str, list[float]](list), defaultdict[str, float](float)
    for nested in nested_of(spans):
        span, within = nested.span, nested.within
        taken = 1e3 * (span.end - span.begin)
        whole[span.stage].append(taken)
        own[span.stage] += taken
        if within is not None:
            own[within.stage] -= taken
    made = {
        name: Stage(
            len(each),
            float(np.percentile(each, 50)),
            float(np.percentile(each, 95)),
            sum(each) / frames,
            own[name] / frames,
        )
        for name, each in whole.items()
    }
    return dict(sorted(made.items(), key=lambda item: -item[1].own_a_frame))


@dataclass(frozen=True)
class Nested:
    """A span, the one that it lies in, and how many it lies in."""

    span: Span
    within: Span | None
    depth: int


def nested_of(spans: Sequence[Span]) -> Iterator[Nested]:
    """Every span with the one of its thread around it, in the order in which they begin."""
    around = defaultdict[str, list[Span]](list)
    for span in sorted(spans, key=lambda one: (one.begin, -one.end)):
        stack = around[span.thread]
        while stack and stack[-1].end <= span.begin:
            stack.pop()
        yield Nested(span, stack[-1] if stack else None, len(stack))
        stack.append(span)
