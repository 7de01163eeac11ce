"""How a process ends, told to or with output that nobody takes; what else it does is in test_cli."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from difftalk.process import cores, exit_code_of

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


def test_cores_are_those_that_the_process_may_use() -> None:
    code = "import os; os.sched_setaffinity(0, {min(os.sched_getaffinity(0))}); from difftalk.process import cores; "
    said = subprocess.run([sys.executable, "-c", f"{code}print(cores())"], capture_output=True, text=True, check=True)
    assert said.stdout == "1\n"
    assert 1 <= cores() <= (os.cpu_count() or 1)


@pytest.mark.parametrize("name", ["SIGTERM", "SIGHUP"])
@pytest.mark.parametrize("before", ["SIG_DFL", "SIG_IGN"])
def test_told_to_end(name: str, before: str) -> None:
    """Under nohup a closed terminal ends nothing."""
    code = RAISED.format(name=name, before=before)
    said = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert said == ("goes on\n" if before == "SIG_IGN" else f"cleared away {128 + getattr(signal, name)}\n")


CLOSED = """
import os, signal, sys
from difftalk.process import exit_code_of
def work():
    with open(sys.argv[1], "w") as file:
        print("taken by", file.fileno())
    os.kill(os.getpid(), signal.SIGTERM)
sys.exit(exit_code_of(work))
"""


@pytest.mark.parametrize("end", ["2>&-", "2>/dev/full"])
def test_complaints_that_nobody_takes(tmp_path: Path, end: str) -> None:
    """The exit code stays, and no file takes the place of standard error."""
    shell = f'"$0" -c "$1" "$2" {end}'
    command = ["sh", "-c", shell, sys.executable, CLOSED, str(tmp_path / "file")]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 143
    assert int(done.stdout.removeprefix("taken by ")) > 2


def test_what_the_system_refuses(capsys: pytest.CaptureFixture[str]) -> None:
    def work() -> None:
        Path("/nowhere/file").read_bytes()

    assert exit_code_of(work) == 1
    assert capsys.readouterr().err == "difftalk: /nowhere/file: cannot be read or written (No such file or directory)\n"


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no device that is always full")
@pytest.mark.parametrize("more", [{}, {"PYTHONUNBUFFERED": "1"}], ids=["buffered", "unbuffered"])
@pytest.mark.parametrize(
    "line", ["--help", "animate --help", "--version", "animate {} -o {}", "animate {} -o {} --json"]
)
def test_output_that_nobody_takes(
    still: Path, voice: Path, model_folder: Path, tmp_path: Path, line: str, more: dict[str, str]
) -> None:
    """A full disk is said in one line; a pipe whose reader has gone ends it quietly."""
    for target in ("full", "pipe"):
        words = [*line.format(f"{still} {voice}", tmp_path / f"{target}.mp4").split()]
        words += ["--model", str(model_folder)] if "-o" in words else []
        reader, writer = os.pipe()
        os.close(reader)
        with os.fdopen(writer, "wb") if target == "pipe" else open("/dev/full", "wb") as out:
            done = subprocess.run(
                [sys.executable, "-m", "difftalk", *words], env={**os.environ, **more}, stdout=out,
                stderr=subprocess.PIPE, text=True, check=False,
            )  # fmt: skip
        assert done.returncode == 1
        if target == "pipe":
            assert done.stderr == ""
        else:
            assert done.stderr.endswith("standard output: cannot be read or written (No space left on device)\n")
            assert done.stderr.count("\n") == 1
