"""Contact sheets: pictures with captions, in rows, as one PNG. Knows nothing of what they show."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Final

import numpy as np

from difftalk.arrays import Image

CAPTION_HEIGHT: Final = 14  # px


def sheet(rows: Sequence[Sequence[Image]], captions: Sequence[str] | None = None) -> Image:
    """Rows of equally high RGB pictures -> one picture; each caption stands above its row."""
    from PIL import Image as Pillow
    from PIL import ImageDraw

    bands = [np.concatenate(list(row), axis=1) for row in rows]
    width = max(band.shape[1] for band in bands)
    parts = []
    for index, band in enumerate(bands):
        if captions is not None:
            strip = Pillow.new("RGB", (width, CAPTION_HEIGHT), "black")
            ImageDraw.Draw(strip).text((2, 1), captions[index], fill="white")
            parts.append(np.asarray(strip))
        parts.append(np.pad(band, ((0, 0), (0, width - band.shape[1]), (0, 0))))
    return np.concatenate(parts).astype(np.uint8)


def write_sheet(path: Path, rows: Sequence[Sequence[Image]], captions: Sequence[str] | None = None) -> None:
    """Writes `sheet` as a PNG."""
    from PIL import Image as Pillow

    path.parent.mkdir(parents=True, exist_ok=True)
    Pillow.fromarray(sheet(rows, captions)).save(path)
