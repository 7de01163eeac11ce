"""Yardsticks: the convolution is of 1 GMAC, the same on every engine, and the file is what its tool makes."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import onnx
import pytest

from difftalk import engine
from difftalk.engine import ENGINES
from difftalk.errors import MissingExtraError
from difftalk.speed.yardstick import CONVOLUTION, PICTURE, convolution_apart, least, published_apart

sys.path.insert(0, str(Path(__file__).parents[1] / "tools"))
import yardstick


def test_convolution_is_what_its_tool_makes() -> None:
    assert onnx.load(CONVOLUTION) == yardstick.convolution()


def test_convolution_has_a_thousand_million_products() -> None:
    _, channels, height, width = PICTURE
    assert channels * channels * 9 * height * width == pytest.approx(1e9, rel=0.003)


@pytest.mark.parametrize("name", ENGINES)
def test_convolution_adds_up(name: str) -> None:
    graph = engine.load(CONVOLUTION, precision="f32", threads=1, engine=name)
    out = graph(picture=np.ones(PICTURE, np.float32))["out"]
    np.testing.assert_allclose(out[..., 1:-1, 1:-1], 64 * 9 * 1e-3, rtol=1e-4)
    np.testing.assert_allclose(out[..., 0, 0], 64 * 4 * 1e-3, rtol=1e-4)


def test_convolution_apart_takes_some_time() -> None:
    assert 0 < convolution_apart("openvino", threads=1, processor="avx2") < 60


def test_least_leaves_the_first_run_out() -> None:
    runs = list[int]()
    assert least(lambda: runs.append(1), 3) >= 0
    assert len(runs) == 4


def test_published_says_what_it_needs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(MissingExtraError, match=r"torch is not installed.*difftalk\[train\]"):
        published_apart()
