"""What every waveform is here: mono, 16 kHz, float32 in [-1, 1]. Knows nothing of files: `audio.py` reads them."""

from __future__ import annotations

from typing import Final

SAMPLE_RATE: Final = 16_000  # Hz, what the speech encoder hears
