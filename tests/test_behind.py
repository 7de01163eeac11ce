"""What is behind a head: lines count where they cross the way, and nothing else does."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from difftalk.arrays import Image
from difftalk.render.behind import lines

Grid = NDArray[np.float64]

ROWS, COLUMNS = 24, 30
RIGHT, DOWN = (np.broadcast_to(way, (ROWS, COLUMNS, 2)) for way in ((2.0, 0.0), (0.0, 0.5)))
EVERYWHERE = np.ones((ROWS, COLUMNS))


def shelves(contrast: int = 80) -> Image:
    """Bars from left to right."""
    image = np.full((8 * ROWS, 8 * COLUMNS, 3), 100, np.uint8)
    image[(np.arange(8 * ROWS) // 16) % 2 == 0] += np.uint8(contrast)
    return image


def found(image: Image, way: Grid = DOWN, share: Grid = EVERYWHERE) -> float:
    return lines(image, way, share, around=2.0, most=20.0)


def test_lines_across_the_way_count() -> None:
    assert found(shelves()) > 10
    assert found(shelves(), RIGHT) < 0.01
    assert found(shelves().transpose(1, 0, 2)[: 8 * ROWS], RIGHT) > 10


def test_a_wall_has_none() -> None:
    assert found(np.full((90, 110, 3), 100, np.uint8)) == 0


def test_strong_lines_count_as_much_as_the_most() -> None:
    assert found(shelves(10)) < found(shelves(20)) < 20
    assert found(shelves(150)) == pytest.approx(20, abs=1)


def test_only_the_shared_places_count() -> None:
    image, half = shelves(), EVERYWHERE.copy()
    image[:, : 4 * COLUMNS] = 100
    half[:, COLUMNS // 2 - 6 :] = 0
    assert found(image, share=half) < 0.3
    assert found(image, share=0 * EVERYWHERE) == 0
