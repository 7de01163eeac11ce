"""One job of the bench, from the call to the whole file, in a process of its own: `python -m difftalk.speed.job`.

Takes a `Job` as JSON on standard input and gives a `Done` on standard output. A new process has loaded nothing, and its
peak of memory is this job's.
"""

from __future__ import annotations

import tempfile
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final

from difftalk import stages
from difftalk.model import AUTO
from difftalk.speed.apart import answer, ask
from difftalk.speed.material import CASES, voice
from difftalk.speed.processor import peak_bytes
from difftalk.stages import Span

PROCESSORS: Final = ("whole", "avx2")  # all that there is, or as on one that has AVX2 and nothing newer
NARROWED: Final = {"ONEDNN_MAX_CPU_ISA": "AVX2"}  # to OpenVINO's nets


@dataclass(frozen=True)
class Job:
    """What is to be done. seconds: of voice and film. precision, threads, model: see `Talker.from_pretrained`."""

    case: str
    seconds: float
    engine: str = "openvino"
    precision: str = AUTO
    threads: int = 0
    processor: str = "whole"
    model: str | None = None


@dataclass(frozen=True)
class Done:
    """What came of it. start_seconds: from the process's beginning to the call; whole_seconds: of the call."""

    job: Job
    frames: int
    start_seconds: float
    first_frame_seconds: float
    whole_seconds: float
    look_ahead: float
    peak_bytes: int
    model: str  # its hash
    spans: list[Span]


def run(job: Job, cache: Path) -> Done:
    """The job, done in a new process. cache: folder that keeps compiled nets from one process to the next."""
    given = {"job": asdict(job), "began": time.time()}
    facts: dict[str, Any] = ask(__name__, given, {"XDG_CACHE_HOME": str(cache)} | environment(job.processor))
    return Done(**facts | {"job": Job(**facts["job"]), "spans": [Span(**span) for span in facts["spans"]]})


def environment(processor: str) -> dict[str, str]:
    """What a process is told so that it runs as on one of `PROCESSORS`."""
    return NARROWED if processor == "avx2" else {}


def do(job: Job, began: float) -> Done:
    """The job, done here. began: `time.time` at which the process was asked for."""
    from difftalk.talk.talker import Talker

    case = CASES[job.case]
    model = Talker.from_pretrained(job.model, engine=job.engine, threads=job.threads, precision=job.precision).model
    source, sound = case.source(job.seconds), voice(job.seconds)
    with tempfile.TemporaryDirectory() as folder, stages.noted() as spans:
        call, talker, out = time.time(), Talker(model), Path(folder) / "out.mp4"
        result = talker.dub(source, sound, out, cache=False) if case.film else talker.animate(source, sound, out)
        whole = time.time() - call
    return Done(
        job,
        result.frames,
        call - began,
        result.first_frame_seconds,
        whole,
        result.look_ahead,
        peak_bytes(),
        result.model,
        spans,
    )


if __name__ == "__main__":
    raise SystemExit(answer(lambda given: asdict(do(Job(**given["job"]), given["began"]))))
