"""What every array is here: numbers, pictures, waveforms.

A picture is (height, width, 3) RGB. A waveform is mono, 16 kHz, in [-1, 1].
"""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float32]
Image = NDArray[np.uint8]

SAMPLE_RATE: Final = 16_000  # Hz, what the speech encoder hears
