"""Yardsticks: fixed work that figures of different machines are held against.

A convolution of 1 GMAC, and one call of the denoiser that DiffTalk published, which a frame of theirs takes 200 of.
That one is asked for by name: it needs torch, which nothing here imports.
"""

from __future__ import annotations

import importlib.util
import time
from collections.abc import Callable
from pathlib import Path
from typing import Final

import numpy as np

from difftalk import engine
from difftalk.errors import MissingExtraError
from difftalk.speed.apart import answer, ask
from difftalk.speed.job import environment

CONVOLUTION: Final = Path(__file__).parent / "convolution.onnx"  # 1 x 1 x 3 x 3 over 64 channels: tools/yardstick.py
PICTURE: Final = (1, 64, 165, 164)
PUBLISHED: Final = "difftalk.evaluation.published_call"
NEEDED: Final = ("torch", "diffusers")  # by it
CALLS: Final = 200  # of the published denoiser, for a frame
REPEATS: Final = 30


def convolution_apart(engine: str, *, threads: int = 0, processor: str = "whole") -> float:
    """`convolution_seconds` in a new process. processor: see `job`."""
    given = {"name": engine, "threads": threads}
    return float(ask(__name__, given, environment(processor)))


def published_apart() -> float:
    """Seconds of one call of the published denoiser, in a new process: it takes 3 GB. Raises MissingExtraError."""
    for name in NEEDED:
        if importlib.util.find_spec(name) is None:
            raise MissingExtraError(name, "train")
    return float(ask(PUBLISHED, {}, {}))


def convolution_seconds(name: str = "openvino", threads: int = 0) -> float:
    """A 3 x 3 convolution of 64 channels to 64 over 165 x 164 px, 1.0 GMAC in f32: the least of some."""
    graph = engine.load(CONVOLUTION, precision="f32", threads=threads, engine=name)
    picture = np.ones(PICTURE, np.float32)
    return least(lambda: graph(picture=picture), REPEATS)


def least(work: Callable[[], object], repeats: int) -> float:
    """Seconds of the quickest of some runs, after one that is not counted: other work on the machine only slows."""
    work()
    seconds = []
    for _ in range(repeats):
        begin = time.perf_counter()
        work()
        seconds.append(time.perf_counter() - begin)
    return min(seconds)


if __name__ == "__main__":
    raise SystemExit(answer(lambda given: convolution_seconds(**given)))
