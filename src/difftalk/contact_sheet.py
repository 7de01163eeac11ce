"""Contact sheets: pictures with captions, in rows, as one PNG. Knows nothing of what they show."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Final

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from difftalk.sample import Record

Image = NDArray[np.uint8]

CAPTION_HEIGHT: Final = 14  # px
THUMBNAIL: Final = 96  # px
COLUMNS: Final = 12


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


def prepared_sheet(records: Sequence[Record], out: Path) -> None:
    """OUT/contact_sheet.png: a frame of every kept clip, then the dropped ones with their reasons."""
    import cv2

    from difftalk.sample import Sample

    pictures, names = [], []
    for record in records:
        if record.kept:
            frame = Sample.load(out / "samples" / record.name).frame(record.frames // 2)
            pictures.append(
                np.asarray(cv2.resize(frame, (THUMBNAIL, THUMBNAIL), interpolation=cv2.INTER_AREA), np.uint8)
            )
            names.append(record.name)
    rows = [pictures[i : i + COLUMNS] for i in range(0, len(pictures), COLUMNS)]
    captions = [
        f"kept: {names[i * COLUMNS]} to {names[min((i + 1) * COLUMNS, len(names)) - 1]}" for i in range(len(rows))
    ]
    blank = np.zeros((1, THUMBNAIL * COLUMNS, 3), np.uint8)
    for record in records:
        if not record.kept:
            rows.append([blank])
            captions.append(f"dropped: {record.name}: {record.reason}")
    write_sheet(out / "contact_sheet.png", rows or [[blank]], captions or ["no clips"])
