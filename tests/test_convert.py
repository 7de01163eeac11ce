"""Checkpoints of others: read bit for bit, refused in one line, and never able to run code."""

from __future__ import annotations

import os
from collections import OrderedDict
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

import plain_difftalk as plain
from difftalk.errors import DataError, OutputError
from difftalk.nets.published import PaperFirstStage, PaperFirstStageSizes, PaperSizes, PublishedDiffTalk
from difftalk.nets.published_layout import FIRST_STAGE, expected, to_published
from difftalk.training.checkpoint import load_checkpoint
from difftalk.training.convert import convert, read_state
from difftalk.training.kinds.published import PaperRecipe
from difftalk.training.kinds.table import load_net, recipe_of

# The whole graph, narrow; as many groups as are taken of a net under 32 channels.
SMALL = PaperSizes(base=32, picture=64, first_stage=PaperFirstStageSizes(base=8, groups=8, codes=16))


class Foreign:
    """What a trainer's file may hold besides tensors; reading it for what it is would leave a trace."""

    def __init__(self, trace: Path) -> None:
        self.trace = trace

    def __reduce__(self) -> Any:
        return os.mkdir, (str(self.trace),)


@pytest.fixture(scope="module")
def state() -> dict[str, Tensor]:
    with torch.device("meta"):
        shapes = {name: value.shape for name, value in PublishedDiffTalk(SMALL).state_dict().items()}
    return plain.random_state(expected(shapes, SMALL), seed=1)


@pytest.fixture(scope="module")
def checkpoint(state: dict[str, Tensor], tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("published") / "last.ckpt"
    torch.save({"state_dict": OrderedDict(state), "epoch": 3, "optimizer_states": []}, path)
    return path


def test_the_published_layout_bit_for_bit(checkpoint: Path, state: dict[str, Tensor], tmp_path: Path) -> None:
    said = convert(checkpoint, tmp_path / "run")
    assert "the published system" in said
    held = load_checkpoint(tmp_path / "run")
    assert isinstance(recipe_of(held), PaperRecipe)
    assert held.step == int(state["model_ema.num_updates"])
    again = to_published(held.net, held.average, SMALL, held.step)
    for name, value in state.items():
        if "_model" in name or (name.startswith("model") and name != "model_ema.decay"):
            assert torch.equal(again[name], value), name
    net = load_net(tmp_path / "run")[1]
    assert isinstance(net, PublishedDiffTalk)


def test_a_first_stage_of_its_own(state: dict[str, Tensor], tmp_path: Path) -> None:
    own = {name.removeprefix(FIRST_STAGE): value for name, value in state.items() if name.startswith(FIRST_STAGE)}
    torch.save({"state_dict": own | {"loss.discriminator.main.0.weight": torch.zeros(3)}}, tmp_path / "model.ckpt")
    assert "a first stage" in convert(tmp_path / "model.ckpt", tmp_path / "run")
    net = load_net(tmp_path / "run")[1]
    assert isinstance(net, PaperFirstStage)
    picture = torch.rand(1, 3, 32, 32) * 2 - 1
    with torch.no_grad():
        wanted = plain.encode(state, picture, SMALL.first_stage.groups)
        assert float((net.encode(picture) - wanted).abs().max()) < 1e-4


def test_nothing_but_tensors_is_made(state: dict[str, Tensor], tmp_path: Path) -> None:
    trace = tmp_path / "trace"
    torch.save({"state_dict": state, "callbacks": {"x": Foreign(trace)}}, tmp_path / "odd.ckpt")
    assert set(read_state(tmp_path / "odd.ckpt")) == set(state)
    assert not trace.exists()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda s: s.pop("model_ema.decay"), "lacks model_ema.decay; .* tensors are expected"),
        (lambda s: s.update(extra=torch.zeros(1)), "holds what is not known: extra"),
        (lambda s: s.update(betas=torch.zeros(5)), "has another shape of betas"),
        (lambda s: s.pop("first_stage_model.quantize.embedding.weight"), "has no codebook of 3 channels"),
    ],
)
def test_misfits_are_named(state: dict[str, Tensor], tmp_path: Path, change: Any, message: str) -> None:
    odd = dict(state)
    change(odd)
    torch.save({"state_dict": odd}, tmp_path / "odd.ckpt")
    with pytest.raises(DataError, match=message):
        convert(tmp_path / "odd.ckpt", tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_files_that_are_none(checkpoint: Path, tmp_path: Path) -> None:
    cut = tmp_path / "cut.ckpt"
    cut.write_bytes(checkpoint.read_bytes()[:5000])
    with pytest.raises(DataError, match="is no checkpoint or is cut off"):
        convert(cut, tmp_path / "run")
    with pytest.raises(DataError, match="does not exist"):
        convert(tmp_path / "none.ckpt", tmp_path / "run")
    torch.save({"weight": torch.zeros(2)}, tmp_path / "other.ckpt")
    with pytest.raises(DataError, match="neither the published DiffTalk's nor a VQ first stage's"):
        convert(tmp_path / "other.ckpt", tmp_path / "run")
    torch.save([1, 2], tmp_path / "list.ckpt")
    with pytest.raises(DataError, match="holds no table of tensors"):
        convert(tmp_path / "list.ckpt", tmp_path / "run")


def test_a_full_folder_is_left_alone(checkpoint: Path, tmp_path: Path) -> None:
    (tmp_path / "kept").write_text("mine")
    with pytest.raises(OutputError, match="is not an empty folder"):
        convert(checkpoint, tmp_path)
