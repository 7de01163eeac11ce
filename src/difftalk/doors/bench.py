"""The command `bench`: how quick it is on this machine."""

from __future__ import annotations

import json
from contextlib import nullcontext
from pathlib import Path
from typing import Annotated, Optional

import typer

from difftalk.doors.printing import progress_bar

_Many = Optional[list[str]]  # noqa: UP045


def bench(
    case: Annotated[
        _Many, typer.Option(help="portrait-512, portrait-1024, dub-720p or dub-1080p; all if none.")
    ] = None,
    engine: Annotated[_Many, typer.Option(help="openvino or onnxruntime.")] = None,
    precision: Annotated[_Many, typer.Option(help="auto (whatever is fastest here), int8, bf16 or f32.")] = None,
    threads: Annotated[Optional[list[int]], typer.Option(help="Of the engine; 0: as it likes.")] = None,  # noqa: UP045
    processor: Annotated[
        _Many, typer.Option(help="whole: all that it can; avx2: nets as on one without anything newer.")
    ] = None,
    seconds: Annotated[float, typer.Option(help="Of voice and video.")] = 10.0,
    repeats: Annotated[int, typer.Option(help="Runs of each, of which the best counts.")] = 1,
    model: Annotated[Optional[str], typer.Option("--model", help="A model's name or folder.")] = None,  # noqa: UP045
    published: Annotated[
        bool, typer.Option("--published", help="Call the published denoiser too: 3 GB, needs difftalk[train].")
    ] = False,
    stages: Annotated[Path | None, typer.Option(help="A PNG: the stages of 50 frames of the first run.")] = None,
    out: Annotated[Path | None, typer.Option("-o", "--out", help="The figures as a JSON file.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON instead of a table.")] = False,
) -> None:
    """How quick it is here: frames/s, first frames, memory and every stage. Options may be given again."""
    from difftalk.media.part import Part
    from difftalk.speed.bench import Plan, measure
    from difftalk.speed.material import CASES

    plan = Plan(
        cases=case or tuple(CASES),
        engines=engine or ("openvino",),
        precisions=precision or ("auto",),
        threads=threads or (0,),
        processors=processor or ("whole",),
        seconds=seconds,
        repeats=repeats,
        model=model,
        published=published,
    )
    # A place that cannot be written is refused before anything is measured.
    with progress_bar(as_json) as progress, nullcontext() if out is None else Part(out.parent) as part:
        report = measure(plan, stages=stages, progress=progress)
        text = json.dumps(report.content)
        if part is not None and out is not None:
            part.path.write_text(text + "\n")
            part.path.replace(out)
    print(text if as_json else report.table)
