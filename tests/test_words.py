"""What is said below the doors speaks Python, and the command line has a word for each name in it."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

import difftalk
from difftalk.doors.words import OPTIONS, typed

PACKAGE = Path(difftalk.__file__).parent
BELOW = [path for path in PACKAGE.rglob("*.py") if "doors" not in path.parts and path.name != "__main__.py"]
DOCUMENTED = (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)
OTHERS = {"video", "class_frame"}  # of what no command calls; the form of a line


def strings(path: Path) -> Iterator[str]:
    """A module's texts but for docstrings."""
    tree = ast.parse(path.read_text())
    said = {ast.get_docstring(node, clean=False) for node in ast.walk(tree) if isinstance(node, DOCUMENTED)}
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and node.value not in said:
            yield node.value


@pytest.mark.parametrize("path", BELOW, ids=lambda path: path.relative_to(PACKAGE).as_posix())
def test_messages_name_parameters(path: Path) -> None:
    if path.name in ("page.py", "plots.py"):  # style sheets
        return
    for text in strings(path):
        assert not re.search(r"(?<![\w-])--[a-z]", text), text
        for name in re.findall(r"`(\w+)[=`]", text):
            assert name in OPTIONS or name in OTHERS, text


def test_every_option_is_one() -> None:
    declared = "".join(path.read_text() for path in (PACKAGE / "doors").glob("*.py"))
    for name, option in OPTIONS.items():
        flag = option.split("--")[1].split()[0]
        assert f'"--{flag}"' in declared or f"    {flag.replace('-', '_')}: " in declared, name


def test_typed() -> None:
    assert typed("ends; `keep_tail=True` keeps the rest") == "ends; --keep-tail keeps the rest"
    assert typed("`own_way=0`: as anybody's, `size`: px") == "--own-way 0: as anybody's, --size: px"
    assert typed("`settings` optimiser.lr=x: 'x' is not a number") == "--set optimiser.lr=x: 'x' is not a number"
    assert typed("a `b` and `video`, and a ` alone") == "a `b` and `video`, and a ` alone"
