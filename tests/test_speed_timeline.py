"""The timeline: of frames in the middle, a lane a thread."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image as Pillow

from difftalk.speed import timeline
from difftalk.stages import Span


def spans(frames: int) -> list[Span]:
    drawn = [Span("draw", "MainThread", i / 10, i / 10 + 0.08) for i in range(frames)]
    return drawn + [Span("encode", f"behind-{i}_0", i / 10 + 0.05, i / 10 + 0.1) for i in range(frames)]


def test_window_is_the_middle() -> None:
    assert np.allclose(timeline.window(spans(100), 50), (2.6, 7.6))
    assert np.allclose(timeline.window(spans(10), 50), (0.1, 1.0))


def test_a_picture_with_a_lane_a_thread(tmp_path: Path) -> None:
    timeline.draw(spans(60), tmp_path / "stages.png")
    with Pillow.open(tmp_path / "stages.png") as picture:
        assert picture.size == (timeline.WIDTH, 2 * timeline.FRAME + 2 * timeline.LANE)
        colours = {colour for _, colour in picture.getcolors(1 << 20) or []}
    assert {timeline.colour(0, 2), timeline.colour(1, 2)} <= colours


def test_a_single_frame(tmp_path: Path) -> None:
    timeline.draw(spans(1), tmp_path / "stages.png")
    assert (tmp_path / "stages.png").is_file()
