"""The README's Python does what it says, as it is written there, on files drawn on the spot."""

from __future__ import annotations

import re
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image as Pillow

from difftalk.arrays import Image
from difftalk.media import video

README = Path(__file__).parents[1] / "README.md"


def test_every_block_runs(
    portrait: Image,
    clip: Path,
    voice: Path,
    waveform: NDArray[np.float32],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    Pillow.fromarray(portrait).save("me.jpg", quality=95)
    shutil.copy(voice, "voice.wav")
    shutil.copy(clip, "clip.mp4")
    shown = list[float]()

    def show(image: Image, seconds: float) -> None:
        assert image.shape == portrait.shape
        shown.append(seconds)

    names: dict[str, Any] = {
        "image": portrait,
        "waveform": waveform[:4800],
        "pieces": [waveform[:12_000], waveform[12_000:]],
        "show": show,
    }
    counts = []
    for block in re.findall(r"^```python\n(.*?)^```$", README.read_text(), re.MULTILINE | re.DOTALL):
        exec(compile(block, "README.md", "exec"), names)
        counts.append(len(shown))
        shown.clear()
    assert counts == [0, 0, 50, 25]
    assert [video.probe(path).frame_count for path in ("out.mp4", "dubbed.mp4")] == [25, 25]
    assert names["result"].frames == 8
    assert names["video"].getvalue()[4:8] == b"ftyp"
