"""Work in a process of its own, which begins with nothing loaded: `python -m MODULE`, JSON in and JSON out."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable, Mapping
from typing import Any

from difftalk.errors import InputError
from difftalk.process import exit_code_of


def ask(module: str, given: object, env: Mapping[str, str]) -> Any:
    """What a module's `answer` says to what is given. env: beside this process's. Raises InputError with its line."""
    command = [sys.executable, "-m", module]
    done = subprocess.run(
        command, input=json.dumps(given), stdout=-1, stderr=-1, text=True, env=os.environ | env, check=False
    )
    if done.returncode:
        lines = done.stderr.strip().splitlines() or [f"{module} ended with {done.returncode}"]
        raise InputError(lines[-1].removeprefix("difftalk: "))
    return json.loads(done.stdout)


def answer(work: Callable[[Any], object]) -> int | str | None:
    """Does the work on what standard input gives, and prints what it returns: the exit code."""
    return exit_code_of(lambda: print(json.dumps(work(json.load(sys.stdin)))))
