"""A timeline: which stage ran when, in which thread, of some frames in a row, as one PNG."""

from __future__ import annotations

import colorsys
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from PIL import Image as Pillow
from PIL import ImageDraw, ImageFont

from difftalk.speed.figures import NET, nested_of
from difftalk.stages import Span

FRAMES: Final = 50
LAST: Final = "encode"  # the stage that a frame leaves by
WIDTH, LANE, LEVEL, LABELS, FRAME = 3200, 96, 20, 150, 40  # px
TICK: Final = 0.1  # s


def draw(spans: Sequence[Span], path: Path, *, frames: int = FRAMES) -> None:
    """The frames in the middle of what was noted, to a PNG."""
    begin, end = window(spans, frames)
    seen = [one for one in nested_of(spans) if one.span.end > begin and one.span.begin < end]
    lanes = {one.span.thread: re.sub(r"(-\d+)?_\d+$", "", one.span.thread) for one in seen}
    threads = sorted(set(lanes.values()))
    names = sorted({one.span.stage for one in seen}, key=lambda name: (name.startswith(NET), name))
    height = FRAME + LANE * len(threads) + FRAME
    sheet = Pillow.new("RGB", (WIDTH, height), "white")
    pen, font = ImageDraw.Draw(sheet), ImageFont.load_default(14)
    scale = (WIDTH - LABELS) / (end - begin)
    for number in range(int((end - begin) / TICK) + 1):
        x = LABELS + number * TICK * scale
        pen.line((x, FRAME, x, height - FRAME), fill="#dddddd")
        pen.text((x, FRAME - 18), f"{number * TICK * 1e3:.0f} ms", fill="#666666", font=font)
    colours = {name: colour(index, len(names)) for index, name in enumerate(names)}
    for row, thread in enumerate(threads):
        pen.text((4, FRAME + row * LANE + LANE // 2 - 8), thread[-18:], fill="black", font=font)
    for one in seen:
        top = FRAME + threads.index(lanes[one.span.thread]) * LANE + 4 + one.depth * LEVEL
        left, right = (LABELS + (max(begin, min(end, at)) - begin) * scale for at in (one.span.begin, one.span.end))
        bottom = max(top + 2, FRAME + (threads.index(lanes[one.span.thread]) + 1) * LANE - 4)
        pen.rectangle((left, top, max(left + 1, right), bottom), fill=colours[one.span.stage])
    x = 4.0
    for name in names:
        pen.rectangle((x, height - FRAME + 12, x + 14, height - FRAME + 26), fill=colours[name])
        pen.text((x + 20, height - FRAME + 10), name, fill="black", font=font)
        x += 40 + pen.textlength(name, font=font)
    sheet.save(path, "PNG")


def window(spans: Sequence[Span], frames: int) -> tuple[float, float]:
    """Begin and end, s, of so many frames in the middle."""
    left = sorted(span.end for span in spans if span.stage == LAST)
    first = max(0, (len(left) - frames) // 2)
    chosen = left[first : first + frames + 1]
    return chosen[0], max(chosen[-1], chosen[0] + 1e-3)


def colour(index: int, count: int) -> tuple[int, int, int]:
    """Hues apart, every other one darker."""
    red, green, blue = colorsys.hsv_to_rgb(index / count, 0.65, 0.95 if index % 2 else 0.7)
    return round(red * 255), round(green * 255), round(blue * 255)
