"""Weights between two of the same net."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from types import ModuleType

import pytest
import torch

from difftalk.training.batches import FakeSource
from difftalk.training.checkpoint import load_checkpoint
from difftalk.training.kinds.first_stage import FIRST_STAGE
from difftalk.training.kinds.painter import PAINTER
from difftalk.training.kinds.table import recipe_named, recipe_of
from difftalk.training.loop import train


@pytest.fixture(scope="module")
def mix() -> ModuleType:
    spec = importlib.util.spec_from_file_location("mix", Path(__file__).parents[1] / "tools" / "mix.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_between_two_trainings(mix: ModuleType, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    recipe, source = recipe_named("painter", "debug"), FakeSource("painter")
    train(PAINTER, source, recipe, tmp_path / "a", steps=1)
    train(PAINTER, source, recipe, tmp_path / "b", steps=4, start_from=tmp_path / "a")
    a, b = (load_checkpoint(tmp_path / name) for name in "ab")
    for share in (0.0, 0.25, 1.0):
        out = tmp_path / f"{share}.safetensors"
        assert mix.main([str(tmp_path / "a"), str(tmp_path / "b"), str(share), str(out)]) == 0
        found = load_checkpoint(out)
        assert (found.kind, recipe_of(found)) == ("painter", recipe)
        for name, value in found.average.items():
            between = torch.lerp(a.average[name], b.average[name], share)
            torch.testing.assert_close(value, between, rtol=1e-3, atol=1e-4)  # kept in fp16
    assert any(not torch.equal(a.average[name], b.average[name]) for name in a.average)
    out = tmp_path / "none.safetensors"
    for given, before, said in (("1.5", "a", "allowed are 0 to 1"), ("x", "a", "'x'"), ("0.5", "missing", "missing")):
        assert mix.main([str(tmp_path / before), str(tmp_path / "b"), given, str(out)]) == 1
        assert said in capsys.readouterr().err
    train(FIRST_STAGE, FakeSource("first-stage"), recipe_named("first-stage", "debug"), tmp_path / "c", steps=1)
    assert mix.main([str(tmp_path / "c"), str(tmp_path / "b"), "0.5", str(out)]) == 1
    assert "does not fit" in capsys.readouterr().err
    assert not out.exists()
