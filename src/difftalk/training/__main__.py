"""`difftalk train` for a machine that has torch but not all that the command line needs.

    python -m difftalk.training denoiser DATA -o RUN --recipe joint --from RUN --minutes 4 --device cuda

Its minutes count from the process's start, so reading the data is among them.
"""

from __future__ import annotations

import argparse
import math
import time
from collections.abc import Sequence
from functools import partial
from pathlib import Path

from difftalk.process import exit_code_of


def parsed(arguments: Sequence[str] | None) -> argparse.Namespace:
    """The arguments, sys.argv's if None."""
    parser = argparse.ArgumentParser(prog="python -m difftalk.training", description="Trains one net.")
    parser.add_argument("kind", help="first-stage, motion, denoiser, painter, folds, sync, head or geometry")
    parser.add_argument("data", nargs="?", type=Path, help="a folder that prepare wrote")
    parser.add_argument("-o", "--out", type=Path, required=True, help="the run's folder")
    parser.add_argument("--recipe", default="default")
    parser.add_argument("--from", dest="start", type=Path, help="a run or .safetensors to start from")
    parser.add_argument("--set", dest="settings", action="append", default=[], help="a setting, a.b=value")
    parser.add_argument("--steps", type=int, help="stop at this step")
    parser.add_argument("--minutes", type=float, default=math.inf, help="stop so long after the process's start")
    parser.add_argument("--threads", type=int, default=0, help="0: as torch likes")
    parser.add_argument("--device", default="cpu", help="cpu or cuda")
    return parser.parse_args(arguments)


def main(arguments: Sequence[str] | None = None) -> None:
    """Trains; an error that a user can mend is one line and exit code 1."""
    began, asked = time.monotonic(), parsed(arguments)
    if code := exit_code_of(partial(_train, asked, began)):
        raise SystemExit(code)


def _train(asked: argparse.Namespace, began: float) -> None:
    from difftalk.training.run import train_kind

    done = train_kind(
        asked.kind,
        asked.data,
        asked.out,
        recipe=asked.recipe,
        start_from=asked.start,
        settings=asked.settings,
        steps=asked.steps,
        minutes=asked.minutes,
        threads=asked.threads,
        device=asked.device,
        since=began,
    )
    print(f"{done}: {asked.out}")


if __name__ == "__main__":
    main()
