"""The fastest form of a graph: measured once, noted, and never in anybody's way."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from difftalk import engine
from difftalk.engine import fastest as choosing
from difftalk.engine.fastest import fastest, first_of
from difftalk.errors import ModelError
from tiny_graphs import node, save_graph

Choose = Callable[..., tuple[engine.Precision, engine.Compiled]]


@pytest.fixture
def forms(tmp_path: Path) -> dict[engine.Precision, Path]:
    """Two graphs that give different answers."""

    def graph(name: str, by: float) -> Path:
        shapes = {"x": (1, 4)}
        return save_graph(
            tmp_path / name, [node("Mul", "x by", "y")], shapes, {"y": (1, 4)}, by=np.array(by, np.float32)
        )

    return {"int8": graph("i.onnx", 2), "f32": graph("f.onnx", 3)}


@pytest.fixture
def choose(forms: dict[engine.Precision, Path], tmp_path: Path) -> Choose:
    def call(given: dict[engine.Precision, Path] = forms, **options: Any) -> tuple[engine.Precision, engine.Compiled]:
        folders = {"notes": tmp_path / "notes", "cache": tmp_path / "cache"}
        return fastest(given, **{"mark": "1", **folders, **options})

    return call


def measured(monkeypatch: pytest.MonkeyPatch, **seconds: float) -> list[int]:
    """Has the forms take so long; how many are measured, each time."""
    counts: list[int] = []

    def times(graphs: dict[str, object]) -> dict[str, float]:
        counts.append(len(graphs))
        return {name: seconds[name] for name in graphs}

    monkeypatch.setattr(choosing, "_times", times)
    return counts


def factor(graph: engine.Graph) -> float:
    return float(graph(x=np.ones((1, 4), np.float32))["y"][0, 0])


def test_the_first_that_none_beats_clearly() -> None:
    assert first_of({"int8": 1.0, "bf16": 0.95, "f32": 0.91}) == "int8"
    assert first_of({"int8": 1.0, "bf16": 0.7, "f32": 0.65}) == "bf16"
    assert first_of({"int8": 1.0, "bf16": 0.7, "f32": 0.5}) == "f32"
    assert first_of({"f32": 1.0}) == "f32"


def test_the_quickest_is_taken_and_noted(choose: Choose, monkeypatch: pytest.MonkeyPatch) -> None:
    measured(monkeypatch, int8=2.0, f32=1.0)
    precision, graph = choose()
    assert (precision, factor(graph)) == ("f32", 3)
    counts = measured(monkeypatch, int8=1.0, f32=2.0)
    assert choose()[0] == "f32"  # as the note says
    assert counts == [1]
    assert [choose(**{name: value})[0] for name, value in (("mark", "2"), ("threads", 1))] == ["int8", "int8"]


def test_it_measures_by_itself(choose: Choose, forms: dict[engine.Precision, Path]) -> None:
    precision, graph = choose()
    assert factor(graph) == {"int8": 2, "f32": 3}[precision]


@pytest.mark.parametrize("note", ["", "f16", "\x00\xff", "int8 and more"])
def test_a_spoilt_note_is_written_anew(
    choose: Choose, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, note: str
) -> None:
    measured(monkeypatch, int8=2.0, f32=1.0)
    choose()
    (file,) = (tmp_path / "notes").iterdir()
    file.write_text(note)
    assert choose()[0] == "f32"
    assert file.read_text() == "f32"


def test_notes_that_cannot_be_written_stop_nobody(
    choose: Choose, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    counts = measured(monkeypatch, int8=1.0, f32=2.0)
    (tmp_path / "file").write_text("")
    assert [choose(notes=tmp_path / "file" / "notes")[0] for _ in range(2)] == ["int8", "int8"]
    assert counts == [2, 2]


def test_a_form_that_is_refused_is_passed_over(choose: Choose, forms: dict[engine.Precision, Path]) -> None:
    forms["int8"].write_bytes(b"no graph")
    assert choose()[0] == "f32"
    forms["f32"].write_bytes(b"no graph")
    with pytest.raises(ModelError, match="is not a graph"):
        choose(mark="another")


def test_one_form_is_not_measured(choose: Choose, forms: dict[engine.Precision, Path], tmp_path: Path) -> None:
    assert choose({"f32": forms["f32"]})[0] == "f32"
    assert choose({"bf16": forms["f32"], "f32": forms["f32"]}, engine="onnxruntime")[0] == "f32"
    assert not (tmp_path / "notes").exists()
