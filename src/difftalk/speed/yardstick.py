"""Yardsticks: fixed work that figures of different machines are held against.

A convolution of 1 GMAC, and one call of the denoiser that DiffTalk published, which a frame of theirs takes 200 of.
"""

from __future__ import annotations

import importlib.util
import time
from collections.abc import Callable
from pathlib import Path
from typing import Final

import numpy as np

from difftalk import engine
from difftalk.speed.apart import answer, ask
from difftalk.speed.job import environment

CONVOLUTION: Final = Path(__file__).parent / "convolution.onnx"  # 1 x 1 x 3 x 3 over 64 channels: tools/yardstick.py
PICTURE: Final = (1, 64, 165, 164)
CALLS: Final = 200  # of the published denoiser, for a frame
REPEATS: Final = 30


def convolution_apart(engine: str, *, threads: int = 0, processor: str = "whole") -> float:
    """`convolution_seconds` in a new process. processor: see `job`."""
    given = {"name": engine, "threads": threads}
    return float(ask(__name__, given, environment(processor)))


def published_apart() -> float:
    """`published_call_seconds` in a new process: it takes 3 GB."""
    return float(ask(__name__, {}, {}))


def convolution_seconds(name: str = "openvino", threads: int = 0) -> float:
    """A 3 x 3 convolution of 64 channels to 64 over 165 x 164 px, 1.0 GMAC in f32: the least of some."""
    graph = engine.load(CONVOLUTION, precision="f32", threads=threads, engine=name)
    picture = np.ones(PICTURE, np.float32)
    return least(lambda: graph(picture=picture), REPEATS)


def published_is_there() -> bool:
    """Whether what it needs is installed."""
    return all(importlib.util.find_spec(name) is not None for name in ("torch", "diffusers"))


def published_call_seconds() -> float:
    """One call of the published denoiser, 530 M numbers, in f32, in torch as it was published: the least of three."""
    import torch

    from difftalk.nets.published import CONDITION, LATENT, PAPER, denoising_net

    sizes = PAPER["paper"]
    net = denoising_net(sizes).eval()
    noisy = torch.zeros(1, 3 * LATENT, sizes.latent, sizes.latent)
    time_step, context = torch.zeros(1), torch.zeros(1, 1, 2 * CONDITION)
    with torch.no_grad():
        return least(lambda: net(noisy, time_step, encoder_hidden_states=context), 3)


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
    raise SystemExit(answer(lambda given: convolution_seconds(**given) if given else published_call_seconds()))
