"""Work in a process of its own: what it is told, what it says, and one line where it fails."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from difftalk.errors import InputError
from difftalk.speed.apart import ask

MODULE = """
import os
from difftalk.errors import InputError
from difftalk.speed.apart import answer

def work(given):
    if given["fail"]:
        raise InputError("no more")
    return {"pid": os.getpid(), "told": os.environ["TOLD"]}

raise SystemExit(answer(work))
"""


@pytest.fixture
def module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    (tmp_path / "works.py").write_text(MODULE)
    monkeypatch.setenv("PYTHONPATH", ":".join([str(tmp_path), *filter(None, sys.path)]))
    return "works"


def test_answer_comes_from_another_process(module: str) -> None:
    said = ask(module, {"fail": False}, {"TOLD": "this"})
    assert said["told"] == "this"
    assert said["pid"] != 0


def test_error_is_its_line(module: str) -> None:
    with pytest.raises(InputError, match=r"^no more$"):
        ask(module, {"fail": True}, {})


def test_module_that_is_missing() -> None:
    with pytest.raises(InputError, match="nowhere"):
        ask("nowhere_at_all", {}, {})
