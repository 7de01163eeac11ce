"""How a process ends when it is told to; what it does of its own is in test_cli."""

from __future__ import annotations

import signal
import subprocess
import sys

import pytest

RAISED = """
import os, signal
signal.signal(signal.{name}, signal.{before})
from difftalk.process import end_in_order
end_in_order()
try:
    os.kill(os.getpid(), signal.{name})
    print("goes on")
except SystemExit as end:
    print("cleared away", end.code)
"""


@pytest.mark.parametrize("name", ["SIGTERM", "SIGHUP"])
@pytest.mark.parametrize("before", ["SIG_DFL", "SIG_IGN"])
def test_told_to_end(name: str, before: str) -> None:
    """Under nohup a closed terminal ends nothing."""
    code = RAISED.format(name=name, before=before)
    said = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert said == ("goes on\n" if before == "SIG_IGN" else f"cleared away {128 + getattr(signal, name)}\n")
