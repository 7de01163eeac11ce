"""Contact sheets: pictures where they belong, captions that can be any text."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from difftalk.arrays import Image
from difftalk.media import picture
from difftalk.media.sheet import CAPTION_HEIGHT, sheet, write_sheet


def tile(value: int, *, height: int = 20, width: int = 30) -> Image:
    return np.full((height, width, 3), value, np.uint8)


def test_rows_and_columns() -> None:
    out = sheet([[tile(10), tile(20)], [tile(30, height=8)]])
    assert out.shape == (28, 60, 3)
    assert (out[:20, :30] == 10).all()
    assert (out[:20, 30:] == 20).all()
    assert (out[20:, :30] == 30).all()
    assert (out[20:, 30:] == 0).all()


def test_each_caption_stands_above_its_row() -> None:
    out = sheet([[tile(200)], [tile(100)]], ["one", "two"])
    assert out.shape == (2 * (CAPTION_HEIGHT + 20), 30, 3)
    assert (out[CAPTION_HEIGHT : CAPTION_HEIGHT + 20] == 200).all()
    assert (out[-20:] == 100).all()
    for top in (0, CAPTION_HEIGHT + 20):
        strip = out[top : top + CAPTION_HEIGHT]
        assert 0 < (strip > 128).mean() < 0.5


def test_any_caption() -> None:
    plain, foreign = (sheet([[tile(0, width=200)]], [text]) for text in ("", "Žluťoučký kůň 顔 \N{GRINNING FACE}"))
    assert (foreign != plain).any()


def test_written_as_png(tmp_path: Path) -> None:
    rows = [[tile(10), tile(250)]]
    write_sheet(tmp_path / "new" / "sheet.png", rows)
    np.testing.assert_array_equal(picture.read(tmp_path / "new" / "sheet.png"), sheet(rows))
